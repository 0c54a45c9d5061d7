//! What each step has at hand that turns a service into rows of the plan.

use super::compile::Context;
use super::{ArenaFull, PlanTables, Span};
use crate::config::{Code, Fault, Id, ServiceDraft, at_most, tell};
use crate::limits::ARENA_BYTES;

/// A service on its way into the plan.
pub struct Work<'a> {
    /// Its section, or one that adds sockets to it.
    pub draft: &'a ServiceDraft,
    /// Where it goes.
    pub plan: &'a mut PlanTables,
    /// What else it depends on.
    pub context: &'a Context,
    /// What is wrong with it.
    pub faults: Vec<Fault>,
}

impl<'a> Work<'a> {
    /// Nothing is done yet.
    pub const fn new(draft: &'a ServiceDraft, plan: &'a mut PlanTables, context: &'a Context) -> Self {
        Self { draft, plan, context, faults: Vec::new() }
    }

    /// Adds a fault at the place of a directive.
    #[inline(never)]
    pub(super) fn fault(&mut self, code: Code, id: Id, arguments: &[&str]) {
        tell(&mut self.faults, code, self.draft.place(id), arguments);
    }

    /// The machine has no such user or group.
    pub(super) fn unknown(&mut self, code: Code, id: Id, name: &str) {
        self.fault(code, id, &[id.name(), name]);
    }

    /// Adds a fault where a count is above the most: its arguments are the two and the directive.
    pub(super) fn at_most(&mut self, code: Code, id: Id, counts: [usize; 2]) {
        at_most(&mut self.faults, code, self.draft.place(id), id.name(), counts);
    }

    /// Stores bytes; a full arena is a fault.
    pub(super) fn store(&mut self, bytes: &[u8]) -> Span {
        let span = self.plan.arena.store(bytes);
        self.or_full(span)
    }

    /// As [`Self::store`] for what there is once, see [`Arena::add`](super::Arena::add).
    pub(super) fn add_once(&mut self, bytes: &[u8]) -> Span {
        let span = self.plan.arena.add(bytes);
        self.or_full(span)
    }

    fn or_full(&mut self, span: Result<Span, ArenaFull>) -> Span {
        span.unwrap_or_else(|_| {
            tell(&mut self.faults, Code::TextsLong, self.draft.place, &[&ARENA_BYTES.to_string()]);
            Span::EMPTY
        })
    }
}
