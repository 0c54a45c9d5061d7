//! The plan: what the configuration says, as numbers and bytes in fixed tables, ready for the loop.
//!
//! It is made from a checked [draft](crate::config) before the seal (users, ports and programs have become numbers
//! and addresses there) and never changes afterwards. It holds no pointer and no descriptor. What changes while the
//! program runs lives in [`crate::run`], in tables whose initial state is all zero: a service that nobody has called
//! yet costs no page of RAM beyond its rows here.

pub mod address;
mod arena;
pub mod compile;
mod environment;
pub mod filter;
pub mod image;
pub mod options;
mod policy;
mod privileges;
pub mod sleep;
pub mod sockets;
pub mod steps;
#[cfg(test)]
pub(crate) mod testing;
pub mod work;

pub use crate::config::Kind as SocketKind;
pub use arena::{Arena, ArenaFull, Span, Texts};
pub use sleep::{Evict, NotifyAccess, Sleep};

use crate::limits::{LISTENERS, SERVICE_LISTENERS, SERVICES};
use crate::logging::{Target, insist};
use crate::sys::memory::{self, Pages};
use heapless::Vec;
use rustix::io::Errno;

/// The first descriptor that is handed over by number (sd_listen_fds(3), `SD_LISTEN_FDS_START`).
pub const FIRST_FD: i32 = 3;
/// Descriptors of ours that stay open lie here or above: no child gets so many.
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "they are the bits of a number")]
pub const FIRST_OWN_FD: i32 = FIRST_FD + SERVICE_LISTENERS as i32;

/// Everything the loop needs to know.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Strings and lists of all rows below.
    pub arena: Texts,
    /// One row per service.
    pub services: &'static [ServiceSpec],
    /// One row per socket, those of one service side by side in the order of their lines.
    pub listeners: &'static [ListenerSpec],
    /// What services have in common; services with equal values share a row.
    pub policies: &'static [Policy],
    /// What sockets have in common; sockets with equal values share a row.
    pub sockets: &'static [SocketSpec],
    /// What a reload or upgrade begins with.
    pub own: Own,
}

/// What a reload or upgrade begins with.
#[derive(Clone, Copy, Default)]
pub struct Own {
    /// Where this program was started, with its NUL: relative names on the command line count from there.
    pub folder: Span,
    /// The program that `upgrade` executes, with its NUL; empty where neither reload nor upgrade is possible.
    pub program: Span,
    /// Units that were left out and are still to be left out by a reload, see [`crate::config::Tolerance::Known`].
    pub left_out: Span,
    /// Something is left out because the machine lacks a name, see [`crate::open::names`].
    pub awaits_names: bool,
}

impl Plan {
    /// What there is about a listener: its row, and how its socket is made.
    ///
    /// # Panics
    /// There is no such row.
    pub fn listener(&self, row: usize) -> (&'static ListenerSpec, &'static SocketSpec) {
        let listener = &self.listeners[row];
        (listener, &self.sockets[usize::from(listener.socket)])
    }

    /// The listeners of the service that has the most of them.
    pub fn most_listeners(&self) -> usize {
        self.services.iter().map(|service| usize::from(service.listeners)).max().unwrap_or(0)
    }

    /// The first descriptor that no child gets by number.
    pub fn first_own(&self) -> i32 {
        FIRST_FD + i32::try_from(self.most_listeners()).unwrap_or(0).max(1)
    }
}

/// A plan that is being made, in tables with room for the largest one.
#[repr(C)] // its end is never touched, so that what lies behind has the page for itself
pub struct PlanTables {
    /// See [`Plan::services`].
    pub services: Vec<ServiceSpec, SERVICES>,
    /// See [`Plan::listeners`].
    pub listeners: Vec<ListenerSpec, LISTENERS>,
    /// See [`Plan::policies`].
    pub policies: Vec<Policy, SERVICES>,
    /// See [`Plan::sockets`].
    pub sockets: Vec<SocketSpec, LISTENERS>,
    /// See [`Plan::own`].
    pub own: Own,
    /// See [`Plan::arena`].
    pub arena: Arena,
}

impl PlanTables {
    /// A plan without services.
    pub const EMPTY: Self = Self {
        arena: Arena::EMPTY,
        services: Vec::new(),
        listeners: Vec::new(),
        policies: Vec::new(),
        sockets: Vec::new(),
        own: Own { folder: Span::EMPTY, program: Span::EMPTY, left_out: Span::EMPTY, awaits_names: false },
    };

    /// Rows of each table, and bytes of the texts.
    pub(crate) fn sizes(&self) -> [usize; 5] {
        let Self { arena, services, listeners, policies, sockets, .. } = self;
        [services.len(), listeners.len(), policies.len(), sockets.len(), arena.used()]
    }

    /// Forgets what was added since [`Self::sizes`] was this; nothing is left of `[0; 5]`.
    pub fn truncate(&mut self, [services, listeners, policies, sockets, arena]: [usize; 5]) {
        self.services.truncate(services);
        self.listeners.truncate(listeners);
        self.policies.truncate(policies);
        self.sockets.truncate(sockets);
        self.arena.truncate(arena);
    }

