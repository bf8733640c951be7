//! The limit that offload sets: a tunnel with TUN and UDP segmentation offload, and nothing else. No crypto, no protocol, no
//! congestion control; one link. `make bench-throughput` measures what everything above this costs.
//!
//! ```text
//! plain_tunnel TUN LOCAL_ADDRESS:PORT REMOTE_ADDRESS:PORT
//! ```

use std::error::Error;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};

use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use ratbond_io::Tun;
use ratbond_io::tun::{Coalescer, Read, ReadBuffer};
use ratbond_proto::PacketPool;
use rustix::event::{PollFd, PollFlags, poll};

/// Reads of one side before the other has its turn.
const READS: usize = 16;
const BUFFER_BYTES: usize = 65_536;
/// The longest IP packet, less the headers of IPv6 and UDP.
const MAX_RUN_BYTES: usize = 65_535 - 48;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [name, local, remote] = &arguments[..] else {
        return Err("usage: plain_tunnel TUN LOCAL_ADDRESS:PORT REMOTE_ADDRESS:PORT".into());
    };
    let tun = Tun::open(name, true)?;
    let socket = UdpSocket::bind(local.parse::<SocketAddr>()?)?;
    let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
    Tunnel { tun, socket, state, remote: remote.parse()? }.run()
}

struct Tunnel {
    tun: Tun,
    socket: UdpSocket,
    state: UdpSocketState,
    remote: SocketAddr,
}

impl Tunnel {
    fn run(&self) -> Result<(), Box<dyn Error>> {
        let mut outward = Outward::default();
        let mut inward = Inward::new(&self.tun);
        loop {
            let mut ready = [PollFd::new(&self.tun, PollFlags::IN), PollFd::new(&self.socket, PollFlags::IN)];
            poll(&mut ready, None)?;
            self.read_tun(&mut outward)?;
            self.read_socket(&mut inward)?;
        }
    }

    fn read_tun(&self, outward: &mut Outward) -> io::Result<()> {
        let Outward { buffer, run, lengths } = outward;
        for _ in 0..READS {
            run.clear();
            lengths.clear();
            let read = self.tun.read(buffer, |packet| {
                run.extend_from_slice(packet);
                lengths.push(packet.len());
            })?;
            if matches!(read, Read::Nothing) {
                break;
            }
            self.send(run, lengths)?;
        }
        Ok(())
    }

    /// Sends packets that came in one piece: all are as long as the first but the last, which may be shorter.
    fn send(&self, run: &[u8], lengths: &[usize]) -> io::Result<()> {
        let Some(&segment) = lengths.first() else { return Ok(()) };
        let most = segment * self.state.max_gso_segments().min(MAX_RUN_BYTES / segment).max(1);
        for contents in run.chunks(most) {
            let transmit = Transmit {
                destination: self.remote,
                ecn: None,
                contents,
                segment_size: (contents.len() > segment).then_some(segment),
                src_ip: None,
            };
            match self.state.try_send(UdpSockRef::from(&self.socket), &transmit) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                // What the socket does not take is lost, as on any network.
                _ => {}
            }
        }
        Ok(())
    }

    fn read_socket(&self, inward: &mut Inward) -> io::Result<()> {
        let Inward { bytes, metas, coalescer, pool } = inward;
        let mut slices: Vec<_> = bytes.chunks_exact_mut(BUFFER_BYTES).map(IoSliceMut::new).collect();
        let count = match self.state.recv(UdpSockRef::from(&self.socket), &mut slices, metas) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        for (meta, buffer) in metas[..count].iter().zip(bytes.chunks_exact(BUFFER_BYTES)) {
            for packet in buffer[..meta.len].chunks(meta.stride.max(1)) {
                coalescer.push(pool.copy_of(packet));
                if coalescer.is_full() {
                    flush(&self.tun, coalescer, pool);
                }
            }
        }
        flush(&self.tun, coalescer, pool);
        Ok(())
    }
}

#[derive(Default)]
struct Outward {
    buffer: ReadBuffer,
    run: Vec<u8>,
    lengths: Vec<usize>,
}

struct Inward {
    bytes: Vec<u8>,
    metas: [RecvMeta; READS],
    coalescer: Coalescer,
    pool: PacketPool,
}

impl Inward {
    fn new(tun: &Tun) -> Self {
        Self {
            bytes: vec![0; READS * BUFFER_BYTES],
            metas: [RecvMeta::default(); READS],
            coalescer: Coalescer::new(tun.joins()),
            pool: PacketPool::new(4_096),
        }
    }
}

fn flush(tun: &Tun, coalescer: &mut Coalescer, pool: &mut PacketPool) {
    // The kernel refuses what comes while the device is down.
    coalescer.flush(|pieces, _| drop(tun.write(pieces)), |packet| pool.put(packet));
}
