//! Addresses of virtual machine sockets, vsock(7).

use rustix::net::{AddressFamily, SocketAddrAny};

/// Context id and port of a vsock address.
pub fn vsock_parts(address: &SocketAddrAny) -> Option<(u32, u32)> {
    let long_enough = usize::try_from(address.addr_len()).is_ok_and(|len| len >= size_of::<libc::sockaddr_vm>());
    if address.address_family() != AddressFamily::VSOCK || !long_enough {
        return None;
    }
    // SAFETY: the family and the length say that a sockaddr_vm is there, and it may be unaligned.
    let vm = unsafe { address.as_ptr().cast::<libc::sockaddr_vm>().read_unaligned() };
    Some((vm.svm_cid, vm.svm_port))
}
