//! `dormouse activate`: tries a service without any configuration.

use super::{daemon, report};
use crate::cli::{self, Activate, Options};

/// Placeholder until the story is told.
pub(super) fn activate(options: Options) -> u8 {
    let _ = (daemon::plan, report, &options.activate as &Activate);
    cli::exit::USAGE
}
