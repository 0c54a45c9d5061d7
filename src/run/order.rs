//! What the operator orders: start, stop, restart, pause, resume. An order never waits: what takes time is awaited by
//! the client's row in the table, see `control`.

use core::fmt;

use super::history::{Cause, Event, What};
use super::tables::Order;
use super::{Phase, Server, Why};
use crate::control::{Request, Row};
use crate::plan::KillMode;

/// How an order went.
#[allow(clippy::large_enum_variant, reason = "there is no heap to put a row into")]
pub(super) enum Outcome {
    /// Answered.
    Answer(Row),
    /// To be answered when this process, the service's, has ended.
    Await(i32),
}

/// `ok` or `error` with a text.
pub(super) fn told(word: &str, text: fmt::Arguments<'_>) -> Row {
    let mut row = Row::new(word);
    row.text("text", &text);
    row
}

fn answer(word: &str, text: fmt::Arguments<'_>) -> Outcome {
    Outcome::Answer(told(word, text))
}

const OK: &str = "ok";
const ERROR: &str = "error";

impl Server {
    /// Carries out an order for a service.
    pub(super) fn order(&mut self, request: Request, service: usize) -> Outcome {
        let name = self.name(service);
        if self.stopping {
            return answer(ERROR, format_args!("dormouse is ending, and {name} with it"));
        }
        let word = request.word();
        tell!(self, Order, service, Info, "what={word}");
        match request {
            Request::Start => self.order_start(service),
            Request::Stop => self.order_stop(service, Order::Stop),
            Request::Restart => self.order_stop(service, Order::Restart),
            Request::Pause => self.order_pause(service),
            Request::Resume => self.order_resume(service),
            _ => answer(ERROR, format_args!("{word} is not part of this version")),
        }
    }

    fn order_start(&mut self, service: usize) -> Outcome {
        let name = self.name(service);
        if !self.is_one_process(service) && self.forwards(service) {
            return answer(ERROR, format_args!("{name} has no program to start: its connections are forwarded"));
        }
        if !self.is_one_process(service) {
            return answer(
                ERROR,
                format_args!("{name} has Accept=yes: a connection starts it, and there is none to hand over"),
            );
        }
        if self.state_of(service).paused {
            return answer(ERROR, format_args!("{name} is paused; try: dormouse resume {name}"));
        }
        if let Phase::Running(pid) = self.phase(service) {
            return answer(OK, format_args!("{name} runs already, pid {pid}"));
        }
        self.start_by_order(service)
    }

    fn start_by_order(&mut self, service: usize) -> Outcome {
        self.start_service(service, Cause::Order);
        Outcome::Answer(self.started(service))
    }

    /// How a start that was just tried went.
    pub(super) fn started(&self, service: usize) -> Row {
        let name = self.name(service);
        match self.phase(service) {
            Phase::Running(pid) => told(OK, format_args!("{name} runs, pid {pid}")),
            Phase::Resting(_, why) => {
                told(ERROR, format_args!("{name} could not be started ({}); it is tried again", why.word()))
            }
            Phase::Waiting | Phase::Paused => told(ERROR, format_args!("{name} could not be started")),
        }
    }

    /// What remains when a service has been stopped.
    pub(super) fn stopped(&self, service: usize) -> Row {
        let name = self.name(service);
        if self.state_of(service).paused {
            told(OK, format_args!("{name} is stopped and stays paused"))
        } else {
            told(OK, format_args!("{name} is stopped; its sockets stay armed, and the next client starts it"))
        }
    }

    fn order_stop(&mut self, service: usize, order: Order) -> Outcome {
        let name = self.name(service);
        let rest = if self.state_of(service).paused { "paused" } else { "armed" };
        if !self.is_one_process(service) && self.forwards(service) {
            let count = self.end_forwarding(Some(service), false);
            return answer(OK, format_args!("{name}: connections closed: {count}; its sockets stay {rest}"));
        }
        let stays = self.policy(service).is_some_and(|policy| policy.kill_mode == KillMode::None);
        if stays && self.state_of(service).live > 0 {
            return answer(
                ERROR,
                format_args!("{name} has KillMode=none: what runs ends by itself; its sockets stay {rest}"),
            );
        }
        if !self.is_one_process(service) {
            let count = self.end_children(Some(service));
            return answer(OK, format_args!("{name}: processes asked to end: {count}; its sockets stay {rest}"));
        }
        match self.phase(service) {
            Phase::Running(pid) => {
                self.state(service).order = order;
                self.end_children(Some(service));
                Outcome::Await(pid)
            }
            Phase::Paused if order == Order::Restart => {
                answer(ERROR, format_args!("{name} is paused; try: dormouse resume {name}"))
            }
            _ if order == Order::Restart => self.start_by_order(service),
            Phase::Resting(_, Why::Restart) => {
                self.wait_again(service);
                Outcome::Answer(self.stopped(service))
            }
            _ => Outcome::Answer(self.stopped(service)),
        }
    }

    /// A service has ended that was ordered to.
    pub(super) fn obey(&mut self, service: usize, order: Order) {
        if order == Order::Restart && !self.state_of(service).paused {
            self.start_service(service, Cause::Order);
        } else {
            self.wait_again(service);
        }
    }

    fn wait_again(&mut self, service: usize) {
        self.state(service).phase = Phase::Waiting;
        self.arm(service);
    }

    fn order_pause(&mut self, service: usize) -> Outcome {
        let name = self.name(service);
        let phase = self.phase(service);
        let state = self.state(service);
        if core::mem::replace(&mut state.paused, true) {
            return answer(OK, format_args!("{name} is paused already"));
        }
        let live = state.live.max(state.forwarded);
        self.note(service, Event::of(What::Pause, 0));
        let runs = matches!(phase, Phase::Running(_));
        if !runs || self.forwards(service) {
            self.disarm(service);
        }
        if !runs {
            self.state(service).phase = Phase::Paused;
        }
        let left = if live > 0 { " what runs is left alone;" } else { "" };
        answer(
            OK,
            format_args!("{name} is paused;{left} new clients wait in its sockets until: dormouse resume {name}"),
        )
    }

    fn order_resume(&mut self, service: usize) -> Outcome {
        let name = self.name(service);
        if !core::mem::take(&mut self.state(service).paused) {
            return answer(OK, format_args!("{name} is not paused"));
        }
        self.note(service, Event::of(What::Resume, 0));
        match self.phase(service) {
            Phase::Paused => self.on_rested(service, Why::Failure), // serves who was accepted before, and arms
            Phase::Running(_) if self.forwards(service) => self.arm(service),
            _ => {}
        }
        answer(OK, format_args!("{name} is armed again"))
    }
}
