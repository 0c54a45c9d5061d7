//! What `run` and `activate` have in common: from a draft to the loop.
//!
//! The order matters: descriptors that a child gets by number stay free below ours, every listener is open before
//! anybody is told that we are ready, and the heap is gone before the first client comes.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::report;
use crate::cli::exit;
use crate::config::Draft;
use crate::limits::SERVICE_LISTENERS;
use crate::notify::Notify;
use crate::open::{adopt, adopt::Adopted};
use crate::plan::Plan;
use crate::plan::compile::{Context, compile};
use crate::run::{self, Listener, Server, Tables, Watch};
use crate::sys::cell::Once;
use crate::sys::clock::Tick;
use crate::sys::errno::Why;
use crate::sys::process;

static PLAN: Once<Plan> = Once::new(Plan::EMPTY);
static TABLES: Once<Tables> = Once::new(Tables::EMPTY);

/// Makes the one plan of this process. Faults are reported.
///
/// # Errors
/// The exit code if the draft cannot be used.
pub(super) fn plan(draft: &mut Draft, context: &Context) -> Result<&'static Plan, u8> {
    let plan = PLAN.take().ok_or(exit::SYSTEM)?;
    if !draft.is_faulty() {
        compile(draft, plan, context);
    }
    if report(draft) { Err(exit::CONFIG) } else { Ok(plan) }
}

/// Opens what the plan asks for and puts the loop together. `now`: services with Accept=no are started at once.
///
/// # Errors
/// The exit code; why is in the log.
pub(super) fn server(plan: &'static Plan, notify: Notify) -> Result<Server, u8> {
    let failed = |what: &'static str| {
        move |errno: Errno| {
            log::error!("{what}: {}", Why(errno));
            exit::SYSTEM
        }
    };
    let tables = TABLES.take().ok_or(exit::SYSTEM)?;
    let reserved = reserve(plan).map_err(failed("reserving descriptors"))?;
    let least = i32::try_from(3 + reserved.len()).unwrap_or(i32::MAX);
    let adopted = adopt::adopt(plan, least, &mut |(name, why)| match why {
        Some(errno) => log::warn!("the inherited socket \"{name}\" cannot be used: {}", Why(errno)),
        None => log::warn!("the inherited socket \"{name}\" belongs to no service and was closed"),
    });
    fill(plan, tables, adopted);
    run::prepare_outputs(plan, tables).map_err(failed("pipes for syslog"))?;
    if plan.services.iter().any(|service| !service.fd_names.is_empty()) && process::pidfds_have_inodes() {
        tables.spawner.tell_pidfd_ids();
    }
    let _ = process::become_subreaper(); // EINVAL before Linux 3.4: orphans go to PID 1
    let mut server = Server::new(plan, tables, notify).map_err(failed("epoll and signalfd"))?;
    server.open_all();
    drop(reserved);
    Ok(server)
}

/// One row for each listener; those that were inherited are open already.
fn fill(plan: &Plan, tables: &mut Tables, adopted: Vec<Adopted>) {
    for _ in &plan.listeners {
        let row = Listener { opened: None, watch: Watch::Out, generation: 0, tries: 0, retry: Tick(0) };
        let _ = tables.listeners.push(row); // as many rows as the plan can have
    }
    for Adopted { listener, opened } in adopted {
        if let Some(row) = tables.listeners.get_mut(listener) {
            row.opened = Some(opened);
        }
    }
}

/// Keeps the descriptors 3, 4, ... free for what children get by number. They are given back when ours lie above.
fn reserve(plan: &Plan) -> Result<heapless::Vec<OwnedFd, { SERVICE_LISTENERS + 1 }>, Errno> {
    let most = plan.services.iter().map(|service| i32::from(service.listeners)).max().unwrap_or(1).max(1);
    let mut reserved = heapless::Vec::new();
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    for fd in [read, write] {
        if rustix::fd::AsRawFd::as_raw_fd(&fd) < 3 + most {
            let _ = reserved.push(fd);
        }
    }
    while let Some(any) = reserved.first() {
        let next = rustix::io::fcntl_dupfd_cloexec(any, 3)?;
        if rustix::fd::AsRawFd::as_raw_fd(&next) >= 3 + most || reserved.push(next).is_err() {
            break;
        }
    }
    Ok(reserved)
}
