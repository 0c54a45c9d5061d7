//! When a service sleeps and what may wake it, as numbers.

use super::policy::{count, milliseconds};
use super::work::Work;
use crate::config::{Code, Id, ServiceDraft};

/// When a service is put to sleep, and under which conditions it is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sleep {
    /// Stopped after this time without a connection (StopWhenIdleSec=); `u32::MAX`: not for that.
    pub idle_ms: u32,
    /// Stopped after this time without CPU time and input (StopWhenQuietSec=); `u32::MAX`: not for that.
    pub quiet_ms: u32,
    /// Shortest run (MinRunSec=).
    pub min_run_ms: u32,
    /// kB that must be available for a start (MemoryAvailableMin=); 0: no matter.
    pub memory_min_kb: u64,
    /// Load average in hundredths from which on nothing is started (LoadMax=); `u32::MAX`: no matter.
    pub load_max: u32,
    /// Starts a minute and source (MaxConnectionRate=); 0: no limit.
    pub connection_rate: u32,
    /// Whether it may be stopped for want of memory.
    pub evict: Evict,
    /// Whose messages count.
    pub notify: NotifyAccess,
}

/// Which services give way when memory is short (EvictUnderPressure=).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evict {
    /// It stays.
    No,
    /// If nobody is connected.
    Idle,
    /// Even then, when no idle one is left.
    Yes,
}

/// Whose messages count (systemd.service(5), NotifyAccess=).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotifyAccess {
    /// Nobody's; there is no NOTIFY_SOCKET.
    None,
    /// Those of the main process.
    Main,
    /// Those of every process of the session.
    All,
}

impl Sleep {
    /// Whether a running service is looked at from time to time; never in a build that puts nothing to sleep.
    pub const fn is_watched(&self) -> bool {
        cfg!(feature = "idle")
            && (self.idle_ms != u32::MAX || self.quiet_ms != u32::MAX || !matches!(self.evict(), Evict::No))
    }

    /// [`Sleep::evict`]; it stays in a build that knows no pressure.
    pub const fn evict(&self) -> Evict {
        if cfg!(feature = "pressure") { self.evict } else { Evict::No }
    }

    /// [`Sleep::memory_min_kb`]; no matter in a build that knows no pressure.
    pub const fn memory_min_kb(&self) -> u64 {
        if cfg!(feature = "pressure") { self.memory_min_kb } else { 0 }
    }

    /// [`Sleep::load_max`]; no matter in a build that knows no pressure.
    pub const fn load_max(&self) -> u32 {
        if cfg!(feature = "pressure") { self.load_max } else { u32::MAX }
    }

    /// [`Sleep::notify`]; nobody's in a build that takes none.
    pub const fn notify(&self) -> NotifyAccess {
        if cfg!(feature = "notify") { self.notify } else { NotifyAccess::None }
    }
}

/// The words of NotifyAccess=; the third is `exec`: it means the main process and the commands that systemd runs beside
/// it.
const NOTIFY: [NotifyAccess; 4] = [NotifyAccess::None, NotifyAccess::Main, NotifyAccess::Main, NotifyAccess::All];

/// Takes the directives. What `[defaults]` sets for services that it does not suit is left out.
pub(super) fn sleep(work: &mut Work<'_>) -> Sleep {
    let draft = work.draft;
    let accept = draft.flag(Id::Accept);
    // whom nobody may signal is not stopped either
    let stays = draft.choice(Id::KillMode) == "none";
    Sleep {
        idle_ms: if stays { u32::MAX } else { idle_ms(draft) },
        quiet_ms: if accept || stays { u32::MAX } else { milliseconds(draft, Id::StopWhenQuietSec) },
        min_run_ms: milliseconds(draft, Id::MinRunSec),
        memory_min_kb: draft.number(Id::MemoryAvailableMin).unwrap_or(0).div_ceil(1024),
        load_max: if cfg!(feature = "pressure") { load(work) } else { u32::MAX },
        connection_rate: if accept { count(draft, Id::MaxConnectionRate, 0) } else { 0 },
        evict: draft
            .pick(Id::EvictUnderPressure, &[Evict::No, Evict::Idle, Evict::Yes])
            .filter(|_| !accept && !stays)
            .unwrap_or(Evict::No),
        notify: draft.pick(Id::NotifyAccess, &NOTIFY).filter(|_| !accept).unwrap_or(NotifyAccess::None),
    }
}

/// StopWhenIdleSec= for a service whose sockets show connections; the one thing here that depends on them.
pub(super) fn idle_ms(draft: &ServiceDraft) -> u32 {
    let mut with_connections = draft.listens.iter().filter(|listen| listen.kind.has_connections()).peekable();
    let connections = with_connections.peek().is_some()
        && with_connections.all(|listen| listen.address.is_ip() || listen.address.is_local());
    if cfg!(feature = "idle") && connections && !draft.flag(Id::Accept) {
        milliseconds(draft, Id::StopWhenIdleSec)
    } else {
        u32::MAX
    }
}

/// LoadMax= in hundredths.
fn load(work: &mut Work<'_>) -> u32 {
    let Some(text) = work.draft.text(Id::LoadMax) else { return u32::MAX };
    hundredths(text.as_bytes()).filter(|load| *load > 0).unwrap_or_else(|| {
        work.fault(Code::BadLoad, Id::LoadMax, &[text]);
        u32::MAX
    })
}

/// A number with at most two digits behind the point, up to 9999, as /proc/loadavg has it. Takes no memory.
pub fn hundredths(text: &[u8]) -> Option<u32> {
    let mut parts = text.splitn(2, |&byte| byte == b'.');
    let (whole, part) = (parts.next()?, parts.next());
    let digits = |text: &[u8], most: usize| {
        let fits = !text.is_empty() && text.len() <= most && text.iter().all(u8::is_ascii_digit);
        fits.then(|| text.iter().fold(0, |number, &digit| number * 10 + u32::from(digit - b'0')))
    };
    let part = match part {
        Some(part @ [_]) => digits(part, 1)? * 10,
        Some(part) => digits(part, 2)?,
        None => 0,
    };
    Some(digits(whole, 4)? * 100 + part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_read_in_hundredths() {
        for (text, load) in [("0.52", 52), ("2", 200), ("1.5", 150), ("9999.99", 999_999), ("0", 0)] {
            assert_eq!(hundredths(text.as_bytes()), Some(load), "{text}");
        }
        for text in ["", ".5", "1.", "1.234", "-1", "1,5", "10000", "1.x", "x"] {
            assert_eq!(hundredths(text.as_bytes()), None, "{text}");
        }
    }
}
