//! Pipes from children to the log: StandardOutput= and StandardError= with `syslog` or `kmsg`. Each policy that wants
//! one has a pipe of its own, made before the seal; its lines get the service's SyslogIdentifier=.

use heapless::Vec;
use log::Level;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::{Server, Tables};
use crate::limits::{LOG_LINE_BYTES, OUTPUTS};
use crate::logging::{self, Target};
use crate::plan::{ChildLog, Plan, Stdio};

/// Reads of one pipe in one turn.
const READS_PER_TURN: usize = 4;

/// One pipe.
pub struct Output {
    policy: u16,
    read: OwnedFd,
    write: OwnedFd,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8, LOG_LINE_BYTES>,
}

impl Output {
    /// The end that we read.
    pub fn read_end(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }
}

/// The pipe of a policy, for a child to write to; `None`: it needs none.
pub(super) fn log_of(outputs: &[Output], policy: u16) -> Option<BorrowedFd<'_>> {
    outputs.iter().find(|output| output.policy == policy).map(|output| output.write.as_fd())
}

/// Makes the pipes that the plan needs.
///
/// # Errors
/// EMFILE, ENFILE; NOBUFS if there are more than [`OUTPUTS`].
pub fn prepare(plan: &Plan, tables: &mut Tables) -> Result<(), Errno> {
    for (row, policy) in plan.policies.iter().enumerate() {
        if policy.log == ChildLog::Stderr || !policy.stdio.contains(&Stdio::Log) {
            continue;
        }
        // the child writes as to a file, only our end must not block; the flag belongs to each end
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::fs::fcntl_setfl(&read, rustix::fs::OFlags::NONBLOCK)?;
        let policy = u16::try_from(row).unwrap_or(u16::MAX);
        let output = Output { policy, read, write, line: Vec::new() };
        tables.outputs.push(output).map_err(|_| Errno::NOBUFS)?;
    }
    let _ = OUTPUTS;
    Ok(())
}

impl Server {
    /// A child has written: its whole lines go to the log.
    pub(super) fn on_output(&mut self, row: usize) {
        let plan = self.plan;
        let Some(output) = self.tables.outputs.get_mut(row) else { return };
        let Some(policy) = plan.policies.get(usize::from(output.policy)) else { return };
        let target = if policy.log == ChildLog::Kmsg { Target::Kmsg } else { Target::Syslog };
        let identifier = plan.arena.get(policy.syslog_identifier);
        let mut buffer = [0; 1024];
        for _ in 0..READS_PER_TURN {
            let Ok(length) = rustix::io::read(&output.read, &mut buffer) else { return };
            for &byte in buffer.get(..length).unwrap_or(&[]) {
                // a line that is too long is told in pieces
                if byte == b'\n' || output.line.push(byte).is_err() {
                    logging::raw_line(target, Level::Info, identifier, &output.line);
                    output.line.clear();
                    if byte != b'\n' {
                        let _ = output.line.push(byte); // there is room: it was cleared
                    }
                }
            }
            if length < buffer.len() {
                return;
            }
        }
    }
}
