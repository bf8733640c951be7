//! Frames of the protocol itself, as a link keeps them until they are acknowledged.

use std::time::Duration;

use crate::bond::frame::{AckBlock, AckContent, Frame, Frames, LinkDownReason, RekeyStep, Writer};

/// Room for the longest ack block and its type byte: a type, 11 fixed bytes, 63 varints of at most 8.
const MAX_ACK_LEN: usize = 1 + 11 + 63 * 8;

/// A frame that is neither a packet nor an ack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Asks for an ack.
    Ping,
    /// Sequences that will not come.
    Skip {
        /// Their bucket.
        bucket: u8,
        /// The first.
        first: u32,
        /// How many.
        count: u16,
    },
    /// Fields of a HELLO; see [`FieldWriter`](crate::bond::frame::tlv::FieldWriter).
    Hello(Vec<u8>),
    /// A link is gone.
    LinkDown {
        /// Which.
        link: u16,
        /// Why.
        reason: LinkDownReason,
        /// What had arrived over it.
        received: Option<OwnedAck>,
    },
    /// Eight random bytes.
    PathChallenge([u8; 8]),
    /// The eight bytes that came.
    PathResponse([u8; 8]),
    /// One half of a rekeying.
    Rekey {
        /// Which half.
        step: RekeyStep,
        /// The epoch that it leads to.
        epoch: u8,
        /// The Noise message.
        message: Vec<u8>,
    },
    /// The end; not acknowledged.
    Close {
        /// See docs/wire.md.
        code: u8,
        /// For people.
        reason: String,
    },
}

impl Control {
    /// Whether it is sent again when it got lost. The others are asked anew by whoever still wants the answer.
    #[must_use]
    pub const fn is_repaired(&self) -> bool {
        !matches!(self, Self::Ping | Self::PathChallenge(_) | Self::PathResponse(_) | Self::Close { .. })
    }

    /// Whether its datagram is acknowledged.
    pub(super) const fn is_ack_eliciting(&self) -> bool {
        !matches!(self, Self::Close { .. })
    }

    /// Writes the frame; false when it does not fit.
    pub(super) fn write(&self, writer: &mut Writer<'_>) -> bool {
        match self {
            Self::Ping => writer.ping(),
            Self::Skip { bucket, first, count } => writer.skip(*bucket, *first, *count),
            Self::Hello(fields) => writer.hello(fields),
            Self::LinkDown { link, reason, received: None } => writer.link_down(*link, *reason, None),
            Self::LinkDown { link, reason, received: Some(ack) } => {
                writer.link_down(*link, *reason, Some(&ack.content()))
            }
            Self::PathChallenge(token) => writer.path_challenge(*token),
            Self::PathResponse(token) => writer.path_response(*token),
            Self::Rekey { step, epoch, message } => writer.rekey(*step, *epoch, message),
            Self::Close { code, reason } => writer.close(*code, reason),
        }
    }
}

/// An ack block of its own, for what is kept or handed from one link to another. Not on the path of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedAck {
    ranges: Vec<(u64, u64)>,
    received_at_us: u32,
    delay: Duration,
}

impl From<&AckContent<'_>> for OwnedAck {
    fn from(content: &AckContent<'_>) -> Self {
        Self { ranges: content.ranges.to_vec(), received_at_us: content.received_at_us, delay: content.delay }
    }
}

impl From<&AckBlock<'_>> for OwnedAck {
    /// The numbers are rebuilt as if the low half were all: only differences count until the link that they are of
    /// rebuilds them. 2^32 is added, so that ranges which reach across the wrap stay whole.
    fn from(block: &AckBlock<'_>) -> Self {
        let ranges = block.to_pairs(u64::from(block.largest_low) + (1 << 32));
        Self { ranges, received_at_us: block.received_at_us, delay: block.delay }
    }
}

impl OwnedAck {
    /// The content, to be written.
    #[must_use]
    pub fn content(&self) -> AckContent<'_> {
        AckContent { ranges: &self.ranges, received_at_us: self.received_at_us, delay: self.delay }
    }

    /// Calls `use_block` with this as a block off the wire; `None` when there are no ranges.
    pub(super) fn with_block<R>(&self, use_block: impl FnOnce(&AckBlock<'_>) -> R) -> Option<R> {
        let mut bytes = [0; MAX_ACK_LEN];
        let mut writer = Writer::new(&mut bytes);
        writer.ack(None, &self.content());
        let len = writer.len();
        match Frames::new(&bytes[..len]).next() {
            Some(Ok(Frame::Ack { block, .. })) => Some(use_block(&block)),
            _ => None,
        }
    }
}
