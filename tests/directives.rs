//! Every directive of systemd that a .socket or .service file can have: done, passed over or warned
//! about, and never unknown. The table is tests/corpus/systemd.directives.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use dormouse::config::{self, Code, Foreign, Id};
use std::fs;
use std::path::Path;

const TABLE: &str = "tests/corpus/systemd.directives";

/// Directives of units that are done without being one of ours.
const DONE: [&str; 5] = ["DynamicUser", "Service", "StartLimitInterval", "TimeoutSec", "Type"];

/// What becomes of a directive: it is written into a unit, with a value that hardly any takes.
fn fate(section: &str, name: &str, folder: &Path) -> &'static str {
    let line = |own| if own == section { format!("{name}=yes\n") } else { String::new() };
    let socket = format!("[Socket]\nListenStream=7\n{}", line("Socket"));
    let service = format!("[Unit]\n{}[Service]\nExecStart=/bin/cat\n{}", line("Unit"), line("Service"));
    fs::write(folder.join("x.socket"), socket).unwrap();
    fs::write(folder.join("x.service"), service).unwrap();
    fs::copy(folder.join("x.service"), folder.join("x@.service")).unwrap();
    let draft = config::read(&[folder.to_owned()]);
    let told =
        |code| draft.faults.iter().any(|fault| fault.code == code && fault.message.contains(&format!("{name}=")));
    let file = if section == "Socket" { "x.socket:3:" } else { "x.service:" };
    let id = Id::from_name(name).filter(|id| !id.row().later);
    let set = id.is_some_and(|id| draft.services.iter().any(|service| service.is_set(id)));
    let by_hand = DONE.contains(&name) && (section != "Socket" || name == "Service");
    let noticed = set || draft.report().contains(file) || by_hand;
    let known = id.is_some() || config::foreign(name).is_some() || DONE.contains(&name);
    match () {
        () if told(Code::StrangeSetting) => "unknown",
        () if told(Code::UnitUnprotected) => "a wall",
        () if told(Code::DirectiveNotInBuild) => "done", // by the whole program; this one refuses it
        () if told(Code::UnitLost) || told(Code::UnitNoSockets) => "warned about",
        () if noticed && (id.is_some() || by_hand) => "done",
        () if section == "Socket" && known => "passed over", // it is about commands that are not run
        () if config::foreign(name) == Some(Foreign::Meaningless) => "passed over",
        () => "lost without a word",
    }
}

#[test]
#[cfg_attr(not(feature = "units"), ignore = "this build reads no units")]
fn every_directive_of_systemd_has_a_fate() {
    let folder = std::env::temp_dir().join(format!("dormouse-directives-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    let table = fs::read_to_string(TABLE).unwrap();
    let mut text = String::new();
    let mut count = 0;
    let mut strange = Vec::new();
    for line in table.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [section, name, ..] = words[..] else { continue };
        if section == "#" {
            text += &format!("{line}\n");
            continue;
        }
        let fate = fate(section, name, &folder);
        if fate == "unknown" || fate == "lost without a word" {
            strange.push(format!("[{section}] {name}= is {fate}"));
        }
        text += &format!("{section:<8} {name:<34} {fate}\n");
        count += 1;
    }
    fs::remove_dir_all(&folder).unwrap();
    assert!(strange.is_empty(), "{}", strange.join("\n"));
    assert!(count > 450, "{count} directives");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(TABLE, &text).unwrap();
    } else if text != table {
        let differ = text.lines().zip(table.lines()).find(|(new, old)| new != old);
        assert!(text == table, "{differ:?}; UPDATE_GOLDEN=1 writes the table anew");
    }
}
