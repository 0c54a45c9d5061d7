//! Tests with random texts, the same in every run: what is printed reads back, and no text ends the program.

use std::fs;

use super::{Draft, Id, ServiceDraft, Syntax, Value, print, read_text};
use crate::sys::random::Random;

impl Random {
    fn pick<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }

    fn between(&mut self, min: u64, max: u64) -> u64 {
        let offset = if self.below(3) == 0 { self.number() } else { self.number() % 1_000 };
        min + offset % (max - min).saturating_add(1).max(1)
    }

    /// Words that need quotes and escapes more often than real ones do.
    fn word(&mut self) -> String {
        let parts =
            ["a", "b-c", " ", "\\\\", "\\\"", "\\'", "%%", "\u{e4}", "\\n", "\\u00e4", "$", "${X}", "#", ";", "=", ":"];
        let count = self.below(5);
        ["\"x", &(0..count).map(|_| self.pick(&parts)).collect::<String>(), "\""].concat()
    }

    fn several(&mut self, mut make: impl FnMut(&mut Self) -> String) -> String {
        let count = 1 + self.below(4);
        (0..count).map(|_| make(self)).collect::<Vec<_>>().join(" ")
    }

    /// A value that the syntax allows.
    fn value(&mut self, syntax: Syntax) -> String {
        let path = |random: &mut Self| ["/srv", random.pick(&["", "/a", "//b", "/c%%", "/\u{e4}", "/d/."])].concat();
        match syntax {
            Syntax::Bool => self.pick(&["yes", "no", "ON", "0", "t"]).to_owned(),
            Syntax::Choice(words) => self.pick(&words.split(' ').collect::<Vec<_>>()).to_owned(),
            Syntax::Uint(min, max) => self.between(min.into(), max.into()).to_string(),
            Syntax::Int(min, max) => {
                (min + i32::try_from(self.below(usize::try_from(max - min).unwrap())).unwrap()).to_string()
            }
            Syntax::Span(u32::MAX) | Syntax::Timeout => {
                self.pick(&["0", "1", "1.5s", "2min 3ms", "infinity", "7us"]).to_owned()
            }
            Syntax::Span(_) => self.below(32_767).to_string(),
            Syntax::Size(_) => [&*self.below(1_000).to_string(), self.pick(&["", "K", "M"])].concat(),
            Syntax::Mode => format!("{:o}", self.below(0o10000)),
            Syntax::Listen(super::Kind::Fifo) => path(self),
            Syntax::Listen(super::Kind::SequentialPacket) => self.pick(&["/run/s", "@s"]).to_owned(),
            Syntax::Listen(_) => {
                self.pick(&["80", "ssh", "1.2.3.4:5", "[::1]:6", "[fe80::1%e0]:7", "/run/%%", "@x y%"]).to_owned()
            }
            Syntax::Backend => self.pick(&["81", "1.2.3.4:5", "[::1]:http", "/run/%%b", "@b", "vsock:3:4"]).to_owned(),
            Syntax::Prefixes => {
                self.several(|r| r.pick(&["any", "localhost", "10.1.2.3/8", "::1", "fe80::/10", "1.2.3.4"]).to_owned())
            }
            Syntax::Name => self.pick(&["root", "0", "a.b", "\u{e4}$"]).to_owned(),
            Syntax::Names => self.several(|r| r.pick(&["root", "0", "a.b"]).to_owned()),
            Syntax::Word(_) => self.pick(&["eth0", "a%b", "x#y"]).to_owned(),
            Syntax::FdName => self.pick(&["a", "a b", "a;b%"]).to_owned(),
            Syntax::Path => path(self),
            Syntax::Directory => [self.pick(&["", "-"]), &*path(self)].concat(),
            Syntax::EnvironmentFile => [self.pick(&["", "-"]), &*path(self), " x"].concat(),
            Syntax::Folders => self.several(|r| r.pick(&["a", "b/c", "\"d//e f\"", "a"]).to_owned()),
            Syntax::Paths => self.several(|r| ["\"", &path(r), " x\""].concat()),
            Syntax::Command => {
                let marks = self.pick(&["", "-", "@", ":", "@-:", ":@"]);
                let program = self.pick(&["/bin/a ", "\"/bin/a b\" ", "tool ", "\"@tool\" ", "\"-\" "]);
                [marks, program, &self.several(Self::word).replace('$', "$$")].concat()
            }
            Syntax::Assignments => self.several(|r| ["V", &r.below(9).to_string(), "=", &r.word()].concat()),
            Syntax::Variables => self.several(|r| r.pick(&["A", "B_2", "c"]).to_owned()),
            Syntax::Unset => self.several(|r| r.pick(&["A", "\"B=1 2\"", "C="]).to_owned()),
            Syntax::Limit(super::Unit::Nice) => self.pick(&["-5", "+3", "40", "0:40", "infinity"]).to_owned(),
            Syntax::Limit(_) => self.pick(&["0", "12", "5:6", "7:infinity", "infinity"]).to_owned(),
            Syntax::Signal => self.pick(&["TERM", "SIGKILL", "15", "RTMIN+3", "RTMAX"]).to_owned(),
            Syntax::ExitStatuses => self.several(|r| r.pick(&["1", "TEMPFAIL", "SIGHUP", "250", "rtmin"]).to_owned()),
            Syntax::Capabilities => self.pick(&["", "~", "CAP_KILL", "~CAP_KILL CAP_BPF", "cap_chown"]).to_owned(),
            Syntax::Input => self.pick(&["null", "socket", "file:/a%%b c"]).to_owned(),
            Syntax::Output => self.pick(&["inherit", "kmsg", "append:/a", "truncate:/b#", "file:/c"]).to_owned(),
            Syntax::Tos => self.pick(&["0", "low-cost", "255"]).to_owned(),
        }
    }
}

