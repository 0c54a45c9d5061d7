//! The table of forwarded connections.

use heapless::Vec;
use rustix::event::epoll::EventFlags;

use super::Tick;
use super::pump::{Shared, Side};
use crate::limits::FORWARDED;
use crate::peer::Source;

/// A client, and its side of the backend.
pub(super) const CLIENT: usize = 0;
pub(super) const BACKEND: usize = 1;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    /// There is none in this row.
    Free,
    /// The backend is to be tried.
    Waiting,
    /// It is being tried.
    Connecting,
    /// Both sides are connected.
    Open,
}

/// One forwarded connection.
pub struct Pair {
    pub(super) stage: Stage,
    /// It has more to move in the next turn.
    pub(super) again: bool,
    /// Changes with each use of the row, so that an event of an earlier one is known as stale.
    pub(super) generation: u16,
    /// Row of the service; `u16::MAX`: it is gone.
    pub(super) service: u16,
    pub(super) sides: [Side; 2],
    pub(super) source: Source,
    /// How long it waits for the backend.
    pub(super) deadline: Tick,
}

/// All forwarded connections; what is asked for most stands in front. All zero at first.
#[repr(C)]
pub struct Forwards {
    /// No row below this one is free.
    least_free: usize,
    pub(super) rows: Vec<Pair, FORWARDED>,
    pub(super) shared: Shared,
}

impl Forwards {
    /// None.
    pub const NEW: Self = Self { rows: Vec::new(), least_free: 0, shared: Shared::NEW };

    /// Takes a row; `None`: there is none left.
    pub(super) fn put(&mut self, mut pair: Pair) -> Option<usize> {
        let index = self.first_free();
        let pipes = pair.sides.iter().filter_map(|side| side.pipe.as_ref());
        self.shared.large += u8::try_from(pipes.filter(|pipe| pipe.large).count()).unwrap_or(0);
        match self.rows.get_mut(index) {
            Some(row) => {
                pair.generation = row.generation.wrapping_add(1);
                *row = pair;
            }
            None => self.rows.push(pair).ok()?,
        }
        self.least_free += 1;
        Some(index)
    }

    /// The first row that is free, or could be added.
    pub(super) fn first_free(&mut self) -> usize {
        while self.rows.get(self.least_free).is_some_and(|row| row.stage != Stage::Free) {
            self.least_free += 1;
        }
        self.least_free
    }

    /// Makes a row free again.
    pub(super) fn clear(&mut self, index: usize) {
        let Some(pair) = self.rows.get_mut(index) else { return };
        (pair.stage, pair.again) = (Stage::Free, false);
        for side in &mut pair.sides {
            let pipe = side.pipe.take();
            if side.held == 0 {
                self.shared.give(pipe)
            } else {
                self.shared.close(pipe)
            }
            *side = Side::new(None); // closing takes it out of epoll
        }
        self.least_free = self.least_free.min(index);
    }

    /// The connections that are there.
    pub(super) fn each(&self) -> impl Iterator<Item = &Pair> {
        let rows = if cfg!(feature = "forward") { self.rows.as_slice() } else { &[] };
        rows.iter().filter(|row| row.stage != Stage::Free)
    }

    /// Whether a client of a service has no backend yet.
    pub(super) fn is_wanted(&self, service: usize) -> bool {
        self.rows.iter().any(|row| row.has_no_backend() && usize::from(row.service) == service)
    }

    /// The first one of a service whose backend is to be tried.
    pub(super) fn first_waiting(&self, service: usize) -> Option<usize> {
        self.rows.iter().position(|row| row.stage == Stage::Waiting && usize::from(row.service) == service)
    }
}

impl Pair {
    pub(super) const fn new(stage: Stage, service: u16, sides: [Side; 2], source: Source, deadline: Tick) -> Self {
        Self { stage, again: false, generation: 0, service, sides, source, deadline }
    }

    /// It waits for its backend, which may be being tried.
    pub(super) const fn has_no_backend(&self) -> bool {
        matches!(self.stage, Stage::Waiting | Stage::Connecting)
    }

    /// What epoll is to tell of a side.
    pub(super) fn interest(&self, side: usize) -> EventFlags {
        self.sides.get(side).map_or(EventFlags::ET, Side::interest)
    }
}
