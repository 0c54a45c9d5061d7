//! Signals to whole sessions. A child leads a session of its own; what it starts stays in it unless it asks to leave,
//! so the session stands for what systemd keeps in a control group.

use crate::logging::say;
use crate::sys::proc::{Process, for_each_number, for_each_of};
use crate::sys::process::{send_signal, session_of};
use crate::sys::signal;

/// Stops a process without asking it.
const SIGSTOP: u8 = signal::number(libc::SIGSTOP);

/// CPU time that the processes of a session have used, in clock ticks.
pub(super) fn cpu(session: i32) -> u64 {
    sum(session, &|process| process.cpu.saturating_add(process.cpu_of_ended))
}

/// Memory of the processes of a session in kB: their share of all pages. Where the kernel tells only what is resident,
/// pages that they share count for each.
pub(super) fn memory_kb(session: i32) -> u64 {
    sum(session, &Process::memory_kb)
}

fn sum(session: i32, of_one: &dyn Fn(&Process) -> u64) -> u64 {
    let mut sum: u64 = 0;
    for_each_of(&mut |of| of == session, &mut |process| {
        sum = sum.saturating_add(of_one(&process));
        true
    });
    sum
}

/// Sends SIGSTOP to the processes of a session of which a thread does not stand still yet. True: all of them do; not
/// where /proc shows none of them.
pub(super) fn make_stand_still(session: i32) -> bool {
    let (mut met, mut still) = (false, true);
    for_each_of(&mut |of| of == session, &mut |process| {
        met = true;
        if !process.zombie && !process.stands_still() {
            still = false;
            let _ = send_signal(process.pid, SIGSTOP); // ESRCH: it has just ended
        }
        true
    });
    met && still
}

/// Whether a process of this session is alive. Zombies do not count: they hold nothing, and their parent may be slow.
/// Where /proc cannot be read, whether its first process group is there.
pub(super) fn is_alive(session: i32) -> bool {
    let mut alive = false;
    let told = for_each_of(&mut |of| of == session, &mut |process| {
        alive = !process.zombie;
        !alive
    });
    alive || !told && send_signal(-session, 0).is_ok()
}

/// Sends signals, in this order, to every process of a session. Where /proc cannot be read, for want of descriptors for
/// example, or hides them (hidepid=, proc(5)), to those at least that are still in its first process group.
pub(super) fn signal_session(signals: &[u8], session: i32) {
    let mut met = false;
    let told = signal_sessions(signals, &mut |of| {
        met |= of == session;
        of == session
    });
    // its number is not another's as long as its leader is there
    let hidden = !met && session_of(session) == Some(session);
    if session > 1 && (!told || hidden) {
        for &signal in signals {
            let _ = send_signal(-session, signal); // ESRCH: it has just ended
        }
    }
}

/// Sends signals, in this order, to every process of the sessions that `wanted` names. One look at /proc finds those
/// that have left the session's first process group. False: /proc cannot be read.
pub(super) fn signal_sessions(signals: &[u8], wanted: &mut dyn FnMut(i32) -> bool) -> bool {
    let seen = for_each_number(c"/proc", &mut |pid| {
        if session_of(pid).is_some_and(&mut *wanted) {
            for &signal in signals {
                let _ = send_signal(pid, signal); // ESRCH: it has just ended
            }
        }
        true
    });
    if !seen {
        say!(Warn, "stop: /proc cannot be read, so only process groups are signalled");
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::proc::Process;

    #[test]
    fn a_session_that_stands_still_is_seen() {
        use std::os::unix::process::CommandExt;
        let mut command = std::process::Command::new("/bin/sleep");
        let mut child = command.arg("60").process_group(0).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        // it is in our session, which runs: look at the one process
        let stands = || Process::read(pid).is_some_and(|process| process.stands_still());
        assert!(!stands());
        send_signal(pid, SIGSTOP).unwrap();
        assert!((0..1000).any(|_| {
            crate::sys::clock::pause_ms(2);
            stands()
        }));
        let own = Process::read(i32::try_from(std::process::id()).unwrap()).unwrap().session;
        assert!(cpu(own) < u64::MAX && memory_kb(own) > 100);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
