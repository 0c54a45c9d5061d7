//! The sample configurations as they are shipped, with the programs, ports and paths that they name. The daemon sees an
//! /etc, /run and /srv of its own, and the network is the test's own.

use crate::client::*;
use crate::daemon::{Daemon, Launch};
use crate::harness::{Ctx, Need::*, PATIENCE, Test, prog, wait_until};
use crate::serve::{client_key, ssh};
use crate::test;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

pub const TESTS: &[Test] = &[
    test!(
        router,
        Root,
        Prog("dropbear"),
        Prog("ssh"),
        Prog("ssh-keygen"),
        Prog("ip"),
        File("/bin/busybox"),
        Applet("httpd"),
        Applet("telnetd"),
        File("/usr/sbin/in.tftpd"),
        Tftp
    ),
    test!(
        nas,
        Root,
        File("/usr/bin/rsync"),
        File("/usr/bin/git"),
        File("/usr/sbin/vsftpd"),
        Prog("curl"),
        File("/usr/sbin/in.tftpd"),
        Tftp
    ),
    test!(
        raspberry_pi,
        Root,
        Directive("ConnectTo"),
        File("/usr/bin/python3"),
        File("/usr/sbin/sshd"),
        Prog("ssh"),
        Prog("ssh-keygen"),
        File("/usr/bin/gunicorn"),
        File("/usr/sbin/lighttpd")
    ),
];

