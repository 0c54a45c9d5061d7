//! What `run` and `activate` have in common: from a draft to the loop.
//!
//! The order matters: descriptors that a child gets by number stay free below ours, every listener is open before
//! anybody is told that we are ready, and the heap is gone before the first client comes.

use rustix::fd::{AsRawFd, OwnedFd, RawFd};
use rustix::fs::SeekFrom;
use rustix::io::{Errno, fcntl_dupfd_cloexec};

use super::report;
use crate::cli::{self, Options, exit};
use crate::config::{Draft, Fault};
use crate::handover::codec::Descriptor;
use crate::limits::SERVICE_LISTENERS;
use crate::logging::{insist, say};
use crate::notify::Notify;
use crate::open::{adopt, adopt::Adopted};
use crate::plan::compile::{Context, compile};
use crate::plan::{Plan, PlanTables, Stdio};
use crate::run::{self, Listener, Resume, Room, Server, Tables};
use crate::sys::cell::{Both, large};
use crate::sys::errno::Why;
use crate::sys::{environment, process, stdio};

large! {
    /// The plan while it is made, and what changes later.
    static MEMORY: Both<PlanTables, Room> = Both::new(PlanTables::EMPTY, Room::EMPTY);
}

/// Makes the one plan of this process. Faults are reported.
///
/// # Errors
/// The exit code if the draft cannot be used.
pub(super) fn plan(draft: &mut Draft, context: &Context) -> Result<&'static mut PlanTables, u8> {
    let plan = empty_plan()?;
    fill_plan(plan, draft, context, report)?;
    Ok(plan)
}

/// The memory for the one plan of this process.
///
/// # Errors
/// The exit code if it is in use.
pub(super) fn empty_plan() -> Result<&'static mut PlanTables, u8> {
    MEMORY.first().ok_or(exit::SYSTEM)
}

/// The plan that the checker has made. If that cannot be used, the plan of this draft, as ever.
///
/// # Errors
/// As [`plan`].
pub(super) fn checked_plan(
    file: &OwnedFd,
    draft: impl FnOnce() -> Draft,
    context: &Context,
) -> Result<&'static mut PlanTables, u8> {
    let plan = empty_plan()?;
    let read = insist(|| {
        rustix::fs::seek(file, SeekFrom::Start(0))?;
        plan.read_image(file)
    });
    if let Err(errno) = read {
        say!(Error, "the checked configuration cannot be used: {}; reading it again", Why(errno));
        plan.truncate([0; 5]);
        fill_plan(plan, &mut draft(), context, report)?;
    }
    Ok(plan)
}

/// Fills an empty plan. What is wrong is told by `is_faulty`, if at all.
///
/// # Errors
/// The exit code if the draft cannot be used.
pub(super) fn fill_plan(
    plan: &mut PlanTables,
    draft: &mut Draft,
    context: &Context,
    is_faulty: fn(&Draft) -> bool,
) -> Result<(), u8> {
    compile(draft, plan, context); // of a faulty one, too: all that is wrong is told in one run
    let faulty = is_faulty(draft);
    let left_out = draft.units_left_out();
    if cfg!(feature = "reload") {
        plan.own.left_out = plan.arena.store(left_out.as_bytes()).unwrap_or_default(); // none is known then
        plan.own.awaits_names = draft.faults.iter().any(Fault::is_missing_name);
    }
    if !faulty && plan.services.is_empty() && !left_out.is_empty() {
        return Err(cli::refuse(&"every unit is left out", exit::CONFIG));
    }
    if faulty { Err(exit::CONFIG) } else { Ok(()) }
}

