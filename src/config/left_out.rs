//! What is left out for a fault while the rest is used: a line, as an inetd does, or a unit, as systemd does.

use std::ops::Range;

use super::directive::Id;
use super::draft::{Draft, ServiceDraft};
use super::fault::{Fault, Place};
use super::message::Code;

/// What is left out when it is faulty, beside the services of xinetd.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Tolerance {
    /// Nothing: the whole configuration can't be used.
    #[default]
    Strict,
    /// Lines of inetd.conf, and units that were found in a folder.
    Lenient,
    /// As [`Self::Lenient`], but of units only those with these main files, each ended by a NUL. A reload must not
    /// close the sockets of others because of a fault that is new.
    Known(String),
}

impl Tolerance {
    /// Whether a unit with this main file is left out.
    pub(super) fn covers(&self, path: &str) -> bool {
        match self {
            Self::Strict => false,
            Self::Lenient => true,
            Self::Known(paths) => paths.split_terminator('\0').any(|known| known == path),
        }
    }
}

impl ServiceDraft {
    /// Whether a line of this file says something about it.
    fn is_from(&self, file: u32) -> bool {
        let listens = || self.listens.iter().any(|listen| listen.place.file == file);
        self.place.file == file || listens() || self.settings().any(|(id, _)| self.place(id).file == file)
    }
}

impl Draft {
    /// Whether a faulty service of this place is left out, instead of keeping the whole configuration from being used.
    pub fn is_tolerant(&self, place: Place) -> bool {
        self.tolerant.contains(&place.file) || self.units.contains(&place.file)
    }

    /// The main files of units that are no part of any service but may be, each ended by a NUL.
    pub fn units_left_out(&self) -> String {
        let is_used = |file: u32| self.services.iter().any(|service| service.place.file == file);
        let unused = self.units.iter().filter(|file| !is_used(**file));
        unused.flat_map(|file| [self.sources.name(*file), "\0"]).collect()
    }

    /// Says that the unit is left out which the faults are about from the one numbered `first` on, but for those in the
    /// files of `another`. False: there is no such fault.
    pub(super) fn leave_out_unit(&mut self, first: usize, another: &Range<u32>) -> bool {
        let own = |fault: &&mut Fault| fault.is_error() && !another.contains(&fault.place.file);
        self.faults.iter_mut().skip(first).filter(own).map(Fault::skip).count() > 0
    }

    /// Leaves out the services that the faults from the one numbered `first` on are about, where that is done.
    pub(super) fn leave_out(&mut self, first: usize) {
        let mut faults = self.faults.split_off(first);
        let mut gone: Vec<Place> = Vec::new();
        // a table that is full is nothing that one service less would help
        for fault in faults.iter_mut().filter(|fault| fault.is_error() && fault.code != Code::TooMany) {
            if let Some(service) = self.about(fault.place) {
                gone.push(service.place);
                fault.skip();
            }
        }
        let names: Vec<_> = self
            .services
            .iter()
            .filter(|service| gone.contains(&service.place))
            .map(|service| service.name.clone())
            .collect();
        self.services.retain(|service| {
            let owner = service.text(Id::Service).filter(|_| self.units.contains(&service.place.file));
            !gone.contains(&service.place) && !owner.is_some_and(|owner| names.iter().any(|name| name == owner))
        });
        self.faults.append(&mut faults);
    }

    /// The service that is left out for a fault at this place.
    fn about(&self, place: Place) -> Option<&ServiceDraft> {
        if self.tolerant.contains(&place.file) {
            let before = |service: &&ServiceDraft| service.place.file == place.file && service.place.line <= place.line;
            return self.services.iter().rfind(before);
        }
        let unit = |service: &&ServiceDraft| self.units.contains(&service.place.file) && service.is_from(place.file);
        self.services.iter().find(unit)
    }
}
