//! Surroundings for tests: each changes the calling thread only, so that tests can run side by side.

use core::cell::Cell;
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::alloc::{GlobalAlloc, Layout, System};

/// Gives the thread a umask and working folder of its own.
pub fn own_umask() {
    // SAFETY: the shared descriptor table is left alone.
    unsafe { unshare_unsafe(UnshareFlags::FS) }.unwrap();
}

/// Puts the thread into a network namespace of its own, its loopback up. False: that needs root.
pub fn own_network() -> bool {
    // SAFETY: the shared descriptor table is left alone.
    let done = unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.is_ok();
    done && run("ip link set lo up")
}

/// Does the kernel let us attach a filter? Some ask for CAP_NET_ADMIN.
pub fn may_filter() -> bool {
    let socket = super::socket::socket(2, rustix::net::SocketType::STREAM, false).unwrap();
    let keep_all = [&u16::try_from(libc::BPF_RET).unwrap().to_ne_bytes()[..], &[0; 2], &[0xff; 4]].concat();
    let done = super::socket::attach_filter(rustix::fd::AsFd::as_fd(&socket), &keep_all);
    assert!(done.is_ok() || !rustix::process::geteuid().is_root());
    done.is_ok()
}

/// Runs a command line in the thread's namespaces.
pub fn run(command: &str) -> bool {
    let mut words = command.split(' ');
    let program = words.next().unwrap();
    std::process::Command::new(program).args(words).status().is_ok_and(|status| status.success())
}

/// Lets socket(2) say EAFNOSUPPORT for IPv6 in this thread, as a kernel without it does.
pub fn without_ipv6() {
    let insn = |code: u32, jt, jf, k| libc::sock_filter { code: u16::try_from(code).unwrap(), jt, jf, k };
    let load = |k| insn(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, k);
    let equal = |k, no| insn(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, no, k);
    let verdict = |k| insn(libc::BPF_RET | libc::BPF_K, 0, 0, k);
    let first_argument = if cfg!(target_endian = "big") { 20 } else { 16 };
    let errno = libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT.cast_unsigned();
    let program = [
        load(0),
        equal(u32::try_from(libc::SYS_socket).unwrap(), 3),
        load(first_argument),
        equal(libc::AF_INET6.cast_unsigned(), 1),
        verdict(errno),
        verdict(libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: 6, filter: program.as_ptr().cast_mut() };
    // SAFETY: both calls affect this thread only; the kernel copies the program during the call.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0
    };
    assert!(done);
}

/// The system's allocator, which counts what each thread takes: for tests of what must work after the seal.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

std::thread_local! {
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

/// Allocations of this thread so far.
pub fn allocations() -> usize {
    TAKEN.get()
}

// SAFETY: hands everything on to the system's allocator; the counter is a constant-initialised cell without destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.set(TAKEN.get() + 1);
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Takes over a descriptor from the standard library, which has a type of its own for it.
pub fn owned(fd: i32) -> rustix::fd::OwnedFd {
    // SAFETY: the callers give their only owner's number away.
    unsafe { rustix::fd::FromRawFd::from_raw_fd(fd) }
}
