//! What stock ratbond puts into KCP messages: HELLO, LINKDOWN, and IP packets, told apart by their first bytes.
//!
//! One of our messages is one frame. A stock sender works in stream mode: when its window is full it fills segments to the
//! brim, so that one may hold several frames, and a frame may go on in the next. [`FrameReader`] takes them apart.

use crate::{Packet, PacketPool};

/// Bytes of a HELLO.
pub const HELLO_LEN: usize = 40;
/// Bytes of a LINKDOWN.
pub const LINK_DOWN_LEN: usize = 3;
/// Longest IP packet that is put together from several segments.
const MAX_JOINED: usize = 9_216;
/// Marks our HELLO, inside the bytes that stock ignores. The first bytes stay zero as stock's are.
const MAGIC_AT: usize = 8;
const MAGIC: [u8; 8] = *b"rtbnd\x01HI";
/// Our tunnel-id, little endian, after the magic: conversations of neighbouring ids overlap, so they cannot tell.
const TUNNEL_ID_AT: usize = MAGIC_AT + MAGIC.len();
/// A number that a client draws when it starts, little endian; 0 says nothing.
const INSTANCE_AT: usize = TUNNEL_ID_AT + 2;

/// Who sent a HELLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelloOrigin {
    /// A stock ratbond.
    Stock,
    /// One of ours. Anybody can claim that, so little hangs on it: an address, and which of two clients a port serves.
    Ours,
}

/// One frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// Liveness: the first one opens a link.
    Hello(HelloOrigin),
    /// The client tells that the link with this conversation is gone.
    LinkDown {
        /// Its conv, cut to 16 bits.
        conv: u16,
    },
    /// An IPv4 or IPv6 packet.
    Ip(Packet),
}

/// Our HELLO. `instance` tells the links of one running program from those of another.
#[must_use]
pub fn hello(tunnel_id: u16, instance: u64) -> [u8; HELLO_LEN] {
    let mut bytes = [0; HELLO_LEN];
    bytes[MAGIC_AT..TUNNEL_ID_AT].copy_from_slice(&MAGIC);
    bytes[TUNNEL_ID_AT..INSTANCE_AT].copy_from_slice(&tunnel_id.to_le_bytes());
    bytes[INSTANCE_AT..INSTANCE_AT + 8].copy_from_slice(&instance.to_le_bytes());
    bytes
}

/// The tunnel-id in a message that is a HELLO of ours; `None` in any other, a stock HELLO for one.
#[must_use]
pub fn hello_tunnel_id(message: &[u8]) -> Option<u16> {
    let (_, rest) = our_hello(message)?.split_at(TUNNEL_ID_AT);
    rest.first_chunk().map(|bytes| u16::from_le_bytes(*bytes)).filter(|&id| id != 0)
}

/// Which running program a HELLO of ours comes from; `None` as for [`hello_tunnel_id`].
#[must_use]
pub fn hello_instance(message: &[u8]) -> Option<u64> {
    let (_, rest) = our_hello(message)?.split_at(INSTANCE_AT);
    rest.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)).filter(|&instance| instance != 0)
}

fn our_hello(message: &[u8]) -> Option<&[u8; HELLO_LEN]> {
    let bytes: &[u8; HELLO_LEN] = message.try_into().ok()?;
    (bytes[..2] == [0, 0] && hello_origin(bytes) == HelloOrigin::Ours).then_some(bytes)
}

/// LINKDOWN for a conversation.
#[must_use]
pub fn link_down(conv: u16) -> [u8; LINK_DOWN_LEN] {
    let [low, high] = conv.to_le_bytes();
    [0, low, high]
}

/// Takes the messages of one conversation apart into frames.
#[derive(Debug, Default)]
pub struct FrameReader {
    /// The beginning of a frame whose end is still to come.
    partial: Option<Packet>,
    /// Longest message so far. A frame is cut only where a segment is full, and no message is longer than a full one.
    longest: usize,
    malformed: u64,
}

