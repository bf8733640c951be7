//! A TUN device: IP packets in and out, as super-packets where the kernel takes them.

mod candidate;
mod coalesce;
pub mod fuzz;
mod headers;
mod segment;
mod sum;
mod vnet;

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

pub use self::coalesce::{Coalescer, Joins, Written};
pub use self::segment::{Malformed, Segmenter};
pub use self::vnet::{Segmentation, VnetHeader};
use crate::error::EngineError;

/// A packet is at most 65,535 bytes, and an IPv6 super-packet may have as many behind its header.
const READ_BYTES: usize = VnetHeader::LEN + 40 + 65_535;

/// What kernels take, from the newest to the oldest: USO from Linux 6.2 on, TSO since 2.6.27.
const OFFLOADS: [(libc::c_uint, Joins); 3] = {
    let tso = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
    let tso_ecn = tso | libc::TUN_F_TSO_ECN;
    let uso = tso_ecn | libc::TUN_F_USO4 | libc::TUN_F_USO6;
    [
        (uso, Joins { tcp: true, udp: true }),
        (tso_ecn, Joins { tcp: true, udp: false }),
        (tso, Joins { tcp: true, udp: false }),
    ]
};

/// A TUN device. It exists as long as this value, and is gone with it.
#[derive(Debug)]
pub struct Tun {
    file: File,
    name: String,
    ifindex: u32,
    /// What the kernel takes as one; none when there is no offload header between it and us.
    joins: Option<Joins>,
}

/// What a read brought.
#[derive(Debug)]
pub enum Read {
    /// Nothing waits.
    Nothing,
    /// Packets, which were handed over.
    Packets,
    /// Something that makes no sense, which is dropped.
    Malformed(Malformed),
}

/// Memory for [`Tun::read`]; one serves all tuns of a thread.
#[derive(Debug)]
pub struct ReadBuffer {
    bytes: Vec<u8>,
    segmenter: Segmenter,
}

impl Default for ReadBuffer {
    fn default() -> Self {
        Self { bytes: vec![0; READ_BYTES], segmenter: Segmenter::default() }
    }
}

impl Tun {
    /// Makes a TUN device, with as much segmentation offload as the kernel has if `offload` is set.
    ///
    /// # Errors
    /// [`EngineError::InterfaceName`] or [`EngineError::Tun`], in words for the user.
    pub fn open(name: &str, offload: bool) -> Result<Self, EngineError> {
        let bytes = name.as_bytes();
        let forbidden = |&byte: &u8| byte == b'/' || byte == b'%' || byte <= b' ' || byte == 0x7f;
        if !(1..libc::IFNAMSIZ).contains(&bytes.len()) || bytes.iter().any(forbidden) {
            return Err(EngineError::InterfaceName(name.to_owned()));
        }
        let refused = |source| EngineError::Tun { name: name.to_owned(), source };
        let (file, joins) = open_device(bytes, offload).map_err(refused)?;
        let ifindex = rustix::net::netdevice::name_to_index(&file_socket().map_err(refused)?, name)
            .map_err(|error| refused(error.into()))?;
        Ok(Self { file, name: name.to_owned(), ifindex, joins })
    }

    /// The device's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The device's interface index.
    #[must_use]
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// What is written to it may be joined so far.
    #[must_use]
    pub fn joins(&self) -> Joins {
        self.joins.unwrap_or_default()
    }

    /// Reads once, and calls `each` with every packet that came.
    ///
    /// # Errors
    /// What the kernel says; the device is gone then.
    pub fn read(&self, buffer: &mut ReadBuffer, each: impl FnMut(&[u8])) -> io::Result<Read> {
        let len = match (&self.file).read(&mut buffer.bytes) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Read::Nothing),
            Err(error) => return Err(error),
        };
        let bytes = &mut buffer.bytes[..len];
        let (header, packet) = match (self.joins, bytes.split_first_chunk_mut()) {
            (Some(_), Some((header, packet))) => (VnetHeader::read(header), packet),
            _ => (VnetHeader::default(), bytes),
        };
        Ok(match buffer.segmenter.cut(&header, packet, each) {
            Ok(()) => Read::Packets,
            Err(malformed) => Read::Malformed(malformed),
        })
    }

    /// Writes a packet or super-packet in pieces, of which the first is its offload header.
    ///
    /// # Errors
    /// The kernel refuses packets while the device is down, and malformed ones always.
    pub fn write(&self, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        let pieces = if self.joins.is_some() { pieces } else { pieces.get(1..).unwrap_or_default() };
        (&self.file).write_vectored(pieces).map(|_| ())
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn open_device(name: &[u8], offload: bool) -> io::Result<(File, Option<Joins>)> {
    let mut open = OpenOptions::new();
    open.read(true).write(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC);
    if offload {
        let file = open.open("/dev/net/tun")?;
        match set_interface(&file, name, libc::IFF_VNET_HDR) {
            Ok(()) => return set_offloads(&file).map(|joins| (file, Some(joins))),
            // What a kernel without the flag says, but also one where another interface has the name: the next try tells.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            Err(error) => return Err(error),
        }
    }
    let file = open.open("/dev/net/tun")?;
    set_interface(&file, name, 0).map(|()| (file, None))
}

fn set_interface(file: &File, name: &[u8], flags: libc::c_int) -> io::Result<()> {
    // SAFETY: ifreq is plain old data; all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, &byte) in request.ifr_name.iter_mut().zip(name) {
        *slot = byte as libc::c_char;
    }
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_TUN_EXCL | flags;
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which outlives the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Takes the most that the kernel has; nothing if it has none.
fn set_offloads(file: &File) -> io::Result<Joins> {
    for (offloads, joins) in OFFLOADS {
        // SAFETY: TUNSETOFFLOAD takes its argument by value.
        let result =
            unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD as _, libc::c_ulong::from(offloads)) };
        if result == 0 {
            return Ok(joins);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINVAL) {
            return Err(error);
        }
    }
    Ok(Joins::default())
}

/// Interface ioctls want some socket.
fn file_socket() -> io::Result<rustix::fd::OwnedFd> {
    let flags = rustix::net::SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        flags,
        None,
    )?)
}
