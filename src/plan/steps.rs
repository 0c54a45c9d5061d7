//! The set-up program of a child: what it does to itself between clone and exec, as a list of steps in the arena.
//!
//! A service that asks for nothing has an empty list. The order is fixed where the list is made
//! ([`Steps::push`] is called in it); the child only carries out one step after the other.

use core::ffi::CStr;

/// One step. Paths are NUL-ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Resource limit: number as in getrlimit(2), soft, hard; `u64::MAX` is infinity.
    Limit(u8, u64, u64),
    /// Nice value, -20 to 19.
    Nice(i8),
    /// Text for /proc/self/oom_score_adj, -1000 to 1000.
    OomScore(&'a [u8]),
    /// File mode creation mask.
    Umask(u16),
    /// Opens a file as a standard descriptor: descriptor, how, path.
    Open(u8, OpenMode, &'a CStr),
    /// Copies one standard descriptor to another (dup2(2)): from, to.
    Copy(u8, u8),
    /// New root folder (chroot(2)).
    Root(&'a CStr),
    /// Supplementary groups: u32 each, native byte order.
    Groups(&'a [u8]),
    /// Real, effective and saved group id.
    Group(u32),
    /// Capabilities that stay in the bounding set, one bit each.
    Bounding(u64),
    /// Keeps the permitted capabilities over the change of user.
    KeepCapabilities,
    /// Real, effective and saved user id.
    User(u32),
    /// Capabilities in the ambient set, one bit each.
    Ambient(u64),
    /// Working folder; a missing one is no error if the flag is set.
    Directory(bool, &'a CStr),
    /// Never again more privileges by exec.
    NoNewPrivileges,
    /// A folder, made when it is missing: mode, owner and group (`u32::MAX`: not changed), path.
    Folder(u16, u32, u32, &'a CStr),
    /// The kernel sends this signal when Dormouse dies.
    ParentDeath(u8),
    /// A file that was missing when the configuration was read: ENOENT, or EAGAIN when it is there by now.
    Await(&'a CStr),
}

/// How [`Step::Open`] opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// For reading.
    Read,
    /// For writing at the start, the rest stays.
    Write,
    /// For writing at the end.
    Append,
    /// For writing, emptied first.
    Truncate,
}

/// Names of the steps in the order of their numbers, then those of the fixed acts of a child. The directive that
/// asked for a step is its name wherever there is one.
const NAMES: [&str; 25] = [
    "Limit",
    "Nice",
    "OOMScoreAdjust",
    "UMask",
    "StandardInput",
    "RootDirectory",
    "SupplementaryGroups",
    "Group",
    "CapabilityBoundingSet",
    "keeping capabilities",
    "User",
    "AmbientCapabilities",
    "WorkingDirectory",
    "NoNewPrivileges",
    "parent death signal",
    "StandardError",
    "StandardOutput",
    "StandardError",
    "session",
    "descriptors",
    "the socket as standard descriptor",
    "exec",
    "clone",
    "a folder",
    "EnvironmentFile",
];

/// What a child, or the parent for it, was doing when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage(pub u8);

impl Stage {
    /// setsid(2).
    pub const SESSION: Self = Self(18);
    /// Descriptors 3 and up.
    pub const DESCRIPTORS: Self = Self(19);
    /// Descriptors 0, 1, 2.
    pub const STDIO: Self = Self(20);
    /// execve(2).
    pub const EXEC: Self = Self(21);
    /// clone(2).
    pub const CLONE: Self = Self(22);
    /// [`Step::Await`].
    pub const AWAIT: Self = Self(24);

    /// Its name.
    pub fn name(self) -> &'static str {
        NAMES.get(usize::from(self.0)).copied().unwrap_or("?")
    }
}

/// Collects steps as bytes: number, length (u16), content.
#[derive(Default)]
pub struct Steps(Vec<u8>);

impl Steps {
    /// Adds a step. False: its content is too long (65535 bytes); nothing was added.
    #[must_use]
    pub fn push(&mut self, step: &Step<'_>) -> bool {
        let bytes = CStr::to_bytes_with_nul;
        let content = match *step {
            Step::Limit(resource, soft, hard) => [&[resource][..], &soft.to_ne_bytes(), &hard.to_ne_bytes()].concat(),
            Step::Nice(value) => value.to_ne_bytes().to_vec(),
            Step::OomScore(bytes) | Step::Groups(bytes) => bytes.to_vec(),
            Step::Umask(mask) => mask.to_ne_bytes().to_vec(),
            Step::Open(fd, mode, path) => [&[fd, mode as u8], bytes(path)].concat(),
            Step::Root(path) | Step::Await(path) => bytes(path).to_vec(),
            Step::Group(id) | Step::User(id) => id.to_ne_bytes().to_vec(),
            Step::Bounding(set) | Step::Ambient(set) => set.to_ne_bytes().to_vec(),
            Step::KeepCapabilities | Step::NoNewPrivileges => Vec::new(),
            Step::Directory(optional, path) => [&[u8::from(optional)], bytes(path)].concat(),
            Step::ParentDeath(signal) => vec![signal],
            Step::Folder(mode, uid, gid, path) => {
                [&mode.to_ne_bytes()[..], &uid.to_ne_bytes(), &gid.to_ne_bytes(), bytes(path)].concat()
            }
            Step::Copy(from, to) => vec![from, to],
        };
        let Ok(length) = u16::try_from(content.len()) else { return false };
        self.0.push(number(step));
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&content);
        true
    }

    /// The list.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The number of a step, which is also its [`Stage`].
fn number(step: &Step<'_>) -> u8 {
    match step {
        Step::Limit(..) => 0,
        Step::Nice(_) => 1,
        Step::OomScore(_) => 2,
        Step::Umask(_) => 3,
        Step::Open(0, ..) => 4,
        Step::Root(_) => 5,
        Step::Groups(_) => 6,
        Step::Group(_) => 7,
        Step::Bounding(_) => 8,
        Step::KeepCapabilities => 9,
        Step::User(_) => 10,
        Step::Ambient(_) => 11,
        Step::Directory(..) => 12,
        Step::NoNewPrivileges => 13,
        Step::ParentDeath(_) => 14,
        Step::Copy(..) => 15,
        Step::Open(1, ..) => 16,
        Step::Open(..) => 17,
        // behind the fixed acts
        Step::Folder(..) => 23,
        Step::Await(_) => 24,
    }
}

/// Reads a list of steps. It allocates nothing and ends at the first thing that is not a step.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads `bytes`, a list made by [`Steps`].
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = (Stage, Step<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[number, low, high], rest) = self.0.split_first_chunk::<3>()?;
        let (content, rest) = rest.split_at_checked(usize::from(u16::from_ne_bytes([low, high])))?;
        self.0 = rest;
        decode(number, content).map(|step| (Stage(number), step))
    }
}

fn decode(number: u8, content: &[u8]) -> Option<Step<'_>> {
    let path = |at: usize| CStr::from_bytes_with_nul(content.get(at..)?).ok();
    let long = |at: usize| Some(u64::from_ne_bytes(content.get(at..at + 8)?.try_into().ok()?));
    let id = |at: usize| Some(u32::from_ne_bytes(content.get(at..at + 4)?.try_into().ok()?));
    let word = || Some(u32::from_ne_bytes(content.try_into().ok()?));
    Some(match number {
        0 => Step::Limit(*content.first()?, long(1)?, long(9)?),
        1 => Step::Nice(i8::from_ne_bytes([*content.first()?])),
        2 => Step::OomScore(content),
        3 => Step::Umask(u16::from_ne_bytes(content.try_into().ok()?)),
        4 | 16 | 17 => Step::Open(*content.first()?, open_mode(*content.get(1)?)?, path(2)?),
        5 => Step::Root(path(0)?),
        6 => Step::Groups(content),
        7 => Step::Group(word()?),
        8 => Step::Bounding(long(0)?),
        9 => Step::KeepCapabilities,
        10 => Step::User(word()?),
        11 => Step::Ambient(long(0)?),
        12 => Step::Directory(*content.first()? != 0, path(1)?),
        13 => Step::NoNewPrivileges,
        14 => Step::ParentDeath(*content.first()?),
        23 => Step::Folder(u16::from_ne_bytes([*content.first()?, *content.get(1)?]), id(2)?, id(6)?, path(10)?),
        24 => Step::Await(path(0)?),
        15 => Step::Copy(*content.first()?, *content.get(1)?),
        _ => return None,
    })
}

fn open_mode(byte: u8) -> Option<OpenMode> {
    [OpenMode::Read, OpenMode::Write, OpenMode::Append, OpenMode::Truncate].into_iter().find(|&mode| mode as u8 == byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_read_as_it_was_written() {
        let all = [
            Step::Limit(7, 1024, u64::MAX),
            Step::Nice(-5),
            Step::OomScore(b"-500"),
            Step::Umask(0o027),
            Step::Open(2, OpenMode::Append, c"/var/log/x"),
            Step::Root(c"/srv"),
            Step::Groups(&[1, 0, 0, 0]),
            Step::Group(100),
            Step::Bounding(0xff),
            Step::KeepCapabilities,
            Step::User(1000),
            Step::Ambient(1 << 10),
            Step::Directory(true, c"/"),
            Step::NoNewPrivileges,
            Step::ParentDeath(15),
            Step::Copy(1, 2),
            Step::Folder(0o750, 1000, u32::MAX, c"/run/x"),
            Step::Await(c"/etc/default/x"),
        ];
        let mut steps = Steps::default();
        for step in &all {
            assert!(steps.push(step));
        }
        let read: Vec<_> = Reader::new(steps.bytes()).collect();
        assert_eq!(read.iter().map(|(_, step)| *step).collect::<Vec<_>>(), all);
        assert_eq!(read[10].0.name(), "User");
        assert_eq!(Stage::CLONE.name(), "clone");
    }

    #[test]
    fn a_broken_list_ends_early() {
        let mut steps = Steps::default();
        assert!(steps.push(&Step::Group(5)));
        let bytes = steps.bytes();
        for cut in 0..bytes.len() {
            assert_eq!(Reader::new(&bytes[..cut]).count(), 0);
        }
        assert_eq!(Reader::new(&[99, 0, 0]).count(), 0);
    }
}
