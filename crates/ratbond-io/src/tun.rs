//! A TUN device: whole IP packets in and out.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use crate::error::EngineError;

/// A TUN device. It exists as long as this value, and is gone with it.
#[derive(Debug)]
pub struct Tun {
    file: File,
    name: String,
    ifindex: u32,
}

impl Tun {
    /// Makes a TUN device.
    ///
    /// # Errors
    /// [`EngineError::InterfaceName`] or [`EngineError::Tun`], in words for the user.
    pub fn open(name: &str) -> Result<Self, EngineError> {
        let bytes = name.as_bytes();
        let forbidden = |&byte: &u8| byte == b'/' || byte == b'%' || byte <= b' ' || byte == 0x7f;
        if !(1..libc::IFNAMSIZ).contains(&bytes.len()) || bytes.iter().any(forbidden) {
            return Err(EngineError::InterfaceName(name.to_owned()));
        }
        let refused = |source| EngineError::Tun { name: name.to_owned(), source };
        let options = libc::O_NONBLOCK | libc::O_CLOEXEC;
        let mut open = OpenOptions::new();
        let file = open.read(true).write(true).custom_flags(options).open("/dev/net/tun").map_err(refused)?;
        set_interface(&file, bytes).map_err(refused)?;
        let ifindex = rustix::net::netdevice::name_to_index(&file_socket().map_err(refused)?, name)
            .map_err(|error| refused(error.into()))?;
        Ok(Self { file, name: name.to_owned(), ifindex })
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

    /// Reads one packet into `buffer`; `None` when none waits.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match (&self.file).read(buffer) {
            Ok(len) => Ok(Some(len)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes one packet.
    pub(crate) fn write(&self, packet: &[u8]) -> io::Result<()> {
        (&self.file).write(packet).map(|_| ())
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn set_interface(file: &File, name: &[u8]) -> io::Result<()> {
    // SAFETY: ifreq is plain old data; all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, &byte) in request.ifr_name.iter_mut().zip(name) {
        *slot = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_TUN_EXCL) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which outlives the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
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
