//! `dormouse check`: says what is wrong with a configuration, and what it would need.

use super::say::Say;
use super::{context, daemon, read};
use crate::cli::{self, Options};
use crate::config::{self, Tolerance};
use crate::limits;
use crate::plan::Plan;
use crate::run::{Child, Listener, ServiceState};

/// Reads, checks, resolves; opens nothing.
#[inline(never)] // its frame must not be part of the loop's caller
pub(super) fn check(options: &Options) -> u8 {
    let mut draft = read(options, Tolerance::Strict);
    match daemon::plan(&mut draft, &context(options)) {
        Err(code) => code,
        Ok(_) if cfg!(feature = "print") && options.print => cli::print(&config::print(&draft)),
        Ok(plan) => cli::print(&summary(&plan.plan())),
    }
}

/// The end of a word that is counted.
const fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// What the tables of this configuration take, and what they can never exceed.
fn summary(plan: &Plan) -> String {
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
