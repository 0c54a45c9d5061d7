//! ConnectTo= with real programs: services that cannot take a socket, and readers of the PROXY protocol of others.

use crate::client::*;
use crate::harness::{Ctx, Need, Need::*, Test, prog, wait_until};
use crate::inetd_peers::xinetd;
use crate::serve::{client_key, ssh, with_sleeper};
use crate::test;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

const FORWARD: Need = Directive("ConnectTo");

pub const TESTS: &[Test] = &[
    test!(lighttpd_behind_a_port, FORWARD, Prog("lighttpd"), Prog("curl")),
    test!(gunicorn_behind_a_path, FORWARD, Prog("gunicorn"), Prog("curl")),
    test!(python_http_server_behind_a_port, FORWARD, File("/usr/bin/python3"), Prog("curl")),
    test!(
        dropbear_behind_a_port,
        FORWARD,
        Root,
        Prog("dropbear"),
        Prog("dropbearkey"),
        Prog("ssh"),
        Prog("ssh-keygen")
    ),
    test!(haproxy_reads_the_header, FORWARD, Prog("haproxy")),
    test!(nginx_reads_the_header, FORWARD, Prog("nginx")),
    test!(redirect_of_xinetd, FORWARD, Part("xinetd"), Root, File("target/neighbours/xinetd/usr/sbin/xinetd")),
];

fn curl(words: &[&str]) -> String {
    output(Command::new("curl").args(["-sS", "--max-time", "20"]).args(words))
}

/// A file comes whole, several clients at a time, and each over a connection that is used again.
fn lighttpd_behind_a_port(ctx: &mut Ctx) {
    let (port, behind) = (ctx.port(), ctx.port());
    let data: String = (0..200_000).map(|number| format!("{number} ")).collect();
    ctx.file("www/data.txt", &data);
    let options = format!(
        "server.document-root = \"{}\"\nserver.port = {behind}\nserver.bind = \"127.0.0.1\"\n",
        ctx.path("www")
    );
    let exec = format!("{} -D -f {}", prog("lighttpd"), ctx.file("lighttpd.conf", &options));
    let daemon = ctx.start(&format!("[web]\nListenStream=127.0.0.1:{port}\nConnectTo={behind}\nExecStart={exec}\n"));
    assert!(daemon.descendants().is_empty());
    let url = format!("http://127.0.0.1:{port}/data.txt");
    let both = curl(&[&url, &url]);
    assert!(both.len() == 2 * data.len() && both.starts_with(&data), "{} bytes", both.len());
    let clients: Vec<_> =
        (0..4).map(|_| Command::new("curl").args(["-sS", &url]).stdout(Stdio::piped()).spawn()).collect();
    for client in clients {
        let out = client.unwrap().wait_with_output().unwrap();
        assert!(out.stdout == data.as_bytes(), "{} bytes", out.stdout.len());
    }
    assert_eq!(daemon.descendants().len(), 1);
}

fn gunicorn_behind_a_path(ctx: &mut Ctx) {
    let port = ctx.port();
    let app = "def app(environ, start):\n    body = environ['wsgi.input'].read()\n    start('200 OK', [])\n    \
               return [b'%d bytes' % len(body)]\n";
    ctx.file("app.py", app);
    let (gunicorn, folder, socket) = (prog("gunicorn"), ctx.dir.display().to_string(), ctx.path("backend.sock"));
    let front = ctx.path("front.sock");
    let daemon = ctx.start(&format!(
        "[wiki]\nListenStream=127.0.0.1:{port}\nListenStream={front}\nConnectTo={socket}\n\
         ExecStart={gunicorn} -w 1 --bind unix:{socket} app:app\nWorkingDirectory={folder}\nStopWhenIdleSec=2\n"
    ));
    let upload = ctx.file("upload", &"x".repeat(3_000_000));
    let url = format!("http://127.0.0.1:{port}/");
    let sent = ["-H", "Expect:", "--data-binary", &format!("@{upload}"), &url];
    assert_eq!(curl(&sent), "3000000 bytes");
    assert_eq!(curl(&["--unix-socket", &front, "http://x/"]), "0 bytes");
    wait_until("it sleeps", || daemon.descendants().is_empty());
    assert_eq!(curl(&sent), "3000000 bytes", "and wakes up");
}

fn python_http_server_behind_a_port(ctx: &mut Ctx) {
    let (port, behind) = (ctx.port(), ctx.port());
    ctx.file("www/hello.txt", "hello from python\n");
    let exec = format!("/usr/bin/python3 -m http.server --bind 127.0.0.1 -d {} {behind}", ctx.path("www"));
    let _daemon = ctx.start(&format!("[web]\nListenStream=127.0.0.1:{port}\nConnectTo={behind}\nExecStart={exec}\n"));
    for _ in 0..3 {
        assert_eq!(curl(&[&format!("http://127.0.0.1:{port}/hello.txt")]), "hello from python\n");
    }
}