    /// The plan, where it was made.
    pub fn plan(&'static self) -> Plan {
        Plan {
            arena: Texts(self.arena.bytes()),
            services: &self.services,
            listeners: &self.listeners,
            policies: &self.policies,
            sockets: &self.sockets,
            own: self.own,
        }
    }

    /// The plan for the loop: its rows side by side in as few pages as they need, while each of these tables begins in
    /// a page of its own. The pages here go back to the kernel.
    ///
    /// # Errors
    /// Those of mmap(2).
    pub fn settle(&'static mut self) -> Result<&'static Plan, Errno> {
        let Self { arena, services, listeners, policies, sockets, own } = &*self;
        let bytes = size_of_val(services.as_slice())
            + size_of_val(listeners.as_slice())
            + size_of_val(policies.as_slice())
            + size_of_val(sockets.as_slice())
            + arena.used();
        let mut pages = insist(|| Pages::map(bytes + 2 * size_of::<Plan>()))?; // they are aligned
        let plan = Plan {
            services: pages.keep(services),
            listeners: pages.keep(listeners),
            policies: pages.keep(policies),
            sockets: pages.keep(sockets),
            arena: Texts(pages.keep(arena.bytes())),
            own: *own,
        };
        let plan = pages.keep(&[plan]).first().ok_or(Errno::NOMEM)?;
        memory::forget_value(self);
        Ok(plan)
    }
}

/// One service: a program and the sockets that start it.
#[derive(Clone, Copy, Debug)]
pub struct ServiceSpec {
    /// Its name.
    pub name: Span,
    /// Path that is executed, with its NUL.
    pub program: Span,
    /// The words argv\[0\], argv\[1\], ..., each with its NUL.
    pub argv: Span,
    /// The name of the connection is to be put into the words (%i).
    pub has_instance: bool,
    /// The program lies, or may come to lie, on a file system whose server may be gone: each start has a time limit.
    pub remote: bool,
    /// Names of its sockets in LISTEN_FDNAMES, joined by colons, or one for all of them; empty where the child gets no
    /// descriptors from 3 on. See [`ServiceSpec::fd_name`].
    pub fd_names: Span,
    /// Row in [`Plan::policies`].
    pub policy: u16,
    /// Row of its first socket in [`Plan::listeners`].
    pub first_listener: u16,
    /// Number of its sockets.
    pub listeners: u16,
    /// What is built in and serves instead of a program (Internal=).
    pub internal: Option<Internal>,
    /// Connections are forwarded to this address (ConnectTo=), as connect(2) takes it; empty: they are not.
    pub backend: Span,
    /// The backend is told who the client is (SendProxyV2=).
    pub proxy_header: bool,
}

/// A service that is built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Internal {
    /// Sends back what comes (RFC 862).
    Echo,
    /// Throws away what comes (RFC 863).
    Discard,
    /// The time as text (RFC 867), in UTC.
    Daytime,
    /// The seconds since 1900 as four bytes (RFC 868).
    Time,
    /// Lines of characters without end (RFC 864).
    Chargen,
    /// Starts a service by its name (RFC 1078).
    Tcpmux,
}

impl ServiceSpec {
    /// What is built in and serves instead of a program; never anything in a build without such services.
    pub const fn internal(&self) -> Option<Internal> {
        if cfg!(feature = "internal") { self.internal } else { None }
    }

    /// Where connections are forwarded to; never anywhere in a build without forwarding.
    pub const fn backend(&self) -> Option<Span> {
        if cfg!(feature = "forward") && !self.backend.is_empty() { Some(self.backend) } else { None }
    }

    /// The rows of its listeners.
    pub fn rows(&self) -> core::ops::Range<usize> {
        let first = usize::from(self.first_listener);
        first..first + usize::from(self.listeners)
    }

    /// Whether there is a program; a service that is built in, and a plain redirect, have none.
    pub const fn has_program(&self) -> bool {
        !self.argv.is_empty()
    }

    /// The name in LISTEN_FDNAMES of the socket with this index (sd_listen_fds(3)).
    pub fn fd_name(&self, arena: Texts, index: usize) -> &'static str {
        let names = arena.get(self.fd_names);
        let mut each = names.split(|&byte| byte == b':');
        let name = each.clone().nth(index).or_else(|| each.next());
        name.and_then(|name| core::str::from_utf8(name).ok()).unwrap_or_default()
    }
}

/// One socket.
#[derive(Clone, Copy, Debug)]
pub struct ListenerSpec {
    /// Row in [`Plan::services`].
    pub service: u16,
    /// Row in [`Plan::sockets`].
    pub socket: u16,
    /// Stream, datagram, ...
    pub kind: SocketKind,
    /// A port without an address: on a kernel without IPv6, 0.0.0.0 is opened instead of `[::]`.
    pub fallback_v4: bool,
    /// The address as bind(2) takes it: a `sockaddr_in`, `_in6`, `_un` or `_vm` of exactly this length; see
    /// [`address`]. FIFO: the path without NUL.
    pub address: Span,
}

