//! `dormouse convert`: another program's configuration in the native form, with a comment for everything that could not
//! be carried over.

use std::path::PathBuf;

use super::inetd;
use crate::cli::{self, Options, exit};
use crate::config::{self, Draft, Fault, Inetd, Place, Severity};

/// Prints each file; the exit code tells whether all of it could be carried over.
pub(super) fn convert(options: &Options) -> u8 {
    let form = match inetd(options, true) {
        Ok(form) => Inetd { all: true, ..form },
        Err(code) => return code,
    };
    let mut text = String::new();
    let mut whole = true;
    for path in &options.paths {
        let draft = read(path, &form);
        whole &= !draft.faults.iter().any(|fault| fault.severity == Severity::Error || fault.is_left_out());
        native(&draft, &mut text);
    }
    match cli::print(&text) {
        exit::DONE if !whole => exit::CONFIG,
        code => code,
    }
}

/// Reads a file in the format that its name tells.
fn read(path: &PathBuf, form: &Inetd) -> Draft {
    config::read_as(std::slice::from_ref(path), form)
}

/// A draft as native text: what was found at a place stands before the service of that place.
fn native(draft: &Draft, out: &mut String) {
    let mut faults: Vec<&Fault> = draft.faults.iter().collect();
    faults.sort_by_key(|fault| fault.place);
    let mut rest = faults.into_iter().peekable();
    let mut after = Place::default();
    for service in &draft.services {
        let end = Place { line: service.place.line + 1, column: 0, len: 0, ..service.place };
        while let Some(fault) = rest.next_if(|fault| fault.place < end) {
            comment(draft, fault, out);
        }
        // the services of one line stand together
        if service.place != after && !out.is_empty() && !out.ends_with("\n\n") && !out.ends_with("#\n") {
            out.push('\n');
        }
        after = service.place;
        out.push_str(&config::print_service(service));
        out.push('\n');
    }
    rest.for_each(|fault| comment(draft, fault, out));
}

/// The lines of a fault as comments.
fn comment(draft: &Draft, fault: &Fault, out: &mut String) {
    for line in draft.sources.render(fault).lines() {
        out.push_str("# ");
        out.push_str(line.trim_end());
        out.push('\n');
    }
}