fn dropbear_behind_a_port(ctx: &mut Ctx) {
    let (port, behind) = (ctx.port(), ctx.port());
    let (key, host) = (client_key(ctx), ctx.path("host_key"));
    output(Command::new(prog("dropbearkey")).args(["-t", "ed25519", "-f", &host]));
    let exec = format!("{} -F -E -r {host} -p 127.0.0.1:{behind} -P {}", prog("dropbear"), ctx.path("pid"));
    let config = format!("[ssh]\nListenStream={port}\nConnectTo={behind}\nExecStart={exec}\nStopWhenIdleSec=1\n");
    let launch = ctx.launch(&config);
    let daemon = with_sleeper(ctx, launch).start();
    for round in 1..=2 {
        assert_eq!(ssh(ctx, &key, port, &format!("sleep 2; echo hello-{round}")).trim(), format!("hello-{round}"));
        wait_until("it sleeps when nobody is connected", || daemon.descendants().is_empty());
    }
}

/// What a program behind the header says of the client: its address and port.
fn told_client(ctx: &mut Ctx, exec: &str, port: u16, behind: u16) {
    let _daemon = ctx.start(&format!(
        "[web]\nListenStream=127.0.0.1:{port}\nListenStream=[::1]:{port}\nConnectTo={behind}\nSendProxyV2=yes\nExecStart={exec}\n"
    ));
    for (address, shown) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1")] {
        let mut client =
            try_connect(std::net::SocketAddr::new(address.parse().unwrap(), port), crate::harness::PATIENCE).unwrap();
        let own = client.local_addr().unwrap().port();
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let answer = read_all(client);
        assert!(answer.contains(&format!("client={shown} port={own} to={port}")), "{answer}");
    }
}

fn haproxy_reads_the_header(ctx: &mut Ctx) {
    let (port, behind) = (ctx.port(), ctx.port());
    let options = format!(
        "global\n    stats timeout 30s\ndefaults\n    mode http\n    timeout client 20s\n    timeout connect 20s\n    \
         timeout server 20s\nfrontend x\n    bind 127.0.0.1:{behind} accept-proxy\n    http-request return status 200 \
         content-type text/plain lf-string \"client=%[src] port=%[src_port] to=%[dst_port]\"\n"
    );
    let exec = format!("{} -db -f {}", prog("haproxy"), ctx.file("haproxy.cfg", &options));
    told_client(ctx, &exec, port, behind);
}

fn nginx_reads_the_header(ctx: &mut Ctx) {
    let (port, behind) = (ctx.port(), ctx.port());
    let folder = ctx.dir.display().to_string();
    let mut options =
        format!("daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n");
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        writeln!(options, "{kind}_temp_path {folder}/{kind};").unwrap();
    }
    let words = "client=$proxy_protocol_addr port=$proxy_protocol_port to=$proxy_protocol_server_port";
    writeln!(
        options,
        "access_log off;\nserver {{ listen 127.0.0.1:{behind} proxy_protocol; location / {{ return 200 \"{words}\"; }} }}\n}}"
    )
    .unwrap();
    let exec = format!("{} -e stderr -c {}", prog("nginx"), ctx.file("nginx.conf", &options));
    told_client(ctx, &exec, port, behind);
}

/// The same file under the real xinetd and here: the same bytes reach the backend, and come back.
fn redirect_of_xinetd(ctx: &mut Ctx) {
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    let behind = backend.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in backend.incoming().flatten() {
            let mut bytes = [0; 6];
            let _ = stream.read_exact(&mut bytes);
            let _ = stream.write_all(b"got ").and_then(|()| stream.write_all(&bytes));
        }
    });
    let ports = [ctx.port(), ctx.port()];
    let text = |port: u16| {
        format!(
            "service x\n{{\n type = UNLISTED\n socket_type = stream\n protocol = tcp\n port = {port}\n wait = no\n \
             user = root\n bind = 127.0.0.1\n redirect = 127.0.0.1 {behind}\n only_from = 127.0.0.1\n}}\n"
        )
    };
    let mut theirs = xinetd(&ctx.file("theirs.xinetd", &text(ports[0]))).stdout(Stdio::null()).spawn().unwrap();
    let file = ctx.file("ours.xinetd", &text(ports[1]));
    let _ours = crate::daemon::Launch::new(&ctx.dir, 1, Some(file)).start();
    wait_until("xinetd listens", || std::net::TcpStream::connect(local(ports[0])).is_ok());
    let answers = ports.map(|port| {
        let mut stream = connect(port);
        stream.write_all(b"hello\n").unwrap();
        read_all(stream)
    });
    let refused = ports.map(|port| {
        let stream = connect_from("127.0.0.2".parse().unwrap(), local(port), crate::harness::PATIENCE);
        stream.map(read_all).unwrap_or_default()
    });
    let _ = theirs.kill();
    let _ = theirs.wait();
    assert_eq!(answers, ["got hello\n"; 2]);
    assert_eq!(refused, [""; 2]);
}
