//! The datagrams in flight, by packet number.

use super::bits::Bits;
use crate::Time;
use crate::path::rate::SendRecord;

/// Slots at first: 256 datagrams in flight cost about 40 KiB.
const MIN_CAPACITY: usize = 256;
/// Numbers between the oldest in flight and the next, at most: 1.2 s at 1.2 Gbit/s.
pub(super) const MAX_CAPACITY: usize = 1 << 17;

/// A datagram that asks for an ack and has none yet.
#[derive(Debug)]
pub(super) struct Sent<C> {
    pub content: C,
    pub at: Time,
    pub bytes: u32,
    /// What it counts as when it arrives or gets lost: nothing, if it probes the path MTU.
    pub counted_bytes: u32,
    /// None of a probe of the path MTU: it says nothing of the rate.
    pub rate: Option<SendRecord>,
    /// The largest number told by an ACK that this datagram carried.
    pub ack_told: Option<u64>,
}

/// A ring of slots indexed by packet number. Insert, remove and "which is the next" are O(1), or nearly so: see [`Bits`].
#[derive(Debug)]
pub(super) struct Flight<C> {
    slots: Vec<Option<Sent<C>>>,
    outstanding: Bits,
    /// Declared lost and not overwritten yet: an ack for one of these was a false alarm.
    lost: Bits,
    /// No number below is outstanding.
    oldest: u64,
    next: u64,
    count: usize,
    bytes: u64,
}

impl<C> Default for Flight<C> {
    fn default() -> Self {
        Self::with_capacity(MIN_CAPACITY)
    }
}

impl<C> Flight<C> {
    fn with_capacity(capacity: usize) -> Self {
        Self {
            slots: std::iter::repeat_with(|| None).take(capacity).collect(),
            outstanding: Bits::new(capacity),
            lost: Bits::new(capacity),
            oldest: 0,
            next: 0,
            count: 0,
            bytes: 0,
        }
    }

    pub fn next_number(&self) -> u64 {
        self.next
    }

    pub fn count(&self) -> usize {
        self.count
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn has_room(&self) -> bool {
        self.next - self.oldest < MAX_CAPACITY as u64
    }

    /// Uses up a number for a datagram that asks for no ack.
    pub fn skip_number(&mut self) -> u64 {
        self.make_room();
        let number = self.next;
        self.lost.clear(number);
        self.next += 1;
        if self.count == 0 {
            self.oldest = self.next;
        }
        number
    }

    pub fn push(&mut self, sent: Sent<C>) -> u64 {
        let number = self.skip_number();
        if self.count == 0 {
            self.oldest = number;
        }
        self.count += 1;
        self.bytes += u64::from(sent.bytes);
        self.outstanding.set(number);
        let slot = self.slot(number);
        self.slots[slot] = Some(sent);
        number
    }

    /// The first outstanding number in `from..end`.
    pub fn first_in(&self, from: u64, end: u64) -> Option<u64> {
        self.outstanding.first_in(from.max(self.oldest), end.min(self.next))
    }

    pub fn oldest(&self) -> Option<u64> {
        self.first_in(self.oldest, self.next)
    }

    pub fn get(&self, number: u64) -> Option<&Sent<C>> {
        self.slots[self.slot(number)].as_ref()
    }

    /// Takes an outstanding number out.
    pub fn remove(&mut self, number: u64) -> Option<Sent<C>> {
        let slot = self.slot(number);
        let sent = self.slots[slot].take()?;
        self.outstanding.clear(number);
        self.count -= 1;
        self.bytes -= u64::from(sent.bytes);
        if number == self.oldest {
            self.oldest = self.oldest().unwrap_or(self.next);
        }
        Some(sent)
    }

    pub fn remove_as_lost(&mut self, number: u64) -> Option<Sent<C>> {
        let sent = self.remove(number)?;
        self.lost.set(number);
        Some(sent)
    }

    /// Takes back one false alarm in `low..=high`, if there is one left.
    pub fn take_false_alarm(&mut self, low: u64, high: u64) -> Option<u64> {
        let window = self.next.saturating_sub(self.slots.len() as u64);
        let number = self.lost.first_in(low.max(window), (high + 1).min(self.next))?;
        self.lost.clear(number);
        Some(number)
    }

    fn make_room(&mut self) {
        let capacity = self.slots.len();
        if self.next - self.oldest < capacity as u64 || capacity >= MAX_CAPACITY {
            return;
        }
        let mut bigger = Self::with_capacity(capacity * 2);
        (bigger.oldest, bigger.next, bigger.count, bigger.bytes) =
            (self.oldest, self.next, self.count, self.bytes);
        for number in self.next - capacity as u64..self.next {
            let slot = self.slot(number);
            if let Some(sent) = self.slots[slot].take() {
                let slot = bigger.slot(number);
                bigger.slots[slot] = Some(sent);
                bigger.outstanding.set(number);
            }
            if self.lost.is_set(number) {
                bigger.lost.set(number);
            }
        }
        *self = bigger;
    }

    fn slot(&self, number: u64) -> usize {
        number as usize & (self.slots.len() - 1)
    }
}
