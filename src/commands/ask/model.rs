//! Rows put together.

use super::client::Client;
use super::span::{memory, short, span};
use crate::control::{Fields, Value, field};
use crate::text::{add, number, split_last};

/// One row.
pub(super) struct Row(String);

impl Row {
    pub(super) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn kind(&self) -> &str {
        Fields::of(&self.0).0
    }

    pub(super) fn fields(&self) -> Fields<'_> {
        Fields::of(&self.0).1
    }

    /// The text of a field; empty if it is not there.
    pub(super) fn text(&self, key: &str) -> String {
        field(&self.0, key).map(Value::to_text).unwrap_or_default()
    }

    /// The number of a field, if it is there.
    pub(super) fn number(&self, key: &str) -> Option<u64> {
        field(&self.0, key)?.number()
    }

    /// The number of a field; 0 if it is not there.
    pub(super) fn count(&self, key: &str) -> u64 {
        self.number(key).unwrap_or(0)
    }

    /// Whether a field is there and says something: not 0, not no.
    pub(super) fn has(&self, key: &str) -> bool {
        !matches!(self.text(key).as_str(), "" | "0" | "no")
    }

    /// Adds a text to `out` in which `{key}` stands for a field, as people read it: the key tells its unit. What stands
    /// in brackets behind a key and a colon is there if the field says something.
    pub(super) fn fill(&self, text: &str, out: &mut String) {
        for (index, part) in text.split(['[', ']']).enumerate() {
            match part.split_once(':').filter(|_| index % 2 == 1) {
                None => self.fill_plain(part, out),
                Some((key, part)) if self.has(key) => self.fill_plain(part, out),
                Some(_) => {}
            }
        }
    }

    fn fill_plain(&self, text: &str, out: &mut String) {
        for (index, part) in text.split(['{', '}']).enumerate() {
            if index % 2 == 0 {
                out.push_str(part);
                continue;
            }
            match (split_last(part, b'_').map_or(part, |(_, unit)| unit), self.number(part)) {
                ("ms", Some(ms)) => out.push_str(&span(ms)),
                ("us", Some(us)) => out.push_str(&short(us)),
                ("kb", Some(kb)) => out.push_str(&memory(kb)),
                _ => out.push_str(&self.text(part)),
            }
        }
    }

    /// The same by itself.
    pub(super) fn filled(&self, text: &str) -> String {
        let mut out = String::new();
        self.fill(text, &mut out);
        out
    }

    /// The numbers of a list.
    pub(super) fn list(&self, key: &str) -> Vec<u64> {
        self.text(key).split(',').filter_map(|text| number(text, 10)).collect()
    }

    /// The fields whose key begins with `group`, and whose number is not 0: the words behind it and the numbers.
    pub(super) fn group<'a>(&'a self, group: &'a str) -> impl Iterator<Item = (String, u64)> + 'a {
        self.fields().filter_map(move |(key, value)| {
            let word = key.strip_prefix(group)?.replace('_', "-");
            Some((word, value.number()?))
        })
    }

    /// Adds a field of our own: a number or a word.
    pub(super) fn add(&mut self, key: &str, value: &str) {
        add(&mut self.0, &[" ", key, "=", value]);
    }
}

/// One service.
pub(super) struct Service {
    pub(super) row: Row,
    pub(super) counts: Row,
    pub(super) starts: Row,
    pub(super) last: Option<Row>,
    pub(super) sockets: Vec<Row>,
    pub(super) processes: Vec<Row>,
    name: String,
}

impl Service {
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// An answer to `status`.
pub(super) struct Status {
    pub(super) daemon: Row,
    pub(super) services: Vec<Service>,
}

impl Status {
    /// Asks for one service, or for all of them by an empty name.
    pub(super) fn ask(client: &mut Client, name: &str) -> Result<Self, u8> {
        let mut status = Self { daemon: Row::new(""), services: Vec::new() };
        client.ask(&["status ", name].concat(), &mut |row| {
            status.take(Row::new(row));
            true
        })?;
        Ok(status)
    }

    fn take(&mut self, row: Row) {
        let kind = row.kind().to_owned();
        if kind == "daemon" {
            self.daemon = row;
            return;
        }
        if kind == "service" {
            let empty = || Row::new("");
            let (sockets, processes) = (Vec::new(), Vec::new());
            let name = row.text("name");
            self.services.push(Service { row, counts: empty(), starts: empty(), last: None, sockets, processes, name });
            return;
        }
        let Some(service) = self.services.last_mut() else { return };
        match kind.as_str() {
            "counts" => service.counts = row,
            "starts" => service.starts = row,
            "last" => service.last = Some(row),
            "socket" => service.sockets.push(row),
            "process" => service.processes.push(row),
            _ => {}
        }
    }
}

#[cfg(test)]
impl Status {
    /// From the rows of an answer.
    pub(super) fn of(rows: &[&str]) -> Self {
        let mut status = Self { daemon: Row::new(""), services: Vec::new() };
        rows.iter().for_each(|row| status.take(Row::new(row)));
        status
    }

    /// A service of each kind.
    pub(super) fn example() -> Self {
        Self::of(&[
            "daemon protocol=1 version=\"0.1.0\" pid=311 uptime_ms=86400000 stopping=no services=2 sockets=3 missing=1 \
             processes=1 late_allocations=0 lost_log_lines=2 log_level=INFO",
            "service name=\"ssh\" state=resting accept=yes paused=no why=trigger-limit rest_ms=1500 live=0 \
             max_connections=8 program=\"/usr/sbin/dropbear\"",
            "counts accepted=12 refused=3 refused_address=1 refused_max_connections=2 rested_trigger_limit=4 failures=0 \
             dropped=0 ended=12",
            "starts count=12 last_us=450 worst_us=1200 sum_us=6000 bounds_us=250,500 buckets=2,9,1",
            "last signal=11 core=yes ran_ms=61000 age_ms=200",
            "socket kind=stream address=\"[::]:22\" open=yes",
            "future thing=1",
            "service name=\"wi\\\"ki\" state=running accept=no paused=no live=1 program=\"/usr/bin/gunicorn\"",
            "counts accepted=1 refused=0 failures=0 dropped=0 ended=0 given_back_kb=14541 slept_ms=61000 asleep_ms=2000",
            "starts count=1 last_us=700 worst_us=700 sum_us=700 bounds_us=250,500 buckets=0,0,1",
            "socket kind=stream address=\"[::]:80\" open=yes drops=7 counted_by=\"/proc/net\"",
            "socket kind=stream address=\"/run/w\\u00e4.sock\" open=no retry_ms=250",
            "process pid=812 age_ms=182000 stage=running",
        ])
    }
}
