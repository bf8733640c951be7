//! Sending frames through a packet socket, many per system call.

use std::io;
use std::os::fd::RawFd;

use super::frame::Frame;

/// Frames per system call.
pub(super) const BATCH: usize = 64;

/// Sends the frames in order and returns how many the interface refused.
pub(super) fn send_all(socket: RawFd, frames: &[Frame]) -> u64 {
    frames.chunks(BATCH).map(|batch| send_batch(socket, batch)).sum()
}

fn send_batch(socket: RawFd, frames: &[Frame]) -> u64 {
    let mut parts = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
    for (part, frame) in parts.iter_mut().zip(frames) {
        let bytes = frame.as_slice();
        *part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    }
    let mut messages = parts.each_mut().map(one_part_message);
    let (mut sent, mut refused) = (0, 0);
    while sent + refused < frames.len() {
        let rest = &mut messages[sent + refused..frames.len()];
        // SAFETY: each message points to one part, each part to a frame; both outlive the call, and neither is written to.
        let result = unsafe {
            libc::sendmmsg(socket, rest.as_mut_ptr(), rest.len() as libc::c_uint, libc::MSG_DONTWAIT)
        };
        match usize::try_from(result) {
            Ok(count) => sent += count,
            Err(_) if interrupted() => {}
            // The first of the rest was refused: interface down, carrier lost, no memory. As on a wire, it is lost.
            Err(_) => refused += 1,
        }
    }
    refused as u64
}

fn one_part_message(part: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: all zeros are a valid message of nothing.
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    message.msg_hdr.msg_iov = part;
    message.msg_hdr.msg_iovlen = 1;
    message
}

fn interrupted() -> bool {
    io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
}

/// Frames that found the ring full since the last call; reading sets the kernel's counter back.
pub(super) fn ring_drops(socket: RawFd) -> io::Result<u64> {
    let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut len = size_of::<libc::tpacket_stats>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes of plain numbers.
    let result = unsafe {
        libc::getsockopt(
            socket,
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut stats).cast(),
            &raw mut len,
        )
    };
    if result == 0 { Ok(u64::from(stats.tp_drops)) } else { Err(io::Error::last_os_error()) }
}
