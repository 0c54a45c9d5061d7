//! Users, groups, capabilities, limits, folders: the directives that become steps of a child's set-up program.

use core::ffi::CStr;
use std::ffi::CString;

use rustix::process::{getegid, geteuid};

use super::steps::{OpenMode, Step, Steps};
use super::work::Work;
use crate::config::{self, Code, Id, ServiceDraft};
use crate::limits::GROUPS;
use crate::sys::environment;
use crate::sys::users::{self, User};
use crate::text::number;

/// Who a service runs as.
pub(super) struct Identity {
    /// User=, if set.
    pub(super) user: Option<User>,
    gid: Option<u32>,
    groups: Vec<u32>,
}

/// Looks User=, Group= and SupplementaryGroups= up.
pub(super) fn identity(work: &mut Work<'_>) -> Identity {
    let draft = work.draft;
    let user = draft.text(Id::User).and_then(|name| {
        let user = users::user(name).or_else(|| unlisted(draft, name));
        if user.is_none() {
            work.unknown(Code::NoUser, Id::User, name);
        }
        user
    });
    let mut group = |id, name: &str| {
        let gid = users::group(name);
        if gid.is_none() {
            work.unknown(Code::NoGroup, id, name);
        }
        gid
    };
    let gid = match draft.text(Id::Group) {
        Some(name) => group(Id::Group, name),
        None => user.as_ref().map(|user| user.gid),
    };
    let mut groups = match (&user, gid) {
        (Some(user), Some(gid)) => users::groups_of(&user.name, gid),
        (None, Some(gid)) => vec![gid],
        _ => Vec::new(),
    };
    for name in draft.list(Id::SupplementaryGroups) {
        groups.extend(group(Id::SupplementaryGroups, name));
    }
    work.at_most(Code::GroupsMany, Id::SupplementaryGroups, [groups.len(), GROUPS]);
    Identity { user, gid, groups }
}

/// A user that is only a number: its group must be given, since nobody else knows it.
fn unlisted(draft: &ServiceDraft, name: &str) -> Option<User> {
    let uid = number(name, 10)?;
    let gid = draft.text(Id::Group).and_then(users::group)?;
    Some(User { uid, gid, name: name.to_owned(), home: "/".to_owned(), shell: "/bin/sh".to_owned() })
}

/// The set-up program, in the order in which systemd does the same (systemd.exec(5)): what needs privileges first,
/// the working folder as the new user, so that it may lie where root has no access. Files of EnvironmentFile= that are
/// `missing` keep the program from starting.
pub(super) fn steps(work: &mut Work<'_>, identity: &Identity, streams: &[&str; 3], missing: &[&str]) -> Steps {
    let draft = work.draft;
    let mut list = Builder { steps: Steps::default(), work };
    if cfg!(feature = "exec") {
        for path in missing {
            list.path(Id::EnvironmentFile, Some(path), |path| Step::Await(path));
        }
        list.limits();
    }
    if draft.is_set(Id::UMask)
        && let Ok(mask) = u16::try_from(draft.mode(Id::UMask))
    {
        list.push(Id::UMask, &Step::Umask(mask));
    }
    if cfg!(feature = "exec") {
        list.folders(identity);
    }
    list.streams(streams);
    if cfg!(feature = "exec") {
        list.path(Id::RootDirectory, draft.text(Id::RootDirectory), |path| Step::Root(path));
    }
    list.identity(identity);
    list.working_directory(identity);
    if cfg!(feature = "exec") && draft.flag(Id::NoNewPrivileges) {
        list.push(Id::NoNewPrivileges, &Step::NoNewPrivileges);
    }
    if let Some(signal) = list.work.context.parent_death {
        list.push(Id::KillSignal, &Step::ParentDeath(signal));
    }
    list.steps
}

/// Folders that are made for a service: the directive, that of their mode, where they lie, and the variable that tells
/// the service of them (systemd.exec(5)).
pub(super) const FOLDERS: [(Id, Id, &str, &str); 4] = [
    (Id::RuntimeDirectory, Id::RuntimeDirectoryMode, "/run", "RUNTIME_DIRECTORY"),
    (Id::StateDirectory, Id::StateDirectoryMode, "/var/lib", "STATE_DIRECTORY"),
    (Id::CacheDirectory, Id::CacheDirectoryMode, "/var/cache", "CACHE_DIRECTORY"),
    (Id::LogsDirectory, Id::LogsDirectoryMode, "/var/log", "LOGS_DIRECTORY"),
];

struct Builder<'w, 'a> {
    steps: Steps,
    work: &'w mut Work<'a>,
}

impl Builder<'_, '_> {
    fn push(&mut self, id: Id, step: &Step<'_>) {
        if !self.steps.push(step) {
            self.work.fault(Code::ValueLong, id, &[id.name()]);
        }
    }

