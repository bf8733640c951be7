//! What a conversation is told at its start.

use std::time::Duration;

use super::segment;
use crate::path::rtt::RtoLimits;

/// How a message longer than one segment is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Its fragments are numbered down to 0, and the receiver puts them together again.
    Message,
    /// A stream of bytes: every segment is numbered 0, and the receiver reads them one by one.
    Stream,
}

/// Parameters of a conversation. [`Config::default`] is what stock ratbond uses, where the peer can see it.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Largest datagram of segments in bytes, without the crypt header around it.
    pub mtu: usize,
    /// Segments we keep unacknowledged at most.
    pub send_window: u16,
    /// Segments we keep for the reader at most, arrived in order or not; the peer is told what is free of it.
    pub receive_window: u16,
    /// Longest payload of a segment that is taken in. kcp-go sends no datagram beyond 1,500 bytes.
    pub max_payload: usize,
    /// How long messages are cut.
    pub mode: Mode,
    /// Limits of the retransmission timeout.
    pub rto: RtoLimits,
    /// A segment is lost once this many sent after it have arrived, as long as the path was not seen to reorder (1 to
    /// 4; stock: 2). Time decides on a path that reorders.
    pub resend: u8,
    /// The conversation is dead when a segment was sent this many times without an answer.
    pub dead_link: u32,
    /// How long an acknowledgement may wait for others, and for data to ride with. kcp-go: its 10 ms interval.
    pub ack_delay: Duration,
    /// Acknowledgements do not wait once this many are owed.
    pub ack_threshold: usize,
    /// The first sn of both directions. 0 on the wire; a test may start it close to the wrap-around.
    pub first_sn: u32,
}

impl Config {
    /// Longest payload of a segment we send, in bytes.
    #[must_use]
    pub const fn mss(&self) -> usize {
        self.mtu.saturating_sub(segment::HEADER_LEN)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mtu: 1360,
            send_window: 1024,
            receive_window: 1024,
            max_payload: crate::packet::PACKET_CAPACITY,
            mode: Mode::Stream,
            rto: RtoLimits {
                initial: Duration::from_millis(200),
                min: Duration::from_millis(100),
                max: Duration::from_secs(60),
                granularity: Duration::from_millis(10),
            },
            resend: 2,
            dead_link: 1000,
            ack_delay: Duration::from_millis(2),
            ack_threshold: 16,
            first_sn: 0,
        }
    }
}
