//! What happened lately: a ring of small records in memory, never on flash. `history` and `watch` read it.

use super::end::End;
use super::tables::stored;
use super::{Phase, Server, Tick, Why};
use crate::control::Row;
use crate::handover::codec::record;
use crate::limits::EVENTS;
use crate::peer::{Address, Source};
use crate::plan::steps::Stage;
use crate::sys::errno;
use crate::text::worded;

/// Bits of the pid in the first word of an event; no pid needs more (proc(5), pid_max).
const PID_BITS: u32 = 24;

/// One event. What its numbers mean depends on [`What`].
#[derive(Clone, Copy)]
pub struct Event {
    /// When, in milliseconds, and behind it the pid.
    stamp: u64,
    /// Who was at the other end.
    source: Source,
    value: u32,
    service: u16,
    what: What,
    detail: u8,
}

const _: () = assert!(size_of::<Event>() == 32);

record!(Event: stamp source value service what detail);

worded! {
    /// What an event is about.
    pub enum What {
        /// Started, Accept=no. Value: microseconds from the knock; detail: [`Cause`].
        Start = "start",
        /// Started for a connection. Value: microseconds from the knock.
        Accept = "accept",
        /// A start failed. Value: errno; detail: stage.
        Fail = "fail",
        /// Ended by itself. Value: milliseconds that it ran; detail: status.
        Exit = "exit",
        /// Ended by a signal. Value: milliseconds that it ran; detail: the signal.
        Signal = "exit",
        /// A connection was turned away. Value: how many in a row; detail: [`Refusal`].
        Refuse = "refuse",
        /// The service rests. Value: milliseconds; detail: [`Why`].
        Rest = "rest",
        /// A process was asked to end.
        Stop = "stop",
        /// The operator paused it.
        Pause = "pause",
        /// The operator resumed it.
        Resume = "resume",
        /// A datagram on which every run failed was dropped.
        Drop = "drop",
        /// Ended, nobody knows how. Value: milliseconds that it ran.
        Gone = "exit",
    }
}

worded! {
    /// Why a service with Accept=no is started.
    pub enum Cause {
        /// Something arrived.
        Knock = "knock",
        /// Restart=.
        Restart = "restart",
        /// Asked for on the command line.
        Now = "now",
        /// The operator asked for it.
        Order = "order",
    }
}

worded! {
    /// Why a connection is turned away.
    pub enum Refusal {
        /// IPAddressAllow= and IPAddressDeny=.
        Address = "address",
        /// AllowUsers= and AllowGroups=.
        User = "user",
        /// MaxConnections=.
        MaxConnections = "max-connections",
        /// MaxConnectionsPerSource=.
        MaxPerSource = "max-connections-per-source",
        /// The program could not be started, and too many connections wait for theirs already.
        Parked = "parked",
        /// MaxConnectionRate=.
        MaxRate = "max-connection-rate",
        /// A datagram that could be the answer of another service.
        Reflection = "reflection",
        /// ConnectTo=: the backend could not be reached.
        Backend = "backend",
        /// tcpmux: the service rests, or there is no room for its process.
        Busy = "busy",
    }
}

/// The ring. It is filled from its end, so that the first events lie where the rows of services begin.
#[repr(C)]
pub struct History {
    events: [Event; EVENTS],
    /// Number of the next event.
    next: u32,
}

impl History {
    /// No events.
    pub const NEW: Self = Self { next: 0, events: [Event::NONE; EVENTS] };

    /// Puts back what an earlier image has kept, up to the event before `next`. `service`: the row of a service now.
    pub(super) fn restore(&mut self, next: u32, events: &[Event], service: impl Fn(u16) -> u16) {
        let first = next.saturating_sub(u32::try_from(events.len()).unwrap_or(0));
        for (number, event) in (first..next).zip(events) {
            if let Some(slot) = self.events.get_mut(Self::slot(number)) {
                *slot = Event { service: service(event.service), ..*event };
            }
        }
        self.next = next;
    }

    /// Number of the next event; numbers go up by one.
    pub const fn next(&self) -> u32 {
        self.next
    }

