//! One UDP socket with segmentation offload both ways, as far as the kernel has it (quinn-udp finds out) and the device
//! that a datagram leaves by (a send tells).

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use ratbond_proto::bond::datagram::WORKER_SHIFT;
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
    /// A server's sockets, one for each of its workers: each datagram comes to the one that its receiver index names (see
    /// [`ReceiverIndex::steers_to`]). `[::]` takes IPv4 peers too. `offload`: whether datagrams go to and come from the kernel
    /// many in one piece.
    pub(crate) fn listen(address: SocketAddr, offload: bool, workers: u8) -> Result<Vec<Self>, EngineError> {
        let refused = |source| EngineError::Listen { address: address.to_string(), source };
        // The first takes the address for itself alone, so that no second server can slip in between.
        let first = Self::listening(address, false).map_err(refused)?;
        let address = address_of(&first).map_err(refused)?;
        let mut sockets = vec![first];
        if workers > 1 {
            share_address(&sockets[0]).map_err(refused)?;
            for _ in 1..workers {
                sockets.push(Self::listening(address, true).map_err(refused)?);
            }
            steer_by_receiver_index(&sockets[0], workers).map_err(EngineError::system(
                "cannot steer datagrams to workers, so start with --workers=1",
            ))?;
        }
        sockets.into_iter().map(|socket| Self::new(socket, offload).map_err(refused)).collect()
    }

    fn listening(address: SocketAddr, shared: bool) -> io::Result<Socket> {
        let socket = new_socket(address.is_ipv6())?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        if shared {
            share_address(&socket)?;
        }
        socket.bind(&address.into())?;
        Ok(socket)
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
        address_of(&self.socket)
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

fn address_of(socket: &Socket) -> io::Result<SocketAddr> {
    let address = socket.local_addr()?;
    address.as_socket().ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
}

/// Other sockets of this user may have the same address, if they say so as well.
fn share_address(socket: &Socket) -> io::Result<()> {
    rustix::net::sockopt::set_socket_reuseport(socket, true).map_err(io::Error::from)
}

/// All sockets that share the address of this one get what the filter gives them, by the order in which they were bound. What is too
/// short to name anybody goes to the first.
fn steer_by_receiver_index(socket: &Socket, workers: u8) -> io::Result<()> {
    const RECEIVER_INDEX_AT: u32 = 1;
    let instruction = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let mut filter = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, RECEIVER_INDEX_AT),
        instruction(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, WORKER_SHIFT),
        instruction(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, workers.into()),
        instruction(libc::BPF_RET | libc::BPF_A, 0),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}

/// Turns UDP_GRO off again, where the kernel has it.
fn receive_one_by_one(socket: &Socket) -> io::Result<()> {
    let off: libc::c_int = 0;
    set_option(socket, libc::SOL_UDP, libc::UDP_GRO, &off)
        .or_else(|error| if error.raw_os_error() == Some(libc::ENOPROTOOPT) { Ok(()) } else { Err(error) })
}

/// Sets an option that neither of the libraries knows. `T` is what the kernel reads for it.
fn set_option<T>(socket: &Socket, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the kernel reads as many bytes as the value has.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of_val(value) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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
    use ratbond_proto::bond::datagram::ReceiverIndex;

    use super::*;

    const SEGMENT: usize = 1_000;

    fn pair(offload: bool) -> (Udp, Udp, Route) {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let receiver = Udp::listen(loopback, offload, 1).expect("loopback").remove(0);
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
        set_option(&sender.socket, libc::SOL_SOCKET, libc::SO_NO_CHECK, &on).expect("the kernel has it");
        for told in [true, false] {
            let (lengths, _) = exchange(&mut sender, &receiver, route);
            assert_eq!(lengths, [SEGMENT, SEGMENT, SEGMENT, SEGMENT, SEGMENT, 10]);
            assert_eq!(std::mem::take(&mut sender.fell_back), told);
        }
    }

    #[test]
    fn each_worker_gets_what_names_it_and_nobody_else_gets_in() {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        for (loopback, workers) in [(loopback, 3), (SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)), 64)] {
            let receivers = Udp::listen(loopback, true, workers).expect("loopback");
            let port = receivers[0].local_address().expect("bound").port();
            let remote = SocketAddr::from(([127, 0, 0, 1], port));
            let mut sender = Udp::connect(None, None, remote, true).expect("loopback");
            let route = Route { socket: SocketId(0), remote, local: None };
            let mut wanted = vec![Vec::new(); workers.into()];
            for (number, index) in (0..=u32::MAX).step_by(0x0123_4567).map(ReceiverIndex).enumerate() {
                let bytes = [&[0x80], &index.0.to_be_bytes()[..], &[number as u8; 40]].concat();
                sender.send(&Run { route, segment: bytes.len(), bytes: &bytes }).expect("loopback takes it");
                wanted[usize::from(index.steers_to(workers))].push(bytes);
            }
            sender.send(&Run { route, segment: 3, bytes: &[1, 2, 3] }).expect("loopback takes it");
            wanted[0].push(vec![1, 2, 3]);
            let mut buffers = ReceiveBuffers::new();
            for (receiver, wanted) in receivers.iter().zip(wanted) {
                let mut came = Vec::new();
                let mut take = |_, datagram: &mut [u8]| came.push(datagram.to_vec());
                while receiver.receive(SocketId(0), &mut buffers, &mut take).expect("loopback") {}
                assert_eq!(came, wanted);
            }
            let other = Udp::listen(SocketAddr::new(loopback.ip(), port), true, workers);
            assert!(matches!(other, Err(EngineError::Listen { .. })), "{other:?}");
        }
    }
}
