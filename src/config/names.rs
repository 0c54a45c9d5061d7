//! Names that stand for numbers: signals, exit statuses, capabilities, types of service, resource limits.

use super::directive::Id;
use super::message::Code;
use super::problem::{Parsed, Problem, fail, wrong};
use super::suggest;
use super::value::ExitStatus;
use super::words;

/// Signals by name. Their numbers differ between processors, so they come from the C library.
const SIGNALS: [(&str, i32); 31] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
    ("POLL", libc::SIGIO),
];

/// A signal by name, with or without `SIG`, or by number; `RTMIN+n` and `RTMAX-n`, signal(7).
pub(super) fn signal(text: &str) -> Parsed<u8> {
    signal_number(text).map_or_else(|| wrong(Code::BadSignal, text), Ok)
}

fn signal_number(text: &str) -> Option<u8> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |digits: &str| if digits.is_empty() { None } else { digits.parse::<u8>().ok().map(i32::from) };
    let (first, last) = (libc::SIGRTMIN(), libc::SIGRTMAX());
    let number = if let Some((_, number)) = SIGNALS.iter().find(|(known, _)| *known == name) {
        *number
    } else if let Some(rest) = name.strip_prefix("RTMIN") {
        let number = first + if rest.is_empty() { 0 } else { offset(rest.strip_prefix('+')?)? };
        (number <= last).then_some(number)?
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        let number = last - if rest.is_empty() { 0 } else { offset(rest.strip_prefix('-')?)? };
        (number >= first).then_some(number)?
    } else {
        // A number has no SIG before it and no sign.
        (text.bytes().all(|b| b.is_ascii_digit()) && (1..=last).contains(&offset(text)?)).then_some(offset(text)?)?
    };
    u8::try_from(number).ok()
}

/// A signal's name without `SIG`, for those that have a name of their own. Takes no memory.
pub fn signal_word(number: u8) -> Option<&'static str> {
    SIGNALS.iter().find(|(_, known)| *known == i32::from(number)).map(|(name, _)| *name)
}

/// A signal's name as the reader takes it: `SIGTERM`, `RTMIN+3` or a number.
pub fn signal_name(number: u8) -> String {
    if let Some(name) = signal_word(number) {
        return ["SIG", name].concat();
    }
    let number = i32::from(number);
    match number - libc::SIGRTMIN() {
        0 => "SIGRTMIN".to_owned(),
        offset @ 1.. => ["SIGRTMIN+", &offset.to_string()].concat(),
        _ => number.to_string(),
    }
}

/// Exit statuses by name: systemd.exec(5), which has them from sysexits.h, LSB and its own list.
const STATUSES: [(&str, u8); 66] = [
    ("SUCCESS", 0),
    ("FAILURE", 1),
    ("INVALIDARGUMENT", 2),
    ("NOTIMPLEMENTED", 3),
    ("NOPERMISSION", 4),
    ("NOTINSTALLED", 5),
    ("NOTCONFIGURED", 6),
    ("NOTRUNNING", 7),
    ("USAGE", 64),
    ("DATAERR", 65),
    ("NOINPUT", 66),
    ("NOUSER", 67),
    ("NOHOST", 68),
    ("UNAVAILABLE", 69),
    ("SOFTWARE", 70),
    ("OSERR", 71),
    ("OSFILE", 72),
    ("CANTCREAT", 73),
    ("IOERR", 74),
    ("TEMPFAIL", 75),
    ("PROTOCOL", 76),
    ("NOPERM", 77),
    ("CONFIG", 78),
    ("CHDIR", 200),
    ("NICE", 201),
    ("FDS", 202),
    ("EXEC", 203),
    ("MEMORY", 204),
    ("LIMITS", 205),
    ("OOM_ADJUST", 206),
    ("SIGNAL_MASK", 207),
    ("STDIN", 208),
    ("STDOUT", 209),
    ("CHROOT", 210),
    ("IOPRIO", 211),
    ("TIMERSLACK", 212),
    ("SECUREBITS", 213),
    ("SETSCHEDULER", 214),
    ("CPUAFFINITY", 215),
    ("GROUP", 216),
    ("USER", 217),
    ("CAPABILITIES", 218),
    ("CGROUP", 219),
    ("SETSID", 220),
    ("CONFIRM", 221),
    ("STDERR", 222),
    ("PAM", 224),
    ("NETWORK", 225),
    ("NAMESPACE", 226),
    ("NO_NEW_PRIVILEGES", 227),
    ("SECCOMP", 228),
    ("SELINUX_CONTEXT", 229),
    ("PERSONALITY", 230),
    ("APPARMOR_PROFILE", 231),
    ("ADDRESS_FAMILIES", 232),
    ("RUNTIME_DIRECTORY", 233),
    ("CHOWN", 235),
    ("SMACK_PROCESS_LABEL", 236),
    ("KEYRING", 237),
    ("STATE_DIRECTORY", 238),
    ("CACHE_DIRECTORY", 239),
    ("LOGS_DIRECTORY", 240),
    ("CONFIGURATION_DIRECTORY", 241),
    ("NUMA_POLICY", 242),
    ("CREDENTIALS", 243),
    ("BPF", 245),
];

