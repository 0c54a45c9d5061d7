//! Real services, real clients.

use crate::client::*;
use crate::daemon::{Launch, descendants, kill};
use crate::harness::{Ctx, Need::*, Test, prog, service_file, sleep_ms, wait_until};
use crate::test;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

pub const TESTS: &[Test] = &[
    test!(dropbear_login, Root, Prog("dropbear"), Prog("dropbearkey"), Prog("ssh"), Prog("ssh-keygen")),
    test!(openssh_login, Root, Prog("sshd"), Prog("ssh"), Prog("ssh-keygen")),
    test!(gunicorn_on_listen_fds, Prog("gunicorn")),
    test!(lighttpd_on_an_inherited_listener, Prog("lighttpd")),
    test!(nginx_on_an_inherited_listener, Prog("nginx")),
    test!(stunnel_both_ways, Prog("stunnel"), Prog("openssl")),
    test!(busybox_httpd_per_connection, Applet("httpd")),
    test!(busybox_telnetd_per_connection, Root, Applet("telnetd")),
    test!(vsftpd_per_connection, Root, Prog("vsftpd"), Prog("curl")),
    test!(rsync_daemon_per_connection, Prog("rsync")),
    test!(git_clone_per_connection, Prog("git")),
    test!(tftpd_waits_on_udp, Root, Tftp),
    test!(python_http_server_on_an_inherited_listener, File("/usr/bin/python3")),
];

/// A user `sleeper` with a home in the test's folder, known only inside a mount namespace of the daemon's own.
pub fn with_sleeper(ctx: &Ctx, launch: Launch) -> Launch {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let home = ctx.path("home");
    let passwd = ctx.file("passwd", &format!("{passwd}sleeper:x:0:0::{home}:/bin/sh\n"));
    let script = format!(
        "mount --bind {passwd} /etc/passwd && mount -t tmpfs tmpfs /run && mkdir /run/sshd && chmod 755 /run && exec \"$@\""
    );
    launch.wrapped(&["unshare", "-m"]).in_shell(&script)
}

/// Makes the client's key and lets it in for `sleeper`; returns the path of the key.
pub fn client_key(ctx: &Ctx) -> String {
    let key = ctx.path("client_key");
    output(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &key]));
    let public = std::fs::read_to_string(format!("{key}.pub")).unwrap();
    ctx.file("home/.ssh/authorized_keys", &public);
    shell(&format!("chmod 700 {0} {0}/.ssh; chmod 600 {0}/.ssh/authorized_keys", ctx.path("home")));
    key
}

pub fn ssh(ctx: &Ctx, key: &str, port: u16, remote: &str) -> String {
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "/dev/null", "-i", key, "-p", &port.to_string(), "-o", "BatchMode=yes"]);
    ssh.args(["-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR", "-o", "IdentitiesOnly=yes"]);
    ssh.args(["-o", &format!("UserKnownHostsFile={}", ctx.path("known_hosts"))]);
    output(ssh.args(["sleeper@127.0.0.1", remote]))
}

fn dropbear_login(ctx: &mut Ctx) {
    let port = ctx.port();
    let (key, host) = (client_key(ctx), ctx.path("host_key"));
    output(Command::new(prog("dropbearkey")).args(["-t", "ed25519", "-f", &host]));
    let dropbear = prog("dropbear");
    let config = format!("[ssh]\nListenStream={port}\nAccept=yes\nExecStart={dropbear} -i -r {host}\n");
    let launch = ctx.launch(&config);
    let daemon = with_sleeper(ctx, launch).start();
    for round in 1..=3 {
        assert_eq!(
            ssh(ctx, &key, port, &format!("echo hello-$(({round} + 40))")).trim(),
            format!("hello-{}", round + 40)
        );
    }
    wait_until("the last dropbear is gone", || daemon.descendants().is_empty());
}

