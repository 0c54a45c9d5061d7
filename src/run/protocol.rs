//! What the built-in services say, as pure functions of time and place.

use core::fmt::Write;
use core::net::IpAddr;

use crate::peer::Peer;
use crate::sys::clock::date;
use crate::text::Line;

/// Characters in a line of chargen (RFC 864), without CR LF.
const LINE: u16 = 72;
/// The printable characters, blank to tilde.
const CHARACTERS: u16 = 95;
/// Bytes after which chargen begins anew.
pub(super) const CYCLE: u16 = (LINE + 2) * CHARACTERS;

/// The byte of chargen at a position below [`CYCLE`].
pub(super) fn pattern(position: u16) -> u8 {
    let (line, column) = (position / (LINE + 2), position % (LINE + 2));
    match column {
        LINE => b'\r',
        column if column > LINE => b'\n',
        _ => b' ' + u8::try_from((line + column) % CHARACTERS).unwrap_or(0),
    }
}

/// The seconds since 1900 (RFC 868), which begin anew in 2036.
pub(super) fn time(seconds_of_1970: u64) -> [u8; 4] {
    const SEVENTY_YEARS: u64 = 2_208_988_800;
    u32::try_from((seconds_of_1970 + SEVENTY_YEARS) & 0xffff_ffff).unwrap_or(0).to_be_bytes()
}

/// The time in UTC as asctime(3) has it, with CR LF (RFC 867).
pub(super) fn daytime(seconds_of_1970: u64) -> Line<40> {
    const DAYS: &str = "ThuFriSatSunMonTueWed";
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let [year, month, day, hour, minute, second] = date(seconds_of_1970);
    let name = |names: &'static str, index: usize| names.get(3 * index..3 * index + 3).unwrap_or("");
    let weekday = name(DAYS, usize::try_from(seconds_of_1970 / 86_400 % 7).unwrap_or(0));
    let month = name(MONTHS, month as usize - 1);
    let mut text = Line::new();
    let _ = write!(text, "{weekday} {month} {day:2} {hour:02}:{minute:02}:{second:02} {year}\r\n"); // 26 bytes until 9999
    text
}

/// Whether a datagram from this sender may be answered. Two services that answer everything would talk to each other
/// for ever, so nobody gets an answer on a port where a service may live (below 1024, or one of our own, which
/// `is_own` tells), nor anybody who is not one machine.
pub(super) fn may_answer(peer: &Peer, is_own: impl Fn(u16) -> bool) -> bool {
    let Peer::Internet { ip, port, .. } = peer else { return matches!(peer, Peer::Unix { .. }) };
    let one = match ip {
        IpAddr::V4(v4) => !v4.is_broadcast() && v4.octets()[0] != 0,
        IpAddr::V6(_) => true,
    };
    one && !ip.is_multicast() && !ip.is_unspecified() && *port >= 1024 && !is_own(*port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told() {
        assert_eq!(daytime(0).as_str(), "Thu Jan  1 00:00:00 1970\r\n");
        assert_eq!(daytime(951_782_400).as_str(), "Tue Feb 29 00:00:00 2000\r\n");
        assert_eq!(daytime(1_795_365_002).as_str(), "Sun Nov 22 16:30:02 2026\r\n");
        assert_eq!(daytime(4_102_444_799).as_str(), "Thu Dec 31 23:59:59 2099\r\n");
        assert_eq!(time(0), [0x83, 0xaa, 0x7e, 0x80]);
        assert_eq!(time(2_085_978_496), [0; 4]);
    }

    #[test]
    fn lines_turn_by_one_character() {
        let line = |number: u16| (0..74).map(|column| char::from(pattern(number * 74 + column))).collect::<String>();
        assert!(line(0).starts_with(" !\"#") && line(0).ends_with("fg\r\n"));
        assert!(line(1).starts_with("!\"#$"));
        assert!(line(94).starts_with("~ !"));
    }

    #[test]
    fn nobody_answers_a_service() {
        let peer = |ip: &str, port| Peer::Internet { ip: ip.parse().unwrap(), scope: 0, port };
        let own = |port| port == 7007;
        assert!(may_answer(&peer("192.0.2.1", 1024), own) && may_answer(&peer("2001:db8::1", 40_000), own));
        for (ip, port) in [
            ("192.0.2.1", 7),
            ("192.0.2.1", 1023),
            ("192.0.2.1", 7007),
            ("255.255.255.255", 5000),
            ("0.0.0.1", 5000),
            ("224.0.0.1", 5000),
            ("ff02::1", 5000),
        ] {
            assert!(!may_answer(&peer(ip, port), own), "{ip} {port}");
        }
        assert!(!may_answer(&Peer::Unknown, own));
    }
}
