//! Which files make a unit: the .socket file, the .service file that it starts, and the drop-ins of both.
//!
//! A file's own folder is looked through first; where that folder is one of systemd's, the others of systemd are looked
//! through as well, in its order, systemd.unit(5). Nothing is read twice, and a masked unit (a link to /dev/null) is
//! not there.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::directive::Id;
use super::draft::{Draft, ServiceDraft};
use super::fault::{Fault, Place, Severity, tell};
use super::files;
use super::left_out::Tolerance;
use super::message::Code;
use super::native::check_name;
use super::specifier::UnitName;
use super::unit::Unit;
use crate::sys::file;

/// Where systemd looks for units, the first first.
const UNIT_PATH: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Reads units.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    /// Which of those in a folder are left out when they are faulty.
    tolerance: &'a Tolerance,
    /// The sockets that were read.
    sockets: Vec<String>,
    /// The services that were read, and the names of their sections.
    services: Vec<(String, String)>,
    /// The files of the unit that was read last.
    last: Range<u32>,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(tolerance: &'a Tolerance) -> Self {
        Self { tolerance, sockets: Vec::new(), services: Vec::new(), last: 0..0 }
    }

    /// Reads a .socket file with all that belongs to it, or the socket of a .service file. `named`: the user gave its
    /// name; in a folder what is no complete unit by itself is passed over.
    pub(super) fn read(&mut self, draft: &mut Draft, path: &Path, named: bool) {
        let target = target(path);
        if is_masked(&target) {
            return if named {
                files::push(draft, path, Code::UnitMasked, "")
            };
        }
        let name = unit_name(path, &target);
        let folders = folders(path, &target);
        if name.kind() == "service" {
            let socket = if name.instance() == Some("") { name.prefix() } else { name.stem() };
            let socket = UnitName([socket, ".socket"].concat());
            return match find(&folders, &socket) {
                Some(path) => self.read(draft, &path, named),
                None => files::push(draft, path, Code::UnitNoSocket, &socket.0),
            };
        }
        if name.instance() == Some("") {
            return if named {
                files::push(draft, path, Code::UnitTemplate, name.prefix())
            };
        }
        if !self.sockets.contains(&name.0) {
            let path = if file::kind(path).is_some() { Some(path.to_owned()) } else { find(&folders, &name) };
            let path = path.unwrap_or(target);
            self.sockets.push(name.0.clone());
            let (file, faults) = (draft.sources.next(), draft.faults.len());
            let service = self.socket(draft, &path, name, &folders, named).filter(|service| is_new(draft, service));
            let mut usable = true;
            if !named && self.tolerance.covers(&path.to_string_lossy()) {
                draft.units.push(file);
                usable = !draft.leave_out_unit(faults, &self.last);
            }
            draft.services.extend(service.filter(|_| usable));
            self.last = file..draft.sources.next();
        }
    }

    /// Reads a socket with all that belongs to it, as the service that it is or a part of. `None`: it can't be used.
    fn socket(
        &mut self,
        draft: &mut Draft,
        path: &Path,
        name: UnitName,
        folders: &[PathBuf],
        named: bool,
    ) -> Option<ServiceDraft> {
        let mut unit = Unit::default();
        let file = load(draft, &mut unit, path, &name, folders)?;
        let whole = Place::line(file, 0);
        if let Some((names, place)) = unit.strange_sockets() {
            tell(&mut draft.faults, Code::UnitNoSockets, place, &[&name.0, &names]);
            return None;
        }
        unit.draft.place = whole;
        let service = if unit.accepts() {
            if unit.service.is_some() {
                tell(&mut draft.faults, Code::ServiceAccept, whole, &[]);
            }
            UnitName([name.prefix(), "@.service"].concat())
        } else {
            UnitName(unit.service.clone().unwrap_or_else(|| [name.stem(), ".service"].concat()))
        };
        // The socket of the service's own name comes first.
        let own = UnitName([service.stem(), ".socket"].concat());
        if !named && own != name && !unit.draft.flag(Id::Accept) {
            find(folders, &own).into_iter().for_each(|path| self.read(draft, &path, named));
        }
        if let Some((_, section)) = self.services.iter().find(|(known, _)| *known == service.0) {
            unit.draft.name.clone_from(&name.0);
            unit.draft.default_to(Id::Service, section);
        } else {
            let Some(path) = find(folders, &service) else {
                let mut fault = Fault::new(Code::UnitNoService, whole, &[&name.0, &service.0]);
                // A folder may hold sockets of programs that are not installed.
                fault.severity = if named { fault.severity } else { Severity::Warning };
                draft.faults.push(fault);
                return None;
            };
            let section = if unit.draft.flag(Id::Accept) { service.prefix() } else { service.stem() };
            section.clone_into(&mut unit.draft.name);
            self.services.push((service.0.clone(), section.to_owned()));
            load(draft, &mut unit, &path, &service, folders);
        }
        if !unit.draft.flag(Id::Accept) && unit.draft.name != name.stem() {
            unit.draft.default_to(Id::FileDescriptorName, &name.0);
        }
        Some(unit.finish(draft))
    }
}

