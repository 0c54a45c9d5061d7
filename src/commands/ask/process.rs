//! What /proc tells of the processes of a service: name, memory and CPU time. The client looks, so that the daemon has
//! nothing to do. A service is a session (setsid(2)), so all processes of that session count.

use super::model::Status;
use crate::sys::environment::{page_bytes, ticks_per_second};
use crate::sys::file;
use std::path::Path;

/// A process of the machine.
struct Process {
    session: u64,
    /// In milliseconds.
    cpu_ms: u64,
    /// In kB: its share of all pages, or all its pages if only those are known.
    memory_kb: u64,
}

/// Adds `comm`, `tasks`, `memory_kb` and `cpu_ms` to the rows of processes.
pub(super) fn look(status: &mut Status) {
    let rows = status.services.iter_mut().flat_map(|service| &mut service.processes);
    let mut rows: Vec<_> = rows.map(|row| (row.count("pid"), row)).collect();
    if rows.is_empty() {
        return;
    }
    let wanted: Vec<u64> = rows.iter().map(|(pid, _)| *pid).collect();
    let all = processes(&wanted);
    for (pid, row) in &mut rows {
        let its = || all.iter().filter(|process| process.session == *pid);
        let comm = file::text(&["/proc/", &pid.to_string(), "/comm"].concat());
        let comm: String = comm.trim_ascii_end().chars().filter(|c| c.is_ascii_graphic() && *c != '"').collect();
        row.add("comm", &["\"", &comm.replace('\\', ""), "\""].concat());
        row.add("tasks", &its().count().to_string());
        row.add("memory_kb", &its().map(|process| process.memory_kb).sum::<u64>().to_string());
        row.add("cpu_ms", &its().map(|process| process.cpu_ms).sum::<u64>().to_string());
    }
}

/// All processes of these sessions.
fn processes(sessions: &[u64]) -> Vec<Process> {
    let mut found = Vec::new();
    for name in file::names(Path::new("/proc")).unwrap_or_default() {
        let Some(name) = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) else { continue };
        let stat = file::text(&["/proc/", name, "/stat"].concat());
        let Some((session, cpu_ms, pages)) = parse(&stat).filter(|(session, ..)| sessions.contains(session)) else {
            continue;
        };
        let share = pss(&file::text(&["/proc/", name, "/smaps_rollup"].concat()));
        let memory_kb = share.unwrap_or_else(|| pages * page_bytes() as u64 / 1024);
        found.push(Process { session, cpu_ms, memory_kb });
    }
    found
}

/// Session, CPU time in milliseconds and resident pages (proc_pid_stat(5)). The name can hold anything, so the fields
/// are counted from the last parenthesis.
fn parse(stat: &str) -> Option<(u64, u64, u64)> {
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let ticks = number(11)?.saturating_add(number(12)?);
    Some((number(3)?, ticks * 1000 / ticks_per_second() as u64, number(21)?))
}

/// The proportional share, in kB.
fn pss(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim_ascii().strip_suffix(" kB")?.trim_ascii().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_behind_its_name() {
        let stat = "77 (a) b (c)) S 12 70 66 0 -1 4194304 1 0 0 0 30 20 0 0 20 0 1 0 500 1000 42 18446744073709551615";
        let ticks = ticks_per_second() as u64;
        assert_eq!(parse(stat), Some((66, 50 * 1000 / ticks, 42)));
        assert_eq!(parse("77 (a"), None);
        assert_eq!(pss("a\nRss:   100 kB\nPss:    73 kB\nPss_Dirty: 1 kB\n"), Some(73));
    }
}
