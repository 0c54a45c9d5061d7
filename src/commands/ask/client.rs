//! The connection to a daemon.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::model::Row;
use super::shown;
use crate::cli::{self, exit};

/// How long a daemon that is alive may take for a row.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection.
pub(super) struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects; complains if nobody is there.
    pub(super) fn connect(path: &Path) -> Result<Self, u8> {
        let failed = |error: std::io::Error| {
            let path = shown(path);
            let advice = match error.kind() {
                std::io::ErrorKind::PermissionDenied => "only root and the user of the daemon may ask it",
                _ => "is dormouse running, with this --control?",
            };
            cli::complain(&format_args!("cannot ask the daemon at {path}: {}; {advice}", why(&error)));
            exit::NO
        };
        let stream = UnixStream::connect(path).map_err(failed)?;
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = stream.set_write_timeout(Some(PATIENCE));
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// From now on an answer may take as long as it likes.
    pub(super) fn be_patient(&mut self) {
        let _ = self.stream.get_ref().set_read_timeout(None);
    }

    /// Sends a request and hands each row to `each`, until that says false or the answer is complete. Gives the last
    /// row, `ok`.
    ///
    /// # Errors
    /// The exit code; why has been said.
    pub(super) fn ask(&mut self, line: &str, each: &mut dyn FnMut(Row) -> bool) -> Result<Row, u8> {
        let failed = |error: std::io::Error| {
            cli::complain(&format_args!("asking the daemon: {}", why(&error)));
            exit::NO
        };
        self.stream.get_ref().write_all([line.trim_ascii_end(), "\n"].concat().as_bytes()).map_err(failed)?;
        loop {
            let mut text = String::new();
            if self.stream.read_line(&mut text).map_err(failed)? == 0 {
                cli::complain(&"the daemon has ended the connection");
                return Err(exit::NO);
            }
            text.truncate(text.trim_ascii_end().len());
            let row = Row::new(text);
            match row.kind() {
                "ok" => return Ok(row),
                "error" => {
                    cli::complain(&row.text("text"));
                    return Err(exit::NO);
                }
                _ => {}
            }
            if !each(row) {
                return Ok(Row::new("ok".to_owned()));
            }
        }
    }
}

/// Why a call failed, in our own words.
fn why(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => crate::sys::errno::Why(rustix::io::Errno::from_raw_os_error(number)).to_string(),
        None => error.to_string(),
    }
}
