//! Specifiers: `%n`, `%t` and the like in the values of unit files, systemd.unit(5).
//!
//! What they stand for is put in when the file is read. A `%` that belongs to the text comes out doubled where the
//! reader of the value takes `%%` for it. The machine is asked by reading files only.

use std::path::Path;

use super::directive::Form;
use super::message::{Code, Reason};
use super::problem::{Parsed, Problem, fail};
use super::words::{INSTANCE, INSTANCE_PATH};
use crate::sys::{environment, file};
use crate::text::{add, number, split_last};

/// Bytes of a file that answers; more: it is no such file.
const FILE_BYTES: usize = 64 * 1024;

/// The name of a unit, such as `foo@bar.socket`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct UnitName(pub(super) String);

impl UnitName {
    /// `foo@bar`
    pub(super) fn stem(&self) -> &str {
        split_last(&self.0, b'.').map_or(&*self.0, |(stem, _)| stem)
    }

    /// `socket`
    pub(super) fn kind(&self) -> &str {
        split_last(&self.0, b'.').map_or("", |(_, kind)| kind)
    }

    /// `foo`
    pub(super) fn prefix(&self) -> &str {
        self.stem().split('@').next().unwrap_or_default()
    }

    /// `bar`; empty for a template, `None` without `@`.
    pub(super) fn instance(&self) -> Option<&str> {
        self.stem().split_once('@').map(|(_, instance)| instance)
    }

    /// `foo@.socket`
    pub(super) fn template(&self) -> Self {
        Self([self.prefix(), "@.", self.kind()].concat())
    }
}

/// What the specifiers of one file stand for.
#[derive(Debug, Clone, Default)]
pub(super) struct Specifiers {
    /// The unit that the file belongs to.
    pub(super) unit: UnitName,
    /// Path of its main file.
    pub(super) path: String,
}

/// The value in which a connection's number is put at each start; only a template of Accept=yes has it.
const PER_CONNECTION: [char; 5] = ['i', 'I', 'n', 'N', 'f'];

impl Specifiers {
    /// The text with its specifiers replaced, in a form that its reader takes as meant; `None`: it has none. Unknown
    /// ones stay as they are, as in systemd; `notes` tells of them.
    pub(super) fn expand(&self, text: &str, form: Form, notes: &mut Vec<Problem>) -> Parsed<Option<String>> {
        if !text.contains('%') {
            return Ok(None);
        }
        let mut out = String::new();
        let mut rest = text.char_indices();
        while let Some((at, c)) = rest.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let percent = if form == Form::Plain { "%" } else { "%%" };
            match rest.next() {
                None | Some((_, '%')) => out.push_str(percent),
                Some((end, letter)) => {
                    let at = at..end + letter.len_utf8();
                    match self.value(letter, form, &at, text)? {
                        Some(value) => value.chars().for_each(|c| escape(c, form, &mut out)),
                        None => {
                            notes.push(*Problem::new(Code::UnknownSpecifier, at.clone(), &[&text[at.clone()]]));
                            add(&mut out, &[percent, &text[end..at.end]]);
                        }
                    }
                }
            }
        }
        Ok(Some(out))
    }

    /// What one of them stands for; `None`: systemd has no such specifier.
    fn value(&self, letter: char, form: Form, at: &std::ops::Range<usize>, text: &str) -> Parsed<Option<String>> {
        let unit = &self.unit;
        let template = unit.instance() == Some("");
        if template && form == Form::Command {
            let instance = INSTANCE.to_string();
            match letter {
                'i' => return Ok(Some(instance)),
                'I' => return Ok(Some(INSTANCE_PATH.to_string())),
                'f' => return Ok(Some(['/', INSTANCE_PATH].iter().collect())),
                'n' => return Ok(Some([unit.prefix(), "@", &instance, ".", unit.kind()].concat())),
                'N' => return Ok(Some([unit.prefix(), "@", &instance].concat())),
                _ => {}
            }
        }
        if template && PER_CONNECTION.contains(&letter) {
            return fail(Problem::new(Code::ConnectionSpecifier, at.clone(), &[&text[at.clone()]]));
        }
        let last = split_last(unit.prefix(), b'-').map_or(unit.prefix(), |(_, last)| last);
        let of_path = |text: &str| ["/", unescape(text).trim_start_matches('/')].concat(); // "-" alone is the root
        let value = match letter {
            'n' => unit.0.clone(),
            'N' => unit.stem().to_owned(),
            'p' => unit.prefix().to_owned(),
            'P' => unescape(unit.prefix()),
            'i' => unit.instance().unwrap_or_default().to_owned(),
            'I' => unescape(unit.instance().unwrap_or_default()),
            'f' => of_path(unit.instance().unwrap_or(unit.prefix())),
            'j' => last.to_owned(),
            'J' => unescape(last),
            'y' => self.path.clone(),
            'Y' => split_last(&self.path, b'/').map_or("", |(folder, _)| folder).to_owned(),
            _ => {
                let lacks =
                    |why: Reason| Problem::new(Code::SpecifierValue, at.clone(), &[&text[at.clone()], why.text()]);
                return machine(letter).map_err(lacks);
            }
        };
        Ok(Some(value))
    }
}

