//! only_from and no_access, as xinetd 2.3.15 takes them: who is in no_access is refused, however much longer the entry
//! of only_from is that lets him in. (Its manual says that the better match decides.)
//!
//! IPAddressAllow= always wins over IPAddressDeny=, so what no_access takes away is cut out of the ranges of only_from.

use std::net::Ipv4Addr;

use super::super::address::{Prefix, prefix};
use crate::text::split_last;

/// Adds the ranges of one entry; false: it is a name of a machine or network, which no filter can tell.
pub(super) fn prefixes(text: &str, out: &mut Vec<Prefix>) -> bool {
    let dots = text.bytes().filter(|byte| *byte == b'.').count();
    if let Some((before, rest)) = text.split_once('{') {
        // Numbers that are not written stand for anything.
        let (Some(rest), Some(end)) = (rest.strip_suffix('}'), ".0.0.0".get(2 * dots..)) else { return false };
        let len = (8 * dots + 8).to_string();
        return rest.split(',').all(|part| prefix(&[before, part, end, "/", &len].concat(), out).is_ok());
    }
    // As inet_aton(3) reads it, 10.1 is 10.0.0.1.
    let filled = match split_last(text, b'.') {
        Some((head, last)) if dots < 3 => [head, &".0.0"[2 * dots - 2..], ".", last].concat(),
        _ => text.to_owned(),
    };
    if let Ok(address) = filled.parse::<Ipv4Addr>() {
        // The zeros at the end of an IPv4 address stand for anything.
        let zeros = address.octets().iter().rev().take_while(|octet| **octet == 0).count();
        let len = u8::try_from(32 - 8 * zeros).unwrap_or(32);
        out.push(Prefix::new(address.into(), len));
        return true;
    }
    let text = if text == "::/0" { "any" } else { text }; // the mapped addresses are among them
    (!filled.starts_with(|c: char| c.is_ascii_alphabetic()) || filled.contains(':')) && prefix(text, out).is_ok()
}

/// What is allowed when everything else is denied.
pub(super) fn allowed(only_from: &[Prefix], no_access: &[Prefix]) -> Vec<Prefix> {
    let mut out = Vec::new();
    for prefix in only_from {
        cut(*prefix, no_access, &mut out);
    }
    out
}

/// Adds what the holes leave of a range: all, nothing, or what they leave of its halves.
fn cut(range: Prefix, holes: &[Prefix], out: &mut Vec<Prefix>) {
    let mut whole = true;
    for hole in holes {
        if hole.contains(&range) {
            return;
        }
        whole &= !range.contains(hole);
    }
    if whole {
        out.push(range);
    } else {
        range.halves().into_iter().for_each(|half| cut(half, holes, out));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(list: &[Prefix]) -> String {
        list.iter().map(Prefix::text).collect::<Vec<_>>().join(" ")
    }

    fn read(words: &str) -> Vec<Prefix> {
        let mut list = Vec::new();
        assert!(words.split(' ').all(|word| prefixes(word, &mut list)));
        list
    }

    #[test]
    fn entries_as_xinetd_reads_them() {
        assert_eq!(
            text(&read("10.0.0.0 192.168.1.0 192.0.2.7 10.1.0.0/12")),
            "10.0.0.0/8 192.168.1.0/24 192.0.2.7/32 10.0.0.0/12"
        );
        assert_eq!(
            text(&read("192.168.{0,209} 10.{0} 10.0.0.{0,7} {0} ::1 fe80::/10")),
            "192.168.0.0/24 192.168.209.0/24 10.0.0.0/16 10.0.0.0/32 10.0.0.7/32 0.0.0.0/8 ::1/128 fe80::/10"
        );
        assert_eq!(text(&read("10.1 10.0 10.1.2 192.168.0")), "10.0.0.1/32 10.0.0.0/8 10.1.0.2/32 192.168.0.0/16");
        assert_eq!(text(&read("0.0.0.0 ::/0")), "0.0.0.0/0 0.0.0.0/0 ::/0");
        for name in
            ["host", ".example.org", "any", "localhost", "1.2.3.4.5", "10.", "", "10", "1.2.3.{4.5}", "1.2.3.4.{5}"]
        {
            assert!(!prefixes(name, &mut Vec::new()), "{name}");
        }
    }

    #[test]
    fn who_is_in_no_access_is_refused() {
        let allow = |only: &str, no: &str| text(&allowed(&read(only), &read(no)));
        assert_eq!(allow("10.0.0.0/30", "10.0.0.2"), "10.0.0.0/31 10.0.0.3/32");
        assert_eq!(allow("10.0.0.0/30", "10.0.0.0/30"), "");
        assert_eq!(allow("10.0.0.1", "10.0.0.0"), "");
        assert_eq!(allow("10.0.0.0/31 10.0.0.1", "10.0.0.1"), "10.0.0.0/32");
        assert_eq!(allow("::/1", "8000::/2"), "::/1");
        assert_eq!(allow("::/2", "::/1"), "");
        assert_eq!(allow("::/126", "::2 ::3"), "::/127");
        assert_eq!(allow("0.0.0.0", "128.0.0.0/1"), "0.0.0.0/1");
        assert_eq!(allow("10.0.0.0/8", "11.0.0.0/8"), "10.0.0.0/8");
    }
}
