//! Names that stand for numbers: signals, exit statuses, capabilities, types of service, resource limits.

use super::directive::Id;
use super::message::Code;
use super::problem::{Parsed, Problem, fail, wrong};
use super::scalar::{digits, number};
use super::suggest;
use super::words;
use crate::packed::{joined, told};

/// Signals by name.
const SIGNALS: &str = "\
    HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM CHLD CONT STOP TSTP TTIN TTOU \
    URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS POLL";
/// Their numbers differ between processors, so they come from the C library.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 31")]
const SIGNAL_NUMBERS: [u8; 31] = {
    use libc::{
        SIGABRT, SIGALRM, SIGBUS, SIGCHLD, SIGCONT, SIGFPE, SIGHUP, SIGILL, SIGINT, SIGIO, SIGKILL, SIGPIPE, SIGPROF,
        SIGPWR, SIGQUIT, SIGSEGV, SIGSTOP, SIGSYS, SIGTERM, SIGTRAP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGUSR1,
        SIGUSR2, SIGVTALRM, SIGWINCH, SIGXCPU, SIGXFSZ,
    };
    let numbers = [
        SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGKILL, SIGUSR1, SIGSEGV, SIGUSR2, SIGPIPE,
        SIGALRM, SIGTERM, SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGXCPU, SIGXFSZ, SIGVTALRM,
        SIGPROF, SIGWINCH, SIGIO, SIGPWR, SIGSYS, SIGIO,
    ];
    let (mut bytes, mut at) = ([0; 31], 0);
    while at < numbers.len() {
        bytes[at] = numbers[at] as u8;
        at += 1;
    }
    bytes
};

/// A signal by name, with or without `SIG`, or by number; `RTMIN+n` and `RTMAX-n`, signal(7).
pub(super) fn signal(text: &str) -> Parsed<u8> {
    signal_number(text).map_or_else(|| wrong(Code::BadSignal, text), Ok)
}

fn signal_number(text: &str) -> Option<u8> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(index) = words::index(SIGNALS, name) {
        return Some(SIGNAL_NUMBERS[index]);
    }
    let small = |digits: &str| number::<u8>(digits).map(i32::from);
    let offset = |rest: &str, sign: char| if rest.is_empty() { Some(0) } else { small(rest.strip_prefix(sign)?) };
    let (first, last) = (libc::SIGRTMIN(), libc::SIGRTMAX());
    let (number, least) = if let Some(rest) = name.strip_prefix("RTMIN") {
        (first + offset(rest, '+')?, first)
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        (last - offset(rest, '-')?, first)
    } else {
        (small(text)?, 1) // without SIG before it
    };
    u8::try_from(number).ok().filter(|_| (least..=last).contains(&number))
}

/// A signal's name without `SIG`, for those that have a name of their own. Takes no memory.
pub fn signal_word(number: u8) -> Option<&'static str> {
    SIGNAL_NUMBERS.iter().position(|known| *known == number).map(|index| words::nth(SIGNALS, index))
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

/// Exit statuses by name, systemd.exec(5): of LSB and sysexits.h, and where units are read those that systemd itself
/// ends with.
const STATUSES: &str = joined!(OF_PROGRAMS, told(cfg!(feature = "units"), OF_SYSTEMD));
const OF_PROGRAMS: &str = "\
    SUCCESS FAILURE INVALIDARGUMENT NOTIMPLEMENTED NOPERMISSION NOTINSTALLED NOTCONFIGURED NOTRUNNING \
    USAGE DATAERR NOINPUT NOUSER NOHOST UNAVAILABLE SOFTWARE OSERR OSFILE CANTCREAT IOERR TEMPFAIL \
    PROTOCOL NOPERM CONFIG";
const OF_SYSTEMD: &str = " \
    CHDIR NICE FDS EXEC MEMORY LIMITS OOM_ADJUST SIGNAL_MASK STDIN STDOUT CHROOT IOPRIO TIMERSLACK \
    SECUREBITS SETSCHEDULER CPUAFFINITY GROUP USER CAPABILITIES CGROUP SETSID CONFIRM STDERR PAM NETWORK \
    NAMESPACE NO_NEW_PRIVILEGES SECCOMP SELINUX_CONTEXT PERSONALITY APPARMOR_PROFILE ADDRESS_FAMILIES \
    RUNTIME_DIRECTORY CHOWN SMACK_PROCESS_LABEL KEYRING STATE_DIRECTORY CACHE_DIRECTORY LOGS_DIRECTORY \
    CONFIGURATION_DIRECTORY NUMA_POLICY CREDENTIALS BPF";
/// Their numbers.
const STATUS_NUMBERS: [u8; 66] = [
    0, 1, 2, 3, 4, 5, 6, 7, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 200, 201, 202, 203, 204, 205,
    206, 207, 208, 209, 210, 211, 212, 213, 214, 215, 216, 217, 218, 219, 220, 221, 222, 224, 225, 226, 227, 228, 229,
    230, 231, 232, 233, 235, 236, 237, 238, 239, 240, 241, 242, 243, 245,
];

