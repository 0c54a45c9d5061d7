//! The compiled filter against the plain rule, by an interpreter of the instructions that it uses.

use super::*;
use crate::sys::random::Random;
use core::net::{Ipv4Addr, Ipv6Addr};

/// Runs a program on a packet whose IP header is `ip`. Jumps and loads out of range end the test.
fn run(program: &[u8], ip: &[u8]) -> bool {
    let code: Vec<&[u8]> = program.chunks(INSTRUCTION).collect();
    let (mut at, mut a) = (0, 0_u32);
    for _ in 0..=code.len() {
        let insn = code[at];
        let op = u32::from(u16::from_ne_bytes([insn[0], insn[1]]));
        let k = u32::from_ne_bytes(insn[4..].try_into().unwrap());
        let offset = k.wrapping_sub(libc::SKF_NET_OFF.cast_unsigned()) as usize;
        let branch = |test: bool| usize::from(if test { insn[2] } else { insn[3] });
        at += 1;
        match (op & 7, op & 0xf8) {
            (0, 0x20) => a = u32::from_be_bytes(ip[offset..offset + 4].try_into().unwrap()),
            (0, 0x30) => a = u32::from(ip[offset]),
            (4, 0x50) => a &= k,
            (5, 0x00) => at += k as usize,
            (5, 0x10) => at += branch(a == k),
            (5, 0x20) => at += branch(a > k),
            (5, 0x30) => at += branch(a >= k),
            (6, 0) => return k != 0,
            _ => panic!("an instruction that the filter does not use: {op:#x}"),
        }
    }
    panic!("the program does not end")
}

fn header(source: IpAddr) -> Vec<u8> {
    match source {
        IpAddr::V4(source) => [&[0x45; 12][..], &source.octets(), &[9; 4]].concat(),
        IpAddr::V6(source) => [&[0x60; 8][..], &source.octets(), &[9; 16]].concat(),
    }
}

impl Random {
    /// Addresses of few bits, so that they often meet.
    fn address(&mut self) -> IpAddr {
        let mut word = || [0, 1, 0x8000_0000, 0xffff_ffff, 0xfe80_0000, 0xffff, 0x0a00_0001][self.below(7)];
        let bits = [word(), word(), word(), word()];
        if self.below(2) == 0 {
            return Ipv4Addr::from_bits(bits[0]).into();
        }
        let bits = bits.iter().fold(0, |all, &word| all << 32 | u128::from(word));
        // IPv4 written as IPv6 is never on the wire, and the plain rule below does not know it.
        Ipv6Addr::from_bits(if bits >> 32 == 0xffff { 1 } else { bits }).into()
    }

    fn prefix(&mut self) -> (IpAddr, u8) {
        let address = self.address();
        let most = if address.is_ipv4() { 32 } else { 128 };
        let len = if self.below(3) == 0 { self.below(5) * most / 4 } else { self.below(most + 1) };
        (address, u8::try_from(len).unwrap())
    }
}

/// The rule said once more, without tables.
fn model(list: &[(IpAddr, u8)], source: IpAddr) -> bool {
    list.iter().any(|&(prefix, len)| match (prefix, source) {
        (IpAddr::V4(p), IpAddr::V4(s)) => (p.to_bits() ^ s.to_bits()).leading_zeros() >= u32::from(len),
        (IpAddr::V6(p), IpAddr::V6(s)) => (p.to_bits() ^ s.to_bits()).leading_zeros() >= u32::from(len),
        _ => false,
    })
}

fn table(list: &[(IpAddr, u8)]) -> Vec<u8> {
    let mut out = Vec::new();
    list.iter().for_each(|&(address, len)| add(&mut out, Prefix::new(address, len)));
    out
}

#[test]
fn the_program_the_tables_and_the_rule_agree() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..3000 {
        let mut list = || (0..random.below(6)).map(|_| random.prefix()).collect::<Vec<_>>();
        let (allow, deny) = (list(), list());
        let (allow_table, deny_table) = (table(&allow), table(&deny));
        let program = program(&allow_table, &deny_table);
        for _ in 0..40 {
            let source = random.address();
            let wanted = model(&allow, source) || !model(&deny, source);
            let case = format!("round {round}: {source} allow {allow:?} deny {deny:?}");
            assert_eq!(allowed(&allow_table, &deny_table, source), wanted, "table, {case}");
            assert!(program.is_empty() || run(&program, &header(source)) == wanted, "program, {case}");
            assert!(!program.is_empty() || wanted, "no program, {case}");
        }
    }
}

#[test]
fn a_client_of_a_dual_stack_socket_is_judged_by_its_ipv4_address() {
    let deny = table(&[(Ipv4Addr::new(10, 0, 0, 0).into(), 8)]);
    assert!(!allowed(&[], &deny, "::ffff:10.1.2.3".parse().unwrap()));
    assert!(allowed(&[], &deny, "::ffff:11.1.2.3".parse().unwrap()));
}

#[test]
fn denying_all_of_ipv6_leaves_ipv4_alone() {
    let deny = table(&[(Ipv6Addr::UNSPECIFIED.into(), 0)]);
    assert!(!allowed(&[], &deny, Ipv6Addr::LOCALHOST.into()));
    assert!(allowed(&[], &deny, Ipv4Addr::LOCALHOST.into()));
}

#[test]
fn any_is_one_row_and_holds_what_was_there() {
    let list = [("10.0.0.0", 8), ("fe80::", 10), ("0.0.0.0", 0), ("::", 0), ("192.168.0.0", 16)]
        .map(|(a, n)| (a.parse().unwrap(), n));
    assert_eq!(table(&list), [0; ROW]);
    assert_eq!(program(&[], &table(&list)).len() / INSTRUCTION, 6, "version, jump, two verdicts");
}

#[test]
fn a_prefix_costs_few_instructions() {
    let count = |list: &[(&str, u8)]| {
        let list: Vec<_> = list.iter().map(|&(address, len)| (address.parse().unwrap(), len)).collect();
        program(&[], &table(&list)).len() / INSTRUCTION
    };
    let fixed = 4 + 2; // version and jump, the last verdict of each family
    assert_eq!(count(&[("10.0.0.0", 8), ("192.168.0.0", 16)]), fixed + 1 + 2 * 3);
    assert_eq!(count(&[("2001:db8::1", 128)]), fixed + 4 * 2 + 1);
}
