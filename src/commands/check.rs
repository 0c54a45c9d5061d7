//! `dormouse check`: says what is wrong with a configuration, and what it would need.

use super::say::Say;
use super::{context, daemon, read, report};
use crate::cli::{self, Options, exit};
use crate::config::{self, Draft, Fault, Tolerance};
use crate::limits;
use crate::plan::Plan;
use crate::run::{Child, Listener, ServiceState};

/// Reads, checks, resolves; opens nothing.
#[inline(never)] // its frame must not be part of the loop's caller
pub(super) fn check(options: &Options) -> u8 {
    checked(options).unwrap_or_else(|code| code)
}

fn checked(options: &Options) -> Result<u8, u8> {
    let context = context(options);
    let mut draft = read(options, Tolerance::Strict);
    let plan = daemon::empty_plan()?;
    let mut whole = daemon::fill_plan(plan, &mut draft, &context, report).is_ok();
    if !whole {
        // every fault is told; now as the daemon reads it
        plan.truncate([0; 5]);
        draft = read(options, Tolerance::Lenient);
        daemon::fill_plan(plan, &mut draft, &context, Draft::is_faulty)?;
    }
    whole &= !draft.faults.iter().any(Fault::is_left_out);
    let code = if whole { exit::DONE } else { cli::refuse(&Say::LeftOut.text(), exit::NO) };
    let text = if cfg!(feature = "print") && options.print {
        config::print(&draft)
    } else {
        summary(&plan.plan(), if whole { Say::Whole } else { Say::Rest })
    };
    Ok(cli::print(&text).max(code))
}

/// The end of a word that is counted.
const fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// What the tables of this configuration take, and what they can never exceed.
fn summary(plan: &Plan, of: Say) -> String {
    let used = plan.arena.used()
        + size_of_val(plan.services)
        + size_of_val(plan.listeners)
        + size_of_val(plan.policies)
        + size_of_val(plan.sockets)
        + plan.listeners.len() * size_of::<Listener>();
    let running = plan.services.len() * size_of::<ServiceState>();
    let children = limits::CHILDREN * size_of::<Child>();
    let kb = |bytes: usize| bytes.div_ceil(1024).to_string();
    Say::Checked.with(&[
        of.text(),
        &plan.services.len().to_string(),
        plural(plan.services.len()),
        &plan.listeners.len().to_string(),
        plural(plan.listeners.len()),
        &plan.arena.used().to_string(),
        &kb(used),
        &kb(used + running),
        &kb(used + running + children),
        &limits::CHILDREN.to_string(),
    ])
}