/// Specifiers that always mean the same: those of systemd as the manager of the system.
const FIXED: [(char, &str); 15] = [
    ('t', "/run"),
    ('S', "/var/lib"),
    ('C', "/var/cache"),
    ('L', "/var/log"),
    ('E', "/etc"),
    ('D', "/usr/share"),
    ('T', "/tmp"),
    ('V', "/var/tmp"),
    ('h', "/root"),
    ('u', "root"),
    ('g', "root"),
    ('U', "0"),
    ('G', "0"),
    ('s', "/bin/sh"),
    ('a', architecture()),
];

/// Specifiers that a file answers, with its path; for os-release(5) with the variable.
const FILES: [(char, &str, &str); 11] = [
    ('m', "/etc/machine-id", ""),
    ('b', "/proc/sys/kernel/random/boot_id", ""),
    ('H', "/proc/sys/kernel/hostname", ""),
    ('l', "/proc/sys/kernel/hostname", "."),
    ('v', "/proc/sys/kernel/osrelease", ""),
    ('o', "/etc/os-release", "ID="),
    ('w', "/etc/os-release", "VERSION_ID="),
    ('W', "/etc/os-release", "VARIANT_ID="),
    ('B', "/etc/os-release", "BUILD_ID="),
    ('M', "/etc/os-release", "IMAGE_ID="),
    ('A', "/etc/os-release", "IMAGE_VERSION="),
];

/// Specifiers that mean something else to an ordinary user, with the variable that holds it.
const OF_USER: [(char, &str); 3] = [('h', "HOME"), ('u', "USER"), ('s', "SHELL")];

/// What the machine says; `None`: systemd has no such specifier. The error tells why there is nothing to be had.
fn machine(letter: char) -> Result<Option<String>, Reason> {
    if let Some((_, name)) = OF_USER.iter().find(|(known, _)| *known == letter)
        && !rustix::process::geteuid().is_root()
        && let Some(value) = environment::text(name)
    {
        return Ok(Some(value.to_owned()));
    }
    if let Some((_, value)) = FIXED.iter().find(|(known, _)| *known == letter) {
        return Ok(Some(environment::folder(value).into_owned()));
    }
    let Some((_, path, what)) = FILES.iter().find(|(known, ..)| *known == letter) else {
        return match letter {
            'c' | 'r' | 'R' => Err(Reason::NoCgroups),
            'd' => Err(Reason::NoCredentials),
            'q' => Err(Reason::NoPrettyName),
            _ => Ok(None),
        };
    };
    let text = file::read(Path::new(path), FILE_BYTES).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let text = text.ok_or(Reason::NoFile)?;
    let text = text.trim_ascii();
    Ok(Some(match *what {
        "" if letter == 'b' => text.replace('-', ""),
        "" => text.to_owned(),
        "." => text.split('.').next().unwrap_or_default().to_owned(),
        name => {
            let value = text.lines().find_map(|line| line.strip_prefix(name));
            value.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
        }
    }))
}

