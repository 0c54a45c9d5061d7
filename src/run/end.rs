//! How a process ended, and whether that counts as success.

use core::fmt;
use rustix::process::WaitStatus;

/// How a process ended. The form is fixed so that status 0 is all zero, see [`super::tables`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum End {
    /// Exit status.
    Status(u8),
    /// Signal, and whether it left a core.
    Signal(u8, bool),
    /// Only its parent knows, which is somebody else.
    Unknown,
}

impl End {
    pub(super) fn of(status: WaitStatus) -> Self {
        let byte = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Self::Status(byte(code)),
            (None, Some(signal)) => Self::Signal(byte(signal), status.as_raw() & 0x80 != 0),
            (None, None) => Self::Status(u8::MAX),
        }
    }

    pub(super) const fn signal(self) -> Option<u8> {
        match self {
            Self::Status(_) | Self::Unknown => None,
            Self::Signal(signal, _) => Some(signal),
        }
    }

    /// Whether it is in the list of ends that count as success, see [`crate::plan::Policy::success`].
    pub(super) fn is_clean(self, success: &[u8]) -> bool {
        let number = match self {
            Self::Status(0) | Self::Unknown => return true,
            Self::Status(code) => u16::from(code),
            Self::Signal(_, true) => return false,
            Self::Signal(signal, false) => 256 + u16::from(signal),
        };
        success.as_chunks::<2>().0.contains(&number.to_ne_bytes())
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(code) => write!(f, "status={code}"),
            Self::Signal(signal, core) => {
                match crate::config::signal_word(*signal) {
                    Some(name) => write!(f, "signal={name}")?,
                    None => write!(f, "signal={signal}")?,
                }
                f.write_str(if *core { " core=yes" } else { "" })
            }
            Self::Unknown => f.write_str("status=unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_ends_are_those_of_the_list() {
        let list: Vec<u8> = [75_u16, 256 + 15].iter().flat_map(|number| number.to_ne_bytes()).collect();
        assert!(End::Status(0).is_clean(&[]));
        assert!(!End::Status(1).is_clean(&list));
        assert!(End::Status(75).is_clean(&list));
        assert!(End::Signal(15, false).is_clean(&list));
        assert!(!End::Signal(15, true).is_clean(&list), "a core is never clean");
        assert!(!End::Signal(75, false).is_clean(&list), "a signal is not a status");
    }

    #[test]
    fn an_end_is_told_by_name() {
        assert_eq!(End::Status(3).to_string(), "status=3");
        assert_eq!(End::Signal(11, true).to_string(), "signal=SEGV core=yes");
        assert_eq!(End::Signal(50, false).to_string(), "signal=50");
    }
}
