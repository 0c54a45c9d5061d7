//! Reloads and upgrades in the middle of traffic: nothing is lost.

use crate::client::*;
use crate::daemon::Daemon;
use crate::harness::{Ctx, Need::*, Test, sleep_ms, stand_in};
use crate::reload::{order, own_program, replace};
use crate::test;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub const TESTS: &[Test] =
    &[test!(two_hundred_reloads_lose_nothing, Part("reload")), test!(fifty_upgrades_lose_nothing, Part("reload"))];

const NO_LIMITS: &str = "TriggerLimitBurst=0\nPollLimitBurst=0\nMaxConnections=1000\n";

struct Place {
    nowait: u16,
    wait: u16,
    datagrams: u16,
    echo: u16,
    path: String,
}

impl Place {
    fn new(ctx: &mut Ctx) -> Place {
        let [nowait, wait, datagrams, echo] = [(); 4].map(|()| ctx.port());
        Place { nowait, wait, datagrams, echo, path: ctx.path("x.sock") }
    }

    fn config(&self) -> String {
        let Place { nowait, wait, datagrams, echo, path } = self;
        let (waiting, answering, echoing) = (stand_in("answer here 5"), stand_in("udp here 5"), stand_in("echo"));
        format!(
            "[nowait]\nListenStream=127.0.0.1:{nowait}\nAccept=yes\n{NO_LIMITS}ExecStart=/bin/echo here\n\
             [wait]\nListenStream=127.0.0.1:{wait}\nTriggerLimitBurst=0\nExecStart={waiting}\n\
             [datagrams]\nListenDatagram=127.0.0.1:{datagrams}\nTriggerLimitBurst=0\nExecStart={answering}\n\
             [echo]\nListenStream=127.0.0.1:{echo}\nExecStart={echoing}\n\
             [path]\nListenStream={path}\nAccept=yes\n{NO_LIMITS}ExecStart=/bin/echo here\n"
        )
    }
}

/// How many of each kind were served.
#[derive(Default)]
struct Served {
    nowait: AtomicU64,
    wait: AtomicU64,
    datagrams: AtomicU64,
    path: AtomicU64,
}

/// Runs `orders` while clients of every kind come and go; each of them must be served.
fn under_load(place: &Place, daemon: &Daemon, orders: impl FnOnce()) {
    let (served, over) = (Served::default(), AtomicBool::new(false));
    let going = || !over.load(Ordering::Relaxed);
    let one_more = |count: &AtomicU64| count.fetch_add(1, Ordering::Relaxed);
    let mut client = connect(place.echo);
    let mut exchange = |number: usize| {
        writeln!(client, "{number}").unwrap();
        assert_eq!(read_line(&mut client), number.to_string(), "a connection from before all reloads");
    };
    exchange(0);
    let child = daemon.descendants();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while going() {
                assert_eq!(talk(place.nowait), "here\n");
                one_more(&served.nowait);
            }
        });
        scope.spawn(|| {
            while going() {
                assert!(talk(place.wait).starts_with("here"));
                one_more(&served.wait);
            }
        });
        scope.spawn(|| {
            while going() {
                assert!(udp_ask(place.datagrams, "hello").starts_with("here"));
                one_more(&served.datagrams);
            }
        });
        scope.spawn(|| {
            while going() {
                assert_eq!(unix_talk(&place.path).unwrap(), "here\n");
                one_more(&served.path);
            }
        });
        let stop = StopAtTheEnd(&over);
        orders();
        drop(stop);
    });
    exchange(1);
    assert!(daemon.descendants().contains(&child[0]));
    sleep_ms(300);
    daemon.signal(libc::SIGUSR1);
    daemon.wait_log("status service=path");
    for (name, count) in [("nowait", &served.nowait), ("path", &served.path)] {
        let count = count.load(Ordering::Relaxed);
        let told = format!("status service={name} state=waiting live=0 accepted={count} refused=0");
        assert!(count > 50 && daemon.log().contains(&told), "{told}:\n{}", daemon.log());
    }
    assert!(served.wait.load(Ordering::Relaxed) > 20 && served.datagrams.load(Ordering::Relaxed) > 20);
}

/// Ends the load even when the orders fail.
struct StopAtTheEnd<'a>(&'a AtomicBool);

impl Drop for StopAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn two_hundred_reloads_lose_nothing(ctx: &mut Ctx) {
    let place = Place::new(ctx);
    let daemon = ctx.start(&place.config());
    under_load(&place, &daemon, || {
        for _ in 0..200 {
            assert!(order(&daemon, libc::SIGHUP), "{}", daemon.log());
        }
    });
}

fn fifty_upgrades_lose_nothing(ctx: &mut Ctx) {
    let place = Place::new(ctx);
    let program = own_program(ctx);
    let daemon = ctx.launch(&place.config()).program(&program).start();
    under_load(&place, &daemon, || {
        for _ in 0..50 {
            replace(&crate::harness::dormouse(), &program);
            assert!(order(&daemon, libc::SIGUSR2), "{}", daemon.log());
        }
    });
}
