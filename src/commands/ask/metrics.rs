//! The counters as OpenMetrics text (OpenMetrics 1.0): families one after the other, their samples together.

use super::model::{Row, Service, Status};
use crate::commands::say::Say;
use crate::text::{add, fraction, split_last};

/// States of a service, each a sample of 0 or 1.
const STATES: [&str; 5] = ["waiting", "running", "stopping", "resting", "paused"];

/// `dormouse metrics`.
pub(super) fn text(status: &Status) -> String {
    let mut out = String::new();
    for (name, key, help) in families(Say::DaemonFamilies) {
        family(&mut out, name, help);
        sample(&mut out, name, &[], &value(key, &status.daemon));
    }
    for (name, key, help) in families(Say::ServiceFamilies) {
        each(&mut out, status, name, help, &|out, service, label| {
            let row = if key == "live" { &service.row } else { &service.counts };
            sample(out, name, &[label], &value(key, row));
        });
    }
    each(&mut out, status, "dropped_packets", Say::DroppedPackets.text(), &|out, service, label| {
        for socket in service.sockets.iter().filter(|socket| socket.number("drops").is_some()) {
            let labels = [label, ("address", &socket.text("address"))];
            sample(out, "dropped_packets", &labels, &socket.text("drops"));
        }
    });
    for (name, group, help) in [("refused", "refused_", Say::Refused), ("rested", "rested_", Say::Rested)] {
        each(&mut out, status, name, help.text(), &|out, service, label| {
            for (why, count) in service.counts.group(group) {
                sample(out, name, &[label, ("why", &why)], &count.to_string());
            }
        });
    }
    each(&mut out, status, "state", Say::State.text(), &|out, service, label| {
        let current = service.row.text("state");
        for state in STATES {
            sample(out, "state", &[label, ("state", state)], if state == current { "1" } else { "0" });
        }
    });
    each(&mut out, status, "start_seconds", Say::StartSeconds.text(), &histogram);
    out.push_str("# EOF\n");
    out
}

/// Families of one sample for the daemon, or one for each service: name, key of the row, explanation. The end of a name
/// and of a key tell the unit.
fn families(say: Say) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    say.text().split('\n').filter_map(|line| {
        let (name, rest) = line.split_once(' ')?;
        let (key, help) = rest.split_once(' ')?;
        Some((name, key, help))
    })
}

/// A number of a row in the unit of OpenMetrics: seconds and bytes.
fn value(key: &str, row: &Row) -> String {
    let number = row.count(key);
    match split_last(key, b'_').map_or(key, |(_, unit)| unit) {
        "ms" => {
            let mut seconds = String::new();
            fraction(number, 3, &mut seconds);
            seconds
        }
        "kb" => number.wrapping_mul(1024).to_string(),
        _ => number.to_string(),
    }
}

type Label<'a> = (&'a str, &'a str);

