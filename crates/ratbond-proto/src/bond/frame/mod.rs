//! The frames inside a sealed datagram: a zero-copy iterator over them, and a writer into a datagram under construction.
//!
//! Layouts stand in docs/wire.md. A frame of a type in 0x40..0x80 carries its length and is skipped when unknown, so
//! that later features (FEC) need no new version; any other unknown type makes the datagram invalid.

pub mod ack;
pub mod tlv;
pub mod varint;

mod read;
mod write;

#[cfg(test)]
mod tests;

use thiserror::Error;

pub use ack::{AckBlock, AckContent};
pub use read::{Frames, Reader};
pub use write::Writer;

use crate::numbering::Numbering;

/// Bytes before the packet of a DATA frame that ends its datagram.
pub const DATA_HEADER_LEN: usize = 5;
/// Bytes before the packet of any other DATA frame.
pub const DATA_HEADER_WITH_LENGTH_LEN: usize = 7;
/// Longest text in a CLOSE frame or a handshake's refusal, in bytes.
pub const MAX_REASON_LEN: usize = 120;

/// Type bytes. DATA has bit 7 set and its flags below it.
pub mod kind {
    /// One byte of nothing.
    pub const PADDING: u8 = 0x00;
    /// Asks for an ack.
    pub const PING: u8 = 0x01;
    /// Acknowledges datagrams of the link that it comes over.
    pub const ACK: u8 = 0x02;
    /// Acknowledges datagrams of another link.
    pub const ACK_LINK: u8 = 0x03;
    /// Sequences that will not come.
    pub const SKIP: u8 = 0x04;
    /// Facts about a link.
    pub const HELLO: u8 = 0x05;
    /// A link is gone.
    pub const LINKDOWN: u8 = 0x06;
    /// Prove that you are where this comes to.
    pub const PATH_CHALLENGE: u8 = 0x07;
    /// The proof.
    pub const PATH_RESPONSE: u8 = 0x08;
    /// A message of the handshake that renews the session's keys.
    pub const REKEY: u8 = 0x09;
    /// The session is over.
    pub const CLOSE: u8 = 0x0a;
    /// First of the types that carry a length and are skipped when unknown.
    pub const EXTENSION: u8 = 0x40;
    /// Reserved for parity of forward error correction.
    pub const FEC: u8 = 0x40;
    /// Bit of a DATA frame.
    pub const DATA: u8 = 0x80;
    /// DATA: the packet waits for its predecessors in its bucket.
    pub const DATA_ORDERED: u8 = 0x40;
    /// DATA: a u16 length follows; otherwise the packet reaches to the end of the datagram.
    pub const DATA_LENGTH: u8 = 0x20;
}

/// Why the frames of a datagram cannot be read. It was sealed by the peer, so this is a fault of the peer's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A frame reaches beyond the end of the datagram.
    #[error("frame is cut short")]
    Truncated,
    /// A type without a length that this version does not know.
    #[error("frame type {0:#04x} is unknown")]
    UnknownType(u8),
    /// A value that this version does not allow.
    #[error("invalid {0}")]
    Invalid(&'static str),
}

/// Why a link is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkDownReason {
    /// The sender took it out by choice.
    Removed,
    /// Its interface went down or lost its address.
    InterfaceDown,
    /// Nothing came over it for too long.
    Silent,
    /// A reason that this version has no name for.
    Other(u8),
}

impl LinkDownReason {
    pub(crate) const fn to_wire(self) -> u8 {
        match self {
            Self::Removed => 0,
            Self::InterfaceDown => 1,
            Self::Silent => 2,
            Self::Other(code) => code,
        }
    }

    const fn from_wire(code: u8) -> Self {
        match code {
            0 => Self::Removed,
            1 => Self::InterfaceDown,
            2 => Self::Silent,
            _ => Self::Other(code),
        }
    }
}

/// Which half of a rekeying a REKEY frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RekeyStep {
    /// First Noise message, from the client.
    Offer,
    /// Second Noise message, from the server.
    Answer,
}

/// One frame, borrowing from the opened datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// One IP packet.
    Data {
        /// Its place in the stream of its bucket.
        numbering: Numbering,
        /// The whole IP packet; never empty.
        packet: &'a [u8],
    },
    /// Asks for an ack.
    Ping,
    /// Datagrams that have arrived.
    Ack {
        /// The link they came over; `None`: the one that this comes over.
        link: Option<u16>,
        /// Which.
        block: AckBlock<'a>,
    },
    /// `count` sequences of `bucket` from `first` on will not come.
    Skip {
        /// The bucket.
        bucket: u8,
        /// First sequence, 24 bits.
        first: u32,
        /// How many; at least 1.
        count: u16,
    },
    /// Facts about the link that it comes over, as type-length-value fields.
    Hello(tlv::Fields<'a>),
    /// `link` is gone; what had arrived over it.
    LinkDown {
        /// Number of the link.
        link: u16,
        /// Why.
        reason: LinkDownReason,
        /// The datagrams that had arrived over it; `None`: not one.
        received: Option<AckBlock<'a>>,
    },
    /// Eight bytes to be sent back over the same path.
    PathChallenge([u8; 8]),
    /// The eight bytes of a challenge.
    PathResponse([u8; 8]),
    /// One half of a handshake that renews the keys.
    Rekey {
        /// Which half.
        step: RekeyStep,
        /// Key epoch that this leads to, modulo 256.
        epoch: u8,
        /// The Noise message.
        message: &'a [u8],
    },
    /// The session is over.
    Close {
        /// Why, for programs; see docs/wire.md.
        code: u8,
        /// Why, for people; at most [`MAX_REASON_LEN`] bytes.
        reason: &'a str,
    },
}

impl Frame<'_> {
    /// Whether the datagram with this frame must be acknowledged.
    #[must_use]
    pub const fn is_ack_eliciting(&self) -> bool {
        !matches!(self, Self::Ack { .. } | Self::Close { .. })
    }
}
