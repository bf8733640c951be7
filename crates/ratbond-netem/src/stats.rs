//! What a link has counted.

/// Counters since the link was made, and how full it is now. Bytes are packet sizes, without overhead.
///
/// At any time `sent_packets + duplicated_packets` equals what was delivered, dropped, lost and blackholed, plus what
/// waits and what flies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets that came in.
    pub sent_packets: u64,
    /// Bytes that came in.
    pub sent_bytes: u64,
    /// Packets that went out, copies included.
    pub delivered_packets: u64,
    /// Bytes that went out, copies included.
    pub delivered_bytes: u64,
    /// Packets larger than the MTU.
    pub oversize_packets: u64,
    /// Packets that found the queue full.
    pub queue_dropped_packets: u64,
    /// Packets that the wire lost.
    pub lost_packets: u64,
    /// Packets that the blackhole took.
    pub blackholed_packets: u64,
    /// Copies made.
    pub duplicated_packets: u64,
    /// Packets that were held back so that others pass.
    pub reordered_packets: u64,
    /// Packets that wait for the bottleneck now, the one being sent included.
    pub queued_packets: u64,
    /// Their bytes, overhead included.
    pub queued_bytes: u64,
    /// Packets that are on the wire now.
    pub in_flight_packets: u64,
}