/// A family with its samples for each service.
fn each(out: &mut String, status: &Status, name: &str, help: &str, samples: &dyn Fn(&mut String, &Service, Label<'_>)) {
    family(out, name, help);
    for service in &status.services {
        samples(out, service, ("service", service.name()));
    }
}

fn histogram(out: &mut String, service: &Service, label: Label<'_>) {
    let starts = &service.starts;
    let (bounds, mut sum) = (starts.list("bounds_us"), 0_u64);
    for (index, count) in starts.list("buckets").into_iter().enumerate() {
        sum = sum.wrapping_add(count);
        let bound = bounds.get(index).map_or_else(|| "+Inf".to_owned(), |us| millionths(*us));
        sample(out, "start_seconds_bucket", &[label, ("le", &bound)], &sum.to_string());
    }
    sample(out, "start_seconds_sum", &[label], &millionths(starts.count("sum_us")));
    sample(out, "start_seconds_count", &[label], &sum.to_string());
}

/// Whether it only grows.
fn is_counter(name: &str) -> bool {
    Say::Counters.text().split(' ').any(|counter| counter == name)
}

fn family(out: &mut String, name: &str, help: &str) {
    let kind = match name {
        "start_seconds" => "histogram",
        _ if is_counter(name) => "counter",
        _ => "gauge",
    };
    add(out, &["# TYPE dormouse_", name, " ", kind, "\n"]);
    if name.ends_with("_seconds") {
        add(out, &["# UNIT dormouse_", name, " seconds\n"]);
    }
    add(out, &["# HELP dormouse_", name, " ", help, "\n"]);
}

fn sample(out: &mut String, name: &str, labels: &[Label<'_>], value: &str) {
    add(out, &["dormouse_", name, if is_counter(name) { "_total" } else { "" }]);
    let mut separator = "{";
    for (key, text) in labels {
        add(out, &[separator, key, "=\"", &text.replace('\\', "\\\\").replace('"', "\\\""), "\""]);
        separator = ",";
    }
    add(out, &[if labels.is_empty() { " " } else { "} " }, value, "\n"]);
}

/// Microseconds as seconds. No more digits than needed, with one at least: these are names of buckets.
fn millionths(us: u64) -> String {
    let mut text = String::new();
    fraction(us, 6, &mut text);
    let short = text.trim_end_matches('0');
    if short.ends_with('.') { [short, "0"].concat() } else { short.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Reads strictly what this program may write: every family has its three or two comment lines first, its samples
    /// stand together and bear its name with a suffix of its kind, no sample comes twice, the end is marked.
    fn parse(text: &str) -> BTreeSet<String> {
        let (mut families, mut samples) = (BTreeSet::new(), BTreeSet::new());
        let (mut name, mut kind) = (String::new(), String::new());
        let body = text.strip_suffix("# EOF\n").unwrap();
        for line in body.lines() {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            match words[..] {
                ["#", "TYPE", family, of] => {
                    assert!(families.insert(family.to_owned()), "{family} comes twice");
                    (name, kind) = (family.to_owned(), of.to_owned());
                }
                ["#", "UNIT", family, unit] => assert!(family == name && family.ends_with(&format!("_{unit}"))),
                ["#", "HELP", family, _] => assert_eq!(family, name),
                _ => {
                    let (id, value) = line.rsplit_once(' ').unwrap();
                    assert!(value.parse::<f64>().is_ok(), "{line}");
                    let suffix = id.split('{').next().unwrap().strip_prefix(name.as_str()).unwrap();
                    let allowed: &[&str] = match kind.as_str() {
                        "gauge" => &[""],
                        "counter" => &["_total"],
                        _ => &["_bucket", "_sum", "_count"],
                    };
                    assert!(allowed.contains(&suffix), "{line}");
                    assert!(samples.insert(id.to_owned()), "{id} comes twice");
                }
            }
        }
        samples
    }

    #[test]
    #[cfg_attr(not(feature = "control"), ignore = "this build has no words for it")]
    fn the_text_is_open_metrics() {
        let text = text(&Status::example());
        let samples = parse(&text);
        assert!(samples.len() > 30, "{text}");
        for line in [
            "dormouse_up_seconds 86400.000\n",
            "dormouse_refused_total{service=\"ssh\",why=\"max-connections\"} 2\n",
            "dormouse_rested_total{service=\"ssh\",why=\"trigger-limit\"} 4\n",
            "dormouse_state{service=\"ssh\",state=\"resting\"} 1\n",
            "dormouse_start_seconds_bucket{service=\"ssh\",le=\"0.0005\"} 11\n",
            "dormouse_start_seconds_bucket{service=\"ssh\",le=\"+Inf\"} 12\n",
            "dormouse_start_seconds_sum{service=\"ssh\"} 0.006\n",
            "dormouse_dropped_packets_total{service=\"wi\\\"ki\",address=\"[::]:80\"} 7\n",
            "dormouse_slept_seconds_total{service=\"wi\\\"ki\"} 61.000\n",
            "dormouse_given_back_bytes{service=\"wi\\\"ki\"} 14889984\n",
            "dormouse_accepted_total{service=\"wi\\\"ki\"} 1\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }

    #[test]
    fn numbers_have_a_point() {
        assert_eq!([0, 250, 1_000_000, 1_500_000].map(millionths), ["0.0", "0.00025", "1.0", "1.5"]);
    }
}