/// A service's name, sockets and settings.
type Content<'a> = (&'a str, Vec<String>, Vec<(Id, &'a Value)>);

/// What a draft says, without the places.
fn content(draft: &Draft) -> Vec<Content<'_>> {
    let listens =
        |service: &ServiceDraft| service.listens.iter().map(|l| format!("{:?} {:?}", l.kind, l.address)).collect();
    draft.services.iter().map(|s| (&*s.name, listens(s), s.settings().collect())).collect()
}

#[test]
#[cfg_attr(not(feature = "local"), ignore = "this build has internet sockets only")]
fn what_is_printed_reads_back() {
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    for round in 0..400 {
        let mut text = String::new();
        for section in ["[one]\n", "[defaults]\n", "[two]\n", "[three]\n"] {
            text.push_str(section);
            for _ in 0..random.below(12) {
                let id = Id::ALL[random.below(Id::ALL.len())];
                let (row, name) = (id.row(), id.name());
                let own = section != "[defaults]\n" || !(name.starts_with("Listen") || name == "ExecStart");
                if own && !row.later {
                    text.extend([name, " = ", &random.value(id.syntax()), "\n"]);
                }
            }
        }
        let draft = read_text("first", text.as_bytes());
        for fault in &draft.faults {
            // Only what the parts of a service don't fit together for.
            let checked = fault.code >= super::Code::NoListen || fault.severity == super::Severity::Warning;
            assert!(checked, "round {round}: {}", draft.sources.render(fault));
        }
        let printed = print(&draft);
        let again = read_text("again", printed.as_bytes());
        assert_eq!(content(&draft), content(&again), "round {round}\n{text}\n{printed}");
        assert_eq!(printed, print(&again));
    }
}

#[test]
fn no_text_ends_the_reader() {
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for entry in fs::read_dir("tests/config").unwrap() {
        let path = entry.unwrap().path();
        let text = if path.is_file() { fs::read(path).unwrap() } else { Vec::new() };
        if (1..6_000).contains(&text.len()) {
            seeds.push(text);
        }
    }
    let pieces: [&[u8]; 20] = [
        b"\n",
        b"=",
        b"[",
        b"]",
        b"\\",
        b"\"",
        b"'",
        b"%",
        b"$",
        b"${",
        b"\\u",
        b"\\x",
        b"#",
        b":",
        b"/",
        b"~",
        b"\t",
        b"\xff",
        b"99999999999999999999",
        "\u{202e}\u{e4}".as_bytes(),
    ];
    let mut random = Random(88_172_645_463_325_252);
    for _ in 0..2_000 {
        let mut text = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(6) {
            let at = random.below(text.len().max(1)).min(text.len());
            let end = (at + random.below(8)).min(text.len());
            let new = if random.below(4) == 0 {
                vec![u8::try_from(random.below(256)).unwrap()]
            } else {
                random.pick(&pieces).to_vec()
            };
            text.splice(at..end, new);
        }
        let draft = read_text("random", &text);
        let report = draft.report();
        assert!(!report.contains('\u{1b}') && !report.contains('\u{202e}'), "{report}");
        let printed = print(&draft);
        assert_eq!(content(&draft), content(&read_text("again", printed.as_bytes())), "{printed}");
    }
}
