//! The one logger of the program, and its switch from `simple_logger` to our own lines.

use super::output::{Kmsg, Stderr, Syslog, is_writable};
use super::{Target, insist};
use crate::limits::LOG_LINE_BYTES;
use crate::sys::errno::Why;
use crate::sys::stdio;
use crate::text::{Line, LineIn};
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU32, Ordering};
use log::{Level, LevelFilter, Log, Metadata, Record};
use rustix::fs::{FileType, fstat};
use simple_logger::SimpleLogger;
use std::io::IsTerminal;
use std::sync::Mutex;

/// Facility daemon of syslog(3), in its place in the priority.
const DAEMON: u8 = 3 << 3;
/// The name before our own lines.
const IDENT: &[u8] = b"dormouse";

const _: () = assert!(LOG_LINE_BYTES <= rustix::pipe::PIPE_BUF, "a longer write to a pipe could be torn");

pub(super) static SINK: Sink = Sink::new();

/// The logger. Its lock is only ever tried: a record made while another is written (by the formatting of that one)
/// counts as lost instead of waiting for itself.
pub(super) struct Sink {
    state: Mutex<State>,
    lost: AtomicU32,
}

/// What is behind the lock. All zeros before the seal, so that the program file has none of it.
struct State {
    /// Lines go to `target`, and take no memory.
    sealed: bool,
    target: Target,
    pid: u32,
    line: Line<LOG_LINE_BYTES>,
    stderr: Stderr,
    syslog: Syslog,
    kmsg: Kmsg,
}

impl Sink {
    const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                sealed: false,
                target: Target::Stderr,
                pid: 0,
                line: Line::new(),
                stderr: Stderr::new(),
                syslog: Syslog::new(),
                kmsg: Kmsg::new(),
            }),
            lost: AtomicU32::new(0),
        }
    }

    pub(super) fn init(&'static self, level: LevelFilter) {
        // Fails if there is a logger already, which can only be this one.
        let _ = log::set_logger(self);
        log::set_max_level(level);
    }

    pub(super) fn seal(&self, target: Target) {
        let Ok(mut guard) = self.state.try_lock() else { return };
        let state = &mut *guard;
        state.pid = std::process::id();
        (state.sealed, state.target) = (true, target);
        match target {
            // Not in vain: a daemon with another log must not hold the pipe of its starter open.
            Target::Stderr => state.stderr.open(),
            // It may start after us.
            Target::Syslog => state.syslog.open(),
            Target::Kmsg => {
                if let Err(why) = insist(|| state.kmsg.open()) {
                    state.target = Target::Stderr;
                    state.stderr.open();
                    let why = Why(why);
                    let args = format_args!("cannot open /dev/kmsg: {why}; the log goes to standard error");
                    self.own(state, Level::Warn, args);
                }
            }
        }
    }

    pub(super) fn raw_line(&self, target: Target, level: Level, ident: &[u8], text: &[u8]) {
        let Ok(mut guard) = self.state.try_lock() else { return self.lose() };
        if !guard.write(target, level, Text::Foreign(ident, text)) {
            self.lose();
        }
    }

    pub(super) fn lost(&self) -> u32 {
        self.lost.load(Ordering::Relaxed)
    }

    fn lose(&self) {
        // Wraps after 4 thousand million lines.
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// One of our own lines after the seal, behind the count of those that were lost.
    fn own(&self, state: &mut State, level: Level, args: fmt::Arguments<'_>) {
        let target = state.target;
        let lost = self.lost();
        if lost > 0 && state.write(target, Level::Warn, Text::Ours(format_args!("... {lost} lines left out"))) {
            self.lost.fetch_sub(lost, Ordering::Relaxed);
        }
        if !state.write(target, level, Text::Ours(args)) {
            self.lose();
        }
    }

    /// A line before the seal.
    fn early(&self, state: &mut State, level: Level, args: fmt::Arguments<'_>) {
        state.line.clear();
        let _ = state.line.escaped().write_fmt(args);
        if is_safe_to_print() {
            let text = state.line.as_str();
            // `threads` and `timestamps` are features that we leave out, so a line is `INFO  [target] text`. That
            // cannot be turned into our `dormouse: text`; with our name as the target it is the closest look it can
            // have.
            SimpleLogger::new()
                .log(&Record::builder().level(level).target("dormouse").args(format_args!("{text}")).build());
            return;
        }
        let mut line = Line::<{ LOG_LINE_BYTES + 20 }>::new();
        let _ = write!(line, "{level:<5} [dormouse] {}", state.line.as_str());
        line.end(b'\n');
        if !state.stderr.write(line.as_bytes()) {
            self.lose();
        }
    }
}

impl Log for Sink {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let Ok(mut state) = self.state.try_lock() else { return self.lose() };
        if state.sealed {
            self.own(&mut state, record.level(), *record.args());
        } else {
            self.early(&mut state, record.level(), *record.args());
        }
    }

    fn flush(&self) {}
}

/// `simple_logger` panics if standard error does not take a line: only where that cannot be the case it may print.
fn is_safe_to_print() -> bool {
    let fd = stdio::stderr();
    let kind = fstat(fd).map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode));
    (matches!(kind, FileType::Fifo | FileType::Socket) || std::io::stderr().is_terminal()) && is_writable(fd)
}

enum Text<'a> {
    Ours(fmt::Arguments<'a>),
    /// That of a child: its identifier, and the line.
    Foreign(&'a [u8], &'a [u8]),
}

