//! Who may send to a socket: tables of address prefixes, and the same as a classic BPF program for the kernel.
//!
//! The rule is systemd's (systemd.resource-control(5), IPAddressAllow=): a source that the Allow list names is let in;
//! else one that the Deny list names is turned away; else it is let in.
//!
//! A table is rows of [`ROW`] bytes: the length of a [`Prefix`], then its first address. In a table that of length 0 is
//! everything, so an IPv6 `::/0` alone becomes two rows, `::/1` and `8000::/1`.
//!
//! [`allowed`] is the rule for Accept=yes, where the program sees each connection. For a socket that is handed over,
//! [`program`] gives the same rule to the kernel, which then holds after the hand-over too, and a source that is turned
//! away can't even wake the service.

use crate::config::Prefix;
use core::net::IpAddr;

/// Bytes of one row.
pub const ROW: usize = 17;
/// Bytes of one instruction (`struct sock_filter`).
pub const INSTRUCTION: usize = 8;

/// Adds the row or rows of one prefix to a table, unless a row that is there holds it already.
pub fn add(table: &mut Vec<u8>, prefix: Prefix) {
    if prefix.len == 0 {
        prefix.halves().iter().for_each(|half| add_row(table, half));
    } else {
        add_row(table, &prefix);
    }
    // Both families whole: one row says it.
    let whole = |row: &Prefix| row.len == 1 || row.len == Prefix::IPV4 && row.is_ipv4();
    if rows(table).filter(whole).count() == 3 {
        *table = vec![0; ROW];
    }
}

fn add_row(table: &mut Vec<u8>, new: &Prefix) {
    if rows(table).any(|row| holds(&row, new)) {
        return;
    }
    // The wider one takes the place of those that it holds.
    let mut kept = Vec::new();
    for row in rows(table).filter(|row| !new.contains(row)).chain([*new]) {
        kept.push(row.len);
        kept.extend_from_slice(&row.first.to_be_bytes());
    }
    *table = kept;
}

/// Whether a source may connect or send. Takes no memory; costs one comparison a row.
pub fn allowed(allow: &[u8], deny: &[u8], source: IpAddr) -> bool {
    let source = Prefix::only(source);
    rows(allow).any(|row| holds(&row, &source)) || !rows(deny).any(|row| holds(&row, &source))
}

/// The rows of a table.
fn rows(table: &[u8]) -> impl Iterator<Item = Prefix> {
    let bits = |row: &[u8; ROW]| row[1..].iter().fold(0, |bits, &byte| bits << 8 | u128::from(byte));
    table.as_chunks().0.iter().map(move |row| Prefix { first: bits(row), len: row[0] })
}

/// Whether a row holds a range.
fn holds(row: &Prefix, range: &Prefix) -> bool {
    row.len == 0 || row.contains(range)
}

/// The rule as a classic BPF program, [`INSTRUCTION`] bytes for each `struct sock_filter`. Empty when the rule turns
/// nobody away. It may be longer than [`crate::limits::FILTER_INSTRUCTIONS`]; who calls must look.
///
/// Three instructions for an IPv4 prefix, up to ten for an IPv6 prefix. Each prefix ends with a `ret` of its own, so no
/// conditional jump goes further than over one prefix; the one long jump (to the IPv6 part) is a `ja`.
pub fn program(allow: &[u8], deny: &[u8]) -> Vec<u8> {
    if deny.is_empty() {
        return Vec::new();
    }
    let v4 = part(allow, deny, four);
    let v6 = part(allow, deny, six);
    // The packet begins with the transport header; the IP header is reached through SKF_NET_OFF.
    let mut code = vec![
        load(libc::BPF_B, 0),
        Instruction::new(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0xf0),
        jump(libc::BPF_JEQ, 0x60, 0, 1),
        Instruction::new(libc::BPF_JMP | libc::BPF_JA, u32::try_from(v4.len()).unwrap_or(u32::MAX)),
    ];
    code.extend(v4);
    code.extend(v6);
    let mut bytes = Vec::new();
    code.iter().for_each(|instruction| bytes.extend_from_slice(&instruction.bytes()));
    bytes
}

/// One instruction: `struct sock_filter`.
#[derive(Clone, Copy)]
struct Instruction {
    code: u32,
    /// Instructions to skip when the test holds, and when it does not.
    skip: [u8; 2],
    operand: u32,
}

impl Instruction {
    const fn new(code: u32, operand: u32) -> Self {
        Self { code, skip: [0; 2], operand }
    }

