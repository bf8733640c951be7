//! One IP packet (or protocol message) and the pool its memory comes from.

use crate::prefetch;

/// The largest packet a [`PacketPool`] buffer holds without growing.
pub const PACKET_CAPACITY: usize = 2048;

/// One packet's bytes. Moved, never cloned, on the packet path.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Packet {
    bytes: Vec<u8>,
}

impl Packet {
    /// The packet's bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// The packet's bytes, to be changed in place.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Fetches its bytes into the cache while other work goes on.
    pub(crate) fn prefetch(&self) {
        prefetch::packet(self.bytes.as_ptr());
    }

    /// Appends bytes.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}

impl From<&[u8]> for Packet {
    fn from(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec() }
    }
}

impl From<Vec<u8>> for Packet {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }
}

/// A bounded free list of packet buffers, so that the packet path does not allocate.
///
/// Packets that are dropped instead of given back cost an allocation later, nothing else.
#[derive(Debug)]
pub struct PacketPool {
    free: Vec<Vec<u8>>,
    max_free: usize,
}

impl PacketPool {
    /// A pool that keeps at most `max_free` unused buffers of about 2 KiB.
    #[must_use]
    pub fn new(max_free: usize) -> Self {
        Self { free: Vec::new(), max_free }
    }

    /// An empty packet with at least [`PACKET_CAPACITY`] bytes of room.
    pub fn take(&mut self) -> Packet {
        let bytes = self.free.pop().unwrap_or_else(|| Vec::with_capacity(PACKET_CAPACITY));
        if let Some(next) = self.free.last() {
            prefetch::packet(next.as_ptr());
        }
        Packet { bytes }
    }

    /// A packet that holds a copy of `bytes`.
    pub fn copy_of(&mut self, bytes: &[u8]) -> Packet {
        let mut packet = self.take();
        packet.extend_from_slice(bytes);
        packet
    }

    /// Gives a packet's memory back. Outsized buffers are freed.
    pub fn put(&mut self, packet: Packet) {
        let mut bytes = packet.bytes;
        if self.free.len() < self.max_free
            && (PACKET_CAPACITY..=2 * PACKET_CAPACITY).contains(&bytes.capacity())
        {
            bytes.clear();
            self.free.push(bytes);
        }
    }
}
