//! What a service leaves in its sockets, or comes out at the wrong place, when it runs again.

use crate::client::*;
use crate::harness::{Ctx, Need::*, Test, wait_until};
use crate::test;

pub const TESTS: &[Test] = &[test!(sockets_that_were_made_anew_keep_their_places, Prog("python3"))];

/// A service with three sockets that tells which of them was knocked at, and removes the path of the last one.
const WHICH: &str = "
import os, select, socket
all = [socket.socket(fileno=number) for number in (3, 4, 5)]
listener = select.select(all, [], [])[0][0]
client, _ = listener.accept()
client.sendall(b'%d' % all.index(listener))
client.close()
os.unlink(all[2].getsockname())
";

/// The new socket gets the lowest number that is free, which must not be the place of another one of the child's.
fn sockets_that_were_made_anew_keep_their_places(ctx: &mut Ctx) {
    let (port, other, path) = (ctx.port(), ctx.port(), ctx.path("x.sock"));
    let exec = format!("/usr/bin/python3 {}", ctx.file("service.py", WHICH));
    let listen = format!("ListenStream=127.0.0.1:{port}\nListenStream=127.0.0.1:{other}\nListenStream={path}\n");
    let config = format!("[x]\n{listen}ExecStart={exec}\n");
    let _daemon = ctx.start(&config);
    for _ in 0..2 {
        assert_eq!(talk(port), "0");
        wait_until("the path leads to it", || unix_talk(&path).is_ok_and(|text| text == "2"));
    }
}