    /// Number of the oldest event that is still there.
    pub fn oldest(&self) -> u32 {
        self.next.saturating_sub(u32::try_from(EVENTS).unwrap_or(0))
    }

    fn slot(number: u32) -> usize {
        EVENTS - 1 - number as usize % EVENTS
    }

    /// Keeps an event. The same refusal again and again is one event with a count, so that a scanner does not push
    /// everything else out.
    fn push(&mut self, event: Event) {
        let last = self.next.checked_sub(1).and_then(|last| self.events.get_mut(Self::slot(last)));
        if let Some(last) = last.filter(|last| event.what == What::Refuse && event.is_like(last)) {
            (last.stamp, last.value) = (event.stamp, last.value.saturating_add(1));
            return;
        }
        if let Some(slot) = self.events.get_mut(Self::slot(self.next)) {
            *slot = event;
            self.next = self.next.saturating_add(1); // after 4 thousand million events the last one is overwritten
        }
    }

    /// The event with this number; it must not be older than [`History::oldest`].
    pub fn get(&self, number: u32) -> Option<&Event> {
        self.events.get(Self::slot(number)).filter(|_| number < self.next)
    }
}

impl Event {
    const NONE: Self = Self::new(What::Start, 0, 0, 0);

    /// An event of a process (0: of none).
    pub fn of(what: What, pid: i32) -> Self {
        Self::new(what, pid.unsigned_abs(), 0, 0)
    }

    const fn new(what: What, pid: u32, value: u32, detail: u8) -> Self {
        Self { stamp: pid as u64, source: Source([0; 16]), value, service: 0, what, detail }
    }

    /// The same with its numbers.
    pub const fn with(mut self, value: u32, detail: u8) -> Self {
        (self.value, self.detail) = (value, detail);
        self
    }

    /// The same with who was at the other end.
    pub const fn from(mut self, source: Source) -> Self {
        self.source = source;
        self
    }

    /// A process that ended.
    pub fn exit(pid: i32, end: End, ran_ms: u64) -> Self {
        let ran_ms = u32::try_from(ran_ms).unwrap_or(u32::MAX);
        match end {
            End::Status(status) => Self::of(What::Exit, pid).with(ran_ms, status),
            End::Signal(signal, _) => Self::of(What::Signal, pid).with(ran_ms, signal),
            End::Unknown => Self::of(What::Gone, pid).with(ran_ms, 0),
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        (self.what, self.service, self.detail, self.source) == (other.what, other.service, other.detail, other.source)
    }

    /// The service it is about.
    pub fn service(&self) -> usize {
        usize::from(self.service)
    }

    /// The row for it.
    pub fn row(&self, number: u32, name: &str, now: Tick) -> Row {
        let mut row = Row::new("event");
        row.number("number", number.into()).number("age_ms", now.since_ms(Tick(self.stamp >> PID_BITS)));
        row.text("service", &name).word("what", self.what.word());
        let pid = self.stamp & ((1 << PID_BITS) - 1);
        if pid != 0 {
            row.number("pid", pid);
        }
        let (value, detail) = (u64::from(self.value), usize::from(self.detail));
        match self.what {
            What::Start => {
                row.word("why", Cause::ALL.get(detail).map_or("?", |why| why.word())).number("start_us", value);
            }
            What::Accept => {
                row.number("start_us", value);
            }
            What::Fail => {
                let errno = rustix::io::Errno::from_raw_os_error(i32::try_from(value).unwrap_or(0));
                row.text("at", &Stage(self.detail).name()).word("errno", errno::name(errno));
            }
            What::Exit => {
                row.number("status", self.detail.into()).number("ran_ms", value);
            }
            What::Gone => {
                row.number("ran_ms", value);
            }
            What::Signal => {
                row.number("signal", self.detail.into()).number("ran_ms", value);
            }
            What::Refuse => {
                row.word("why", Refusal::ALL.get(detail).map_or("?", |why| why.word())).number("count", value);
            }
            What::Rest => {
                row.word("why", Why::ALL.get(detail).map_or("?", |why| why.word())).number("rest_ms", value);
            }
            What::Stop | What::Pause | What::Resume | What::Drop => {}
        }
        if let Some(peer) = self.source.peer() {
            row.text("peer", &Address(&peer));
        }
        row
    }
}

impl Server {
    /// Keeps an event.
    pub(super) fn note(&mut self, service: usize, mut event: Event) {
        if !cfg!(feature = "control") {
            return; // nobody can ask
        }
        event.stamp |= self.now.0 << PID_BITS;
        event.service = stored(service);
        self.tables.history.push(event);
    }

