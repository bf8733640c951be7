//! Where the two ends of a pair are.

use std::net::SocketAddr;

use ratbond_proto::link::SocketId;

pub(super) fn server_address() -> SocketAddr {
    ([203, 0, 113, 1], 12345).into()
}

pub(super) fn attacker_address() -> SocketAddr {
    ([198, 51, 100, 66], 6_666).into()
}

pub(super) fn client_address(index: usize, socket: SocketId, port_offset: u16) -> SocketAddr {
    ([10, 1, index as u8, 2], (40_000 + port_offset).wrapping_add(socket.0 as u16)).into()
}

/// Which of the client's sockets has an address; none where nobody, or somebody else, is.
pub(super) fn client_of(remote: &SocketAddr, port_offset: u16) -> Option<(usize, SocketId)> {
    let SocketAddr::V4(remote) = remote else { return None };
    let socket = remote.port().checked_sub(40_000 + port_offset)?;
    Some((usize::from(remote.ip().octets()[2]), SocketId(u32::from(socket))))
}