fn openssh_login(ctx: &mut Ctx) {
    let port = ctx.port();
    let (key, host) = (client_key(ctx), ctx.path("host_key"));
    output(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &host]));
    let options = format!("HostKey {host}\nUsePAM no\nPidFile none\nStrictModes no\nPermitRootLogin yes\n");
    let options = ctx.file("sshd_config", &options);
    let sshd = prog("sshd");
    let config = format!("[ssh]\nListenStream={port}\nAccept=yes\nExecStart={sshd} -i -f {options}\n");
    let launch = ctx.launch(&config);
    let _daemon = with_sleeper(ctx, launch).start();
    for round in 1..=2 {
        assert_eq!(
            ssh(ctx, &key, port, &format!("echo hello-$(({round} + 40))")).trim(),
            format!("hello-{}", round + 40)
        );
    }
}

fn gunicorn_on_listen_fds(ctx: &mut Ctx) {
    let port = ctx.port();
    let app = "import os\ndef app(environ, start):\n    start('200 OK', [])\n    return [b'awake %d' % os.getpid()]\n";
    ctx.file("app.py", app);
    let folder = ctx.dir.display().to_string();
    let gunicorn = prog("gunicorn");
    let config = format!(
        "[wiki]\nListenStream=127.0.0.1:{port}\nExecStart={gunicorn} -w 1 app:app\nWorkingDirectory={folder}\n"
    );
    let daemon = ctx.start(&config);
    assert!(daemon.descendants().is_empty(), "nothing runs before the first request");
    assert!(http_get(port, "/").contains("awake"), "the first request is answered");
    assert!(http_get(port, "/").contains("awake"), "and the second by the same service");
    let main = daemon.descendants()[0];
    kill(main, libc::SIGKILL);
    wait_until("the killed service is reaped", || !daemon.descendants().contains(&main));
    assert!(http_get(port, "/").contains("awake"), "a request after the crash is answered");
}

/// lighttpd's command line: it takes the listening socket over and has /hello.txt.
pub fn lighttpd(ctx: &Ctx, port: u16) -> String {
    ctx.file("www/hello.txt", "hello from lighttpd\n");
    let options = format!(
        "server.document-root = \"{}\"\nserver.port = {port}\nserver.bind = \"127.0.0.1\"\n\
         server.systemd-socket-activation = \"enable\"\nmimetype.assign = ( \".txt\" => \"text/plain\" )\n",
        ctx.path("www")
    );
    format!("{} -D -f {}", prog("lighttpd"), ctx.file("lighttpd.conf", &options))
}

fn lighttpd_on_an_inherited_listener(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = lighttpd(ctx, port);
    let daemon = ctx.start(&format!("[web]\nListenStream=127.0.0.1:{port}\nExecStart={exec}\n"));
    assert!(daemon.descendants().is_empty());
    assert!(http_get(port, "/hello.txt").contains("hello from lighttpd"));
    assert_eq!(daemon.descendants().len(), 1);
    assert!(http_get(port, "/hello.txt").contains("hello from lighttpd"));
}

/// nginx takes sockets that an earlier nginx has left it, in the variable `NGINX`.
fn nginx_on_an_inherited_listener(ctx: &mut Ctx) {
    let (port, folder) = (ctx.port(), ctx.dir.display().to_string());
    let mut options =
        format!("daemon off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n");
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        options += &format!("{kind}_temp_path {folder}/{kind};\n");
    }
    options += &format!("server {{ listen 127.0.0.1:{port}; location / {{ return 200 'hello from nginx'; }} }}\n}}\n");
    let exec = format!("{} -e stderr -c {}", prog("nginx"), ctx.file("nginx.conf", &options));
    let service = format!("[web]\nListenStream=127.0.0.1:{port}\nEnvironment=NGINX=3;\nExecStart={exec}\n");
    let daemon = ctx.start(&service);
    for _ in 0..2 {
        assert!(http_get(port, "/").ends_with("hello from nginx"), "{}", daemon.log());
    }
    daemon.wait_log("start service=web");
    assert_eq!(daemon.log().matches("start service=web").count(), 1, "{}", daemon.log());
}

