//! `dormouse convert`: another program's configuration in the native form, with a comment for everything that could not
//! be carried over.

use std::path::PathBuf;

use crate::cli::{self, Options, exit};
use crate::config::{self, Code, Draft, Fault, Inetd, Place, Severity, Tolerance};

/// Prints each file; the exit code tells whether all of it could be carried over.
#[inline(never)] // its frame must not be part of the loop's caller
pub(super) fn convert(options: &Options) -> u8 {
    let asked = cli::Inetd { by_name: true, ..options.inetd.clone() };
    let form = Inetd { asked, tolerance: Tolerance::Lenient, folder: None };
    let mut text = String::new();
    let mut whole = true;
    for path in &options.names {
        let draft = config::read_as(&[PathBuf::from(path)], &form);
        whole &= !draft.faults.iter().any(is_lost);
        native(&draft, &mut text);
    }
    text.truncate(text.trim_ascii_end().len());
    text.push('\n');
    match cli::print(&text) {
        exit::DONE if !whole => exit::CONFIG,
        code => code,
    }
}

/// Whether a fault tells of something that is not carried over.
fn is_lost(fault: &Fault) -> bool {
    let told = [
        Code::UnitUnprotected,
        Code::UnitLost,
        Code::UnitStream,
        Code::UnitNoSockets,
        Code::UnitNoService,
        Code::DynamicUser,
        Code::XinetdLine,
        Code::XinetdLost,
        Code::XinetdUnknown,
        Code::XinetdHost,
        Code::InetdClass,
        Code::InetdPolicy,
        Code::InetdTwice,
    ];
    fault.severity == Severity::Error || fault.is_left_out() || told.contains(&fault.code)
}

/// A draft as native text: what was found stands before the service that it is about, or where the service would be
/// that was left out.
fn native(draft: &Draft, out: &mut String) {
    let line = |place: Place| (place.file, place.line);
    let alone = |fault: &&Fault| fault.code == Code::InetdTwice || fault.is_left_out();
    let mut places = vec![(0, 0)];
    let faulty = draft.faults.iter().filter(alone).map(|fault| fault.place);
    for place in draft.services.iter().map(|service| service.place).chain(faulty) {
        if let Err(index) = places.binary_search(&line(place)) {
            places.insert(index, line(place));
        }
    }
    let mut faults = draft.sorted_faults().into_iter().peekable();
    let mut next = places.iter().skip(1);
    for place in &places {
        let end = next.next();
        // the services of one line stand together
        let services = || draft.services.iter().filter(|service| line(service.place) == *place);
        if services().next().is_some() && !out.is_empty() && !out.ends_with("\n\n") {
            out.push('\n');
        }
        while let Some(fault) = faults.next_if(|fault| end.is_none_or(|end| line(fault.place) < *end)) {
            comment(draft, fault, out);
        }
        for service in services() {
            config::print_service(service, out);
            out.push('\n');
        }
    }
}

/// The lines of a fault as comments.
fn comment(draft: &Draft, fault: &Fault, out: &mut String) {
    for line in draft.sources.render(fault).lines() {
        out.push_str("# ");
        out.push_str(line.trim_ascii_end());
        out.push('\n');
    }
}
