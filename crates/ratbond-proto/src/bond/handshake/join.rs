//! One more link for a running session: a proof under the session's keys instead of a handshake.
//!
//! A link's number is chosen by the client, counts up and is never used twice in a session: it names the link's keys.
//! So a replayed JOIN can make nothing new. The link carries no data until a sealed datagram has come over it.

use super::HandshakeError;
use super::message::write_common;
use crate::bond::datagram::{Kind, ReceiverIndex, VERSION};
use crate::bond::kdf::{MAC_LEN, MacKey};

/// Length of a JOIN.
pub const JOIN_LEN: usize = 6 + 1 + 2 + 4 + MAC_LEN;
/// Length of a JOINED; not more than a JOIN, so that nothing is amplified.
pub const JOINED_LEN: usize = 6 + 1 + 1 + 4 + MAC_LEN;

/// A client's wish to add a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Join {
    /// Any index of the session at the server: it finds the session, and steers to its worker.
    pub session: ReceiverIndex,
    /// Key epoch whose join key made the proof.
    pub epoch: u8,
    /// Number of the new link.
    pub link: u16,
    /// The client's index on the new link.
    pub sender: ReceiverIndex,
}

impl Join {
    /// The datagram.
    #[must_use]
    pub fn encode(&self, key: &MacKey) -> Vec<u8> {
        let mut out = Vec::with_capacity(JOIN_LEN);
        write_common(Kind::Join, self.session, &mut out);
        out.push(self.epoch);
        out.extend_from_slice(&self.link.to_be_bytes());
        out.extend_from_slice(&self.sender.0.to_be_bytes());
        let proof = key.tag(&[&out]);
        out.extend_from_slice(&proof);
        out
    }

    /// Reads a JOIN without believing it, to find the session (by [`session`](Self::session)) and its join key (by
    /// [`epoch`](Self::epoch)); then [`verify`](Self::verify).
    ///
    /// # Errors
    /// Not a JOIN of this version.
    pub fn decode(datagram: &[u8]) -> Result<Self, HandshakeError> {
        if Kind::of(datagram) != Ok(Kind::Join) || datagram.len() != JOIN_LEN {
            return Err(HandshakeError::Malformed);
        }
        if datagram[5] != VERSION {
            return Err(HandshakeError::WrongVersion { theirs: datagram[5] });
        }
        Ok(Self {
            session: index_at(datagram, 1),
            epoch: datagram[6],
            link: u16::from_be_bytes([datagram[7], datagram[8]]),
            sender: index_at(datagram, 9),
        })
    }

    /// Whether `datagram` was made by the holder of `key`.
    #[must_use]
    pub fn verify(datagram: &[u8], key: &MacKey) -> bool {
        datagram.len() == JOIN_LEN
            && key.verify(&[&datagram[..JOIN_LEN - MAC_LEN]], &datagram[JOIN_LEN - MAC_LEN..])
    }
}

/// The server's word on a JOIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinVerdict {
    /// The link is in; this is the server's index on it.
    Joined(ReceiverIndex),
    /// The number was used before in this session.
    NumberUsed,
    /// The session has as many links as the server allows.
    TooManyLinks,
    /// A refusal that this version has no name for.
    Other(u8),
}

impl JoinVerdict {
    /// The datagram that answers `join`, whose proof was checked.
    #[must_use]
    pub fn encode(&self, join: &[u8], key: &MacKey) -> Vec<u8> {
        let (code, own) = match *self {
            Self::Joined(own) => (0, own),
            Self::NumberUsed => (1, ReceiverIndex(0)),
            Self::TooManyLinks => (2, ReceiverIndex(0)),
            Self::Other(code) => (code, ReceiverIndex(0)),
        };
        let mut out = Vec::with_capacity(JOINED_LEN);
        write_common(Kind::Joined, index_at(join, 9), &mut out);
        out.push(join.get(6).copied().unwrap_or(0));
        out.push(code);
        out.extend_from_slice(&own.0.to_be_bytes());
        let proof = key.tag(&[&out, join]);
        out.extend_from_slice(&proof);
        out
    }

    /// Reads the answer to `join`.
    ///
    /// # Errors
    /// Not an answer to that JOIN by the holder of `key`.
    pub fn decode(datagram: &[u8], join: &[u8], key: &MacKey) -> Result<Self, HandshakeError> {
        if Kind::of(datagram) != Ok(Kind::Joined) || datagram.len() != JOINED_LEN || datagram[5] != VERSION {
            return Err(HandshakeError::Malformed);
        }
        let (body, proof) = datagram.split_at(JOINED_LEN - MAC_LEN);
        if !key.verify(&[body, join], proof) {
            return Err(HandshakeError::WrongMac);
        }
        Ok(match body[7] {
            0 => Self::Joined(index_at(datagram, 8)),
            1 => Self::NumberUsed,
            2 => Self::TooManyLinks,
            code => Self::Other(code),
        })
    }
}

fn index_at(datagram: &[u8], at: usize) -> ReceiverIndex {
    let bytes = datagram.get(at..at + 4).and_then(|b| b.try_into().ok()).unwrap_or_default();
    ReceiverIndex(u32::from_be_bytes(bytes))
}

/// Which link numbers a session has used: at the server, the judge of a JOIN's freshness.
#[derive(Clone, Debug)]
pub struct LinkNumbers {
    next: u32,
    /// Bit n: number `next - 1 - n` was used.
    recent: u64,
}

impl Default for LinkNumbers {
    /// Link 0 exists: the handshake ran over it.
    fn default() -> Self {
        Self { next: 1, recent: 1 }
    }
}

impl LinkNumbers {
    /// The number for the client's next link; `None` when the session needs a new handshake first.
    pub fn allot(&mut self) -> Option<u16> {
        let number = u16::try_from(self.next).ok()?;
        self.take(number).then_some(number)
    }

    /// Marks `number` as used; false when it was before, or is more than 63 behind the newest.
    pub fn take(&mut self, number: u16) -> bool {
        let number = u32::from(number);
        if number >= self.next {
            let ahead = number + 1 - self.next;
            self.recent = self.recent.checked_shl(ahead).unwrap_or(0) | 1;
            self.next = number + 1;
            return true;
        }
        let bit = 1u64.checked_shl(self.next - 1 - number).unwrap_or(0);
        let fresh = bit != 0 && self.recent & bit == 0;
        self.recent |= bit;
        fresh
    }
}