/// TLS before a service without: once for each connection, as under inetd, and with the listening socket, as under
/// systemd. The service behind it is one of ours, too.
fn stunnel_both_ways(ctx: &mut Ctx) {
    let (inetd, systemd, behind) = (ctx.port(), ctx.port(), ctx.port());
    let (key, stunnel) = (ctx.path("key.pem"), prog("stunnel"));
    let request = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost";
    shell(&format!("{request} -keyout {key} -out {key}.cert 2>/dev/null && cat {key}.cert >>{key}"));
    let common = format!("foreground = yes\nsyslog = no\npid =\ncert = {key}\n");
    let per_connection = ctx.file("inetd.stunnel", &format!("{common}connect = 127.0.0.1:{behind}\n"));
    let service = format!("[web]\naccept = 127.0.0.1:{systemd}\nconnect = 127.0.0.1:{behind}\n");
    let listening = ctx.file("systemd.stunnel", &(common + &service));
    let daemon = ctx.start(&format!(
        "[inetd]\nListenStream=127.0.0.1:{inetd}\nAccept=yes\nExecStart={stunnel} {per_connection}\n\
         [systemd]\nListenStream=127.0.0.1:{systemd}\nExecStart={stunnel} {listening}\n\
         [plain]\nListenStream=127.0.0.1:{behind}\nAccept=yes\nExecStart=/bin/echo plain\n"
    ));
    for port in [inetd, systemd, inetd, systemd] {
        let mut client = Command::new("openssl");
        client.args(["s_client", "-quiet", "-connect", &format!("127.0.0.1:{port}")]).stderr(Stdio::null());
        assert!(output(client.stdin(Stdio::null())).contains("plain"), "{port}\n{}", daemon.log());
    }
}

fn busybox_httpd_per_connection(ctx: &mut Ctx) {
    let (port, busybox) = (ctx.port(), prog("busybox"));
    ctx.file("www/hello.txt", "hello from busybox\n");
    let www = ctx.path("www");
    let config = format!("[web]\nListenStream={port}\nAccept=yes\nExecStart={busybox} httpd -i -h {www}\n");
    let _daemon = ctx.start(&config);
    for _ in 0..3 {
        assert!(http_get(port, "/hello.txt").contains("hello from busybox"));
    }
}

fn busybox_telnetd_per_connection(ctx: &mut Ctx) {
    let (port, busybox) = (ctx.port(), prog("busybox"));
    let login = ctx.file("login", "#!/bin/sh\necho welcome-to-the-den\nread line\necho \"you said $line\"\n");
    shell(&format!("chmod 755 {login}"));
    let config = format!("[telnet]\nListenStream={port}\nAccept=yes\nExecStart={busybox} telnetd -i -l {login}\n");
    let _daemon = ctx.start(&config);
    let mut stream = connect(port);
    let mut seen = Vec::new();
    let mut buffer = [0; 512];
    while !String::from_utf8_lossy(&seen).contains("welcome-to-the-den") {
        let length = stream.read(&mut buffer).expect("telnetd talks");
        assert!(length > 0, "telnetd closed after {seen:?}");
        seen.extend_from_slice(&buffer[..length]);
    }
    stream.write_all(b"good night\r\n").unwrap();
    assert!(read_all(stream).contains("you said good night"));
}

