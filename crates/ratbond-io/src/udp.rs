//! One UDP socket with segmentation offload both ways, as far as the kernel has it (quinn-udp finds out) and the device
//! that a datagram leaves by (a send tells).

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

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
    offload: bool,
    /// What the kernel would not take yet.
    held: VecDeque<(Route, usize, Vec<u8>)>,
    held_bytes: usize,
    /// So long a datagram has left whole.
    longest_sent: usize,
    pub dropped_datagrams: u64,
    /// The device on the way out turned out to cut nothing; so at most once true.
    pub fell_back: bool,
    /// Whether the poller waits until it can be written.
    pub awaits_room: bool,
}

impl Udp {
    /// A server's socket. `[::]` takes IPv4 peers too. `offload`: whether datagrams go to and come from the kernel many in
    /// one piece.
    pub(crate) fn listen(address: SocketAddr, offload: bool) -> Result<Self, EngineError> {
        let refused = |source| EngineError::Listen { address: address.to_string(), source };
        let socket = new_socket(address.is_ipv6()).map_err(refused)?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified()).map_err(refused)?;
        }
        socket.bind(&address.into()).map_err(refused)?;
        Self::new(socket, offload).map_err(refused)
    }

    /// A client's socket towards `remote`, bound to the device and the source address, so that no routing rule is
    /// needed: the kernel then looks only at the device's own routes.
    pub(crate) fn connect(
        device: Option<&str>,
        source: Option<IpAddr>,
        remote: SocketAddr,
        offload: bool,
    ) -> Result<Self, EngineError> {
        let label = device.map_or_else(|| remote.to_string(), str::to_owned);
        let refused = |source| EngineError::Link { device: label.clone(), source };
        let socket = new_socket(remote.is_ipv6()).map_err(refused)?;
        socket.bind_device(device.map(str::as_bytes)).map_err(refused)?;
        let unspecified: IpAddr =
            if remote.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        socket.bind(&SocketAddr::new(source.unwrap_or(unspecified), 0).into()).map_err(refused)?;
        Self::new(socket, offload).map_err(refused)
    }

    fn new(socket: Socket, offload: bool) -> io::Result<Self> {
        enlarge_buffers(&socket);
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        if !offload {
            receive_one_by_one(&socket)?;
        }
        Ok(Self {
            socket,
            state,
            offload,
            held: VecDeque::new(),
            held_bytes: 0,
            longest_sent: 0,
            dropped_datagrams: 0,
            fell_back: false,
            awaits_room: false,
        })
    }

    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        let address = self.socket.local_addr()?;
        address.as_socket().ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
    }

    /// Longest run that [`Udp::send`] hands to the kernel in one call.
    fn max_segments(&self) -> usize {
        if self.offload { self.state.max_gso_segments().max(1) } else { 1 }
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
    /// What the kernel says of the way out: the datagrams are lost, as on any network; those that are too long for the device
    /// (see [`is_too_big`]) without the shorter one behind them.
    pub(crate) fn send(&mut self, run: &Run<'_>) -> io::Result<bool> {
        let mut rest = run.bytes;
        if self.held.is_empty() {
            match self.try_send(run.route, run.segment, &mut rest) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result.map(|()| false),
            }
        }
        if self.held_bytes + rest.len() > MAX_HELD_BYTES {
            self.dropped_datagrams += rest.len().div_ceil(run.segment.max(1)) as u64;
        } else {
            self.held_bytes += rest.len();
            self.held.push_back((run.route, run.segment, rest.to_vec()));
        }
        Ok(true)
    }

    /// Sends what was held back; returns whether the socket is still blocked.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        while let Some((route, segment, bytes)) = self.held.pop_front() {
            self.held_bytes -= bytes.len();
            let mut rest = &bytes[..];
            match self.try_send(route, segment, &mut rest) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.held_bytes += rest.len();
                    self.held.push_front((route, segment, rest.to_vec()));
                    return Ok(true);
                }
                // Whoever sends the next one of this size is told.
                result => result.or_else(|error| if is_too_big(&error) { Ok(()) } else { Err(error) })?,
            }
        }
        Ok(false)
    }

    /// Moves `rest` on by what the kernel took.
    fn try_send(&mut self, route: Route, segment: usize, rest: &mut &[u8]) -> io::Result<()> {
        let segment = segment.max(1);
        let mut too_big = None;
        while !rest.is_empty() {
            // The first of its length goes alone: what Linux before 6.14 says of a run of datagrams that are too long for the
            // device (EINVAL) is what it says where a device cuts nothing.
            let most = if segment > self.longest_sent { 1 } else { self.max_segments() };
            let (contents, later) = rest.split_at(rest.len().min(segment * most));
            let transmit = Transmit {
                destination: route.remote,
                ecn: None,
                contents,
                segment_size: (contents.len() > segment).then_some(segment),
                src_ip: route.local,
            };
            match self.state.try_send(UdpSockRef::from(&self.socket), &transmit) {
                Ok(()) => {
                    self.longest_sent = self.longest_sent.max(contents.len().min(segment));
                    *rest = later;
                }
                // One by one, so that a shorter one at the end is not lost with the others.
                Err(error) if is_too_big(&error) && contents.len() > segment => self.longest_sent = 0,
                Err(error) if is_too_big(&error) => {
                    too_big = Some(error);
                    *rest = later;
                }
                // EIO or EINVAL: the device cannot cut it (no checksum offload, a transform on the way), so quinn-udp has
                // lowered its maximum. The same again, one by one.
                Err(_) if contents.len() > segment * self.max_segments() => self.fell_back = true,
                Err(error) => return Err(error),
            }
        }
        too_big.map_or(Ok(()), Err)
    }
}