/// The processor by systemd's name, systemd.unit(5), ConditionArchitecture=.
const fn architecture() -> &'static str {
    if cfg!(target_arch = "x86_64") {
        "x86-64"
    } else if cfg!(target_arch = "aarch64") {
        "arm64"
    } else if cfg!(target_arch = "mips") {
        if cfg!(target_endian = "little") { "mips-le" } else { "mips" }
    } else {
        std::env::consts::ARCH
    }
}

/// One character of a value in a form that keeps words together.
fn escape(c: char, form: Form, out: &mut String) {
    let words = matches!(form, Form::Words | Form::Command);
    match c {
        INSTANCE if form == Form::Command => out.push_str("%i"),
        INSTANCE_PATH if form == Form::Command => out.push_str("%I"),
        '%' if form != Form::Plain => out.push_str("%%"),
        ' ' if words => out.push_str("\\s"),
        '"' | '\'' | '\\' | ';' if words => out.extend(['\\', c]),
        c => out.push(c),
    }
}

/// Undoes systemd-escape(1): `-` is a slash, `\xHH` a byte. What is no text stays as it is.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.strip_prefix(b"x").and_then(|tail| std::str::from_utf8(tail.get(..2)?).ok());
        let byte = hex.filter(|_| *first == b'\\').and_then(|hex| number(hex, 16));
        bytes.push(byte.unwrap_or(if *first == b'-' { b'/' } else { *first }));
        rest = if byte.is_some() { &tail[3..] } else { tail };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(unit: &str, text: &str, form: Form) -> String {
        let specifiers = Specifiers { unit: UnitName(unit.to_owned()), path: "/etc/x/a.socket".to_owned() };
        specifiers.expand(text, form, &mut Vec::new()).unwrap().unwrap()
    }

    #[test]
    fn names_of_units_are_taken_apart() {
        let unit = "a-b\\x2dc@d-e.socket";
        assert_eq!(expanded(unit, "%n %N %p %P", Form::Plain), "a-b\\x2dc@d-e.socket a-b\\x2dc@d-e a-b\\x2dc a/b-c");
        assert_eq!(
            expanded(unit, "%i %I %f %j %J %y %Y", Form::Plain),
            "d-e d/e /d/e b\\x2dc b-c /etc/x/a.socket /etc/x"
        );
        assert_eq!(expanded("a.socket", "[%i] %f", Form::Plain), "[] /a");
        assert_eq!(expanded("a@-.socket", "%i %f", Form::Plain), "- /");
        assert_eq!(expanded("a@.service", "%i %I %f %p", Form::Command), "%i %I /%I a");
    }

    #[test]
    fn what_is_put_in_stays_one_word() {
        assert_eq!(expanded("a@b\\x20c.socket", "%I %% 5%", Form::Words), "b\\sc %% 5%%");
        assert_eq!(expanded("a.socket", "%t/x 5%%", Form::Plain), "/run/x 5%");
    }

    #[test]
    fn unknown_ones_stay_and_impossible_ones_are_faults() {
        let specifiers = Specifiers { unit: UnitName("a@.service".to_owned()), path: String::new() };
        let mut notes = Vec::new();
        assert_eq!(specifiers.expand("+%F", Form::Words, &mut notes), Ok(Some("+%%F".to_owned())));
        assert_eq!(notes[0].fault.code, Code::UnknownSpecifier);
        for (text, code) in
            [("a%i", Code::ConnectionSpecifier), ("%f", Code::ConnectionSpecifier), ("%d", Code::SpecifierValue)]
        {
            assert_eq!(specifiers.expand(text, Form::Words, &mut notes).unwrap_err().fault.code, code);
        }
    }
}