    fn path(&mut self, id: Id, path: Option<&str>, step: impl for<'p> FnOnce(&'p CStr) -> Step<'p>) {
        match path.map(CString::new) {
            None => {}
            Some(Ok(path)) => self.push(id, &step(&path)),
            Some(Err(_)) => self.work.fault(Code::HoldsNul, id, &[id.name()]),
        }
    }

    /// Limit...=, Nice= and OOMScoreAdjust=.
    fn limits(&mut self) {
        let draft = self.work.draft;
        for (id, [soft, hard]) in draft.rlimits() {
            if let Some(resource) = config::resource(id) {
                self.push(id, &Step::Limit(resource, soft, hard));
            }
        }
        let signed = |id| draft.number(id).map(u64::cast_signed);
        if let Some(nice) = signed(Id::Nice).and_then(|nice| i8::try_from(nice).ok()) {
            self.push(Id::Nice, &Step::Nice(nice));
        }
        if let Some(score) = signed(Id::OOMScoreAdjust) {
            self.push(Id::OOMScoreAdjust, &Step::OomScore(score.to_string().as_bytes()));
        }
    }

    /// RuntimeDirectory= and its kin: the folders above are root's, the last one belongs to the service.
    fn folders(&mut self, identity: &Identity) {
        let uid = identity.user.as_ref().map_or(u32::MAX, |user| user.uid);
        let gid = identity.gid.unwrap_or(u32::MAX);
        for (id, mode, base, _) in FOLDERS {
            let mode = u16::try_from(self.work.draft.mode(mode)).unwrap_or(0o755);
            let folders = self.work.draft.list(id);
            if folders.is_empty() {
                continue;
            }
            let base = environment::folder(base);
            for folder in folders {
                let path = [&base, "/", folder].concat();
                self.path(id, Some(&path), |path| Step::Folder(mode, uid, gid, path));
            }
        }
    }

    /// Files for standard input, output and error; output and error on the same file share one open file.
    fn streams(&mut self, streams: &[&str; 3]) {
        for (fd, stream) in (0_u8..).zip(streams) {
            let Some((how, path)) = stream.split_once(':') else { continue };
            let mode = match how {
                "append" => OpenMode::Append,
                "truncate" => OpenMode::Truncate,
                _ if fd == 0 => OpenMode::Read,
                _ => OpenMode::Write,
            };
            let id = [Id::StandardInput, Id::StandardOutput, Id::StandardError][usize::from(fd)];
            if fd == 2 && *stream == streams[1] {
                self.push(id, &Step::Copy(1, 2));
            } else {
                self.path(id, Some(path), |path| Step::Open(fd, mode, path));
            }
        }
    }

    fn identity(&mut self, identity: &Identity) {
        // an ordinary user may name itself, and has nothing to change then
        let (user, group) = (geteuid(), getegid());
        let same = |own: &User| own.uid == user.as_raw() && identity.gid == Some(group.as_raw());
        if !user.is_root()
            && identity.user.as_ref().is_some_and(same)
            && !self.work.draft.is_set(Id::SupplementaryGroups)
            && !self.work.draft.is_set(Id::AmbientCapabilities)
            && !self.work.draft.is_set(Id::CapabilityBoundingSet)
        {
            return;
        }
        if !identity.groups.is_empty() {
            let mut bytes = Vec::new();
            identity.groups.iter().for_each(|gid| bytes.extend_from_slice(&gid.to_ne_bytes()));
            self.push(Id::SupplementaryGroups, &Step::Groups(&bytes));
        }
        if let Some(gid) = identity.gid {
            self.push(Id::Group, &Step::Group(gid));
        }
        let capabilities = |id| self.work.draft.number(id).filter(|_| cfg!(feature = "exec"));
        let ambient = capabilities(Id::AmbientCapabilities).unwrap_or(0);
        if let Some(keep) = capabilities(Id::CapabilityBoundingSet) {
            self.push(Id::CapabilityBoundingSet, &Step::Bounding(keep));
        }
        if let Some(user) = &identity.user {
            if ambient != 0 {
                self.push(Id::AmbientCapabilities, &Step::KeepCapabilities);
            }
            self.push(Id::User, &Step::User(user.uid));
        }
        if ambient != 0 {
            self.push(Id::AmbientCapabilities, &Step::Ambient(ambient));
        }
    }

    fn working_directory(&mut self, identity: &Identity) {
        let Some(folder) = self.work.draft.text(Id::WorkingDirectory) else { return };
        let (optional, folder) = config::optional(folder);
        let home = identity.user.as_ref().map(|user| user.home.clone());
        let folder = if folder == "~" {
            home.or_else(|| environment::text("HOME").map(str::to_owned)).unwrap_or_else(|| "/".to_owned())
        } else {
            folder.to_owned()
        };
        self.path(Id::WorkingDirectory, Some(&folder), |path| Step::Directory(optional, path));
    }
}
