//! One UDP socket with segmentation offload both ways, as far as the kernel has it (quinn-udp finds out and falls back).

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use ratbond_proto::link::{Route, SocketId};
use socket2::{Domain, Protocol, Socket, Type};

use crate::error::EngineError;

const RECEIVE_BATCH: usize = if BATCH_SIZE < 16 { BATCH_SIZE } else { 16 };
const RECEIVE_BUFFER_BYTES: usize = 65_536;
const SOCKET_BUFFER_BYTES: usize = 8 << 20;
/// What one socket may hold back while the kernel takes no more.
const MAX_HELD_BYTES: usize = 512 << 10;

/// Buffers for a batch of received super-datagrams; one serves all sockets of a worker.
pub(crate) struct ReceiveBuffers {
    bytes: Vec<u8>,
    metas: [RecvMeta; RECEIVE_BATCH],
}

impl ReceiveBuffers {
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; RECEIVE_BATCH * RECEIVE_BUFFER_BYTES],
            metas: [RecvMeta::default(); RECEIVE_BATCH],
        }
    }
}

/// Datagrams in a row that go the same way: all of `segment` bytes but the last, which may be shorter.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub route: Route,
    pub segment: usize,
    pub bytes: &'a [u8],
}

/// A bound UDP socket.
#[derive(Debug)]
pub(crate) struct Udp {
    socket: Socket,
    state: UdpSocketState,
    /// What the kernel would not take yet.
    held: VecDeque<(Route, usize, Vec<u8>)>,
    held_bytes: usize,
    pub dropped_datagrams: u64,
}

impl Udp {
    /// A server's socket. `[::]` takes IPv4 peers too.
    pub(crate) fn listen(address: SocketAddr) -> Result<Self, EngineError> {
        let refused = |source| EngineError::Listen { address: address.to_string(), source };
        let socket = new_socket(address.is_ipv6()).map_err(refused)?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified()).map_err(refused)?;
        }
        socket.bind(&address.into()).map_err(refused)?;
        Self::new(socket).map_err(refused)
    }

    /// A client's socket towards `remote`, bound to the device and the source address, so that no routing rule is
    /// needed: the kernel then looks only at the device's own routes.
    pub(crate) fn connect(
        device: Option<&str>,
        source: Option<IpAddr>,
        remote: SocketAddr,
    ) -> Result<Self, EngineError> {
        let label = device.map_or_else(|| remote.to_string(), str::to_owned);
        let refused = |source| EngineError::Link { device: label.clone(), source };
        let socket = new_socket(remote.is_ipv6()).map_err(refused)?;
        socket.bind_device(device.map(str::as_bytes)).map_err(refused)?;
        let unspecified: IpAddr =
            if remote.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        socket.bind(&SocketAddr::new(source.unwrap_or(unspecified), 0).into()).map_err(refused)?;
        Self::new(socket).map_err(refused)
    }

    fn new(socket: Socket) -> io::Result<Self> {
        enlarge_buffers(&socket);
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        Ok(Self { socket, state, held: VecDeque::new(), held_bytes: 0, dropped_datagrams: 0 })
    }

    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        let address = self.socket.local_addr()?;
        address.as_socket().ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
    }

    /// Longest run that [`Udp::send`] hands to the kernel in one call.
    pub(crate) fn max_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// Reads one batch and calls `each` for every datagram; returns whether there may be more.
    pub(crate) fn receive(
        &self,
        id: SocketId,
        buffers: &mut ReceiveBuffers,
        mut each: impl FnMut(Route, &mut [u8]),
    ) -> io::Result<bool> {
        let ReceiveBuffers { bytes, metas } = buffers;
        let mut chunks = bytes.chunks_exact_mut(RECEIVE_BUFFER_BYTES);
        let mut slices: [IoSliceMut<'_>; RECEIVE_BATCH] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        let count = match self.state.recv(UdpSockRef::from(&self.socket), &mut slices, metas) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        for (meta, buffer) in metas[..count].iter().zip(bytes.chunks_exact_mut(RECEIVE_BUFFER_BYTES)) {
            let route = Route { socket: id, remote: meta.addr, local: meta.dst_ip };
            for datagram in buffer[..meta.len].chunks_mut(meta.stride.max(1)) {
                each(route, datagram);
            }
        }
        Ok(count == RECEIVE_BATCH)
    }

    /// Sends a run, or holds it back while the kernel takes no more. Returns whether the socket is now blocked.
    ///
    /// # Errors
    /// What the kernel says of the way out: the datagrams are lost, as on any network.
    pub(crate) fn send(&mut self, run: &Run<'_>) -> io::Result<bool> {
        if self.held.is_empty() {
            match self.try_send(run.route, run.segment, run.bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result.map(|()| false),
            }
        }
        if self.held_bytes + run.bytes.len() > MAX_HELD_BYTES {
            self.dropped_datagrams += run.bytes.len().div_ceil(run.segment.max(1)) as u64;
        } else {
            self.held_bytes += run.bytes.len();
            self.held.push_back((run.route, run.segment, run.bytes.to_vec()));
        }
        Ok(true)
    }

    /// Sends what was held back; returns whether the socket is still blocked.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        while let Some((route, segment, bytes)) = self.held.pop_front() {
            match self.try_send(route, segment, &bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.held.push_front((route, segment, bytes));
                    return Ok(true);
                }
                result => {
                    self.held_bytes -= bytes.len();
                    result?;
                }
            }
        }
        Ok(false)
    }

    fn try_send(&self, route: Route, segment: usize, bytes: &[u8]) -> io::Result<()> {
        // Where the kernel's offload turns out not to work, quinn-udp lowers its maximum, and later runs are shorter.
        let limit = segment.max(1) * self.max_segments().max(1);
        for contents in bytes.chunks(limit) {
            let transmit = Transmit {
                destination: route.remote,
                ecn: None,
                contents,
                segment_size: (contents.len() > segment).then_some(segment),
                src_ip: route.local,
            };
            self.state.try_send(UdpSockRef::from(&self.socket), &transmit)?;
        }
        Ok(())
    }
}

impl AsFd for Udp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn new_socket(ipv6: bool) -> io::Result<Socket> {
    Socket::new(if ipv6 { Domain::IPV6 } else { Domain::IPV4 }, Type::DGRAM, Some(Protocol::UDP))
}

/// Beyond the sysctl limit where the process may (SO_RCVBUFFORCE), up to it elsewhere.
fn enlarge_buffers(socket: &Socket) {
    use rustix::net::sockopt;
    if sockopt::set_socket_recv_buffer_size_force(socket, SOCKET_BUFFER_BYTES).is_err() {
        // A smaller buffer still works; bursts are then lost earlier.
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    }
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
}
