//! The wait flag and the user, with what is hung on to them.

use crate::cli::Dialect;
use crate::config::fault::{Fault, Place};
use crate::config::message::{Code, Reason};
use crate::config::scalar::number;
use crate::text::split_last;

/// The fourth field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Wait {
    /// The program gets the listening socket.
    pub(super) wait: bool,
    /// Starts in a minute; `None`: nothing is said.
    pub(super) rate: Option<u32>,
    /// Processes at a time (FreeBSD); `None`: any number.
    pub(super) most: Option<u32>,
    /// Connections of one source in a minute (FreeBSD).
    pub(super) source_rate: Option<u32>,
    /// Processes at a time for one source (FreeBSD).
    pub(super) source_most: Option<u32>,
}

/// Reads the wait flag. What another dialect would take for plain `nowait` is an error: it is hardly ever meant.
pub(super) fn wait(text: &str, dialect: Dialect, place: Place) -> Result<Wait, Fault> {
    let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (word, suffix) = text.split_at(end);
    let expected = match dialect {
        Dialect::Freebsd => Reason::WaitFreebsd,
        _ => Reason::WaitOthers,
    };
    let wrong = || Fault::new(Code::InetdWait, place, &[text, dialect.name(), expected.text()]);
    let mut flag = Wait { wait: word == "wait", ..Wait::default() };
    if !matches!(word, "wait" | "nowait") {
        return Err(wrong());
    }
    if suffix.is_empty() {
        return Ok(flag);
    }
    if dialect == Dialect::Freebsd {
        let numbers: Option<Vec<u32>> = suffix.strip_prefix('/').and_then(|rest| rest.split('/').map(number).collect());
        let Some([most, rest @ ..]) = numbers.as_deref().filter(|numbers| numbers.len() <= 3) else {
            return Err(wrong());
        };
        let limit = |n: Option<&u32>| n.copied().filter(|n| *n > 0);
        (flag.most, flag.source_rate, flag.source_most) = (limit(Some(most)), limit(rest.first()), limit(rest.get(1)));
        return Ok(flag);
    }
    match suffix.strip_prefix('.').map(number) {
        Some(Some(0)) => Err(Fault::new(Code::InetdNoStart, place, &[text])),
        Some(Some(rate)) => {
            flag.rate = Some(rate);
            Ok(flag)
        }
        _ => Err(wrong()),
    }
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

    fn flag(text: &str, dialect: Dialect) -> Option<(bool, Option<u32>, Option<u32>)> {
        wait(text, dialect, Place::default()).ok().map(|flag| (flag.wait, flag.rate, flag.most))
    }

    #[test]
    fn a_suffix_is_read_by_its_own_dialect_only() {
        assert_eq!(flag("nowait.400", Dialect::Busybox), Some((false, Some(400), None)));
        assert_eq!(flag("wait.4", Dialect::Openbsd), Some((true, Some(4), None)));
        assert_eq!(flag("nowait/10", Dialect::Freebsd), Some((false, None, Some(10))));
        assert_eq!(flag("nowait/0", Dialect::Freebsd), Some((false, None, None)));
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
