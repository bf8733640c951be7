//! Writing frames into a datagram under construction. Each call writes a whole frame or nothing.

use super::ack::{AckBlock, AckContent};
use super::{
    DATA_HEADER_LEN, DATA_HEADER_WITH_LENGTH_LEN, LinkDownReason, MAX_REASON_LEN, RekeyStep, kind, varint,
};
use crate::numbering::Numbering;

/// Appends frames to a buffer of fixed size. Every method says whether the frame fitted; one that did not leaves no
/// trace.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    /// Writes from the start of `out`.
    #[must_use]
    pub fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0 }
    }

    /// Bytes written.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing has been written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of room left.
    #[must_use]
    pub const fn room(&self) -> usize {
        self.out.len() - self.len
    }

    /// One packet. `last`: nothing follows in this datagram, so the length is left out.
    pub fn data(&mut self, numbering: Numbering, packet: &[u8], last: bool) -> bool {
        let header_len = if last { DATA_HEADER_LEN } else { DATA_HEADER_WITH_LENGTH_LEN };
        let Ok(packet_len) = u16::try_from(packet.len()) else { return false };
        if packet.is_empty() || self.room() < header_len + packet.len() {
            return false;
        }
        let ordered = if numbering.ordered { kind::DATA_ORDERED } else { 0 };
        let length = if last { 0 } else { kind::DATA_LENGTH };
        self.u8(kind::DATA | ordered | length)
            && self.u8(numbering.bucket)
            && self.u24(numbering.seq)
            && (last || self.u16(packet_len))
            && self.bytes(packet)
    }

    /// Asks for an ack.
    pub fn ping(&mut self) -> bool {
        self.u8(kind::PING)
    }

    /// Acknowledges; as many ranges as fit. `link`: `None` for the link that this datagram goes over.
    pub fn ack(&mut self, link: Option<u16>, content: &AckContent<'_>) -> bool {
        self.whole(|w| {
            let head = match link {
                None => w.u8(kind::ACK),
                Some(link) => w.u8(kind::ACK_LINK) && w.u16(link),
            };
            head && content.write(w)
        })
    }

    /// `count` sequences (at least 1) from `first` on will not come.
    pub fn skip(&mut self, bucket: u8, first: u32, count: u16) -> bool {
        self.whole(|w| w.u8(kind::SKIP) && w.u8(bucket) && w.u24(first) && w.u16(count))
    }

    /// Facts: fields that a [`FieldWriter`](super::tlv::FieldWriter) made.
    pub fn hello(&mut self, fields: &[u8]) -> bool {
        self.whole(|w| w.u8(kind::HELLO) && w.prefixed(fields))
    }

    /// `link` is gone, and what had arrived over it.
    pub fn link_down(
        &mut self,
        link: u16,
        reason: LinkDownReason,
        received: Option<&AckContent<'_>>,
    ) -> bool {
        self.whole(|w| {
            let head = w.u8(kind::LINKDOWN) && w.u16(link) && w.u8(reason.to_wire());
            head && match received {
                None => w.u8(0),
                Some(content) => w.u8(1) && content.write(w),
            }
        })
    }

    /// Eight bytes that the peer must send back over the same path.
    pub fn path_challenge(&mut self, token: [u8; 8]) -> bool {
        self.whole(|w| w.u8(kind::PATH_CHALLENGE) && w.bytes(&token))
    }

    /// The eight bytes of a challenge.
    pub fn path_response(&mut self, token: [u8; 8]) -> bool {
        self.whole(|w| w.u8(kind::PATH_RESPONSE) && w.bytes(&token))
    }

    /// One half of a rekeying.
    pub fn rekey(&mut self, step: RekeyStep, epoch: u8, message: &[u8]) -> bool {
        let step = match step {
            RekeyStep::Offer => 1,
            RekeyStep::Answer => 2,
        };
        self.whole(|w| w.u8(kind::REKEY) && w.u8(step) && w.u8(epoch) && w.prefixed(message))
    }

    /// The end of the session. The text is cut at [`MAX_REASON_LEN`].
    pub fn close(&mut self, code: u8, reason: &str) -> bool {
        let mut len = reason.len().min(MAX_REASON_LEN);
        while !reason.is_char_boundary(len) {
            len -= 1;
        }
        // MAX_REASON_LEN is below 256.
        let len_byte = len as u8;
        self.whole(|w| {
            w.u8(kind::CLOSE) && w.u8(code) && w.u8(len_byte) && w.bytes(&reason.as_bytes()[..len])
        })
    }

    /// Fills up to `len` bytes with padding (fewer when there is less room).
    pub fn pad_to(&mut self, len: usize) {
        let end = len.min(self.out.len());
        if end > self.len {
            self.out[self.len..end].fill(kind::PADDING);
            self.len = end;
        }
    }

    fn whole(&mut self, write: impl FnOnce(&mut Self) -> bool) -> bool {
        let mark = self.len;
        let fits = write(self);
        if !fits {
            self.len = mark;
        }
        fits
    }

    fn prefixed(&mut self, bytes: &[u8]) -> bool {
        u16::try_from(bytes.len()).is_ok_and(|len| self.u16(len)) && self.bytes(bytes)
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> bool {
        let Some(out) = self.out.get_mut(self.len..self.len + bytes.len()) else { return false };
        out.copy_from_slice(bytes);
        self.len += bytes.len();
        true
    }

    pub(super) fn u8(&mut self, value: u8) -> bool {
        self.bytes(&[value])
    }

    pub(super) fn u16(&mut self, value: u16) -> bool {
        self.bytes(&value.to_be_bytes())
    }

    fn u24(&mut self, value: u32) -> bool {
        self.bytes(&value.to_be_bytes()[1..])
    }

    pub(super) fn u32(&mut self, value: u32) -> bool {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn varint(&mut self, value: u64) -> bool {
        let Some(len) = varint::write(value, &mut self.out[self.len..]) else { return false };
        self.len += len;
        true
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    pub(super) fn increment(&mut self, at: usize) {
        self.out[at] = self.out[at].wrapping_add(1);
    }
}

/// The block of an ack that came, as content to be written again (for tests and for relaying).
impl AckBlock<'_> {
    /// The ranges of this block as pairs (smallest, largest), newest first.
    #[must_use]
    pub fn to_pairs(&self, largest: u64) -> Vec<(u64, u64)> {
        self.ranges(largest).map(|r| (*r.start(), *r.end())).collect()
    }
}
