//! What stands in the clear: the kind of a datagram, who receives it, and its number.

use thiserror::Error;

/// The version of the wire that this crate speaks. It is bound into every handshake, so it cannot be talked down.
pub const VERSION: u8 = 1;
/// Bytes before the sealed part: type, receiver index, low half of the counter.
pub const HEADER_LEN: usize = 9;
/// Bytes that the AEAD adds after the sealed part.
pub const TAG_LEN: usize = 16;
/// All that a sealed datagram adds to its frames, UDP and IP not counted.
pub const SEALED_OVERHEAD: usize = HEADER_LEN + TAG_LEN;
/// The largest UDP payload that is ever sent or taken: an Ethernet jumbo frame's worth.
pub const MAX_DATAGRAM_LEN: usize = 9_000;

const SEALED_BIT: u8 = 0x80;
const PHASE_MASK: u8 = 0x03;
/// The bits of a receiver index below those that name a worker.
pub const WORKER_SHIFT: u32 = 26;

/// Why a datagram cannot even be classified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DatagramError {
    /// Shorter than the shortest datagram of its kind.
    #[error("datagram is too short")]
    Short,
    /// The type byte is not one of this version's.
    #[error("datagram type {0:#04x} is unknown")]
    UnknownType(u8),
}

/// The kind of a datagram, from its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Client to server: "give me a challenge".
    Request,
    /// Server to client: the cookie, or nothing else.
    Challenge,
    /// Client to server: first Noise message, with the cookie.
    Init,
    /// Server to client: second Noise message.
    Response,
    /// Client to server: one more link for a running session.
    Join,
    /// Server to client: the link is in.
    Joined,
    /// Server to client: "I do not speak your version".
    Version,
    /// Either way: sealed frames under the keys of this phase (key epoch modulo 4).
    Sealed {
        /// Key epoch modulo 4.
        phase: u8,
    },
}

impl Kind {
    /// The type byte.
    #[must_use]
    pub const fn type_byte(self) -> u8 {
        match self {
            Self::Request => 0x01,
            Self::Challenge => 0x02,
            Self::Init => 0x03,
            Self::Response => 0x04,
            Self::Join => 0x05,
            Self::Joined => 0x06,
            Self::Version => 0x07,
            Self::Sealed { phase } => SEALED_BIT | (phase & PHASE_MASK),
        }
    }

    /// Reads the first byte of a datagram.
    ///
    /// # Errors
    /// An empty datagram, or a type that this version does not know.
    pub fn of(datagram: &[u8]) -> Result<Self, DatagramError> {
        let &byte = datagram.first().ok_or(DatagramError::Short)?;
        Ok(match byte {
            0x01 => Self::Request,
            0x02 => Self::Challenge,
            0x03 => Self::Init,
            0x04 => Self::Response,
            0x05 => Self::Join,
            0x06 => Self::Joined,
            0x07 => Self::Version,
            0x80..=0x83 => Self::Sealed { phase: byte & PHASE_MASK },
            _ => return Err(DatagramError::UnknownType(byte)),
        })
    }
}

/// Names one direction of one link at its receiver. A server's indexes carry the worker that owns the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReceiverIndex(pub u32);

impl ReceiverIndex {
    /// Workers that an index can name.
    pub const MAX_WORKERS: u8 = 64;

    /// An index of `worker` (0..64) with 26 bits of `random`.
    #[must_use]
    pub const fn new(worker: u8, random: u32) -> Self {
        Self(((worker as u32) << WORKER_SHIFT) | (random & ((1 << WORKER_SHIFT) - 1)))
    }

    /// The worker that a datagram with this index belongs to.
    #[must_use]
    pub const fn worker(self) -> u8 {
        (self.0 >> WORKER_SHIFT) as u8
    }

    /// Which of a server's `workers` gets a datagram with this index, also one whose index was the client's to choose.
    #[must_use]
    pub const fn steers_to(self, workers: u8) -> u8 {
        if workers == 0 { 0 } else { self.worker() % workers }
    }

    /// The receiver index of any kind of datagram: bytes 1..5, so that a socket filter can steer by it.
    ///
    /// # Errors
    /// A datagram of fewer than five bytes.
    pub fn of(datagram: &[u8]) -> Result<Self, DatagramError> {
        let bytes = datagram.get(1..5).and_then(|b| b.try_into().ok()).ok_or(DatagramError::Short)?;
        Ok(Self(u32::from_be_bytes(bytes)))
    }
}