    fn bytes(&self) -> [u8; INSTRUCTION] {
        let mut bytes = [0; INSTRUCTION];
        // An operation code has 16 bits.
        bytes[..2].copy_from_slice(&u16::try_from(self.code).unwrap_or(u16::MAX).to_ne_bytes());
        bytes[2..4].copy_from_slice(&self.skip);
        bytes[4..].copy_from_slice(&self.operand.to_ne_bytes());
        bytes
    }
}

/// A = the byte or word at `offset` of the IP header, in host byte order.
const fn load(size: u32, offset: u32) -> Instruction {
    const NET_OFF: u32 = libc::SKF_NET_OFF.cast_unsigned();
    Instruction::new(libc::BPF_LD | size | libc::BPF_ABS, NET_OFF.wrapping_add(offset))
}

const fn jump(test: u32, operand: u32, yes: u8, no: u8) -> Instruction {
    Instruction { code: libc::BPF_JMP | test | libc::BPF_K, skip: [yes, no], operand }
}

/// The end: all bytes of the packet are kept, or none.
const fn verdict(keep: bool) -> Instruction {
    Instruction::new(libc::BPF_RET | libc::BPF_K, if keep { u32::MAX } else { 0 })
}

/// One family's part: Allow, then Deny, then the rest is let in. What follows a prefix that holds everything is left
/// out.
fn part(allow: &[u8], deny: &[u8], prefix: fn(&Prefix, &mut State) -> Option<Vec<Instruction>>) -> Vec<Instruction> {
    let mut code = Vec::new();
    let mut state = State::default();
    for (table, keep) in [(allow, true), (deny, false)] {
        for row in rows(table) {
            let Some(mut tests) = prefix(&row, &mut state) else { continue };
            let everything = tests.is_empty();
            skip_verdict(&mut tests);
            code.extend(tests);
            code.push(verdict(keep));
            if everything {
                return code;
            }
        }
    }
    code.push(verdict(true));
    code
}

/// What is known before a prefix's tests: the word of the address that A holds on every way there.
#[derive(Default)]
struct State {
    word: Option<u32>,
}

/// A jump of the tests that is taken when they fail; [`skip_verdict`] puts in how far.
const FAIL: u8 = u8::MAX;

/// Lets the tests that fail jump over the verdict that follows them.
fn skip_verdict(tests: &mut [Instruction]) {
    let len = tests.len();
    for (at, test) in tests.iter_mut().enumerate() {
        let over = u8::try_from(len - at).unwrap_or(0);
        for skip in &mut test.skip {
            *skip = if *skip == FAIL { over } else { *skip };
        }
    }
}

/// The tests of an IPv4 packet for one row; `None`: the row is for IPv6.
fn four(row: &Prefix, state: &mut State) -> Option<Vec<Instruction>> {
    if row.len != 0 && !row.is_ipv4() {
        return None;
    }
    let mut tests = Vec::new();
    word(&mut tests, state, 12, low(row.first), row.len.saturating_sub(Prefix::IPV4));
    Some(tests)
}

/// The tests of an IPv6 packet for one row; `None`: the row is for IPv4.
fn six(row: &Prefix, state: &mut State) -> Option<Vec<Instruction>> {
    if row.is_ipv4() {
        return None;
    }
    let mut tests = Vec::new();
    for (i, offset) in [8, 12, 16, 20].into_iter().enumerate() {
        let bits = row.len.saturating_sub(u8::try_from(i * 32).unwrap_or(0));
        word(&mut tests, state, offset, low(row.first >> (96 - 32 * i)), bits.min(32));
    }
    // Where tests of several words may have failed, A can hold any of these words.
    if row.len > 32 {
        state.word = None;
    }
    Some(tests)
}

/// The low 32 bits.
fn low(bits: u128) -> u32 {
    u32::try_from(bits & u128::from(u32::MAX)).unwrap_or(0)
}

/// Tests that the first `bits` bits (0 to 32) of the word at `offset` are those of `value`. A prefix is a range, so A
/// stays as it is.
fn word(tests: &mut Vec<Instruction>, state: &mut State, offset: u32, value: u32, bits: u8) {
    if bits == 0 {
        return;
    }
    if state.word != Some(offset) {
        tests.push(load(libc::BPF_W, offset));
        state.word = Some(offset);
    }
    let last = value | u32::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
    if value == last {
        tests.push(jump(libc::BPF_JEQ, value, 0, FAIL));
        return;
    }
    if value > 0 {
        tests.push(jump(libc::BPF_JGE, value, 0, FAIL));
    }
    if last < u32::MAX {
        tests.push(jump(libc::BPF_JGT, last, FAIL, 0));
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
