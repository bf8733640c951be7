//! Second copies of what a lossy link was given, over another link that has nothing better to do.
//!
//! A repair takes a round trip, and then some. A call hears it, and a young TCP connection takes it for a queue and stops
//! doubling its window (HyStart, Ha and Rhee 2011), so that a link which loses 2 % is filled after many seconds instead of
//! one. What is sent while the links are not full is therefore sent twice, within an allowance: small packets of flows that
//! hardly send, before a backlog; whatever else, after everything that waits.

use std::collections::VecDeque;
use std::time::Duration;

use crate::link::Outgoing;
use crate::numbering::Numbering;
use crate::packet::{Packet, PacketPool};
use crate::time::Time;

/// A copy that found no room for so long comes hardly earlier than a repair.
const TOO_LATE: Duration = Duration::from_millis(20);
/// Copies that may wait.
const MAX_WAITING: usize = 256;
/// What may be copied in a burst: a window that fills 100 Mbit/s and 80 ms, as it grows from nothing.
const ALLOWANCE_BYTES: u64 = 2 << 20;
/// Of all that is sent, one byte in so many adds to the allowance.
const SHARE: u64 = 20;

/// Copies of packets that have left, waiting for another link.
#[derive(Debug)]
pub(super) struct Copies {
    urgent: VecDeque<Copy>,
    spare: VecDeque<Copy>,
    allowance_bytes: u64,
    pub packets: u64,
    pub bytes: u64,
}

#[derive(Debug)]
struct Copy {
    packet: Packet,
    number: Numbering,
    /// The link that has the first.
    first_over: u32,
    since: Time,
}

impl Default for Copies {
    fn default() -> Self {
        Self {
            urgent: VecDeque::new(),
            spare: VecDeque::new(),
            allowance_bytes: ALLOWANCE_BYTES,
            packets: 0,
            bytes: 0,
        }
    }
}

impl Copies {
    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.spare.is_empty()
    }

    /// So much was sent for the first time.
    pub fn on_sent(&mut self, bytes: usize) {
        self.allowance_bytes = (self.allowance_bytes + bytes as u64 / SHARE).min(ALLOWANCE_BYTES);
    }

    /// A packet goes over the link `key`, which may lose it. `urgent`: it is small, and its flow hardly sends.
    pub fn offer(
        &mut self,
        now: Time,
        key: u32,
        (number, packet): (Numbering, &Packet),
        urgent: bool,
        pool: &mut PacketPool,
    ) {
        let bytes = packet.len() as u64;
        let waiting = if urgent { &mut self.urgent } else { &mut self.spare };
        if waiting.len() >= MAX_WAITING || (!urgent && self.allowance_bytes < bytes) {
            return;
        }
        if !urgent {
            self.allowance_bytes -= bytes;
        }
        let packet = pool.copy_of(packet.as_slice());
        waiting.push_back(Copy { packet, number, first_over: key, since: now });
    }

    /// The next copy for a link that `takes` a packet of a length that has gone over another link, by key; before a backlog.
    pub fn next_urgent(
        &mut self,
        now: Time,
        takes: impl Fn(u32, usize) -> bool,
        pool: &mut PacketPool,
    ) -> Option<Outgoing> {
        let outgoing = next(&mut self.urgent, now, takes, pool)?;
        Some(self.count(outgoing))
    }

    /// The same when nothing else waits.
    pub fn next_spare(
        &mut self,
        now: Time,
        takes: impl Fn(u32, usize) -> bool,
        pool: &mut PacketPool,
    ) -> Option<Outgoing> {
        let outgoing = next(&mut self.spare, now, takes, pool)?;
        Some(self.count(outgoing))
    }

    fn count(&mut self, outgoing: Outgoing) -> Outgoing {
        self.packets += 1;
        self.bytes += outgoing.packet.len() as u64;
        outgoing
    }
}

/// The oldest that the link takes, unless it is too late for it.
fn next(
    waiting: &mut VecDeque<Copy>,
    now: Time,
    takes: impl Fn(u32, usize) -> bool,
    pool: &mut PacketPool,
) -> Option<Outgoing> {
    while waiting.front().is_some_and(|copy| now.saturating_since(copy.since) > TOO_LATE) {
        pool.put(waiting.pop_front()?.packet);
    }
    let position = waiting.iter().position(|copy| takes(copy.first_over, copy.packet.len()))?;
    let copy = waiting.remove(position)?;
    Some(Outgoing { packet: copy.packet, number: Some(copy.number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_millis(1_000);

    fn offer(copies: &mut Copies, pool: &mut PacketPool, sequence: u32, bytes: usize, urgent: bool) {
        let packet = pool.copy_of(&vec![0; bytes]);
        let number = Numbering { bucket: 0, seq: sequence, ordered: true };
        copies.offer(NOW, 1, (number, &packet), urgent, pool);
    }

    fn sequence(copy: &Outgoing) -> u32 {
        copy.number.unwrap().seq
    }

    #[test]
    fn a_copy_goes_over_another_link_than_the_first() {
        let (mut copies, mut pool) = (Copies::default(), PacketPool::new(8));
        offer(&mut copies, &mut pool, 7, 100, true);
        assert_eq!(copies.next_urgent(NOW, |first, _| first != 1, &mut pool), None);
        assert_eq!(copies.next_spare(NOW, |first, _| first != 2, &mut pool), None);
        assert_eq!(sequence(&copies.next_urgent(NOW, |first, _| first != 2, &mut pool).unwrap()), 7);
        assert!(copies.is_empty());
        assert_eq!((copies.packets, copies.bytes), (1, 100));
    }

    #[test]
    fn a_copy_that_comes_no_earlier_than_a_repair_is_not_sent() {
        let (mut copies, mut pool) = (Copies::default(), PacketPool::new(8));
        offer(&mut copies, &mut pool, 1, 1_400, false);
        let late = NOW + TOO_LATE + Duration::from_millis(1);
        assert_eq!(copies.next_spare(late, |first, _| first != 2, &mut pool), None);
        assert!(copies.is_empty());
    }

    #[test]
    fn copies_of_all_that_is_sent_stop_with_their_allowance_and_go_on_at_a_twentieth() {
        let (mut copies, mut pool) = (Copies::default(), PacketPool::new(8));
        let mut sent = |copies: &mut Copies, packets: u32| {
            let before = copies.packets;
            for sequence in 0..packets {
                offer(copies, &mut pool, sequence, 1_000, false);
                copies.on_sent(1_000);
                copies.next_spare(NOW, |first, _| first != 2, &mut pool);
            }
            copies.packets - before
        };
        let first = sent(&mut copies, 10_000);
        assert!((2_200..2_700).contains(&first), "2 MiB and a twentieth of 10 MB: {first}");
        let later = sent(&mut copies, 10_000);
        assert!((490..=510).contains(&later), "{later}");
    }

    #[test]
    fn what_waits_is_bounded() {
        let (mut copies, mut pool) = (Copies::default(), PacketPool::new(8));
        for sequence in 0..2 * MAX_WAITING as u32 {
            offer(&mut copies, &mut pool, sequence, 100, true);
            offer(&mut copies, &mut pool, sequence, 100, false);
        }
        assert_eq!((copies.urgent.len(), copies.spare.len()), (MAX_WAITING, MAX_WAITING));
    }
}
