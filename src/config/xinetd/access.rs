//! only_from and no_access: of all entries that match an address the longest decides, and no_access when two are equal.
//!
//! IPAddressAllow= always wins over IPAddressDeny=, so what a longer no_access takes away is cut out of the ranges of
//! only_from.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::super::address::{Prefix, prefix};

/// Adds the ranges of one entry; false: it is a name of a machine or network, which no filter can tell.
pub(super) fn prefixes(text: &str, out: &mut Vec<Prefix>) -> bool {
    if let Some((before, rest)) = text.split_once('{') {
        let Some(rest) = rest.strip_suffix('}') else { return false };
        return rest.split(',').all(|part| prefixes(&[before, part].concat(), out));
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        // The zeros at the end of an IPv4 address stand for anything.
        let zeros = address.octets().iter().rev().take_while(|octet| **octet == 0).count();
        let len = u8::try_from(32 - 8 * zeros).unwrap_or(32);
        out.push(Prefix { address: address.into(), len });
        if len == 0 {
            out.push(Prefix { address: Ipv6Addr::UNSPECIFIED.into(), len: 0 });
        }
        return true;
    }
    let dots = text.bytes().filter(|byte| *byte == b'.').count();
    let short = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && dots < 3 && !text.ends_with('.');
    if short {
        return prefixes(&[text, &".0.0.0"[2 * dots..]].concat(), out);
    }
    (!text.starts_with(|c: char| c.is_ascii_alphabetic()) || text.contains(':')) && prefix(text, out).is_ok()
}

/// What is allowed when everything else is denied.
pub(super) fn allowed(only_from: &[Prefix], no_access: &[Prefix]) -> Vec<Prefix> {
    let mut out = Vec::new();
    for prefix in only_from {
        cut(*prefix, prefix.len, no_access, &mut out);
    }
    out
}

/// Adds what the holes of at least `least` bits leave of a range: all, nothing, or what they leave of its halves.
fn cut(range: Prefix, least: u8, holes: &[Prefix], out: &mut Vec<Prefix>) {
    let mut whole = true;
    for hole in holes.iter().filter(|hole| hole.len >= least) {
        if hole.contains(&range) {
            return;
        }
        whole &= !range.contains(hole);
    }
    if whole {
        out.push(range);
    } else {
        range.halves().into_iter().for_each(|half| cut(half, least, holes, out));
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
            text(&read("128.138.{12,209.3} ::1 fe80::/10")),
            "128.138.12.0/24 128.138.209.3/32 ::1/128 fe80::/10"
        );
        assert_eq!(text(&read("0.0.0.0")), "0.0.0.0/0 ::/0");
        for name in ["host", ".example.org", "any", "localhost", "1.2.3.4.5", "10.", ""] {
            assert!(!prefixes(name, &mut Vec::new()), "{name}");
        }
    }

    #[test]
    fn the_longest_entry_decides() {
        let allow = |only: &str, no: &str| text(&allowed(&read(only), &read(no)));
        assert_eq!(allow("10.0.0.0/30", "10.0.0.2"), "10.0.0.0/31 10.0.0.3/32");
        assert_eq!(allow("10.0.0.0/30", "10.0.0.0/30"), "");
        assert_eq!(allow("10.0.0.1", "10.0.0.0"), "10.0.0.1/32");
        assert_eq!(allow("10.0.0.0/31 10.0.0.1", "10.0.0.1"), "10.0.0.0/32");
        assert_eq!(allow("::/1", "8000::/2"), "::/1");
        assert_eq!(allow("::/126", "::2 ::3"), "::/127");
        assert_eq!(allow("0.0.0.0", "128.0.0.0/1"), "0.0.0.0/1 ::/0");
        assert_eq!(allow("10.0.0.0/8", "11.0.0.0/8"), "10.0.0.0/8");
    }
}
