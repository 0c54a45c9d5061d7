//! How a running Dormouse is asked and ordered about: the one place that knows the words of the control socket.
//!
//! # The protocol, version 1
//!
//! A unix stream socket, [`ROOT_PATH`] unless `--control` says otherwise, mode 0600. It serves root and the user that
//! Dormouse runs as; anybody else is cut off. Everything is lines of ASCII, so that it works by hand:
//!
//! ```text
//! $ echo status | nc -U /run/dormouse.sock
//! daemon protocol=1 version="0.1.0" pid=311 uptime_ms=86400000 ...
//! service name="web" state=waiting accept=no ...
//! socket kind=stream address="[::]:80" open=yes
//! ok
//! ```
//!
//! A request is one line of at most [`REQUEST_BYTES`] bytes: a word, and for some of them a space and the name of a
//! service.
//!
//! | request | answer |
//! |---|---|
//! | `status [NAME]` | a row `daemon`, then for each service a row `service` and behind it its rows `counts`, `starts`, `last`, `socket`, `process` |
//! | `history [NAME]` | the rows `event` that are kept in memory, oldest first |
//! | `watch [NAME]` | rows `event` as they happen, until the client goes |
//! | `start NAME` | starts a service with Accept=no now |
//! | `stop NAME` | ends the processes of a service; its sockets stay as they are; answered when a service with Accept=no has ended |
//! | `restart NAME` | both |
//! | `pause NAME` | looks away from its sockets until `resume NAME` |
//! | `reload`, `upgrade` | a new configuration, a new program; rows `fault` with the lines of the check |
//!
//! An answer is any number of rows and then `ok` or `error`, both perhaps with `text="..."` for the user. The next
//! request may follow then. A row is a word and `key=value` pairs with single spaces between them. A value is a number,
//! a list of numbers joined by commas, a word of letters and dashes, or text in double quotes with the escapes of JSON.
//! A time ends in `_ms` or `_us`, and is an age or a duration: the clock of the daemon does not matter.
//!
//! New rows, new keys and new words may come at any time and must be passed over. What is there keeps its meaning;
//! otherwise `protocol` changes. Who sends nothing, or takes nothing, for [`IDLE_MS`] is cut off, but a watcher may
//! wait as long as it likes. At most [`CLIENTS`] are served at once; then
//! an idle one goes, or the oldest watcher.

mod reader;
mod row;

pub use reader::{Fields, Value, field};
pub use row::{Row, escape};

use crate::limits::{CONTROL_CLIENTS, CONTROL_IDLE_MS, CONTROL_REQUEST_BYTES};
use crate::sys::environment;
use crate::text::worded;
use std::path::PathBuf;

/// The version of the protocol; it changes when something that was there gets another meaning.
pub const PROTOCOL: u64 = 1;
/// Where the socket of root's daemon is.
pub const ROOT_PATH: &str = "/run/dormouse.sock";
/// Bytes of a request without its newline.
pub const REQUEST_BYTES: usize = CONTROL_REQUEST_BYTES;
/// How long a client may do nothing.
pub const IDLE_MS: u64 = CONTROL_IDLE_MS;
/// Clients at once.
pub const CLIENTS: usize = CONTROL_CLIENTS;

worded! {
    /// What a client may ask for.
    pub enum Request {
        /// What is held and what runs.
        Status = "status",
        /// The events that are kept.
        History = "history",
        /// Events as they happen.
        Watch = "watch",
        /// Start a service now.
        Start = "start",
        /// End its processes.
        Stop = "stop",
        /// End and start.
        Restart = "restart",
        /// Look away from its sockets.
        Pause = "pause",
        /// Look at them again.
        Resume = "resume",
        /// Take the configuration as it is on disk now.
        Reload = "reload",
        /// Take the program as it is on disk now.
        Upgrade = "upgrade",
    }
}

impl Request {
    /// Reads a line without its newline: the request, and the name behind it (empty: none).
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<(Self, &str)> {
        let line = core::str::from_utf8(line).ok()?.trim_ascii();
        let (word, name) = line.split_once(' ').unwrap_or((line, ""));
        let request = Self::ALL.into_iter().find(|request| request.word() == word)?;
        Some((request, name.trim_ascii_start()))
    }
}

/// Where the socket is if nobody says otherwise; `None` for an ordinary user without a runtime folder.
#[must_use]
pub fn default_path() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from(ROOT_PATH));
    }
    let folder = environment::value("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty())?;
    Some(PathBuf::from(folder).join("dormouse.sock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_they_are_written() {
        for request in Request::ALL {
            assert_eq!(Request::parse(request.word().as_bytes()), Some((request, "")));
            let line = format!("{} web\r", request.word());
            assert_eq!(Request::parse(line.as_bytes()), Some((request, "web")));
        }
        for line in [&b""[..], b" ", b"statu", b"STATUS", b"\xff", b"status\0", b"statusweb"] {
            assert_eq!(Request::parse(line), None, "{line:?}");
        }
    }
}