/// What the bytes at a frame's beginning say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Head {
    Hello,
    LinkDown {
        conv: u16,
    },
    Ip {
        len: usize,
    },
    /// More bytes must come before it is known how long it is, or before it is complete.
    Partial,
    Malformed,
}

impl FrameReader {
    /// Nothing read yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Messages whose end was no frame, or whose frame never ended.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Appends the frames that `message` completes to `frames`. A message that is one IP packet is moved, not copied.
    pub fn read(&mut self, message: Packet, pool: &mut PacketPool, frames: &mut Vec<Frame>) {
        if message.is_empty() {
            pool.put(message);
            return;
        }
        let was_full = message.len() >= self.longest;
        self.longest = self.longest.max(message.len());
        let message = match self.partial.take() {
            Some(mut beginning) => {
                beginning.extend_from_slice(message.as_slice());
                pool.put(message);
                beginning
            }
            None => message,
        };
        if head(message.as_slice()) == (Head::Ip { len: message.len() }) {
            frames.push(Frame::Ip(message));
            return;
        }
        let mut rest = message.as_slice();
        while !rest.is_empty() {
            let (frame, len) = match head(rest) {
                Head::Hello => (Frame::Hello(hello_origin(rest)), HELLO_LEN),
                Head::LinkDown { conv } => (Frame::LinkDown { conv }, LINK_DOWN_LEN),
                Head::Ip { len } => (Frame::Ip(pool.copy_of(&rest[..len])), len),
                Head::Partial if was_full && rest.len() < MAX_JOINED => {
                    self.partial = Some(pool.copy_of(rest));
                    break;
                }
                Head::Partial | Head::Malformed => {
                    self.malformed += 1;
                    break;
                }
            };
            frames.push(frame);
            rest = &rest[len..];
        }
        pool.put(message);
    }
}

fn head(bytes: &[u8]) -> Head {
    match bytes.first() {
        Some(0) => control_head(bytes),
        Some(first) if first >> 4 == 4 => ipv4_head(bytes),
        Some(first) if first >> 4 == 6 => ipv6_head(bytes),
        Some(_) => Head::Malformed,
        None => Head::Partial,
    }
}

/// Stock takes a message of exactly 40 bytes that begins with two zeros for a HELLO, and one of exactly 3 that begins with a
/// zero for a LINKDOWN. Within a longer stretch a third zero tells them apart, for no conversation has the id 0.
fn control_head(bytes: &[u8]) -> Head {
    match *bytes {
        [0, 0, ..] if bytes.len() == HELLO_LEN => Head::Hello,
        [0, 0, 0, ..] if bytes.len() > HELLO_LEN => Head::Hello,
        [0, 0, 0, ..] | [0, _] | [0] => Head::Partial,
        [0, low, high, ..] => Head::LinkDown { conv: u16::from_le_bytes([low, high]) },
        _ => Head::Malformed,
    }
}

fn ipv4_head(bytes: &[u8]) -> Head {
    let header_len = usize::from(bytes[0] & 0x0f) * 4;
    let [_, _, high, low, ..] = *bytes else { return Head::Partial };
    ip_head(usize::from(u16::from_be_bytes([high, low])), header_len.max(20), bytes.len(), header_len >= 20)
}

fn ipv6_head(bytes: &[u8]) -> Head {
    let [_, _, _, _, high, low, ..] = *bytes else { return Head::Partial };
    ip_head(40 + usize::from(u16::from_be_bytes([high, low])), 40, bytes.len(), true)
}

fn ip_head(len: usize, least: usize, left: usize, header_right: bool) -> Head {
    if len < least || !header_right {
        Head::Malformed
    } else if len <= left {
        Head::Ip { len }
    } else if len <= MAX_JOINED {
        Head::Partial
    } else {
        Head::Malformed
    }
}

fn hello_origin(bytes: &[u8]) -> HelloOrigin {
    if bytes.get(MAGIC_AT..TUNNEL_ID_AT) == Some(&MAGIC) { HelloOrigin::Ours } else { HelloOrigin::Stock }
}