impl AsFd for Udp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether the kernel would not send datagrams because they are longer than the device takes: sockets here never let it cut them
/// (quinn-udp sets `IP_PMTUDISC_PROBE`).
pub(crate) fn is_too_big(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMSGSIZE)
}

fn new_socket(ipv6: bool) -> io::Result<Socket> {
    Socket::new(if ipv6 { Domain::IPV6 } else { Domain::IPV4 }, Type::DGRAM, Some(Protocol::UDP))
}

/// Turns UDP_GRO off again, where the kernel has it.
fn receive_one_by_one(socket: &Socket) -> io::Result<()> {
    let off: libc::c_int = 0;
    // SAFETY: the kernel reads one int.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_GRO,
            std::ptr::from_ref(&off).cast(),
            size_of_val(&off) as libc::socklen_t,
        )
    };
    let error = io::Error::last_os_error();
    if result == 0 || error.raw_os_error() == Some(libc::ENOPROTOOPT) { Ok(()) } else { Err(error) }
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

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: usize = 1_000;

    fn pair(offload: bool) -> (Udp, Udp, Route) {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let receiver = Udp::listen(loopback, offload).expect("loopback");
        let remote = receiver.local_address().expect("bound");
        let sender = Udp::connect(None, None, remote, offload).expect("loopback");
        (sender, receiver, Route { socket: SocketId(0), remote, local: None })
    }

    /// Sends five datagrams and a short one, and gives the lengths that come, and how many came in one piece.
    fn exchange(sender: &mut Udp, receiver: &Udp, route: Route) -> (Vec<usize>, usize) {
        let bytes = vec![7; 5 * SEGMENT + 10];
        sender.send(&Run { route, segment: SEGMENT, bytes: &bytes }).expect("loopback takes it");
        let (mut lengths, mut most_in_a_read) = (Vec::new(), 0);
        let mut buffers = ReceiveBuffers::new();
        while lengths.len() < 6 {
            let before = lengths.len();
            receiver
                .receive(SocketId(0), &mut buffers, |_, datagram| lengths.push(datagram.len()))
                .expect("loopback");
            let pieces = buffers.metas.iter().map(|meta| meta.len.div_ceil(meta.stride.max(1)));
            most_in_a_read = most_in_a_read.max(pieces.max().unwrap_or_default());
            assert!(lengths.len() > before, "what is sent over loopback is there at once");
        }
        (lengths, most_in_a_read)
    }

    #[test]
    fn a_run_arrives_as_the_datagrams_that_it_is_made_of() {
        for offload in [true, false] {
            let (mut sender, receiver, route) = pair(offload);
            let (lengths, in_one_piece) = exchange(&mut sender, &receiver, route);
            assert_eq!(lengths, [SEGMENT, SEGMENT, SEGMENT, SEGMENT, SEGMENT, 10]);
            assert_eq!(in_one_piece > 1, offload && sender.max_segments() > 1);
            assert!(!sender.fell_back);
        }
    }

    #[test]
    fn a_way_out_that_cuts_nothing_gets_every_datagram_by_itself_and_is_told_of_once() {
        let (mut sender, receiver, route) = pair(true);
        // The kernel refuses to cut what has no checksum, as it does what leaves by a device without checksum offload.
        let on: libc::c_int = 1;
        // SAFETY: the kernel reads one int.
        let result = unsafe {
            let value = std::ptr::from_ref(&on).cast();
            let len = size_of_val(&on) as libc::socklen_t;
            libc::setsockopt(sender.socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, value, len)
        };
        assert_eq!(result, 0);
        for told in [true, false] {
            let (lengths, _) = exchange(&mut sender, &receiver, route);
            assert_eq!(lengths, [SEGMENT, SEGMENT, SEGMENT, SEGMENT, SEGMENT, 10]);
            assert_eq!(std::mem::take(&mut sender.fell_back), told);
        }
    }
}
