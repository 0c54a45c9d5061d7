//! A whole plan in a file: the process that checks a new configuration writes it, and the program that takes over reads
//! it instead of the configuration. So what was found sound is what is used, even if the files change in between.

use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::{Errno, read};

use super::{Own, Plan, PlanTables};
use crate::sys::rows::{self, Program, SameProgram, read_rows, write_rows};

/// What stands at the beginning; [`VERSION_BYTES`] of it must stay as they are for ever.
const MAGIC: [u8; 8] = *b"dormouse";
/// Bytes of the magic word and of the version that follows it, in native byte order.
pub const VERSION_BYTES: usize = 12;

/// What comes behind the version: how many rows there are.
#[derive(Clone, Copy)]
struct Head {
    services: usize,
    listeners: usize,
    policies: usize,
    sockets: usize,
    arena: u32,
    own: Own,
}

impl Plan {
    /// Writes the plan to an empty file, with the version of the state that this program can take over.
    ///
    /// # Errors
    /// As write(2); ENOENT without /proc.
    pub fn write_image(&self, file: impl AsFd, version: u32) -> Result<(), Errno> {
        let file = file.as_fd();
        let Self { arena, services, listeners, policies, sockets, own } = self;
        let head = Head {
            services: services.len(),
            listeners: listeners.len(),
            policies: policies.len(),
            sockets: sockets.len(),
            arena: u32::try_from(arena.used()).map_err(|_| Errno::OVERFLOW)?,
            own: *own,
        };
        write_rows(file, &MAGIC)?;
        write_rows(file, &version.to_ne_bytes())?;
        write_rows(file, &rows::program()?)?;
        write_rows(file, &[head])?;
        write_rows(file, services)?;
        write_rows(file, listeners)?;
        write_rows(file, policies)?;
        write_rows(file, sockets)?;
        write_rows(file, arena.bytes())
    }
}

impl PlanTables {
    /// Reads the plan from a file that stands at its beginning. After an error the plan is not to be used.
    ///
    /// # Errors
    /// As read(2); NODATA: it is too short; INVAL: it is not a plan, or that of another program.
    pub fn read_image(&mut self, file: impl AsFd) -> Result<(), Errno> {
        let file = file.as_fd();
        let mut start = [0; VERSION_BYTES];
        fill(file, &mut start)?;
        version_of(&start).ok_or(Errno::INVAL)?;
        let mut writer = [0; size_of::<Program>()];
        fill(file, &mut writer)?;
        let mut program = Program::default();
        for (word, bytes) in program.iter_mut().zip(writer.as_chunks::<8>().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        let proof = SameProgram::prove(&program)?;
        let mut head: heapless::Vec<Head, 1> = heapless::Vec::new();
        read_rows(file, &proof, 1, &mut head)?;
        let Some(&head) = head.first() else { return Err(Errno::NODATA) };
        read_rows(file, &proof, head.services, &mut self.services)?;
        read_rows(file, &proof, head.listeners, &mut self.listeners)?;
        read_rows(file, &proof, head.policies, &mut self.policies)?;
        read_rows(file, &proof, head.sockets, &mut self.sockets)?;
        fill(file, self.arena.refill(head.arena).ok_or(Errno::OVERFLOW)?)?;
        self.own = head.own;
        Ok(())
    }
}

/// The version in the first [`VERSION_BYTES`] of a file; `None`: no plan was written there.
pub fn version_of(start: &[u8; VERSION_BYTES]) -> Option<u32> {
    let version = start.strip_prefix(&MAGIC)?;
    version.try_into().ok().map(u32::from_ne_bytes)
}

fn fill(file: BorrowedFd<'_>, mut room: &mut [u8]) -> Result<(), Errno> {
    while !room.is_empty() {
        match read(file, &mut *room) {
            Ok(0) => return Err(Errno::NODATA),
            Ok(length) => room = &mut room[length..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::with_plan;
    use super::*;
    use rustix::fs::{MemfdFlags, SeekFrom, ftruncate, memfd_create, seek};

    #[test]
    #[cfg_attr(not(feature = "local"), ignore = "this build has internet sockets only")]
    fn a_plan_comes_back_and_half_a_plan_does_not() {
        with_plan(&[("a", &[("ListenStream", "80")]), ("b", &[("ListenDatagram", "/run/x")])], |plan, _| {
            let file = memfd_create(c"plan", MemfdFlags::CLOEXEC).unwrap();
            plan.write_image(&file, 7).unwrap();
            let mut start = [0; VERSION_BYTES];
            assert_eq!(rustix::io::pread(&file, &mut start, 0), Ok(VERSION_BYTES));
            assert_eq!(version_of(&start), Some(7));
            let mut again = Box::new(PlanTables::EMPTY);
            seek(&file, SeekFrom::Start(0)).unwrap();
            again.read_image(&file).unwrap();
            assert_eq!(again.arena.bytes(), plan.arena.bytes());
            assert_eq!(again.sockets.as_slice(), plan.sockets);
            assert_eq!(again.services.len(), 2);
            for length in [0, 5, VERSION_BYTES as u64, 80, 300] {
                ftruncate(&file, length).unwrap();
                seek(&file, SeekFrom::Start(0)).unwrap();
                assert!(again.read_image(&file).is_err());
            }
        });
    }

    #[test]
    fn other_files_are_no_plans() {
        assert_eq!(version_of(b"usage: true\n"), None);
    }
}
