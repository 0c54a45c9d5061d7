//! The connection to a daemon.

use core::time::Duration;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{SendFlags, SocketType, send};

use super::model::Row;
use crate::cli::{self, exit};
use crate::commands::say::Say;
use crate::sys::errno::Why;
use crate::sys::socket;

/// How long a daemon that is alive may take for a row.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes that are read at once.
const PIECE_BYTES: usize = 4096;

/// A connection.
pub(super) struct Client {
    stream: OwnedFd,
    /// What came behind the rows that were handed out.
    received: Vec<u8>,
    /// The row that is handed out. Both are used again and again: whoever watches may do so for months.
    row: String,
}

impl Client {
    /// Connects; complains if nobody is there.
    pub(super) fn connect(path: &Path) -> Result<Self, u8> {
        let stream = open(path).map_err(|why| {
            let advice = match why {
                Errno::ACCESS | Errno::PERM => Say::NotAllowed,
                _ => Say::NotRunning,
            };
            let place = path.to_string_lossy();
            cli::refuse(&Say::CannotAsk.with(&[&place, &Why(why).to_string(), advice.text()]), exit::NO)
        })?;
        Ok(Self { stream, received: Vec::new(), row: String::new() })
    }

    /// From now on an answer may take as long as it likes.
    pub(super) fn be_patient(&mut self) {
        let _ = set_socket_timeout(&self.stream, Timeout::Recv, None);
    }

    /// Sends a request and hands each row to `each`, until that says false or the answer is complete. Gives the last
    /// row, `ok`.
    ///
    /// # Errors
    /// The exit code; why has been said.
    pub(super) fn ask(&mut self, line: &str, each: &mut dyn FnMut(&str) -> bool) -> Result<Row, u8> {
        let line = [line.trim_ascii_end(), "\n"].concat();
        // a short line is taken whole; if the daemon does not want us, that is to be said
        retry_on_intr(|| send(&self.stream, line.as_bytes(), SendFlags::NOSIGNAL)).map_err(failed)?;
        loop {
            self.next_row()?;
            match self.row.split(' ').next() {
                Some("ok") => return Ok(Row::new(&self.row)),
                Some("error") => {
                    return Err(cli::refuse(&Row::new(&self.row).text("text"), exit::NO));
                }
                _ => {}
            }
            if !each(&self.row) {
                return Ok(Row::new("ok"));
            }
        }
    }

    /// Waits for a row.
    fn next_row(&mut self) -> Result<(), u8> {
        let end = loop {
            if let Some(end) = self.received.iter().position(|&byte| byte == b'\n') {
                break end;
            }
            let mut piece = [0; PIECE_BYTES];
            let len = retry_on_intr(|| rustix::io::read(&self.stream, &mut piece)).map_err(failed)?;
            if len == 0 {
                return Err(failed(Errno::PIPE));
            }
            self.received.extend_from_slice(&piece[..len]);
        };
        self.row.clear();
        // rows are ASCII
        self.row.push_str(core::str::from_utf8(&self.received[..end]).unwrap_or_default().trim_ascii_end());
        self.received.drain(..=end);
        Ok(())
    }
}

fn open(path: &Path) -> Result<OwnedFd, Errno> {
    let address = socket::unix([path.as_os_str().as_bytes(), &[0]])?;
    let stream = socket::socket(socket::UNIX, SocketType::STREAM, false)?;
    set_socket_timeout(&stream, Timeout::Recv, Some(PATIENCE))?;
    socket::connect(stream.as_fd(), &address)?;
    Ok(stream)
}

fn failed(why: Errno) -> u8 {
    match why {
        Errno::PIPE => cli::refuse(&Say::Ended.text(), exit::NO),
        why => cli::refuse(&format_args!("asking the daemon: {}", Why(why)), exit::NO),
    }
}
