//! What a conversation counts.

/// Counters since the conversation's start, and the present level of what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// PUSH segments sent, repeats included.
    pub pushes_sent: u64,
    /// Bytes of those segments, headers included.
    pub push_bytes_sent: u64,
    /// Repeats among them.
    pub retransmits: u64,
    /// Transmissions found lost because later ones arrived.
    pub fast_losses: u64,
    /// Transmissions found lost by a timeout.
    pub timeout_losses: u64,
    /// Repeats that were not needed: the earlier transmission did arrive.
    pub spurious_retransmits: u64,
    /// Segments the peer acknowledged.
    pub segments_acked: u64,
    /// Bytes of those segments, headers included.
    pub bytes_acked: u64,
    /// ACK segments sent.
    pub acks_sent: u64,
    /// Window probes sent.
    pub probes_sent: u64,
    /// New PUSH segments taken in.
    pub pushes_received: u64,
    /// PUSH segments that had arrived before.
    pub duplicates_received: u64,
    /// PUSH segments beyond the receive window, dropped.
    pub out_of_window: u64,
    /// Datagrams dropped, in whole or from some segment on: malformed, another conversation, or impossible numbers.
    pub malformed: u64,
    /// Segments sent, not acknowledged and not known to be lost.
    pub in_flight_segments: u32,
    /// Bytes of those segments, headers included.
    pub in_flight_bytes: u64,
    /// Segments waiting for their first transmission.
    pub queued_segments: usize,
    /// Timeouts in a row without any word from the peer.
    pub backoff: u32,
}