fn vsftpd_per_connection(ctx: &mut Ctx) {
    let (port, vsftpd) = (ctx.port(), prog("vsftpd"));
    ctx.file("ftp/hello.txt", "hello from vsftpd\n");
    ctx.file("empty/.keep", "");
    let options = format!(
        "listen=NO\nlisten_ipv6=NO\nanonymous_enable=YES\nlocal_enable=NO\nanon_root={}\nsecure_chroot_dir={}\n\
         seccomp_sandbox=NO\nno_anon_password=YES\nxferlog_enable=NO\n",
        ctx.path("ftp"),
        ctx.path("empty")
    );
    let options = ctx.file("vsftpd.conf", &options);
    let _daemon = ctx.start(&format!("[ftp]\nListenStream={port}\nAccept=yes\nExecStart={vsftpd} {options}\n"));
    for _ in 0..2 {
        let url = format!("ftp://127.0.0.1:{port}/hello.txt");
        assert_eq!(output(Command::new("curl").args(["-sS", "--max-time", "15", &url])), "hello from vsftpd\n");
    }
}

fn rsync_daemon_per_connection(ctx: &mut Ctx) {
    let (port, rsync) = (ctx.port(), prog("rsync"));
    ctx.file("files/hello.txt", "hello from rsync\n");
    let options =
        format!("use chroot = no\nlog file = {}\n[files]\npath = {}\n", ctx.path("rsync.out"), ctx.path("files"));
    let options = ctx.file("rsyncd.conf", &options);
    let exec = format!("{rsync} --daemon --config={options}");
    let _daemon = ctx.start(&format!("[rsync]\nListenStream={port}\nAccept=yes\nExecStart={exec}\n"));
    for copy in ["one", "two"] {
        let url = format!("rsync://127.0.0.1:{port}/files/hello.txt");
        output(Command::new("rsync").args(["--timeout=15", &url, &ctx.path(copy)]));
        assert_eq!(ctx.lines(copy), ["hello from rsync"]);
    }
}

fn git_clone_per_connection(ctx: &mut Ctx) {
    let (port, git) = (ctx.port(), prog("git"));
    let base = ctx.path("repos");
    shell(&format!(
        "export HOME={base} GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
         mkdir -p {base}/den; cd {base}/den; git init -q .; echo hello >nest; git add nest; git commit -q -m nest"
    ));
    let exec = format!("{git} daemon --inetd --export-all --base-path={base}");
    let _daemon = ctx.start(&format!("[git]\nListenStream={port}\nAccept=yes\nExecStart={exec}\n"));
    for copy in ["one", "two"] {
        let url = format!("git://127.0.0.1:{port}/den");
        output(Command::new("git").args(["clone", "-q", &url, &ctx.path(copy)]));
        assert_eq!(ctx.lines(&format!("{copy}/nest")), ["hello"]);
    }
}

fn tftpd_waits_on_udp(ctx: &mut Ctx) {
    let (port, tftpd) = (ctx.port(), prog("in.tftpd"));
    ctx.file("boot/kernel", "hello from tftpd\n");
    let exec = format!("{tftpd} -s {} -u root -t 1", ctx.path("boot"));
    let config = format!("[tftp]\nListenDatagram=127.0.0.1:{port}\nStandardInput=socket\nExecStart={exec}\n");
    let daemon = ctx.start(&config);
    for copy in ["one", "two"] {
        let mut tftp = Command::new("tftp");
        tftp.current_dir(&ctx.dir).args(["-m", "binary", "127.0.0.1", &port.to_string(), "-c", "get", "kernel", copy]);
        output(&mut tftp);
        assert_eq!(ctx.lines(copy), ["hello from tftpd"]);
    }
    wait_until("tftpd has ended for want of work", || daemon.descendants().is_empty());
    sleep_ms(200);
    assert!(descendants(daemon.pid).is_empty(), "nothing wakes it without a datagram");
}

fn python_http_server_on_an_inherited_listener(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = format!("/usr/bin/python3 {}", service_file("http_fd.py"));
    let _daemon = ctx.start(&format!("[web]\nListenStream=127.0.0.1:{port}\nExecStart={exec}\n"));
    assert!(http_get(port, "/").contains("hello from python"));
    assert!(http_get(port, "/").contains("hello from python"));
}
