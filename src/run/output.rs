//! Pipes from children to the log: StandardOutput= and StandardError= with `syslog` or `kmsg`. Each policy that wants
//! one has a pipe of its own, made before the seal; its lines get the service's SyslogIdentifier=.

use heapless::Vec;
use log::Level;
use rustix::event::{PollFlags, epoll};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::state::{Kept, KeptOutput, put_kept};
use super::tables::stored;
use super::{Server, Tables};
use crate::handover::codec::{Codec, Descriptor};
use crate::limits::LOG_LINE_BYTES;
use crate::logging::{self, Target};
use crate::plan::{Plan, Policy, Stdio};
use crate::sys::wait::ready;

/// Reads of one pipe in one turn.
const READS_PER_TURN: usize = 4;

/// One pipe.
pub struct Output {
    /// Row of the policy; [`ORPHAN`]: none, it only serves children of services that are gone or have changed.
    policy: u16,
    read: OwnedFd,
    /// What children get; an orphan has none, so that its end is seen when the last writer ends.
    write: Option<OwnedFd>,
    /// Log and identifier of an orphan.
    orphan: (Target, Vec<u8, IDENTIFIER_BYTES>),
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8, LOG_LINE_BYTES>,
}

/// Instead of a row of a policy.
const ORPHAN: u16 = u16::MAX;
/// Bytes of an orphan's identifier; of a longer one the beginning.
const IDENTIFIER_BYTES: usize = 64;

impl Output {
    const fn new(policy: u16, read: OwnedFd, write: Option<OwnedFd>) -> Self {
        Self { policy, read, write, orphan: (Target::Syslog, Vec::new()), line: Vec::new() }
    }

    /// Where its lines go, and under which name.
    fn log<'a>(&'a self, plan: &'a Plan) -> (Target, &'a [u8]) {
        let policy = plan.policies.get(usize::from(self.policy));
        policy.map_or((self.orphan.0, &self.orphan.1), |policy| (policy.log, plan.arena.get(policy.syslog_identifier)))
    }

    /// Writes it for the next image, see [`super::state`].
    pub(super) fn put(&self, plan: &Plan, to: &mut Codec<'_>) {
        let (log, identifier) = self.log(plan);
        let (read, write) = (Descriptor(self.read.as_raw_fd()), Descriptor::of(self.write.as_ref()));
        put_kept(to, KeptOutput { log, read, write }, identifier, &self.line);
    }

    /// The end that we read.
    pub fn read_end(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }
}

/// The pipe of a policy, for a child to write to; `None`: it needs none.
pub(super) fn log_of(outputs: &[Output], policy: u16) -> Option<BorrowedFd<'_>> {
    outputs.iter().find(|output| output.policy == policy).and_then(|output| output.write.as_ref()).map(AsFd::as_fd)
}

/// Makes the pipes that the plan needs.
///
/// # Errors
/// EMFILE, ENFILE; NOBUFS if there are more than [`crate::limits::OUTPUTS`].
pub fn prepare(plan: &Plan, tables: &mut Tables) -> Result<(), Errno> {
    for (row, policy) in plan.policies.iter().enumerate() {
        let policy_row = stored(row);
        let resumed = tables.outputs.iter().any(|output| output.policy == policy_row);
        if !wants_pipe(policy) || resumed {
            continue;
        }
        // the child writes as to a file, only our end must not block; the flag belongs to each end
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::fs::fcntl_setfl(&read, rustix::fs::OFlags::NONBLOCK)?;
        let output = Output::new(policy_row, read, Some(write));
        tables.outputs.push(output).map_err(|_| Errno::NOBUFS)?;
    }
    Ok(())
}

fn wants_pipe(policy: &Policy) -> bool {
    policy.log != Target::Stderr && policy.stdio.contains(&Stdio::Log)
}

/// A pipe of the image before goes to the policy with the same log and identifier. Without one it is kept as an orphan
/// as long as children write to it.
pub(super) fn resume(plan: &Plan, tables: &mut Tables, old: &Kept<KeptOutput>, read: OwnedFd, write: Option<OwnedFd>) {
    let free = |row: usize| tables.outputs.iter().all(|output| usize::from(output.policy) != row);
    let same = |policy: &Policy| policy.log == old.row.log && plan.arena.get(policy.syslog_identifier) == old.first;
    let mut policies = plan.policies.iter().enumerate();
    let found = policies.find(|(row, policy)| wants_pipe(policy) && same(policy) && free(*row) && write.is_some());
    let mut output = match found.and_then(|(row, _)| u16::try_from(row).ok()) {
        Some(row) => Output::new(row, read, write),
        None => {
            drop(write);
            if !has_writer(&read) {
                return;
            }
            let mut orphan = Output::new(ORPHAN, read, None);
            orphan.orphan.0 = old.row.log;
            let length = old.first.len().min(IDENTIFIER_BYTES);
            let _ = orphan.orphan.1.extend_from_slice(old.first.get(..length).unwrap_or(&[])); // it fits
            orphan
        }
    };
    let _ = output.line.extend_from_slice(&old.second); // it came from such a line
    let _ = tables.outputs.push(output); // full: its children lose their log
}

/// Whether something is in the pipe, or somebody may still write to it.
fn has_writer(read: &OwnedFd) -> bool {
    let told = ready(read.as_fd(), PollFlags::IN);
    told.contains(PollFlags::IN) || !told.contains(PollFlags::HUP)
}

impl Server {
    /// A child has written: its whole lines go to the log.
    #[inline(never)] // its buffers are no part of the loop's own frame
    pub(super) fn on_output(&mut self, row: usize) {
        let plan = self.plan;
        let Some(output) = self.tables.outputs.get_mut(row) else { return };
        let (target, identifier) = output.log(plan);
        let identifier: Vec<u8, 256> = Vec::from_slice(identifier).unwrap_or_default();
        let mut buffer = [0; 1024];
        for _ in 0..READS_PER_TURN {
            let Ok(length) = rustix::io::read(&output.read, &mut buffer) else { return };
            if length == 0 {
                let _ = epoll::delete(&self.epoll, &output.read); // the last writer of an orphan has ended
                return;
            }
            for &byte in buffer.get(..length).unwrap_or(&[]) {
                // a line that is too long is told in pieces
                if byte == b'\n' || output.line.push(byte).is_err() {
                    logging::raw_line(target, Level::Info, &identifier, &output.line);
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
