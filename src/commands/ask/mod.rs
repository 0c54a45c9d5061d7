//! The commands that ask or order a running Dormouse: the other side of [`crate::control`].
//!
//! | file | what it does |
//! |---|---|
//! | `client` | the connection: a request, rows, the last word |
//! | `model` | rows put together: a daemon, its services |
//! | `table` | what `list` and `status` show |
//! | `event` | what `history` and `watch` show |
//! | `json` | the same for programs |
//! | `metrics` | the counters as OpenMetrics |
//! | `process` | what /proc tells of the processes |
//! | `span` | times and sizes for people |

mod client;
mod event;
mod json;
mod metrics;
mod model;
mod process;
mod span;
mod table;

use std::ffi::OsString;
use std::fmt::Write;
use std::path::PathBuf;

use super::say::Say;
use crate::cli::{self, Command, Control, Options, exit};
use crate::control;
use crate::sys::{signal, stdio};
use crate::text::Shown;
use client::Client;
use model::{Row, Status};

/// Events of a service that `status` shows.
const EVENTS_SHOWN: usize = 5;

/// Where the control socket is; `None`: there is none.
pub(super) fn control_path(control: &Control) -> Option<PathBuf> {
    match control {
        Control::Off => None,
        Control::Path(path) => Some(path.clone()),
        Control::Default => control::default_path(),
    }
}

/// Asks, and prints the answer.
#[inline(never)] // its frame must not be part of the loop's caller
pub(super) fn ask(options: &Options) -> u8 {
    signal::unblock_all(); // an interruption ends it, and so does a reader that goes away
    answer(options).unwrap_or_else(|code| code)
}

/// A request has the word of its command.
fn answer(options: &Options) -> Result<u8, u8> {
    let Some(path) = control_path(&options.control) else {
        return Err(cli::refuse(&Say::NoControl.text(), exit::USAGE));
    };
    let names = names(&options.names)?;
    let mut client = Client::connect(&path)?;
    match options.command {
        Command::List => list(&mut client, options.json),
        Command::Status => status(&mut client, &names, options.json),
        Command::Metrics => Ok(cli::print(&metrics::text(&Status::ask(&mut client, "")?))),
        Command::History | Command::Watch => events(&mut client, options.command, &names, options.json),
        Command::Reload | Command::Upgrade => change(&mut client, options.command),
        _ => order(&mut client, options.command, &names),
    }
}

/// Names of services are ASCII; what cannot be one is said so before it could be taken for another request.
fn names(words: &[OsString]) -> Result<Vec<&str>, u8> {
    let name = |word: &'_ OsString| word.to_str().is_some_and(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
    match words.iter().find(|word| word.is_empty() || !name(word)) {
        Some(word) => Err(cli::refuse(&format_args!("no service \"{}\"", Shown(word.as_encoded_bytes())), exit::NO)),
        None => Ok(words.iter().filter_map(|word| word.to_str()).collect()),
    }
}

fn list(client: &mut Client, json: bool) -> Result<u8, u8> {
    let status = Status::ask(client, "")?;
    Ok(cli::print(&if json { json::list(&status) } else { table::list(&status) }))
}

fn status(client: &mut Client, names: &[&str], json: bool) -> Result<u8, u8> {
    let mut status = Status::ask(client, names.first().unwrap_or(&""))?;
    for name in names.get(1..).unwrap_or(&[]) {
        status.services.extend(Status::ask(client, name)?.services);
    }
    process::look(&mut status);
    if json {
        return Ok(cli::print(&json::status(&status)));
    }
    let mut text = String::new();
    if names.is_empty() {
        text.push_str(&table::daemon(&status.daemon));
        text.push('\n');
        text.push_str(&table::list(&status));
    }
    for (index, service) in status.services.iter().filter(|_| !names.is_empty()).enumerate() {
        if index > 0 {
            text.push('\n');
        }
        table::service(service, &mut text);
        let mut past = Vec::new();
        client.ask(&["history ", service.name()].concat(), &mut |row| {
            let mut line = String::new();
            event::line(row, &mut line);
            past.push(line);
            true
        })?;
        for line in past.iter().skip(past.len().saturating_sub(EVENTS_SHOWN)) {
            let _ = writeln!(text, "  event      {line}"); // a String takes everything
        }
    }
    Ok(cli::print(&text))
}

/// Prints events one by one: the next one may come tomorrow.
fn events(client: &mut Client, command: Command, names: &[&str], json: bool) -> Result<u8, u8> {
    if command == Command::Watch {
        client.be_patient();
    }
    let line = [cli::word(command), " ", names.first().unwrap_or(&"")].concat();
    let mut code = exit::DONE;
    let mut out = String::new(); // one for all: freed memory is never used again before the end
    client.ask(&line, &mut |row| {
        out.clear();
        let print = if json { json::event } else { event::line };
        print(row, &mut out);
        out.push('\n');
        code = cli::print(&out);
        code == exit::DONE
    })?;
    Ok(code)
}

fn order(client: &mut Client, command: Command, names: &[&str]) -> Result<u8, u8> {
    client.be_patient(); // a service has its TimeoutStopSec=
    let mut code = exit::DONE;
    for name in names {
        let line = [cli::word(command), " ", name].concat();
        match client.ask(&line, &mut |_| true) {
            Ok(last) => code = code.max(cli::print(&[&last.text("text"), "\n"].concat())),
            Err(failed) => code = code.max(failed),
        }
    }
    Ok(code)
}

/// A new configuration, and perhaps a new program. What is wrong with it is shown as `check` shows it.
fn change(client: &mut Client, command: Command) -> Result<u8, u8> {
    client.be_patient(); // users and ports may be looked up slowly
    let mut faulty = false;
    let answer = client.ask(cli::word(command), &mut |row| {
        if row.starts_with("fault ") {
            let line = Row::new(row).text("text");
            faulty |= line.as_bytes().windows(9).any(|part| part == b": error: ");
            let _ = stdio::write_all(stdio::stderr(), [&line, "\n"].concat().as_bytes()); // nobody to tell
        }
        true
    });
    match answer {
        Ok(last) => Ok(cli::print(&[&last.text("text"), "\n"].concat())),
        Err(code) => Err(if faulty { exit::CONFIG } else { code }),
    }
}
