//! What `list` and `status` show to people: 80 columns are enough, and nothing depends on the terminal.

use super::model::{Row, Service, Status};
use super::span::{short, utc, wall_ms};
use crate::commands::say::Say;
use crate::config::signal_word;
use crate::text::join;
use std::fmt::Write;

/// Widest name that moves the columns behind it.
const NAME_MAX: usize = 24;

/// A line for each service, and one for each further socket.
pub(super) fn list(status: &Status) -> String {
    let name_width = status.services.iter().map(|service| service.name().len()).max().unwrap_or(0).clamp(4, NAME_MAX);
    let mut out = String::new();
    let mut line = |cells: [&str; 6]| {
        let widths = [name_width, 8, 8, 7, 7];
        let mut text = String::new();
        for (index, cell) in cells.into_iter().enumerate() {
            let numeric = (2..5).contains(&index);
            let width = widths.get(index).copied().unwrap_or(0);
            let _ = if numeric { write!(text, "{cell:>width$}  ") } else { write!(text, "{cell:<width$}  ") };
        }
        out.push_str(text.trim_ascii_end());
        out.push('\n');
    };
    line(["NAME", "STATE", "ACCEPTED", "CURRENT", "REFUSED", "SOCKET"]);
    for service in &status.services {
        let is_paused = is_paused(&service.row);
        let mut sockets = service.sockets.iter().map(|row| socket(row) + if is_paused { " (paused)" } else { "" });
        let number = |row: &Row, key| row.count(key).to_string();
        line([
            service.name(),
            &service.row.text("state"),
            &number(&service.counts, "accepted"),
            &number(&service.row, "live"),
            &number(&service.counts, "refused"),
            &sockets.next().unwrap_or_default(),
        ]);
        sockets.for_each(|socket| line(["", "", "", "", "", &socket]));
    }
    out
}

/// Dormouse itself.
pub(super) fn daemon(row: &Row) -> String {
    let mut out = row.filled(Say::Daemon.text());
    out.push_str(&row.text("log_level").to_ascii_lowercase());
    out.push('\n');
    out
}

/// All about one service.
pub(super) fn service(service: &Service, out: &mut String) {
    let (row, counts) = (&service.row, &service.counts);
    row.fill("{name}: {state}", out);
    if let Some(rest) = row.number("rest_ms") {
        row.fill(Say::Resting.text(), out);
        utc(wall_ms(0).wrapping_add(rest), out);
        row.fill("): {why}", out);
    }
    if is_paused(row) {
        out.push_str(Say::Paused.text());
    }
    out.push('\n');
    let mut line = |title: &str, text: &str| {
        let _ = writeln!(out, "  {title:<10} {text}");
    };
    for (index, row) in service.sockets.iter().enumerate() {
        line(if index == 0 { "sockets" } else { "" }, &(socket(row) + &row.filled(Say::OfKernel.text())));
    }
    let how = if row.has("accept") { Say::PerConnection.text() } else { Say::WithAll.text() };
    if row.has("backend") {
        line("forwards", &row.filled("to {backend}"));
    }
    if row.has("program") {
        line("program", &row.filled(if row.has("backend") { "{program}" } else { how }));
    }
    let live = if row.number("max_connections").is_some() { Say::Limited.text() } else { "{live}" };
    line("accepted", &(counts.filled("{accepted}, current ") + &row.filled(live)));
    line("refused", &reasons(counts, "refused_", "refused"));
    line("rested", &reasons(counts, "rested_", ""));
    for (key, text) in [("failures", "{failures} in a row"), ("dropped", Say::Dropped.text())] {
        if counts.has(key) {
            line(key, &counts.filled(text));
        }
    }
    line("starts", &starts(&service.starts));
    if counts.number("asleep_ms").is_some() {
        line("asleep", &counts.filled(Say::Asleep.text()));
    } else if counts.has("slept_ms") {
        line("slept", &counts.filled(Say::Slept.text()));
    }
    for (index, row) in service.processes.iter().enumerate() {
        line(if index == 0 { "processes" } else { "" }, &process(row));
    }
    if let Some(last) = &service.last {
        line("last end", &end(last));
    }
}

/// Whether a service has paused sockets although its state says something else: its process still runs.
fn is_paused(row: &Row) -> bool {
    row.has("paused") && row.text("state") != "paused"
}

fn socket(row: &Row) -> String {
    let open = row.has("open");
    row.filled(if open { "{kind} {address}" } else { Say::NotOpen.text() })
}

/// `3 (max-connections 2, address 1)`.
fn reasons(counts: &Row, group: &str, total: &str) -> String {
    let each: Vec<(String, u64)> = counts.group(group).filter(|(_, count)| *count > 0).collect();
    let all = || each.iter().fold(0, |sum: u64, (_, count)| sum.wrapping_add(*count));
    let sum = if total.is_empty() { all() } else { counts.count(total) };
    let each: Vec<String> = each.into_iter().map(|(why, count)| format!("{why} {count}")).collect();
    if each.is_empty() { sum.to_string() } else { format!("{sum} ({})", join(&each, ", ")) }
}

