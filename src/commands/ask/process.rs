//! What /proc tells of the processes of a service: name, memory and CPU time. The client looks, so that the daemon has
//! nothing to do. A service is a session (setsid(2)), so all processes of that session count.

use super::model::Status;
use crate::sys::environment::ticks_per_second;
use crate::sys::file;
use crate::sys::proc::for_each_of;

/// Adds `comm`, `tasks`, `memory_kb` and `cpu_ms` to the rows of processes.
pub(super) fn look(status: &mut Status) {
    let rows = status.services.iter_mut().flat_map(|service| &mut service.processes);
    let mut rows: Vec<_> = rows.map(|row| (row.count("pid"), row)).collect();
    if rows.is_empty() {
        return;
    }
    let wanted: Vec<u64> = rows.iter().map(|(pid, _)| *pid).collect();
    let number = |session| u64::try_from(session).unwrap_or(0);
    let mut all = Vec::new();
    for_each_of(&mut |session| wanted.contains(&number(session)), &mut |process| {
        all.push((number(process.session), process.memory_kb(), process.cpu));
        true
    });
    for (pid, row) in &mut rows {
        let its = || all.iter().filter(|(session, ..)| session == pid);
        let comm = file::text(&["/proc/", &pid.to_string(), "/comm"].concat());
        let comm: String = comm.trim_ascii_end().chars().filter(|c| c.is_ascii_graphic() && *c != '"').collect();
        row.add("comm", &["\"", &comm.replace('\\', ""), "\""].concat());
        row.add("tasks", &its().count().to_string());
        row.add("memory_kb", &its().map(|(_, kb, _)| kb).sum::<u64>().to_string());
        let cpu_ms = its().map(|(.., ticks)| ticks * 1000 / ticks_per_second() as u64).sum::<u64>();
        row.add("cpu_ms", &cpu_ms.to_string());
    }
}