/// The plan for the loop, see [`PlanTables::settle`].
///
/// # Errors
/// The exit code; why has been said.
pub(super) fn settle(plan: &'static mut PlanTables) -> Result<&'static Plan, u8> {
    plan.settle().map_err(failed("memory for the plan"))
}

/// Says what could not be done, and why. The exit code.
fn failed(what: &'static str) -> impl Fn(Errno) -> u8 {
    move |errno| {
        say!(Error, "{what}: {}", Why(errno));
        exit::SYSTEM
    }
}

/// Whether this kernel can do what the plan asks for.
///
/// # Errors
/// The exit code; why is in the log.
pub(super) fn capable(plan: &Plan) -> Result<(), u8> {
    if let Err((service, family)) = run::prepare_idle(plan) {
        let family = run::family_name(family);
        say!(
            Error,
            "[{service}] StopWhenIdleSec=: this kernel tells of {family} connections neither by sock_diag nor in /proc/net; use StopWhenQuietSec="
        );
        return Err(exit::SYSTEM);
    }
    Ok(())
}

/// Where a daemon begins.
pub(super) enum Origin {
    /// From nothing, or from sockets that its parent has opened.
    Fresh,
    /// Where the image before has stopped.
    Resume(Box<Resume>),
    /// There was one, but what it has left cannot be read.
    Lost,
}

/// Placeholders for the descriptors that children get by number; dropped when all of ours are open above them.
pub(super) type Reserved = heapless::Vec<OwnedFd, { SERVICE_LISTENERS + 1 }>;

/// Opens what the plan asks for and puts the loop together.
///
/// # Errors
/// The exit code; why is in the log.
#[inline(never)] // what lies in its frame is given back before the loop
pub(super) fn server(plan: &'static Plan, notify: Notify, origin: &mut Origin) -> Result<(Server, Reserved), u8> {
    let mut tables = MEMORY.second().ok_or(exit::SYSTEM)?.tables();
    if plan.policies.iter().any(|policy| policy.stdio[0] == Stdio::Null) {
        // children whose input is /dev/null get ours as it is
        insist(|| stdio::discard(0)).map_err(failed("/dev/null"))?;
    }
    let least = plan.first_own();
    match origin {
        Origin::Lost if cfg!(feature = "reload") => {
            let sockets = environment::inherited().into_iter().filter_map(|number| Descriptor(number).reclaim(least));
            fill(plan, &mut tables, adopt::adopt_all(plan, sockets));
        }
        Origin::Resume(resume) if cfg!(feature = "reload") => {
            fill(plan, &mut tables, Vec::new());
            resume.services(plan);
            resume.listeners(plan, &mut tables, least);
            resume.outputs(plan, &mut tables, least);
        }
        _ => fill(plan, &mut tables, adopt(plan)?),
    }
    let reserved = reserve(plan)?;
    insist(|| run::prepare_outputs(plan, &mut tables)).map_err(failed("pipes for syslog"))?;
    if plan.services.iter().any(|service| !service.fd_names.is_empty()) && process::pidfds_have_inodes() {
        tables.spawner.tell_pidfd_ids();
    }
    tables.group.find(plan);
    if let Err(code) = capable(plan)
        && matches!(origin, Origin::Fresh)
    {
        return Err(code); // for an image that follows another the checker has asked; just now there may be no descriptor
    }
    let _ = process::become_subreaper(); // EINVAL before Linux 3.4: orphans go to PID 1
    let mut server = Server::new(plan, tables, notify).map_err(failed("epoll and signalfd"))?;
    match origin {
        Origin::Lost if cfg!(feature = "reload") => {
            server.open_notifications(None);
            server.watch_names(None);
            server.resume_without_state();
            environment::close_inherited();
        }
        Origin::Resume(resume) if cfg!(feature = "reload") => {
            server.resume(resume, least);
            environment::close_inherited();
        }
        _ => {
            server.open_notifications(None);
            server.watch_names(None);
        } // what was inherited is taken over, the rest is closed
    }
    server.open_all();
    Ok((server, reserved))
}

/// Closes what was left open for us and handed over by nobody. Before anything is opened.
pub(super) fn close_the_rest(options: &Options) {
    let handed_over = RawFd::try_from(adopt::offered()).unwrap_or(0);
    environment::close_inherited_from(3 + handed_over, options.notify_fd);
}

/// Takes over the sockets that were handed to us.
///
/// # Errors
/// The exit code if there is no room for one: who has opened it holds it still, and may try again.
pub(super) fn adopt(plan: &Plan) -> Result<Vec<Adopted>, u8> {
    let mut scarce = false;
    let adopted = adopt::adopt(plan, plan.first_own(), &mut |(name, why)| match why {
        Some(errno) => {
            scarce |= errno == Errno::MFILE; // with the next start there may be room; not so for rules that are too long
            let why = Why(errno);
            say!(Warn, "the inherited socket \"{name}\" cannot be used: {why}; have it closed and opened anew");
        }
        None => say!(Warn, "the inherited socket \"{name}\" belongs to no service and was closed"),
    });
    if scarce { Err(exit::SYSTEM) } else { Ok(adopted) }
}

/// One row for each listener; those that were inherited are open already.
fn fill(plan: &Plan, tables: &mut Tables, adopted: Vec<Adopted>) {
    for _ in plan.listeners {
        let _ = tables.listeners.push(Listener::CLOSED); // as many rows as the plan can have
    }
    for Adopted { listener, opened } in adopted {
        if let Some(row) = tables.listeners.get_mut(listener) {
            row.opened = Some(opened);
        }
    }
}

/// Keeps the descriptors 3, 4, ... free for what children get by number. They are given back when ours lie above.
///
/// # Errors
/// The exit code; why is in the log.
pub(super) fn reserve(plan: &Plan) -> Result<Reserved, u8> {
    let first_own = plan.first_own();
    let mut reserved = Reserved::new();
    loop {
        let next = insist(|| fcntl_dupfd_cloexec(stdio::stdin(), 3)).map_err(failed("reserving descriptors"))?;
        if next.as_raw_fd() >= first_own || reserved.push(next).is_err() {
            return Ok(reserved);
        }
    }
}
