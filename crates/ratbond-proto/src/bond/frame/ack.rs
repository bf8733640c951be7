//! The body that ACK and LINKDOWN share: which numbers have arrived, newest first, and when the newest did.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{FrameError, Reader, Writer, varint};
use crate::bond::datagram::rebuild_number;

/// Ranges in one block at most; what a receiver remembers beyond that, it forgets from the old end.
pub const MAX_RANGES: usize = 32;
/// Bytes of a block before its ranges: number u32, receive time u32, delay u16, count u8.
pub const FIXED_LEN: usize = 11;
/// Unit of the ack delay on the wire.
pub const DELAY_UNIT_MICROS: u32 = 8;

/// An ack block as it came, checked: its ranges add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckBlock<'a> {
    /// Low half of the largest number received.
    pub largest_low: u32,
    /// When that number arrived, in µs of the receiver's clock modulo 2^32.
    pub received_at_us: u32,
    /// How long the receiver held it before this block was sent.
    pub delay: Duration,
    count: u8,
    ranges: &'a [u8],
}

impl<'a> AckBlock<'a> {
    /// The largest number, given the number that this end will send next. `None` when the block acknowledges a number
    /// that was never sent, or its ranges reach below zero.
    #[must_use]
    pub fn largest(&self, next_to_send: u64) -> Option<u64> {
        let largest = rebuild_number(self.largest_low, next_to_send);
        (largest < next_to_send && self.span() <= largest).then_some(largest)
    }

    /// The ranges, newest (largest) first. `largest` is what [`largest`](Self::largest) gave.
    #[must_use]
    pub fn ranges(&self, largest: u64) -> Ranges<'a> {
        Ranges { left: self.count, next_largest: largest, input: self.ranges }
    }

    /// Numbers that the block spans below its largest.
    fn span(&self) -> u64 {
        let (mut sum, mut input) = (0u64, self.ranges);
        let mut values = 0u64;
        while let Some((value, rest)) = varint::read(input) {
            sum = sum.saturating_add(value);
            values += 1;
            input = rest;
        }
        // Each pair (gap, length) after the first length also skips one missing number and one received.
        sum.saturating_add(values.saturating_sub(1))
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, FrameError> {
        let largest_low = reader.u32()?;
        let received_at_us = reader.u32()?;
        let delay = Duration::from_micros(u64::from(reader.u16()?) * u64::from(DELAY_UNIT_MICROS));
        let count = reader.u8()?;
        if count == 0 || usize::from(count) > MAX_RANGES {
            return Err(FrameError::Invalid("ack range count"));
        }
        let start = reader.rest();
        for _ in 0..usize::from(count) * 2 - 1 {
            reader.varint()?;
        }
        let ranges = &start[..start.len() - reader.rest().len()];
        let block = Self { largest_low, received_at_us, delay, count, ranges };
        if block.span() >= 1 << 31 {
            return Err(FrameError::Invalid("ack ranges span too much"));
        }
        Ok(block)
    }
}

/// Iterator over an [`AckBlock`]'s ranges, newest first.
#[derive(Clone, Debug)]
pub struct Ranges<'a> {
    left: u8,
    next_largest: u64,
    input: &'a [u8],
}

impl Iterator for Ranges<'_> {
    type Item = RangeInclusive<u64>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (length, rest) = varint::read(self.input)?;
        let largest = self.next_largest;
        let smallest = largest.checked_sub(length)?;
        self.input = rest;
        if let Some((gap, rest)) = varint::read(rest) {
            self.input = rest;
            match smallest.checked_sub(gap.saturating_add(2)) {
                Some(next) => self.next_largest = next,
                None => self.left = 0,
            }
        }
        Some(smallest..=largest)
    }
}

/// What a receiver puts into a block.
#[derive(Clone, Copy, Debug)]
pub struct AckContent<'a> {
    /// Ranges of received numbers, newest first, disjoint and not adjacent; 1 to [`MAX_RANGES`] of them are written.
    pub ranges: &'a [(u64, u64)],
    /// When the largest number arrived, in µs of this end's clock modulo 2^32.
    pub received_at_us: u32,
    /// How long it has been held.
    pub delay: Duration,
}

impl AckContent<'_> {
    /// Writes as many ranges as fit; false when not even one does, or there is none.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low half of the number; the delay is capped first"
    )]
    pub(super) fn write(&self, writer: &mut Writer<'_>) -> bool {
        let Some(&(first_low, first_high)) = self.ranges.first() else { return false };
        let delay = (self.delay.as_micros() / u128::from(DELAY_UNIT_MICROS)).min(u128::from(u16::MAX)) as u16;
        let fits = writer.u32(first_high as u32) && writer.u32(self.received_at_us) && writer.u16(delay);
        let count_at = writer.len();
        if !(fits && writer.u8(1) && writer.varint(first_high - first_low)) {
            return false;
        }
        let mut below = first_low;
        for &(low, high) in self.ranges[1..].iter().take(MAX_RANGES - 1) {
            let mark = writer.len();
            if !(writer.varint(below - high - 2) && writer.varint(high - low)) {
                writer.truncate(mark);
                break;
            }
            writer.increment(count_at);
            below = low;
        }
        true
    }
}
