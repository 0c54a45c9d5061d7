//! "Did you mean": what an unknown word probably stands for.

use super::fault::{Fault, Place};
use super::foreign::{Foreign, foreign};
use super::message::{Code, Reason};
use super::table::NAMES;
use super::words;
use crate::text::nearest;

/// Each directive with the words of other configurations, in lower case, that stand for the same. Packed with the
/// messages.
pub(super) const ALIASES: &str = "\
    ListenStream port bind listen address listentcp listenport listenunix|\
    ListenDatagram listenudp listendgram|\
    StopWhenIdleSec idletimeout idletimeoutsec idlesec timeoutidlesec exit-idle-time|\
    ConnectTo redirect proxy backend|BindToDevice interface|\
    ExecStart server server_args exec command program|MaxConnections instances accept_max|\
    MaxConnectionsPerSource per_source maxconnectionpersource|IPAddressAllow only_from|\
    IPAddressDeny no_access|TriggerLimitBurst cps|Accept wait nowait|Environment env|\
    PassEnvironment passenv|SupplementaryGroups groups|RootDirectory chroot|WorkingDirectory directory|\
    SocketMode socket-mode socketpermissions|LimitAS rlimit_as|LimitCPU rlimit_cpu|LimitNOFILE rlimit_files|\
    Backlog backlogsize|StandardError stderr|StandardOutput stdout|StandardInput stdin";

/// The directive nearest to a name.
pub(super) fn directive(name: &str) -> Option<&'static str> {
    nearest(name, &mut NAMES.lines().filter_map(|line| line.split(' ').next()))
}

/// The hint about the nearest word of a list with blanks between; empty without one.
pub(super) fn hint(text: &str, list: &str) -> String {
    did_you_mean(nearest(text, &mut list.split(' ')))
}

/// The hint about a near word; empty without one.
pub(super) fn did_you_mean(word: Option<&str>) -> String {
    word.map(|word| ["did you mean ", word, "?"].concat()).unwrap_or_default()
}

/// The directive that a name which is not in the table probably stands for.
pub(super) fn meant(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    let known = Reason::Aliases.text().split('|').find(|row| words::index(row, &lower).is_some());
    let alias = known.map(|row| words::nth(row, 0)); // a name is not in lower case
    alias.or_else(|| if foreign(name).is_some() { None } else { directive(name) })
}

/// The error about a name that is not in the table.
pub(super) fn unknown(name: &str, place: Place) -> Fault {
    let word = meant(name);
    let code = match foreign(name).filter(|_| word.is_none()) {
        Some(Foreign::Wall | Foreign::Protection) => Code::NoProtection,
        Some(_) => Code::NotCarriedOut,
        None => Code::UnknownDirective,
    };
    let fault = Fault::new(code, place, &[name]);
    match word {
        Some(_) => fault.with_hint(did_you_mean(word)),
        None if name == BEFORE => fault.with_hint(in_a_script()),
        None => fault,
    }
}

/// The directive of systemd for what a service needs before its program.
pub(super) const BEFORE: &str = "ExecStartPre";

/// What to do instead of [`BEFORE`].
pub(super) fn in_a_script() -> String {
    Reason::Script.text().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::directive::Id;

    #[test]
    #[cfg_attr(not(feature = "suggest"), ignore = "there are no suggestions")]
    fn every_alias_and_no_foreign_name_is_ours() {
        for row in ALIASES.split('|') {
            let (name, aliases) = row.split_once(' ').unwrap();
            assert!(Id::from_name(name).is_some(), "{name}");
            for alias in aliases.split(' ') {
                assert_eq!(unknown(alias, Place::default()).hint, did_you_mean(Some(name)));
            }
        }
        assert!(Id::ALL.iter().all(|id| foreign(id.name()).is_none()));
    }

    #[test]
    #[cfg_attr(not(feature = "units"), ignore = "this build knows no names of systemd")]
    fn names_of_systemd_are_known() {
        assert_eq!(unknown("DynamicUser", Place::default()).code, Code::NoProtection);
        assert_eq!(unknown("MemoryMax", Place::default()).code, Code::NotCarriedOut);
        assert_eq!(unknown("Type", Place::default()).code, Code::NotCarriedOut);
    }
}