impl State {
    /// Makes one line and writes it. False: it is lost.
    fn write(&mut self, target: Target, level: Level, text: Text<'_>) -> bool {
        let line = &mut self.line;
        line.clear();
        let (ident, pid) = match text {
            Text::Ours(_) => (IDENT, Some(self.pid)),
            Text::Foreign(ident, _) => (ident, None),
        };
        head(line, target, level, ident, pid);
        match text {
            // Formatting fails only if a Display of ours does, and then the line is as good as it gets.
            Text::Ours(args) => drop(line.escaped().write_fmt(args)),
            Text::Foreign(_, bytes) => line.push_bytes(bytes),
        }
        line.end(if target == Target::Syslog { 0 } else { b'\n' });
        match target {
            Target::Stderr => self.stderr.write(self.line.as_bytes()),
            Target::Syslog => self.syslog.write(self.line.as_bytes()),
            Target::Kmsg => self.kmsg.write(self.line.as_bytes()),
        }
    }
}

/// `dormouse: warning: `, `<28>dormouse[12]: ` or `<4>dormouse: `. A line of our own, which has our `pid`, says itself
/// that it is a warning or an error where it has no priority.
fn head(line: &mut LineIn, target: Target, level: Level, ident: &[u8], pid: Option<u32>) {
    if target != Target::Stderr {
        let facility = if target == Target::Syslog { DAEMON } else { 0 };
        line.push_str("<");
        line.push_decimal(u64::from(facility | severity(level)));
        line.push_str(">");
    }
    line.push_bytes(ident);
    if let (Target::Syslog, Some(pid)) = (target, pid) {
        line.push_str("[");
        line.push_decimal(u64::from(pid));
        line.push_str("]");
    }
    line.push_str(": ");
    if target == Target::Stderr && pid.is_some() {
        line.push_str(match level {
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            _ => "",
        });
    }
}

/// The level as syslog(3) counts.
const fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    fn head_of(target: Target, level: Level, pid: Option<u32>) -> String {
        let mut line = Line::<64>::new();
        head(&mut line, target, level, IDENT, pid);
        line.as_str().to_owned()
    }

    #[test]
    fn heads() {
        assert_eq!(head_of(Target::Stderr, Level::Info, Some(12)), "dormouse: ");
        assert_eq!(head_of(Target::Stderr, Level::Warn, Some(12)), "dormouse: warning: ");
        assert_eq!(head_of(Target::Stderr, Level::Error, Some(12)), "dormouse: error: ");
        assert_eq!(head_of(Target::Stderr, Level::Error, None), "dormouse: ");
        assert_eq!(head_of(Target::Syslog, Level::Info, Some(12)), "<30>dormouse[12]: ");
        assert_eq!(head_of(Target::Syslog, Level::Trace, None), "<31>dormouse: ");
        assert_eq!(head_of(Target::Kmsg, Level::Warn, Some(12)), "<4>dormouse: ");
    }

    /// A sink that writes to a socket of the test.
    fn sink(name: &str) -> (Sink, UnixDatagram) {
        let path = std::env::temp_dir().join(format!("dormouse-sink-{}-{name}", std::process::id()));
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let text = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        let sink = Sink::new();
        {
            let mut state = sink.state.lock().unwrap();
            state.target = Target::Syslog;
            state.pid = 12;
            state.syslog.path = Some(Box::leak(text.into_boxed_c_str()));
            state.syslog.open();
        }
        std::fs::remove_file(&path).unwrap();
        (sink, socket)
    }

    fn own(sink: &Sink, level: Level, args: fmt::Arguments<'_>) {
        sink.own(&mut sink.state.lock().unwrap(), level, args);
    }

    fn receive(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 2 * LOG_LINE_BYTES];
        let len = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..len].to_vec()).unwrap()
    }

    #[test]
    fn a_line_is_cleaned_and_cut() {
        let (sink, socket) = sink("cut");
        let service = format!("web\n<0>kernel: {}", "x".repeat(2 * LOG_LINE_BYTES));
        own(&sink, Level::Error, format_args!("start service={service}"));
        let line = receive(&socket);
        assert!(line.starts_with("<27>dormouse[12]: start service=web\\x0a<0>kernel: xxx"), "{line}");
        assert!(line.ends_with("x..."));
        // Without the NUL, which is for streams only.
        assert_eq!(line.len(), LOG_LINE_BYTES - 1);
    }

    #[test]
    fn lost_lines_are_counted_and_told() {
        let (sink, socket) = sink("lost");
        let mut written = 0;
        while sink.lost() == 0 {
            own(&sink, Level::Info, format_args!("event={written}"));
            written += 1;
        }
        for _ in 0..2 {
            sink.raw_line(Target::Syslog, Level::Info, b"web", b"lost as well");
        }
        assert_eq!(sink.lost(), 3);
        while socket.recv(&mut [0; 64]).is_ok() {}
        own(&sink, Level::Info, format_args!("event=last"));
        assert_eq!(receive(&socket), "<28>dormouse[12]: ... 3 lines left out");
        assert_eq!(receive(&socket), "<30>dormouse[12]: event=last");
        assert_eq!(sink.lost(), 0);
    }

    #[test]
    fn lines_of_children_carry_their_name() {
        let (sink, socket) = sink("raw");
        sink.raw_line(Target::Syslog, Level::Warn, b"we\nb", b"caf\xc3\xa9 \xff\x1b[0m");
        assert_eq!(receive(&socket), "<28>we\\x0ab: café \\xff\\x1b[0m");
    }

    #[test]
    fn a_record_made_while_formatting_another_does_not_wait() {
        struct Chatty<'a>(&'a Sink);
        impl fmt::Display for Chatty<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.raw_line(Target::Syslog, Level::Info, b"x", b"inner");
                f.write_str("outer")
            }
        }
        let (sink, socket) = sink("nested");
        own(&sink, Level::Info, format_args!("{}", Chatty(&sink)));
        assert_eq!(receive(&socket), "<30>dormouse[12]: outer");
        assert_eq!(sink.lost(), 1);
    }
}
