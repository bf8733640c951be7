//! One Ethernet frame under way, and where its memory comes from.

use super::ring::VNET_HEADER_BYTES;

/// Room for a frame, its offload header included. Larger frames are no single packets of a WAN.
const CAPACITY: usize = 2048;

/// How many unused frames are kept: 8 MiB.
const MAX_FREE: usize = 4096;

/// What precedes the IP packet in a frame, and does not count as its size.
const ETHERNET_HEADER_BYTES: usize = 14;

/// An offload header (`struct virtio_net_hdr`) with the Ethernet frame behind it, as the kernel reads and writes them.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    memory: Box<[u8; CAPACITY]>,
    len: usize,
}

impl Frame {
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.memory[..self.len]
    }

    /// Size of the IP packet in it.
    pub(super) fn packet_bytes(&self) -> u32 {
        // At most CAPACITY.
        self.len.saturating_sub(VNET_HEADER_BYTES + ETHERNET_HEADER_BYTES) as u32
    }
}

/// Unused frames. What a link drops is freed and costs an allocation later.
#[derive(Debug, Default)]
pub(super) struct FramePool {
    free: Vec<Frame>,
}

impl FramePool {
    /// A copy of `bytes`, if they fit into a frame.
    pub(super) fn copy_of(&mut self, bytes: &[u8]) -> Option<Frame> {
        if bytes.len() > CAPACITY {
            return None;
        }
        let mut frame = self.free.pop().unwrap_or_else(|| Frame { memory: Box::new([0; CAPACITY]), len: 0 });
        frame.memory[..bytes.len()].copy_from_slice(bytes);
        frame.len = bytes.len();
        Some(frame)
    }

    pub(super) fn put(&mut self, frame: Frame) {
        if self.free.len() < MAX_FREE {
            self.free.push(frame);
        }
    }
}
