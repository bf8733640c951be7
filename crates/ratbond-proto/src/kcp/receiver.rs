//! What has arrived: a ring indexed by sn, read in order.

use super::acks::{Ack, Acks};
use super::serial::distance;
use crate::{Packet, PacketPool};

/// What became of a PUSH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Taken in. `opens_gap`: segments before it are missing that were not known to be.
    New { opens_gap: bool },
    /// It had arrived before; its ACK must have been lost, so it is owed again.
    Duplicate,
    /// There is no room for it; its sender will repeat it.
    OutOfWindow,
}

#[derive(Debug, Default)]
struct Slot {
    filled: bool,
    frg: u8,
    payload: Packet,
}

/// The receive window: `[read_sn, next_sn)` waits for the reader, beyond it are segments that came early.
#[derive(Debug)]
pub(super) struct Receiver {
    slots: Box<[Slot]>,
    mask: u32,
    window: u32,
    read_sn: u32,
    next_sn: u32,
    /// One past the highest sn that has arrived.
    end_sn: u32,
    /// Messages that are complete and in order.
    readable: usize,
}

impl Receiver {
    pub fn new(window: u16, first_sn: u32) -> Self {
        let window = u32::from(window.max(1));
        let capacity = window.next_power_of_two();
        Self {
            slots: (0..capacity).map(|_| Slot::default()).collect(),
            mask: capacity - 1,
            window,
            read_sn: first_sn,
            next_sn: first_sn,
            end_sn: first_sn,
            readable: 0,
        }
    }

    /// The una to tell the peer: the first sn that has not arrived.
    pub fn next_sn(&self) -> u32 {
        self.next_sn
    }

    /// The window to tell the peer, in segments.
    pub fn free(&self) -> u16 {
        // The window was a u16, and waiting segments never exceed it.
        (self.window - self.next_sn.wrapping_sub(self.read_sn)) as u16
    }

    /// Segments a message may have at most: one with more would fill the window and never be complete.
    pub fn window(&self) -> u32 {
        self.window
    }

    /// Takes in a PUSH.
    pub fn push(&mut self, sn: u32, frg: u8, payload: &[u8], pool: &mut PacketPool) -> Arrival {
        if distance(sn, self.next_sn) < 0 {
            return Arrival::Duplicate;
        }
        if distance(sn, self.read_sn.wrapping_add(self.window)) >= 0 {
            return Arrival::OutOfWindow;
        }
        let slot = &mut self.slots[(sn & self.mask) as usize];
        if slot.filled {
            return Arrival::Duplicate;
        }
        *slot = Slot { filled: true, frg, payload: pool.copy_of(payload) };
        let opens_gap = distance(sn, self.end_sn) > 0;
        if distance(sn, self.end_sn) >= 0 {
            self.end_sn = sn.wrapping_add(1);
        }
        self.advance();
        Arrival::New { opens_gap }
    }

    /// Moves una over all that has arrived without a gap.
    fn advance(&mut self) {
        while self.next_sn != self.end_sn {
            let slot = &self.slots[(self.next_sn & self.mask) as usize];
            if !slot.filled {
                return;
            }
            self.readable += usize::from(slot.frg == 0);
            self.next_sn = self.next_sn.wrapping_add(1);
        }
    }

    /// Takes out the next message.
    pub fn read(&mut self, pool: &mut PacketPool) -> Option<Packet> {
        self.readable = self.readable.checked_sub(1)?;
        let (mut frg, mut message) = self.take_next();
        while frg != 0 {
            let (next_frg, part) = self.take_next();
            message.extend_from_slice(part.as_slice());
            pool.put(part);
            frg = next_frg;
        }
        Some(message)
    }

    fn take_next(&mut self) -> (u8, Packet) {
        let slot = std::mem::take(&mut self.slots[(self.read_sn & self.mask) as usize]);
        self.read_sn = self.read_sn.wrapping_add(1);
        (slot.frg, slot.payload)
    }
}

/// Owes the ACK for an arrival, at once where the sender should hear of a gap.
pub(super) fn answer(arrival: Arrival, ack: Ack, now: crate::Time, acks: &mut Acks) {
    match arrival {
        Arrival::New { opens_gap } => acks.owe(ack, now, opens_gap),
        Arrival::Duplicate => acks.owe(ack, now, false),
        Arrival::OutOfWindow => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: u32 = u32::MAX - 2;

    fn sn(index: u32) -> u32 {
        FIRST.wrapping_add(index)
    }

    fn push(receiver: &mut Receiver, index: u32) -> Arrival {
        receiver.push(sn(index), 0, &[index as u8], &mut PacketPool::new(0))
    }

    fn read(receiver: &mut Receiver) -> Vec<Vec<u8>> {
        let mut pool = PacketPool::new(0);
        std::iter::from_fn(|| receiver.read(&mut pool)).map(|p| p.as_slice().to_vec()).collect()
    }

    #[test]
    fn segments_are_read_in_order_whatever_order_they_came_in() {
        let mut receiver = Receiver::new(8, FIRST);
        for index in [2, 1, 5, 0, 4] {
            push(&mut receiver, index);
        }
        assert_eq!(read(&mut receiver), [[0], [1], [2]]);
        push(&mut receiver, 3);
        assert_eq!(read(&mut receiver), [[3], [4], [5]]);
        assert_eq!(receiver.next_sn(), sn(6));
    }

    #[test]
    fn what_arrives_twice_is_read_once() {
        let mut receiver = Receiver::new(8, FIRST);
        assert_eq!(push(&mut receiver, 1), Arrival::New { opens_gap: true });
        assert_eq!(push(&mut receiver, 1), Arrival::Duplicate);
        assert_eq!(push(&mut receiver, 0), Arrival::New { opens_gap: false });
        assert_eq!(push(&mut receiver, 0), Arrival::Duplicate);
        assert_eq!(read(&mut receiver), [[0], [1]]);
        assert_eq!(push(&mut receiver, 1), Arrival::Duplicate);
        assert_eq!(read(&mut receiver).len(), 0);
    }

    #[test]
    fn a_full_window_takes_no_more_until_it_is_read() {
        for window in [5, 8] {
            let mut receiver = Receiver::new(window, FIRST);
            for index in 0..u32::from(window) {
                assert_eq!(receiver.free(), window - index as u16);
                push(&mut receiver, index);
            }
            assert_eq!(receiver.free(), 0);
            assert_eq!(push(&mut receiver, u32::from(window)), Arrival::OutOfWindow);
            assert_eq!(read(&mut receiver).len(), usize::from(window));
            assert_eq!(push(&mut receiver, u32::from(window)), Arrival::New { opens_gap: false });
        }
    }

    #[test]
    fn a_number_far_outside_is_dropped() {
        let mut receiver = Receiver::new(8, FIRST);
        assert_eq!(push(&mut receiver, 8), Arrival::OutOfWindow);
        assert_eq!(push(&mut receiver, 1 << 30), Arrival::OutOfWindow);
        assert_eq!(push(&mut receiver, 1 << 31), Arrival::Duplicate);
    }

    #[test]
    fn fragments_are_read_as_one_message_once_all_are_there() {
        let mut receiver = Receiver::new(8, FIRST);
        let mut pool = PacketPool::new(0);
        receiver.push(sn(2), 0, b"c", &mut pool);
        receiver.push(sn(0), 2, b"a", &mut pool);
        assert_eq!(receiver.read(&mut pool), None);
        receiver.push(sn(1), 1, b"b", &mut pool);
        assert_eq!(receiver.read(&mut pool).unwrap().as_slice(), b"abc");
        assert_eq!(receiver.read(&mut pool), None);
    }
}