/// How a socket is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketSpec {
    /// Socket options in the order in which they are set, see [`options`].
    pub options: Span,
    /// Classic BPF program (`struct sock_filter` each) that is attached and locked; empty: none.
    pub filter: Span,
    /// Paths of symbolic links to a unix socket or FIFO, each with its NUL.
    pub symlinks: Span,
    /// Second argument of listen(2).
    pub backlog: i32,
    /// Owner of a unix socket or FIFO; `None`: not changed.
    pub owner: Option<u32>,
    /// Group of a unix socket or FIFO; `None`: not changed.
    pub group: Option<u32>,
    /// Mode of a unix socket or FIFO.
    pub mode: u16,
    /// Mode of folders made above it.
    pub directory_mode: u16,
    /// The path and the links are removed when the program ends.
    pub remove_on_stop: bool,
    /// `O_NONBLOCK` on the socket: for those that we accept from ourselves, and with NonBlocking=yes.
    pub nonblocking: bool,
}

impl SocketSpec {
    /// [`SocketSpec::filter`]; never any in a build without access control.
    pub const fn filter(&self) -> Span {
        if cfg!(feature = "access") { self.filter } else { Span::EMPTY }
    }
}

/// At most `burst` events in `interval_ms`; 0 in either: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Length of the window.
    pub interval_ms: u32,
    /// Events in it.
    pub burst: u32,
}

/// Where a standard descriptor of the child goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdio {
    /// What Dormouse itself has there.
    Inherit,
    /// /dev/null.
    Null,
    /// The socket.
    Socket,
    /// The log of [`Policy::log`].
    Log,
    /// Opened by a step of the child's set-up program.
    File,
}

/// When an Accept=no service is started again without a knock (systemd.service(5), Restart=).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Never: the next knock does.
    No,
    /// After a clean end.
    OnSuccess,
    /// After an unclean exit status, signal or time-out.
    OnFailure,
    /// After a signal or time-out.
    OnAbnormal,
    /// After an uncaught signal.
    OnAbort,
    /// Always.
    Always,
}

/// Who gets the signals of a stop (systemd.kill(5), KillMode=; the session stands for the control group).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillMode {
    /// The whole session.
    Session,
    /// KillSignal to the main process, SIGKILL to the session.
    Mixed,
    /// The main process.
    Process,
    /// Nobody.
    None,
}

/// What a service does and may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// We take the connections: one child for each of them (Accept=yes), unless the service is built in or they are
    /// forwarded.
    pub accept: bool,
    /// The socket on fd 0 and on fd 3 with LISTEN_* (BothWays=yes).
    pub both_ways: bool,
    /// Drop what waits in the sockets when the service has ended (FlushPending=yes).
    pub flush_pending: bool,
    /// Any end counts as a clean one (`-` before the program).
    pub ignore_failure: bool,
    /// SIGKILL after [`Policy::stop_timeout_ms`].
    pub send_sigkill: bool,
    /// `O_NONBLOCK` on the descriptors from 3 on.
    pub nonblocking: bool,
    /// Standard input, output and error.
    pub stdio: [Stdio; 3],
    /// Where [`Stdio::Log`] leads: our own standard error, which the child gets as it is, or through a pipe and us to
    /// another log.
    pub log: Target,
    /// The child's set-up program.
    pub steps: Span,
    /// `NAME=VALUE`, each with its NUL.
    pub environment: Span,
    /// Prefixes of IPAddressAllow=, for Accept=yes; see [`crate::run`].
    pub allow: Span,
    /// Prefixes of IPAddressDeny=, for Accept=yes.
    pub deny: Span,
    /// uids (u32, native byte order) of AllowUsers=.
    pub allow_users: Span,
    /// gids (u32, native byte order) of AllowGroups=.
    pub allow_groups: Span,
    /// Exit statuses (0 to 255) and signals (256 + number) that count as success, u16, native byte order.
    pub success: Span,
    /// Syslog identifier of [`Stdio::Log`].
    pub syslog_identifier: Span,
    /// Connections at once (Accept=yes).
    pub max_connections: u32,
    /// Connections at once from one source (Accept=yes); `u32::MAX`: no limit.
    pub max_per_source: u32,
    /// Starts (TriggerLimitIntervalSec=, TriggerLimitBurst=).
    pub trigger: Rate,
    /// Wake-ups (PollLimitIntervalSec=, PollLimitBurst=).
    pub poll: Rate,
    /// Failed starts (StartLimitIntervalSec=, StartLimitBurst=).
    pub start: Rate,
    /// Start again without a knock.
    pub restart: Restart,
    /// Pause before that.
    pub restart_ms: u32,
    /// Longest run (RuntimeMaxSec=); `u32::MAX`: no limit.
    pub runtime_max_ms: u32,
    /// From the stop signal to SIGKILL (TimeoutStopSec=); `u32::MAX`: never.
    pub stop_timeout_ms: u32,
    /// Who is signalled.
    pub kill_mode: KillMode,
    /// With what first.
    pub kill_signal: u8,
    /// When it sleeps, and what may wake it.
    pub sleep: Sleep,
}
