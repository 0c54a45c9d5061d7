//! Users, groups and services of the system, as its files name them (passwd(5), group(5), services(5), hosts(5)).
//!
//! They are read here and not by the C library: on a board both look into the same files, but the library brings its
//! buffered files and its heap along, 14 kB of flash and two pages of RAM. Only before the seal: this allocates.

use core::net::IpAddr;
use std::path::Path;

use super::file;
use crate::text::number;

/// More than any of the three files has.
const MOST_BYTES: usize = 64 << 20;

/// What the system says of a user (passwd(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Login name.
    pub name: String,
    /// Home folder.
    pub home: String,
    /// Login shell.
    pub shell: String,
}

/// Looks a user up by name, or by number where `name` is one that no user bears as a name.
pub fn user(name: &str) -> Option<User> {
    let text = read("/etc/passwd");
    let users = || text.lines().filter_map(entry);
    let uid = number(name, 10);
    users().find(|user| user.name == name).or_else(|| users().find(|user| uid == Some(user.uid)))
}

/// The number of a user, that of its name or one that need not be known to the system, and its group where it is known.
pub fn owner(name: &str) -> Option<(u32, Option<u32>)> {
    match user(name) {
        Some(user) => Some((user.uid, Some(user.gid))),
        None => number(name, 10).map(|uid| (uid, None)),
    }
}

/// One line of passwd(5); `None` for what is none.
fn entry(line: &str) -> Option<User> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    let uid = number(fields.nth(1)?, 10)?;
    let gid = number(fields.next()?, 10)?;
    let home = fields.nth(1)?;
    let shell = fields.next()?;
    Some(User { uid, gid, name: name.to_owned(), home: home.to_owned(), shell: shell.to_owned() })
}

/// Looks a group up by name, or takes a number as it is.
pub fn group(name: &str) -> Option<u32> {
    let text = read("/etc/group");
    let named = text.lines().find_map(|line| {
        let (_, gid, _) = members(line).filter(|(group, ..)| *group == name)?;
        Some(gid)
    });
    named.or_else(|| number(name, 10))
}

/// The groups of a user with primary group `gid`, that one included (getgrouplist(3)).
pub fn groups_of(name: &str, gid: u32) -> Vec<u32> {
    let mut groups = vec![gid];
    for (_, group, members) in read("/etc/group").lines().filter_map(members) {
        if !groups.contains(&group) && members.split(',').any(|member| member == name) {
            groups.push(group);
        }
    }
    groups
}

/// Name, number and members of one line of group(5).
fn members(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    Some((name, number(fields.nth(1)?, 10)?, fields.next()?))
}

/// The port of a service of services(5); `protocol` is `tcp` or `udp`.
pub fn service_port(name: &str, protocol: &str) -> Option<u16> {
    read("/etc/services").lines().find_map(|line| port(line, name, protocol))
}

/// `NAME PORT/PROTOCOL ALIAS... # comment`.
fn port(line: &str, name: &str, protocol: &str) -> Option<u16> {
    let mut words = line.split('#').next()?.split_ascii_whitespace();
    let first = words.next()?;
    let (port, of) = words.next()?.split_once('/')?;
    let is_it = of == protocol && (first == name || words.any(|alias| alias == name));
    if is_it { number(port, 10) } else { None }
}

/// The addresses of a machine in hosts(5). Only that file: a name server may not be there when a board starts, and
/// nobody would wait for it.
pub fn hosts(name: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in read("/etc/hosts").lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let Some(ip) = words.next().and_then(|ip| ip.parse().ok()) else { continue };
        if words.any(|word| word.eq_ignore_ascii_case(name)) && !found.contains(&ip) {
            found.push(ip);
        }
    }
    found
}

/// A file that is missing has no lines.
fn read(path: &str) -> String {
    let bytes = file::read(Path::new(path), MOST_BYTES).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_by_name_and_by_number() {
        let root = user("root").unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(user("0").unwrap(), root);
        assert_eq!(group("root"), Some(0));
        assert!(groups_of("root", 0).contains(&0));
        assert_eq!(user("no such user"), None);
        let known = Some((0, Some(0)));
        assert_eq!(["root", "0", "54321", "no such user"].map(owner), [known, known, Some((54321, None)), None]);
        assert_eq!(group("12345"), Some(12345));
    }

    #[test]
    fn lines_of_the_three_files() {
        let user = entry("www-data:x:33:34:Web, server:/var/www:/bin/false").unwrap();
        assert_eq!((user.uid, user.gid, &*user.home, &*user.shell), (33, 34, "/var/www", "/bin/false"));
        assert_eq!(entry("# a comment"), None);
        assert_eq!(entry("+::::::"), None);
        assert_eq!(members("dialout:x:20:ann,bob"), Some(("dialout", 20, "ann,bob")));
        assert_eq!(port("http  80/tcp  www # WorldWideWeb", "www", "tcp"), Some(80));
        assert_eq!(port("http  80/tcp  www # WorldWideWeb", "WorldWideWeb", "tcp"), None);
        assert_eq!(port("domain\t53/udp", "domain", "tcp"), None);
        assert_eq!(port("#http 80/tcp", "http", "tcp"), None);
    }
}