/// An exit status by number or name, or a signal by name. A number is always a status.
pub(super) fn exit_status(text: &str) -> Parsed<ExitStatus> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().map_or_else(|_| wrong(Code::BadStatus, text), |code| Ok(ExitStatus::Code(code)));
    }
    if let Some((_, code)) = STATUSES.iter().find(|(name, _)| *name == text) {
        return Ok(ExitStatus::Code(*code));
    }
    match signal_number(text) {
        Some(signal) => Ok(ExitStatus::Signal(signal)),
        None => {
            let hint = suggest::nearest(text, STATUSES.iter().map(|(name, _)| *name));
            fail(Problem::about(Code::BadStatus, text).with_hint(suggest::did_you_mean(hint)))
        }
    }
}

/// Capabilities in the order of their numbers, capabilities(7), without `CAP_`.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Reads a list of capabilities: whether `~` turns it round, and a bit for each name.
fn capabilities(text: &str) -> Parsed<(bool, u64)> {
    let start = usize::from(text.starts_with('~'));
    let mut set = 0;
    for word in words::plain(&text[start..]) {
        let name = &text[start..][word.clone()];
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").filter(|bare| !bare.is_empty());
        let Some(bit) = bare.and_then(|bare| CAPABILITIES.iter().position(|known| *known == bare)) else {
            let near = suggest::nearest(bare.unwrap_or(&upper), CAPABILITIES.iter().copied());
            let near = near.map(|near| ["CAP_", near].concat());
            let problem = Problem::new(Code::BadCapability, word, &[name]).moved(start);
            return fail(problem.with_hint(suggest::did_you_mean(near.as_deref())));
        };
        set |= 1 << bit;
    }
    Ok((start == 1, set))
}

/// The set after one more line, by systemd's rules: the first line, an empty one and a lone `~` replace what was there;
/// any other adds its names, or takes them away when it begins with `~`.
pub(super) fn merge_capabilities(text: &str, before: Option<u64>) -> Parsed<u64> {
    let (inverted, set) = capabilities(text)?;
    Ok(match before {
        Some(before) if set != 0 && inverted => before & !set,
        Some(before) if set != 0 => before | set,
        _ if inverted => !set,
        _ => set,
    })
}

/// A set of capabilities as the reader takes it. Bits without a name are on in an inverted set.
pub(super) fn capabilities_text(set: u64) -> String {
    let inverted = set >> CAPABILITIES.len() != 0;
    let shown = if inverted { !set } else { set };
    let names = CAPABILITIES.iter().enumerate().filter(|(bit, _)| shown >> bit & 1 == 1);
    let names: Vec<_> = names.map(|(_, name)| ["CAP_", name].concat()).collect();
    [if inverted { "~" } else { "" }, &names.join(" ")].concat()
}

