//! What did not work when a listener was opened.

use crate::sys::errno::Why;
use core::fmt;
use rustix::io::Errno;

/// What was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// socket(2).
    Socket,
    /// The option of a directive, as [`crate::config::Id`] numbers them.
    Option(u8),
    /// The filter of IPAddressAllow= and IPAddressDeny=.
    Filter,
    /// The interface that stands in the address.
    Interface,
    /// bind(2).
    Bind,
    /// listen(2).
    Listen,
    /// A program answers at the path, or may do so: it is not touched.
    InUse,
    /// What is at the path is not a socket: it is not touched.
    NotASocket,
    /// What is at the path is not a FIFO: it is not touched.
    NotAFifo,
    /// Removing the file of a socket that nobody holds any more.
    Stale,
    /// Making the folders of a path.
    Folder,
    /// Making or opening a FIFO.
    Fifo,
    /// Giving the file to SocketUser= and SocketGroup=.
    Owner,
    /// Giving the file its SocketMode=.
    Mode,
    /// Making one of Symlinks=.
    Symlink,
}

impl Step {
    /// What makes this step and an error number one error.
    pub(super) const fn failed(self) -> impl Fn(Errno) -> OpenError {
        move |errno| OpenError { step: self, errno }
    }

    /// What was tried, in words.
    const fn words(self) -> &'static str {
        match self {
            Self::Socket => "making the socket",
            Self::Option(_) => "",
            Self::Filter => "the filter of IPAddressAllow= and IPAddressDeny=",
            Self::Interface => "looking up the interface",
            Self::Bind => "bind",
            Self::Listen => "listen",
            Self::InUse => "a program answers at this path",
            Self::NotASocket => "what is at this path is left alone",
            Self::NotAFifo => "what is at this path is not a FIFO and is left alone",
            Self::Stale => "removing the old socket",
            Self::Folder => "making the folder",
            Self::Fifo => "opening the FIFO",
            Self::Owner => "SocketUser= and SocketGroup=",
            Self::Mode => "SocketMode=",
            Self::Symlink => "Symlinks=",
        }
    }
}

/// What was tried and why it failed. Shown as "bind: address is in use (EADDRINUSE)"; takes no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenError {
    /// What was tried.
    pub step: Step,
    /// Why it failed.
    pub errno: Errno,
}

impl OpenError {
    /// May it work when an interface or address appears? [`super::watch`] tells when.
    pub fn may_appear(&self) -> bool {
        matches!(self.errno, Errno::ADDRNOTAVAIL | Errno::NODEV)
    }

    /// May it work when another program lets go? [`super::holder`] tells which.
    pub fn may_free(&self) -> bool {
        self.errno == Errno::ADDRINUSE
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = Why(self.errno);
        match self.step {
            Step::Option(number) => write!(f, "{}=: {why}", super::directive(number)),
            Step::Filter if self.errno == Errno::PERM => {
                write!(f, "{}: {why}; this kernel asks for CAP_NET_ADMIN", self.step.words())
            }
            Step::Bind if self.errno == Errno::ACCESS => {
                write!(
                    f,
                    "{}: {why}; a port below 1024 asks for CAP_NET_BIND_SERVICE, a path for a folder open to us",
                    self.step.words()
                )
            }
            step => write!(f, "{}: {why}", step.words()),
        }
    }
}

impl core::error::Error for OpenError {}
