//! A `TPACKET_V2` receive ring: memory into which the kernel writes frames (kernel: networking/packet_mmap).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// `sizeof(struct virtio_net_hdr)`: what stands before each frame with `PACKET_VNET_HDR`.
pub(super) const VNET_HEADER_BYTES: usize = 10;

/// One frame with its headers per slot.
const SLOT_BYTES: usize = 2048;
/// 1 Gbit/s of full packets for 50 ms.
const SLOTS: usize = 4096;
/// The kernel allocates the ring in blocks of whole pages.
const BLOCK_BYTES: usize = 1 << 16;
const RING_BYTES: usize = SLOTS * SLOT_BYTES;

/// The ring of one socket. The socket must outlive it.
#[derive(Debug)]
pub(super) struct RxRing {
    memory: NonNull<u8>,
    next_slot: usize,
}

// SAFETY: the ring owns its mapping; nothing of it is bound to a thread.
unsafe impl Send for RxRing {}

/// A frame that the kernel has put into the ring.
#[derive(Debug)]
pub(super) enum Received<'a> {
    /// Offload header and frame.
    Frame {
        bytes: &'a [u8],
        /// Wall-clock time of arrival.
        seconds: u32,
        nanoseconds: u32,
    },
    /// It did not fit into a slot, or is several packets in one.
    Oversize,
}

impl RxRing {
    /// Gives a packet socket, not bound yet, a ring with offload headers.
    pub(super) fn new(socket: BorrowedFd<'_>) -> io::Result<Self> {
        set_option(socket, libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V2 as libc::c_int))?;
        set_option(socket, libc::PACKET_VNET_HDR, &1)?;
        let request = libc::tpacket_req {
            tp_block_size: BLOCK_BYTES as u32,
            tp_block_nr: (RING_BYTES / BLOCK_BYTES) as u32,
            tp_frame_size: SLOT_BYTES as u32,
            tp_frame_nr: SLOTS as u32,
        };
        set_option(socket, libc::PACKET_RX_RING, &request)?;
        // SAFETY: a new mapping at an address of the kernel's choice; the kernel checks the length against the ring's.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                RING_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                socket.as_raw_fd(),
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast())
            .ok_or_else(|| io::Error::other("the ring was mapped at address 0"))?;
        Ok(Self { memory, next_slot: 0 })
    }

    /// Shows the next frame to `take` and gives its slot back to the kernel. `None` when there is none.
    pub(super) fn receive<T>(&mut self, take: impl FnOnce(Received<'_>) -> T) -> Option<T> {
        // SAFETY: the slot lies within the mapping, and slots are aligned for any header.
        let slot = unsafe { self.memory.add(self.next_slot * SLOT_BYTES) };
        // SAFETY: the status is the first, aligned u32 of a slot; kernel and this thread both access it atomically.
        let status = unsafe { AtomicU32::from_ptr(slot.as_ptr().cast()) };
        if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return None;
        }
        // SAFETY: with TP_STATUS_USER set the slot is ours, and it begins with this header.
        let header = unsafe { slot.cast::<libc::tpacket2_hdr>().read() };
        // SAFETY: the whole slot is mapped, ours until the status is written below, and not written meanwhile.
        let bytes = unsafe { std::slice::from_raw_parts(slot.as_ptr(), SLOT_BYTES) };
        let taken = take(received(&header, bytes));
        status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.next_slot = (self.next_slot + 1) % SLOTS;
        Some(taken)
    }
}

impl Drop for RxRing {
    fn drop(&mut self) {
        // SAFETY: the mapping is this ring's own, and no reference into it outlives `receive`.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), RING_BYTES) };
    }
}

fn received<'a>(header: &libc::tpacket2_hdr, slot: &'a [u8]) -> Received<'a> {
    let start = usize::from(header.tp_mac).saturating_sub(VNET_HEADER_BYTES);
    let end = usize::from(header.tp_mac) + header.tp_snaplen as usize;
    match slot.get(start..end) {
        Some(bytes) if header.tp_snaplen == header.tp_len && !is_super_packet(bytes) => {
            Received::Frame { bytes, seconds: header.tp_sec, nanoseconds: header.tp_nsec }
        }
        _ => Received::Oversize,
    }
}

/// Whether the sender left it to the hardware to cut this into packets (`virtio_net_hdr.gso_type`).
fn is_super_packet(frame: &[u8]) -> bool {
    frame.get(1).is_some_and(|gso_type| *gso_type != 0)
}

/// Sets an option of a packet socket.
pub(super) fn set_option<T>(socket: BorrowedFd<'_>, option: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the kernel reads as many bytes as the value has.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
