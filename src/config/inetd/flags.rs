//! The wait flag and the user, with what is hung on to them.

use crate::cli::Dialect;
use crate::config::directive::Id;
use crate::config::message::{Code, Reason};
use crate::config::problem::{Parsed, Problem, fail, wrong};
use crate::config::scalar::number;
use crate::text::split_last;

/// The fourth field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Wait {
    /// The program gets the listening socket.
    pub(super) wait: bool,
    /// Starts in a minute; `None`: nothing is said.
    pub(super) rate: Option<u32>,
    /// What FreeBSD has behind the flag, see [`LIMITS`]; 0: no limit.
    pub(super) limits: [u32; 3],
}

/// Processes at a time, starts in a minute for one source, processes at a time for one source.
pub(super) const LIMITS: [Id; 3] = [Id::MaxConnections, Id::MaxConnectionRate, Id::MaxConnectionsPerSource];

/// Reads the wait flag. What another dialect would take for plain `nowait` is an error: it is hardly ever meant.
pub(super) fn wait(text: &str, dialect: Dialect) -> Parsed<Wait> {
    let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (word, suffix) = text.split_at(end);
    let mut flag = Wait { wait: word == "wait", ..Wait::default() };
    let numbers: Option<Vec<u32>> = suffix.get(1..).and_then(|numbers| numbers.split('/').map(number).collect());
    match (dialect, suffix.as_bytes().first(), numbers.as_deref()) {
        _ if !matches!(word, "wait" | "nowait") => {}
        (_, None, _) => return Ok(flag),
        (Dialect::Freebsd, Some(b'/'), Some(numbers)) if numbers.len() <= flag.limits.len() => {
            flag.limits.iter_mut().zip(numbers).for_each(|(limit, number)| *limit = *number);
            return Ok(flag);
        }
        (Dialect::Freebsd, ..) => {}
        (_, Some(b'.'), Some([0])) => return wrong(Code::InetdNoStart, text),
        (_, Some(b'.'), Some([rate])) => return Ok(Wait { rate: Some(*rate), ..flag }),
        _ => {}
    }
    let expected = match dialect {
        Dialect::Freebsd => Reason::WaitFreebsd,
        _ => Reason::WaitOthers,
    };
    fail(Problem::new(Code::InetdWait, 0..text.len(), &[text, dialect.name(), expected.text()]))
}

/// The fifth field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Owner {
    pub(super) user: String,
    pub(super) group: Option<String>,
    /// Login class (FreeBSD).
    pub(super) class: Option<String>,
}

/// Splits the user field. A dot may be part of a name: `is_user` tells whether somebody bears the whole of it.
pub(super) fn owner(text: &str, dialect: Dialect, is_user: &dyn Fn(&str) -> bool) -> Owner {
    let (names, class) = match text.split_once('/') {
        Some((names, class)) if dialect == Dialect::Freebsd => (names, Some(class.to_owned())),
        _ => (text, None),
    };
    let colon = names.split_once(':');
    let dot = split_last(names, b'.').filter(|_| dialect != Dialect::Freebsd && !is_user(names));
    let halves = if dialect == Dialect::Busybox { dot.or(colon) } else { colon.or(dot) };
    let (user, group) = halves.map_or((names, None), |(user, group)| (user, Some(group.to_owned())));
    Owner { user: user.to_owned(), group, class }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flag(text: &str, dialect: Dialect) -> Option<(bool, Option<u32>, u32)> {
        wait(text, dialect).ok().map(|flag| (flag.wait, flag.rate, flag.limits[0]))
    }

    #[test]
    fn a_suffix_is_read_by_its_own_dialect_only() {
        assert_eq!(flag("nowait.400", Dialect::Busybox), Some((false, Some(400), 0)));
        assert_eq!(flag("wait.4", Dialect::Openbsd), Some((true, Some(4), 0)));
        assert_eq!(flag("nowait/10", Dialect::Freebsd), Some((false, None, 10)));
        assert_eq!(flag("nowait/0", Dialect::Freebsd), Some((false, None, 0)));
        for (text, dialect) in [
            ("wait/3", Dialect::Openbsd),
            ("nowait:5", Dialect::Inetutils),
            ("nowait.5", Dialect::Freebsd),
            ("nowait.", Dialect::Busybox),
            ("nowait.0", Dialect::Inetutils),
            ("nowait.+5", Dialect::Inetutils),
            ("nowait/", Dialect::Freebsd),
            ("nowait/1/2/3/4", Dialect::Freebsd),
            ("waiting", Dialect::Busybox),
            ("no", Dialect::Busybox),
        ] {
            assert_eq!(flag(text, dialect), None, "{text}");
        }
    }

    #[test]
    fn a_dot_may_belong_to_the_name() {
        let split = |text: &str, dialect| {
            let owner = owner(text, dialect, &|name| name == "first.last");
            (owner.user, owner.group.unwrap_or_default(), owner.class.unwrap_or_default())
        };
        let all = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(split("first.last", Dialect::Busybox), all("first.last", "", ""));
        assert_eq!(split("a.b.c", Dialect::Openbsd), all("a.b", "c", ""));
        assert_eq!(split("a.b:c", Dialect::Openbsd), all("a.b", "c", ""));
        assert_eq!(split("a:b/c", Dialect::Freebsd), all("a", "b", "c"));
        assert_eq!(split("a.b", Dialect::Freebsd), all("a.b", "", ""));
    }
}
