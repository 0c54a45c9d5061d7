//! "Did you mean": what an unknown word probably stands for.

use super::directive::Id;
use super::fault::{Fault, Place};
use super::foreign::{Foreign, foreign};
use super::message::Code;
use crate::text::edits;

/// Words of other configurations, in lower case, and the directive that does the same.
const ALIASES: [(&str, Id); 32] = [
    ("port", Id::ListenStream),
    ("bind", Id::ListenStream),
    ("listen", Id::ListenStream),
    ("interface", Id::BindToDevice),
    ("server", Id::ExecStart),
    ("server_args", Id::ExecStart),
    ("exec", Id::ExecStart),
    ("command", Id::ExecStart),
    ("program", Id::ExecStart),
    ("instances", Id::MaxConnections),
    ("accept_max", Id::MaxConnections),
    ("per_source", Id::MaxConnectionsPerSource),
    ("maxconnectionpersource", Id::MaxConnectionsPerSource),
    ("only_from", Id::IPAddressAllow),
    ("no_access", Id::IPAddressDeny),
    ("cps", Id::TriggerLimitBurst),
    ("wait", Id::Accept),
    ("nowait", Id::Accept),
    ("env", Id::Environment),
    ("passenv", Id::PassEnvironment),
    ("groups", Id::SupplementaryGroups),
    ("chroot", Id::RootDirectory),
    ("directory", Id::WorkingDirectory),
    ("socket-mode", Id::SocketMode),
    ("socketpermissions", Id::SocketMode),
    ("rlimit_as", Id::LimitAS),
    ("rlimit_cpu", Id::LimitCPU),
    ("rlimit_files", Id::LimitNOFILE),
    ("backlogsize", Id::Backlog),
    ("stderr", Id::StandardError),
    ("stdout", Id::StandardOutput),
    ("stdin", Id::StandardInput),
];

/// The word nearest to `text`: the same but for case, or few enough edits away.
pub(super) fn nearest<'a>(text: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = text.to_ascii_lowercase();
    let most = (lower.chars().count() / 3).clamp(1, 4);
    words
        .map(|word| (edits(&lower, &word.to_ascii_lowercase()), word))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// The hint about a near word; empty without one.
pub(super) fn did_you_mean(word: Option<&str>) -> String {
    word.map(|word| ["did you mean ", word, "?"].concat()).unwrap_or_default()
}

/// The error about a name that is not in the table.
pub(super) fn unknown(name: &str, place: Place) -> Fault {
    let lower = name.to_ascii_lowercase();
    let aliases: &[_] = if cfg!(feature = "suggest") { &ALIASES } else { &[] };
    let alias = aliases.iter().find(|(alias, _)| *alias == lower).map(|(_, id)| id.name());
    let near = || nearest(name, Id::ALL.iter().map(|id| id.name()));
    match (alias, foreign(name)) {
        (None, Some(Foreign::Protection)) => Fault::new(Code::NoProtection, place, &[name]),
        (None, Some(_)) => Fault::new(Code::NotCarriedOut, place, &[name]),
        _ => match alias.or_else(near) {
            None => Fault::new(Code::UnknownDirective, place, &[name]),
            word => Fault::new(Code::UnknownDirective, place, &[name]).with_hint(did_you_mean(word)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(not(feature = "suggest"), ignore = "there are no suggestions")]
    fn every_alias_and_no_foreign_name_is_ours() {
        for (alias, id) in ALIASES {
            assert_eq!(unknown(alias, Place::default()).hint, did_you_mean(Some(id.name())));
        }
        assert!(Id::ALL.iter().all(|id| foreign(id.name()).is_none()));
        assert_eq!(unknown("DynamicUser", Place::default()).code, Code::NoProtection);
        assert_eq!(unknown("MemoryMax", Place::default()).code, Code::NotCarriedOut);
        assert_eq!(unknown("Type", Place::default()).code, Code::NotCarriedOut);
    }
}
