//! One interface of the emulator: frames in through a ring, frames out in batches.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::net::netdevice::name_to_index;
use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};

use super::clock::Now;
use super::frame::{Frame, FramePool};
use super::ring::{Received, RxRing, set_option};
use super::transmit::{self, BATCH};
use super::{FrameLink, PortStats};

/// Frames of one port in one turn, so that no port starves the others.
const RECEIVE_BUDGET: usize = 256;

/// Frames that one direction may hold: 128 MiB, or 0.8 s of full packets at 1 Gbit/s.
const MAX_HELD_FRAMES: u64 = 65_536;

/// An interface, its ring, and the frames that wait to be sent.
#[derive(Debug)]
pub(super) struct Port {
    ring: RxRing, // before the socket: dropped first
    socket: Socket,
    outgoing: Vec<Frame>,
    stats: PortStats,
}

impl Port {
    /// Opens the interface of this name in the calling thread's network namespace.
    pub(super) fn open(name: &str) -> io::Result<Self> {
        // No protocol: nothing is received before the bind.
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), None)?;
        let interface = name_to_index(&socket, name)?;
        let ring = RxRing::new(socket.as_fd())?;
        set_option::<libc::c_int>(socket.as_fd(), libc::PACKET_IGNORE_OUTGOING, &1)?;
        socket.bind(&link_layer_address(interface))?;
        Ok(Self { ring, socket, outgoing: Vec::with_capacity(BATCH), stats: PortStats::default() })
    }

    /// Moves what has come in to the link that begins here, and says how many frames that were.
    pub(super) fn receive(&mut self, now: Now, link: &mut FrameLink, pool: &mut FramePool) -> usize {
        let stats = &mut self.stats;
        let mut take = |received: Received<'_>| {
            let Received::Frame { bytes, seconds, nanoseconds } = received else {
                stats.oversize_frames += 1;
                return;
            };
            let held = link.stats();
            if held.queued_packets + held.in_flight_packets >= MAX_HELD_FRAMES {
                stats.overload_dropped_frames += 1;
            } else if let Some(frame) = pool.copy_of(bytes) {
                link.send(now.of_stamp(seconds, nanoseconds), frame.packet_bytes(), frame);
            } else {
                stats.oversize_frames += 1;
            }
        };
        (0..RECEIVE_BUDGET).take_while(|_| self.ring.receive(&mut take).is_some()).count()
    }

    /// Queues a frame, and sends the batch when it is full.
    pub(super) fn send(&mut self, frame: Frame, pool: &mut FramePool) {
        self.outgoing.push(frame);
        if self.outgoing.len() == BATCH {
            self.flush(pool);
        }
    }

    /// Sends all queued frames.
    pub(super) fn flush(&mut self, pool: &mut FramePool) {
        self.stats.unsent_frames += transmit::send_all(self.socket.as_raw_fd(), &self.outgoing);
        self.outgoing.drain(..).for_each(|frame| pool.put(frame));
    }

    /// Takes the error that an interface going down leaves on its socket, so that it does not wake the thread again.
    /// Nothing else is to be done: the kernel resumes by itself when the interface is up again.
    pub(super) fn clear_error(&self) -> io::Result<()> {
        self.socket.take_error().map(|_interface_down| ())
    }

    pub(super) fn stats(&mut self) -> io::Result<PortStats> {
        self.stats.ring_dropped_frames += transmit::ring_drops(self.socket.as_raw_fd())?;
        Ok(self.stats)
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Where to bind: every protocol of one interface.
fn link_layer_address(interface: u32) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: sockaddr_ll is a socket address, plain numbers, and smaller than the storage.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = interface as i32; // the kernel's indices are positive ints
    // SAFETY: the storage holds an address of this length, as written above.
    unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as libc::socklen_t) }
}