    /// A program has been executed: counts the time since the loop woke up for it, and gives it in microseconds.
    pub(super) fn clock_start(&mut self, service: usize) -> u32 {
        if !cfg!(feature = "control") {
            return 0; // nobody can ask
        }
        let us = crate::sys::clock::now_us().saturating_sub(self.woken_us);
        let us = u32::try_from(us).unwrap_or(u32::MAX);
        self.state(service).starts.count(us);
        us
    }

    /// Counts a rest, and keeps it as an event when it is another one than the one before.
    pub(super) fn note_rest(&mut self, service: usize, until: Tick, why: Why) {
        if !cfg!(feature = "control") {
            return;
        }
        let ms = u32::try_from(until.since_ms(self.now)).unwrap_or(u32::MAX);
        let state = self.state(service);
        let again = matches!(state.phase, Phase::Resting(_, before) if before == why);
        // want of something comes back up to 50 times a second
        let told = why == Why::Scarce && state.scarcities > 1;
        let Some(count) = state.rested.get_mut(why as usize).filter(|_| !again) else { return };
        *count = count.saturating_add(1);
        if !told {
            self.note(service, Event::of(What::Rest, 0).with(ms, why as u8));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(event: Event, now: Tick) -> String {
        String::from_utf8(event.row(7, "web", now).end().to_vec()).unwrap()
    }

    #[test]
    fn an_event_is_told_by_its_words() {
        let mut event = Event::of(What::Start, 4_194_304).with(450, Cause::Order as u8);
        event.stamp |= 1_000_000 << PID_BITS;
        assert_eq!(
            text(event, Tick(1_000_250)),
            "event number=7 age_ms=250 service=\"web\" what=start pid=4194304 why=order start_us=450\n"
        );
        let source = crate::peer::Peer::Internet { ip: [192, 0, 2, 7].into(), scope: 0, port: 1 }.source();
        let event = Event::of(What::Refuse, 0).with(3, Refusal::MaxPerSource as u8).from(source);
        assert!(
            text(event, Tick(0)).ends_with("what=refuse why=max-connections-per-source count=3 peer=\"192.0.2.7\"\n")
        );
        let event = Event::exit(9, End::Signal(15, false), 1500);
        assert!(text(event, Tick(0)).ends_with("what=exit pid=9 signal=15 ran_ms=1500\n"));
    }

    #[test]
    fn the_ring_forgets_the_oldest() {
        let mut ring = Box::new(History::NEW);
        let most = u32::try_from(EVENTS).unwrap();
        assert!(ring.get(0).is_none());
        for number in 0..most + 3 {
            ring.push(Event::of(What::Stop, 0).with(number, 0));
        }
        assert_eq!((ring.oldest(), ring.next()), (3, most + 3));
        assert!((3..most + 3).all(|number| ring.get(number).is_some_and(|event| event.value == number)));
        assert!(ring.get(most + 3).is_none());
        for detail in [1, 1, 1, 2] {
            ring.push(Event::of(What::Refuse, 0).with(1, detail));
        }
        assert_eq!(ring.next(), most + 5);
        assert_eq!(ring.get(most + 3).map(|event| event.value), Some(3));
    }

    #[test]
    fn words_stand_in_the_order_of_their_numbers() {
        assert!(Refusal::ALL.iter().enumerate().all(|(number, why)| *why as usize == number));
        assert!(Cause::ALL.iter().enumerate().all(|(number, why)| *why as usize == number));
        assert!(Why::ALL.iter().enumerate().all(|(number, why)| *why as usize == number));
    }
}
