//! IP addresses as text, read and written as the standard library does: that has three times as much code.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Line, hexadecimal, number};

/// Bytes of the longest one: eight groups of four digits.
const BYTES: usize = 39;

/// Reads an address of either family.
pub fn read(text: &str) -> Option<IpAddr> {
    four(text).map(IpAddr::V4).or_else(|| six(text).map(IpAddr::V6))
}

/// Reads `192.0.2.7`. A zero in front of other digits would mean octal to some.
pub fn four(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next().filter(|part| part.len() == 1 || !part.starts_with('0'))?;
        *octet = number(part, 10)?;
    }
    parts.next().is_none().then(|| octets.into())
}

/// Reads `2001:db8::1` or `64:ff9b::192.0.2.7` (RFC 4291, 2.2).
pub fn six(text: &str) -> Option<Ipv6Addr> {
    let gap = text.as_bytes().windows(2).position(|pair| pair == b"::");
    let (head, tail) = gap.map_or((text, ""), |at| (&text[..at], &text[at + 2..]));
    let (head, tail) = (groups(head, gap.is_none())?, groups(tail, true)?);
    // the gap stands for at least one group
    let zeros = 16_usize.checked_sub(head.len() + tail.len())?;
    if (zeros > 0) != gap.is_some() {
        return None;
    }
    let mut bytes = [0; 16];
    bytes[..head.len()].copy_from_slice(&head);
    bytes[head.len() + zeros..].copy_from_slice(&tail);
    Some(bytes.into())
}

/// The bytes of groups with colons between them. What ends the address may be in the form of IPv4.
fn groups(text: &str, is_end: bool) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = Some(text).filter(|text| !text.is_empty());
    while let Some(text) = rest {
        let (group, after) = text.split_once(':').map_or((text, None), |(group, after)| (group, Some(after)));
        match four(group).filter(|_| is_end && after.is_none()) {
            Some(ip) => bytes.extend_from_slice(&ip.octets()),
            None if group.len() > 4 => return None,
            None => bytes.extend_from_slice(&number::<u16>(group, 16)?.to_be_bytes()),
        }
        rest = after;
    }
    Some(bytes)
}

/// The address as text (RFC 5952).
pub fn text(ip: IpAddr) -> Line<BYTES> {
    let mut line = Line::new();
    match ip {
        IpAddr::V4(ip) => line.push_ascii(dotted(ip, &mut [0; 15])),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => {
                line.push_ascii(b"::ffff:");
                line.push_ascii(dotted(ip, &mut [0; 15]));
            }
            None => put_groups(ip.segments(), &mut line),
        },
    }
    line
}

/// The groups, the first of the longest runs of zeros as `::`.
fn put_groups(groups: [u16; 8], line: &mut Line<BYTES>) {
    let mut gap = 0..0;
    for start in 0..groups.len() {
        let zeros = groups[start..].iter().take_while(|group| **group == 0).count();
        if zeros > gap.len().max(1) {
            gap = start..start + zeros;
        }
    }
    let mut separator: &[u8] = b"";
    for (index, group) in groups.into_iter().enumerate() {
        if gap.contains(&index) {
            separator = b"::";
            continue;
        }
        line.push_ascii(separator);
        let digits = hexadecimal(group);
        let zeros = digits[..3].iter().take_while(|digit| **digit == b'0').count();
        line.push_ascii(&digits[zeros..]);
        separator = b":";
    }
    if gap.contains(&7) {
        line.push_ascii(b"::");
    }
}

/// The text of an IPv4 address in the last bytes of `room`. Written from the end: piece by piece into a line the way from
/// accept to exec is a seventh longer.
pub fn dotted(ip: Ipv4Addr, room: &mut [u8; 15]) -> &[u8] {
    let mut start = room.len();
    let mut put = |byte| {
        start -= 1;
        room[start] = byte;
    };
    for (index, mut octet) in ip.octets().into_iter().rev().enumerate() {
        if index > 0 {
            put(b'.');
        }
        put(b'0' + octet % 10);
        while octet > 9 {
            octet /= 10;
            put(b'0' + octet % 10);
        }
    }
    &room[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads as the standard library does, and writes what was read as it does.
    fn check(text: &str) {
        let ip = read(text);
        assert_eq!(ip, text.parse().ok(), "{text}");
        assert_eq!((four(text), six(text)), (text.parse().ok(), text.parse().ok()), "{text}");
        if let Some(ip) = ip {
            assert_eq!(super::text(ip).as_str(), ip.to_string());
        }
    }

    #[test]
    fn addresses_as_in_the_standard_library() {
        let all = "0.0.0.0|255.255.255.255|1.20.100.9|256.1.1.1|01.2.3.4|1.2.3|1.2.3.4.5|1.2.3.4 |1..2.3||:|::|:::|::::|1::|\
                   ::1|1:2:3:4:5:6:7:8|1:2:3:4:5:6:7:8:9|1:2:3:4:5:6:7::|::2:3:4:5:6:7:8|1:2:3:4:5:6:7:8::|1::2::3|1:2|\
                   :1::|1::2:|fe80::1%3|12345::|0012::00|ABCD::ef01|g::|::ffff:1.2.3.4|::1.2.3.4|1:2:3:4:5:6:1.2.3.4|\
                   1:2:3:4:5:6:7:1.2.3.4|1.2.3.4::|1.2.3.4:1::|::1.2.3.4:1|::1.2.3.4:1.2.3.4|::1.2.3|1:0:0:2:0:0:0:3|\
                   1:0:0:2:0:0:3:4|1:0:2:0:3:0:4:0|0:0:0:0:0:0:0:1|+1::|::+1|1:2:3:4:5::1.2.3.4|::ffff:0:1.2.3.4";
        all.split('|').for_each(check);
    }

    #[test]
    fn any_words_as_in_the_standard_library() {
        let mut state = 1_u32;
        let mut next = |most: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % most
        };
        let pieces = ["0", "0", "1", "ffff", "1.2.3.4", ":", ":", ":", "::", ".", "00a"];
        for _ in 0..200_000 {
            let text: String = (0..next(18)).map(|_| pieces[next(11) as usize]).collect();
            check(&text);
        }
    }
}
