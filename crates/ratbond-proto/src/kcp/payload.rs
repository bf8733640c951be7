//! What a segment carries, and how a long message is cut into segments.

use std::ops::Range;
use std::sync::Arc;

use super::config::Mode;
use crate::{Packet, PacketPool};

/// Fragments of a message count down from 255 at most, in one byte.
pub(super) const MAX_FRAGMENTS: usize = 256;

/// The payload of one segment.
#[derive(Debug)]
pub(super) enum Payload {
    /// A message of its own: the usual case, moved and never copied.
    Whole(Packet),
    /// A part of a message that did not fit; boxed, for it is rare.
    Part(Box<Part>),
}

/// A part of a message. Its parts share the message, so that it can be taken back whole.
#[derive(Debug)]
pub(super) struct Part {
    message: Arc<Packet>,
    range: Range<usize>,
}

/// A segment that waits for its first transmission.
#[derive(Debug)]
pub(super) struct Queued {
    pub payload: Payload,
    pub frg: u8,
}

impl Default for Payload {
    fn default() -> Self {
        Self::Whole(Packet::default())
    }
}

impl Payload {
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Whole(packet) => packet.as_slice(),
            Self::Part(part) => part.message.as_slice().get(part.range.clone()).unwrap_or_default(),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Whole(packet) => packet.len(),
            Self::Part(part) => part.range.len(),
        }
    }

    /// Gives the memory back to the pool; that of a cut message with its last fragment.
    pub fn release(self, pool: &mut PacketPool) {
        match self {
            Self::Whole(packet) => pool.put(packet),
            Self::Part(part) => {
                if let Some(packet) = Arc::into_inner(part.message) {
                    pool.put(packet);
                }
            }
        }
    }
}

/// Cuts a message into segments of at most `mss` bytes and appends them to `queue`; the message comes back if it would
/// need more than [`MAX_FRAGMENTS`].
pub(super) fn cut(
    message: Packet,
    mss: usize,
    mode: Mode,
    queue: &mut impl Extend<Queued>,
) -> Result<(), Packet> {
    if message.len() <= mss {
        queue.extend([Queued { payload: Payload::Whole(message), frg: 0 }]);
        return Ok(());
    }
    let count = message.len().div_ceil(mss.max(1));
    if mss == 0 || count > MAX_FRAGMENTS {
        return Err(message);
    }
    let message = Arc::new(message);
    queue.extend((0..count).map(|index| {
        let range = index * mss..((index + 1) * mss).min(message.len());
        let frg = match mode {
            Mode::Message => (count - 1 - index) as u8,
            Mode::Stream => 0,
        };
        Queued { payload: Payload::Part(Box::new(Part { message: Arc::clone(&message), range })), frg }
    }));
    Ok(())
}

/// Puts the messages behind `payloads` together again, in order; a cut message comes back whole if any of its parts
/// is among them.
pub(super) fn restore(payloads: impl Iterator<Item = Payload>) -> Vec<Packet> {
    let mut messages = Vec::new();
    let mut cut: Option<Arc<Packet>> = None;
    for payload in payloads {
        match payload {
            Payload::Whole(packet) => messages.push(packet),
            Payload::Part(part) => {
                let message = part.message;
                if !cut.as_ref().is_some_and(|earlier| Arc::ptr_eq(earlier, &message)) {
                    messages.push(Packet::from(message.as_slice()));
                    cut = Some(message);
                }
            }
        }
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len: usize) -> Packet {
        (0..len).map(|i| i as u8).collect::<Vec<_>>().into()
    }

    #[test]
    fn a_message_that_fits_is_one_segment() {
        let mut queue = Vec::new();
        cut(message(100), 100, Mode::Message, &mut queue).unwrap();
        assert_eq!(queue.len(), 1);
        assert_eq!((queue[0].frg, queue[0].payload.len()), (0, 100));
    }

    #[test]
    fn fragments_of_a_message_count_down_to_zero() {
        let mut queue = Vec::new();
        cut(message(250), 100, Mode::Message, &mut queue).unwrap();
        assert_eq!(queue.iter().map(|q| q.frg).collect::<Vec<_>>(), [2, 1, 0]);
        let bytes: Vec<u8> = queue.iter().flat_map(|q| q.payload.as_slice().to_vec()).collect();
        assert_eq!(bytes, message(250).as_slice());
    }

    #[test]
    fn a_stream_is_cut_without_counting() {
        let mut queue = Vec::new();
        cut(message(250), 100, Mode::Stream, &mut queue).unwrap();
        assert_eq!(queue.iter().map(|q| q.frg).collect::<Vec<_>>(), [0, 0, 0]);
    }

    #[test]
    fn a_message_of_too_many_fragments_comes_back() {
        let mut queue = Vec::new();
        assert!(cut(message(2_560), 10, Mode::Message, &mut queue).is_ok());
        assert_eq!(cut(message(2_561), 10, Mode::Message, &mut queue).unwrap_err().len(), 2_561);
    }

    #[test]
    fn a_cut_message_is_restored_whole_from_any_of_its_parts() {
        let mut queue = Vec::new();
        cut(message(250), 100, Mode::Message, &mut queue).unwrap();
        cut(message(30), 100, Mode::Message, &mut queue).unwrap();
        let left = queue.into_iter().skip(1).map(|q| q.payload);
        assert_eq!(restore(left), [message(250), message(30)]);
    }
}