/// The daemon on a sample, about to be started. What the test has put below `etc` and `srv` of its folder lies over
/// /etc and in the place of /srv; /run is empty.
fn sample(ctx: &mut Ctx, name: &str) -> Launch {
    let text = std::fs::read_to_string(format!("{}/configs/{name}.conf", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (below, home) = (ctx.path("etc"), ctx.path("home"));
    shell(&format!(
        "mkdir -p {below}; cd {below}; cp -an /etc/. .
         echo 'sleeper:x:0:0::{home}:/bin/sh' >>passwd; echo 'sleeper:*:::::::' >>shadow"
    ));
    let script = format!(
        "mount --bind {below} /etc && mount --bind {} /srv && mount -t tmpfs -o mode=755 tmpfs /run && exec \"$@\"",
        ctx.path("srv")
    );
    ctx.launch(&text).wrapped(&["unshare", "-m"]).in_shell(&script)
}

fn page(address: &str, path: &str) -> String {
    output(Command::new("curl").args(["-sS", "--max-time", "15", &format!("http://{address}{path}")]))
}

/// A file by TFTP, as the firmware of a machine without a disk fetches it.
fn boot_file(ctx: &Ctx, address: &str) {
    output(Command::new("tftp").current_dir(&ctx.dir).args(["-m", "binary", address, "-c", "get", "kernel", "copy"]));
    assert_eq!(ctx.lines("copy"), ["a kernel"]);
}

fn router(ctx: &mut Ctx) {
    if !ctx.own_net {
        return ctx.skip("the ports need a network namespace");
    }
    let key = client_key(ctx);
    ctx.file("srv/www/index.html", "a page\n");
    ctx.file("srv/tftp/kernel", "a kernel\n");
    ctx.file("etc/dropbear/.keep", "");
    let _daemon = sample(ctx, "router").start();
    assert_eq!(ssh(ctx, &key, 22, "echo by dropbear").trim(), "by dropbear");
    let mut telnet = connect(23);
    let mut seen = String::new();
    let mut buffer = [0; 512];
    while !seen.contains("login:") {
        let length = telnet.read(&mut buffer).expect("telnetd talks");
        assert!(length > 0, "telnetd closed after {seen:?}");
        seen += &String::from_utf8_lossy(&buffer[..length]);
    }
    // The router gets its address late, as routers do.
    shell(&format!("{} address add 192.168.1.1/24 dev lo", prog("ip")));
    let web = "192.168.1.1:80".parse().unwrap();
    wait_until("the address is taken", || try_connect(web, PATIENCE).is_ok());
    assert_eq!(page("192.168.1.1", "/"), "a page\n");
    boot_file(ctx, "192.168.1.1");
    let load = try_connect("192.168.1.1:7000".parse().unwrap(), PATIENCE).unwrap();
    assert_eq!(read_all(load).lines().count(), 2);
}

fn nas(ctx: &mut Ctx) {
    if !ctx.own_net {
        return ctx.skip("the ports need a network namespace");
    }
    for name in ["srv/files/one", "srv/ftp/one"] {
        ctx.file(name, "a file\n");
    }
    ctx.file("srv/tftp/kernel", "a kernel\n");
    ctx.file("etc/rsyncd.conf", "[files]\npath = /srv/files\n");
    let options = "listen=NO\nlisten_ipv6=NO\nanonymous_enable=YES\nanon_root=/srv/ftp\n\
                   no_anon_password=YES\nseccomp_sandbox=NO\nxferlog_enable=NO\n";
    ctx.file("etc/vsftpd.conf", options);
    let bare = ctx.path("srv/git/nest.git");
    shell(&format!(
        "export HOME={0} GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
         mkdir -p {0}/work {0}/srv/git; cd {0}/work; git init -q .; echo moss >nest; git add nest; git commit -q -m nest
         git clone -q --bare . {bare}; touch {bare}/git-daemon-export-ok; chown -R nobody {bare}",
        ctx.dir.display()
    ));
    let _daemon = sample(ctx, "nas").start();
    output(Command::new("rsync").args(["--timeout=15", "rsync://127.0.0.1/files/one", &ctx.path("by_rsync")]));
    assert_eq!(ctx.lines("by_rsync"), ["a file"]);
    output(Command::new("git").args(["clone", "-q", "git://127.0.0.1/nest.git", &ctx.path("by_git")]));
    assert_eq!(ctx.lines("by_git/nest"), ["moss"]);
    assert_eq!(output(Command::new("curl").args(["-sS", "--max-time", "15", "ftp://127.0.0.1/one"])), "a file\n");
    boot_file(ctx, "127.0.0.1");
    assert!(talk(7001).starts_with("Filesystem"));
}

fn raspberry_pi(ctx: &mut Ctx) {
    if !ctx.own_net {
        return ctx.skip("the ports need a network namespace");
    }
    let key = client_key(ctx);
    let app =
        "import os\ndef app(environ, start):\n    start('200 OK', [])\n    return [os.environ['WIKI_DATA'].encode()]\n";
    ctx.file("srv/wiki/app.py", app);
    ctx.file("srv/www/hello.txt", "a page\n");
    ctx.file("srv/photos/nest.txt", "a photo\n");
    let options = "server.document-root = \"/srv/www\"\nserver.systemd-socket-activation = \"enable\"\nserver.port = 80\n\
                   mimetype.assign = ( \".txt\" => \"text/plain\" )\n";
    ctx.file("etc/lighttpd/lighttpd.conf", options);
    // What a container may lack is no matter of the sample.
    ctx.file("etc/ssh/sshd_config", "UsePAM no\nPermitRootLogin prohibit-password\n");
    let host = ctx.path("etc/ssh/ssh_host_ed25519_key");
    output(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &host]));
    // A thermometer that every machine has.
    ctx.file("srv/thermal/thermal_zone0/temp", "42000\n");
    let daemon = sample(ctx, "raspberry-pi").start();
    shell(&format!("nsenter -t {} -m mount --bind /srv /sys/class", daemon.pid));
    assert_eq!(ssh(ctx, &key, 22, "echo by sshd").trim(), "by sshd");
    assert_eq!(page("127.0.0.1:8000", "/"), "/srv/wiki/data");
    assert_eq!(page("127.0.0.1", "/hello.txt"), "a page\n");
    assert_eq!(page("127.0.0.1:8080", "/nest.txt"), "a photo\n");
    assert_eq!(unix_talk(&inside(&daemon, "/run/temperature.sock")).unwrap(), "42000\n");
}

/// A path as the daemon sees it.
fn inside(daemon: &Daemon, path: &str) -> String {
    let path = format!("/proc/{}/root{path}", daemon.pid);
    let mode = std::fs::metadata(&path).map(|meta| meta.permissions().mode() & 0o777);
    assert_eq!(mode.ok(), Some(0o666), "{path}");
    path
}
