//! only_from and no_access: of all entries that match an address the longest decides, and no_access when two are equal.
//!
//! IPAddressAllow= always wins over IPAddressDeny=, so what a longer no_access takes away is cut out of the ranges of
//! only_from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::address::Prefix;

/// Reads one entry; `None`: it is a name of a machine or network, which no filter can tell.
pub(super) fn prefixes(text: &str) -> Option<Vec<Prefix>> {
    if let Some((before, rest)) = text.split_once('{') {
        let each = rest.strip_suffix('}')?.split(',').map(|part| prefixes(&[before, part].concat()));
        return each.collect::<Option<Vec<_>>>().map(|lists| lists.concat());
    }
    let mut list = Vec::new();
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        // The zeros at the end of an IPv4 address stand for anything.
        let zeros = address.octets().iter().rev().take_while(|octet| **octet == 0).count();
        let len = u8::try_from(32 - 8 * zeros).unwrap_or(32);
        list.push(Prefix { address: address.into(), len });
        if len == 0 {
            list.push(Prefix { address: Ipv6Addr::UNSPECIFIED.into(), len: 0 });
        }
        return Some(list);
    }
    let dots = text.bytes().filter(|byte| *byte == b'.').count();
    let short = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && dots < 3 && !text.ends_with('.');
    if short {
        return prefixes(&[text, &".0".repeat(3 - dots)].concat());
    }
    super::super::address::prefix(text, &mut list).ok()?;
    (!text.starts_with(|c: char| c.is_ascii_alphabetic()) || text.contains(':')).then_some(list)
}

/// What is allowed when everything else is denied.
pub(super) fn allowed(only_from: &[Prefix], no_access: &[Prefix]) -> Vec<Prefix> {
    let mut out = Vec::new();
    for prefix in only_from {
        let mut parts = vec![*prefix];
        for hole in no_access.iter().filter(|hole| hole.len >= prefix.len) {
            parts = parts.into_iter().flat_map(|part| without(part, *hole)).collect();
        }
        out.extend(parts);
    }
    out
}

/// A range without a part of it, as ranges.
fn without(prefix: Prefix, hole: Prefix) -> Vec<Prefix> {
    if !contains(prefix, hole) {
        return if contains(hole, prefix) { Vec::new() } else { vec![prefix] };
    }
    // The other half of each range on the way down to the hole.
    (prefix.len..hole.len).map(|len| Prefix { address: flipped(hole.address, len), len: len + 1 }).collect()
}

fn contains(outer: Prefix, inner: Prefix) -> bool {
    let (a, b) = (bits(outer.address), bits(inner.address));
    let shift = 128 - u32::from(outer.len);
    let same = |x: u128, y: u128| (x ^ y).checked_shr(shift).unwrap_or(0) == 0;
    outer.address.is_ipv4() == inner.address.is_ipv4() && inner.len >= outer.len && same(a, b)
}

/// The bits of an address, the first at the top.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The first address of the range that differs in bit number `bit` and has none behind it.
fn flipped(address: IpAddr, bit: u8) -> IpAddr {
    let one = 1u128 << (127 - u32::from(bit));
    let flipped = (bits(address) ^ one) & !(one - 1);
    match address {
        IpAddr::V4(_) => Ipv4Addr::from_bits(u32::try_from(flipped >> 96).unwrap_or(0)).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(flipped).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(list: &[Prefix]) -> String {
        list.iter().map(Prefix::text).collect::<Vec<_>>().join(" ")
    }

    fn read(words: &str) -> Vec<Prefix> {
        words.split(' ').flat_map(|word| prefixes(word).unwrap()).collect()
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
            assert_eq!(prefixes(name), None, "{name}");
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
        assert_eq!(allow("10.0.0.0/8", "11.0.0.0/8"), "10.0.0.0/8");
    }
}