/// An exit status by number or name, or a signal by name, as 256 + its number. A number is always a status.
pub(super) fn exit_status(text: &str) -> Parsed<u16> {
    if digits(text) {
        return number::<u8>(text).map_or_else(|| wrong(Code::BadStatus, text), |code| Ok(code.into()));
    }
    let code = words::index(STATUSES, text).map(|index| STATUS_NUMBERS[index].into());
    match code.or_else(|| Some(256 + u16::from(signal_number(text)?))) {
        Some(status) => Ok(status),
        None => fail(Problem::about(Code::BadStatus, text).with_hint(suggest::hint(text, STATUSES))),
    }
}

/// Capabilities in the order of their numbers, capabilities(7), without the CAP_ before each.
const CAPABILITIES: &str = "\
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID \
    SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW \
    IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT \
    SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD \
    LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG \
    WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE";
/// How many they are.
const CAPABILITY_COUNT: usize = 41;

/// Reads a list of capabilities: whether `~` turns it round, and a bit for each name.
fn capabilities(text: &str) -> Parsed<(bool, u64)> {
    let start = usize::from(text.starts_with('~'));
    let mut set = 0;
    for word in words::plain(&text[start..]) {
        let name = &text[start..][word.clone()];
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_");
        let Some(bit) = bare.and_then(|bare| words::index(CAPABILITIES, bare)) else {
            let problem = Problem::new(Code::BadCapability, word, &[name]).moved(start);
            let all = ["CAP_", &CAPABILITIES.replace(' ', " CAP_")].concat();
            return fail(problem.with_hint(suggest::hint(&["CAP_", bare.unwrap_or(&upper)].concat(), &all)));
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
pub fn capabilities_text(set: u64) -> String {
    let inverted = set >> CAPABILITY_COUNT != 0;
    let shown = if inverted { !set } else { set };
    let mut out = String::from(if inverted { "~" } else { "" });
    for (bit, name) in CAPABILITIES.split(' ').enumerate().filter(|(bit, _)| shown >> bit & 1 == 1) {
        out.push_str("CAP_");
        out.push_str(name);
        out.push_str(if shown >> bit > 1 { " " } else { "" });
    }
    out
}

/// Types of service by name, ip(7), and their numbers.
const TOS: &str = "low-delay throughput reliability low-cost";
const TOS_NUMBERS: [u8; 4] = [0x10, 0x08, 0x04, 0x02];

pub(super) fn tos(text: &str) -> Parsed<u8> {
    let named = words::index(TOS, text).map(|index| TOS_NUMBERS[index]);
    named.or_else(|| number(text)).map_or_else(|| wrong(Code::BadTos, text), Ok)
}

/// Type of service as the reader takes it.
pub(super) fn tos_text(number: u64) -> String {
    let named = TOS_NUMBERS.iter().position(|known| u64::from(*known) == number);
    named.map_or_else(|| number.to_string(), |index| words::nth(TOS, index).to_owned())
}

/// The resource of a Limit directive for prlimit(2): the constants differ between processors.
pub fn resource(id: Id) -> Option<u8> {
    let index = (id as usize).checked_sub(Id::LimitCPU as usize)?;
    RESOURCES.get(index).copied()
}

/// In the order of the table.
#[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "below 16, of another type in each libc")]
#[rustfmt::skip]
const RESOURCES: [u8; 16] = [
    libc::RLIMIT_CPU as u8, libc::RLIMIT_FSIZE as u8, libc::RLIMIT_DATA as u8, libc::RLIMIT_STACK as u8,
    libc::RLIMIT_CORE as u8, libc::RLIMIT_RSS as u8, libc::RLIMIT_NOFILE as u8, libc::RLIMIT_AS as u8,
    libc::RLIMIT_NPROC as u8, libc::RLIMIT_MEMLOCK as u8, libc::RLIMIT_LOCKS as u8, libc::RLIMIT_SIGPENDING as u8,
    libc::RLIMIT_MSGQUEUE as u8, libc::RLIMIT_NICE as u8, libc::RLIMIT_RTPRIO as u8, libc::RLIMIT_RTTIME as u8,
];
const _: () = assert!(Id::LimitRTTIME as usize - Id::LimitCPU as usize == RESOURCES.len() - 1);

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
    fn every_name_has_a_number() {
        assert_eq!(CAPABILITIES.split(' ').count(), CAPABILITY_COUNT);
        assert_eq!(SIGNALS.split(' ').count(), SIGNAL_NUMBERS.len());
        assert_eq!([OF_PROGRAMS, OF_SYSTEMD].concat().split(' ').count(), STATUS_NUMBERS.len());
        let limits = Id::ALL.iter().filter(|id| id.name().starts_with("Limit"));
        assert_eq!(limits.filter(|id| resource(**id).is_some()).count(), 16);
    }
}