/// Types of service by name, ip(7).
const TOS: [(&str, u8); 4] = [("low-delay", 0x10), ("throughput", 0x08), ("reliability", 0x04), ("low-cost", 0x02)];

pub(super) fn tos(text: &str) -> Parsed<u8> {
    let named = TOS.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
    let number = || if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None };
    named.or_else(number).map_or_else(|| wrong(Code::BadTos, text), Ok)
}

/// Type of service as the reader takes it.
pub(super) fn tos_text(number: u64) -> String {
    let named = TOS.iter().find(|(_, known)| u64::from(*known) == number);
    named.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

/// The resource of a Limit directive for prlimit(2): the constants differ between processors.
pub fn resource(id: Id) -> Option<u32> {
    #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast, reason = "small constants, of another type in each libc")]
    const RESOURCES: [(Id, u32); 16] = [
        (Id::LimitCPU, libc::RLIMIT_CPU as u32),
        (Id::LimitFSIZE, libc::RLIMIT_FSIZE as u32),
        (Id::LimitDATA, libc::RLIMIT_DATA as u32),
        (Id::LimitSTACK, libc::RLIMIT_STACK as u32),
        (Id::LimitCORE, libc::RLIMIT_CORE as u32),
        (Id::LimitRSS, libc::RLIMIT_RSS as u32),
        (Id::LimitNOFILE, libc::RLIMIT_NOFILE as u32),
        (Id::LimitAS, libc::RLIMIT_AS as u32),
        (Id::LimitNPROC, libc::RLIMIT_NPROC as u32),
        (Id::LimitMEMLOCK, libc::RLIMIT_MEMLOCK as u32),
        (Id::LimitLOCKS, libc::RLIMIT_LOCKS as u32),
        (Id::LimitSIGPENDING, libc::RLIMIT_SIGPENDING as u32),
        (Id::LimitMSGQUEUE, libc::RLIMIT_MSGQUEUE as u32),
        (Id::LimitNICE, libc::RLIMIT_NICE as u32),
        (Id::LimitRTPRIO, libc::RLIMIT_RTPRIO as u32),
        (Id::LimitRTTIME, libc::RLIMIT_RTTIME as u32),
    ];
    RESOURCES.iter().find(|(limit, _)| *limit == id).map(|(_, resource)| *resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_read_back() {
        for number in 1..=u8::try_from(libc::SIGRTMAX()).unwrap() {
            assert_eq!(signal(&signal_name(number)), Ok(number));
        }
        assert_eq!(signal("term"), signal("SIGTERM"));
        assert_eq!(signal("RTMAX-1").map(i32::from), Ok(libc::SIGRTMAX() - 1));
        for text in ["", "SIG", "SIG9", "+9", "65", "RTMIN-1", "RTMAX+1", "RTMIN+", "RTMIN+300"] {
            assert!(signal(text).is_err(), "{text}");
        }
    }

    #[test]
    fn capabilities_merge_as_in_systemd() {
        let merge = |lines: &[&str]| lines.iter().fold(None, |before, line| merge_capabilities(line, before).ok());
        assert_eq!(merge(&["CAP_CHOWN", "CAP_DAC_OVERRIDE"]), Some(3));
        assert_eq!(merge(&["CAP_CHOWN CAP_DAC_OVERRIDE", "~CAP_CHOWN"]), Some(2));
        assert_eq!(merge(&["~CAP_CHOWN", "~CAP_DAC_OVERRIDE"]), Some(!3));
        assert_eq!(merge(&["CAP_CHOWN", ""]), Some(0));
        assert_eq!(merge(&["CAP_CHOWN", "~"]), Some(u64::MAX));
        for set in [0, 3, !3, u64::MAX] {
            assert_eq!(merge(&[&capabilities_text(set)]), Some(set));
        }
    }

    #[test]
    fn every_limit_has_a_resource() {
        let limits = Id::ALL.iter().filter(|id| id.name().starts_with("Limit"));
        assert_eq!(limits.filter(|id| resource(**id).is_some()).count(), 16);
    }
}