/// Whether a service can have its name; why not is a fault.
fn is_new(draft: &mut Draft, service: &ServiceDraft) -> bool {
    let (name, place) = (&service.name, service.place);
    let fault = match draft.service(name) {
        Some(first) => Some(Fault::new(Code::SectionTwice, place, &[name]).with_other(first.place)),
        None => check_name(name, place),
    };
    let new = fault.is_none();
    draft.faults.extend(fault);
    new
}

/// Reads the main file of a unit, then its drop-ins. Gives the number of the main file.
fn load(draft: &mut Draft, unit: &mut Unit, path: &Path, name: &UnitName, folders: &[PathBuf]) -> Option<u32> {
    unit.specifiers.unit = name.clone();
    unit.specifiers.path = path.to_string_lossy().into_owned();
    let mut first = None;
    for path in std::iter::once(path.to_owned()).chain(drop_ins(folders, name)) {
        let file = files::load(draft, &path).map(|(file, text)| {
            unit.read(draft, file, &text);
            file
        });
        match file {
            None if first.is_none() => return None,
            file => first = first.or(file),
        }
    }
    first
}

/// Where the links of a path end.
fn target(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    // As many as the kernel follows, path_resolution(7).
    for _ in 0..40 {
        let Some(link) = file::link(&path) else { break };
        path = file::above(&path).join(link);
    }
    path
}

/// Whether a path with this end is a unit that is switched off.
fn is_masked(target: &Path) -> bool {
    target.as_os_str() == "/dev/null"
}

/// The name of the unit in a file. A link with an instance in its name instantiates a template; any other is an alias.
fn unit_name(path: &Path, target: &Path) -> UnitName {
    let name = |path: &Path| UnitName(file::name(path).to_string_lossy().into_owned());
    let (own, real) = (name(path), name(target));
    let alias = own.instance().is_none_or(str::is_empty) && real.kind() == own.kind();
    if alias { real } else { own }
}

/// The folders in which the other files of a unit are looked for.
fn folders(path: &Path, target: &Path) -> Vec<PathBuf> {
    let own = [parent(path), parent(target)];
    // Enabled units are links in foo.target.wants.
    let wants = |folder| file::ends_in(folder, "wants") || file::ends_in(folder, "requires");
    let above = own.map(|folder| if wants(folder) { parent(folder) } else { folder });
    let is_known = |folder: &&Path| UNIT_PATH.iter().any(|known| folder.as_os_str() == *known);
    let all: &[_] = if own.iter().chain(&above).any(is_known) { &UNIT_PATH } else { &[] };
    // A folder of links into one of systemd's: what lies beside the links comes first.
    let beside = own.first().copied().filter(|folder| !is_known(folder));
    let mut once: Vec<PathBuf> = Vec::new();
    for folder in beside.into_iter().chain(all.iter().map(Path::new)).chain(own).chain(above) {
        if !once.iter().any(|known| known.as_os_str() == folder.as_os_str()) {
            once.push(folder.to_owned());
        }
    }
    once
}

/// The folder of a file.
fn parent(path: &Path) -> &Path {
    let folder = file::above(path);
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}

/// The main file of a unit; for an instance without a file of its own that of the template.
fn find(folders: &[PathBuf], name: &UnitName) -> Option<PathBuf> {
    let there =
        |name: &UnitName| folders.iter().map(|folder| folder.join(&name.0)).find(|path| file::own_kind(path).is_some());
    let template = || name.instance().and_then(|_| there(&name.template()));
    there(name).or_else(template).filter(|path| !is_masked(&target(path)))
}

/// The drop-ins of a unit by name: those of the unit itself, of its template, of units whose names begin alike up to a
/// dash, and of all units of its kind. Of those with the same name the first holds.
fn drop_ins(folders: &[PathBuf], name: &UnitName) -> Vec<PathBuf> {
    let mut owners = vec![name.0.clone()];
    if name.instance().is_some_and(|instance| !instance.is_empty()) {
        owners.push(name.template().0);
    }
    let dashes: Vec<_> = name.prefix().match_indices('-').map(|(at, _)| &name.prefix()[..=at]).collect();
    owners.extend(dashes.iter().rev().map(|prefix| [prefix, ".", name.kind()].concat()));
    owners.push(name.kind().to_owned());
    let mut found: Vec<PathBuf> = Vec::new();
    for owner in owners {
        for folder in folders {
            for path in files::folder(&folder.join([&owner, ".d"].concat()), &["conf"]).unwrap_or_default() {
                let index = found.partition_point(|known| file::name(known) < file::name(&path));
                if found.get(index).is_none_or(|known| file::name(known) != file::name(&path)) {
                    found.insert(index, path);
                }
            }
        }
    }
    found
}