/// The header of a sealed datagram; it is the AEAD's associated data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Key epoch modulo 4.
    pub phase: u8,
    /// Whom it is for.
    pub receiver: ReceiverIndex,
    /// Low half of the packet number.
    pub counter_low: u32,
}

impl Header {
    /// The header of packet `number`.
    #[must_use]
    pub const fn of_packet(phase: u8, receiver: ReceiverIndex, number: u64) -> Self {
        Self { phase, receiver, counter_low: number as u32 }
    }

    /// The nine bytes.
    #[must_use]
    pub fn encode(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0] = Kind::Sealed { phase: self.phase }.type_byte();
        bytes[1..5].copy_from_slice(&self.receiver.0.to_be_bytes());
        bytes[5..9].copy_from_slice(&self.counter_low.to_be_bytes());
        bytes
    }

    /// Reads the header of a sealed datagram.
    ///
    /// # Errors
    /// Not a sealed datagram, or too short to hold a tag and at least one byte of frames.
    pub fn decode(datagram: &[u8]) -> Result<Self, DatagramError> {
        let Kind::Sealed { phase } = Kind::of(datagram)? else {
            return Err(DatagramError::UnknownType(datagram[0]));
        };
        if datagram.len() <= SEALED_OVERHEAD {
            return Err(DatagramError::Short);
        }
        let low = [datagram[5], datagram[6], datagram[7], datagram[8]];
        Ok(Self { phase, receiver: ReceiverIndex::of(datagram)?, counter_low: u32::from_be_bytes(low) })
    }

    /// The full packet number, given the number that is expected next; see [`rebuild_number`].
    #[must_use]
    pub const fn number(self, expected: u64) -> u64 {
        rebuild_number(self.counter_low, expected)
    }
}

/// The number that ends in `low` and is nearest to `expected` (RFC 9000, appendix A.3, with 32 bits).
///
/// Right as long as fewer than 2^31 numbers lie between what arrives and what is expected.
#[must_use]
pub const fn rebuild_number(low: u32, expected: u64) -> u64 {
    let distance = low.wrapping_sub(expected as u32) as i32;
    match expected.checked_add_signed(distance as i64) {
        Some(number) => number,
        // Nearer to a number before zero or beyond 2^64, which do not exist: the only candidate left.
        None if distance < 0 => low as u64,
        None => expected & !0xffff_ffff | low as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_survives_the_wire() {
        let header =
            Header { phase: 2, receiver: ReceiverIndex::new(5, 0x0123_4567), counter_low: 0xdead_beef };
        let mut datagram = header.encode().to_vec();
        datagram.resize(SEALED_OVERHEAD + 1, 0);
        assert_eq!(Header::decode(&datagram), Ok(header));
        assert_eq!(header.receiver.worker(), 5);
    }

    #[test]
    fn a_datagram_without_room_for_a_frame_is_too_short() {
        let mut datagram = [0; SEALED_OVERHEAD];
        datagram[0] = 0x80;
        assert_eq!(Header::decode(&datagram), Err(DatagramError::Short));
        assert_eq!(Header::decode(&[]), Err(DatagramError::Short));
    }

    #[test]
    fn every_type_byte_means_one_kind_or_none() {
        for byte in 0..=u8::MAX {
            match Kind::of(&[byte]) {
                Ok(kind) => assert_eq!(kind.type_byte(), byte),
                Err(error) => assert_eq!(error, DatagramError::UnknownType(byte)),
            }
        }
    }

    #[test]
    fn the_last_number_before_zero_and_after_the_end_are_not_invented() {
        assert_eq!(rebuild_number(0xffff_ffff, 3), 0xffff_ffff);
        assert_eq!(rebuild_number(1, u64::MAX), 0xffff_ffff_0000_0001);
    }

    proptest! {
        #[test]
        fn a_number_near_the_expected_one_is_rebuilt(expected in 0u64.., offset in -0x4000_0000i64..0x4000_0000) {
            if let Some(number) = expected.checked_add_signed(offset) {
                let low = number as u32;
                prop_assert_eq!(rebuild_number(low, expected), number);
            }
        }
    }
}