/// `12, last 450us, worst 1.2ms: 2 within 250us, 9 within 500us, 1 longer`.
fn starts(row: &Row) -> String {
    if !row.has("count") {
        return "never".to_owned();
    }
    let bounds = row.list("bounds_us");
    let mut text = row.filled(Say::Starts.text());
    let mut separator = ":";
    for (index, count) in row.list("buckets").into_iter().enumerate().filter(|(_, count)| *count > 0) {
        let _ = match bounds.get(index) {
            Some(bound) => write!(text, "{separator} {count} within {}", short(*bound)),
            None => write!(text, "{separator} {count} longer"),
        };
        separator = ",";
    }
    text
}

fn process(row: &Row) -> String {
    let mut text = row.filled(Say::Process.text());
    if row.count("tasks") > 1 {
        row.fill(", {tasks} processes", &mut text);
    }
    row.fill("[peer:, peer {peer}]", &mut text);
    if row.text("stage") != "running" {
        row.fill("[stage:, {stage}]", &mut text);
    }
    text
}

fn end(row: &Row) -> String {
    let mut text = match row.number("signal").and_then(|signal| u8::try_from(signal).ok()) {
        Some(signal) => {
            let name = signal_word(signal).map_or_else(|| signal.to_string(), |name| ["SIG", name].concat());
            [if row.has("core") { "core dumped, signal " } else { "signal " }, &name].concat()
        }
        None if row.number("status").is_none() => "unknown".to_owned(),
        None => row.filled("status {status}") + &meaning(row.count("status")),
    };
    row.fill(" after {ran_ms}, {age_ms} ago", &mut text);
    text
}

/// What programs mean by a status, where they agree.
fn meaning(status: u64) -> String {
    let listed = if (128..=192).contains(&status) { 128 } else { status }.to_string();
    let found = |line: &'static str| line.split_once(' ').filter(|(status, _)| *status == listed);
    let found = Say::Statuses.text().split('\n').find_map(found);
    found.map_or_else(String::new, |(_, meaning)| [" (", meaning, ")"].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(not(feature = "control"), ignore = "this build has no words for it")]
    fn a_list_has_columns() {
        assert_eq!(
            list(&Status::example()),
            "NAME   STATE     ACCEPTED  CURRENT  REFUSED  SOCKET\n\
             ssh    resting         12        0        3  stream [::]:22\n\
             wi\"ki  running          1        1        0  stream [::]:80\n\
             \x20                                            stream /run/wä.sock (not open, tried again in 250ms)\n"
        );
    }

    #[test]
    fn paused_sockets_are_told_beside_a_running_process() {
        let status = Status::of(&[
            "service name=\"a\" state=running accept=no paused=yes live=1",
            "socket kind=stream address=\"[::]:22\" open=yes",
            "service name=\"b\" state=paused accept=no paused=yes live=0",
            "socket kind=stream address=\"[::]:23\" open=yes",
        ]);
        let text = list(&status);
        assert!(text.contains("  stream [::]:22 (paused)\n") && text.ends_with("  stream [::]:23\n"), "{text}");
    }

    #[test]
    fn numbers_that_no_machine_has_end_no_command() {
        let most = u64::MAX;
        for rest in [most, 371_080_000_000_000_000] {
            let status = Status::of(&[
                &format!("service name=\"a\" state=resting why=load rest_ms={rest} live={most}"),
                &format!(
                    "counts accepted={most} rested_load={most} rested_scarce=1 given_back_kb={most} slept_ms={most}"
                ),
                &format!("starts count={most} last_us={most} sum_us={most} bounds_us=1 buckets={most},{most}"),
            ]);
            let mut text = String::new();
            service(&status.services[0], &mut text);
            text.push_str(&super::super::metrics::text(&status));
            assert!(text.contains(&format!("(load {most}, scarce 1)")), "{text}");
        }
    }

    #[test]
    #[cfg_attr(not(feature = "control"), ignore = "this build has no words for it")]
    fn a_service_is_told_whole() {
        let status = Status::example();
        let mut text = String::new();
        service(&status.services[0], &mut text);
        let (first, rest) = text.split_once('\n').unwrap();
        assert!(first.starts_with("ssh: resting for 1.5s (until 2") && first.ends_with("Z): trigger-limit"), "{first}");
        assert_eq!(
            rest,
            "  sockets    stream [::]:22\n\
             \x20 program    /usr/sbin/dropbear for each connection\n\
             \x20 accepted   12, current 0 of 8\n\
             \x20 refused    3 (address 1, max-connections 2)\n\
             \x20 rested     4 (trigger-limit 4)\n\
             \x20 starts     12, last 450us, worst 1.2ms: 2 within 250us, 9 within 500us, 1 longer\n\
             \x20 last end   core dumped, signal SIGSEGV after 1min 1s, 200ms ago\n"
        );
        text.clear();
        service(&status.services[1], &mut text);
        assert!(text.contains("\n  processes  812 , age 3min 2s\n"), "{text}");
        assert!(
            text.contains("[::]:80, 7 packets dropped by the kernel, connections counted by /proc/net\n"),
            "{text}"
        );
        assert!(text.contains("\n  asleep     2.0s, 14.2 MB given back; 1min 1s in all\n"), "{text}");
        assert!(daemon(&status.daemon).contains("late allocations 0, lost log lines 2, log level info\n"));
    }
}
