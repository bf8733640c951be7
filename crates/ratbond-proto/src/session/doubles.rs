//! Everything over every link: what one link was given waits here for the others.
//!
//! A packet has its number from the link that took it first, and the other end delivers whichever copy comes first. A link
//! that is slower than the rest leaves out what it cannot send in time, so that the bond is as fast as its fastest link.

use std::collections::VecDeque;
use std::time::Duration;

use crate::link::Outgoing;
use crate::numbering::Numbering;
use crate::packet::{Packet, PacketPool};
use crate::time::Time;

/// A copy that has waited for so long would come after a repair of the first.
const TOO_LATE: Duration = Duration::from_millis(50);
/// Copies that may wait for one link.
const MAX_WAITING: usize = 512;

#[derive(Debug)]
struct Double {
    packet: Packet,
    number: Numbering,
    since: Time,
}

/// See the module. Links are told by their names.
#[derive(Debug, Default)]
pub(super) struct Doubles {
    waiting: Vec<(u32, VecDeque<Double>)>,
    pub packets: u64,
    pub bytes: u64,
}

impl Doubles {
    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.iter().all(|(_, waiting)| waiting.is_empty())
    }

    /// A packet leaves over one link: the others get it as well. Forgets links that are not among them.
    pub fn offer(
        &mut self,
        now: Time,
        (number, packet): (Numbering, &Packet),
        (others, own): (impl Iterator<Item = u32> + Clone, u32),
        pool: &mut PacketPool,
    ) {
        self.waiting.retain(|(link, _)| *link == own || others.clone().any(|other| other == *link));
        for other in others {
            if !self.waiting.iter().any(|(link, _)| *link == other) {
                self.waiting.push((other, VecDeque::new()));
            }
        }
        for (_, waiting) in self.waiting.iter_mut().filter(|(link, _)| *link != own) {
            if waiting.len() < MAX_WAITING {
                let packet = pool.copy_of(packet.as_slice());
                waiting.push_back(Double { packet, number, since: now });
            }
        }
    }

    /// The next for a link that carries packets of up to `limit` bytes.
    pub fn next(&mut self, now: Time, link: u32, limit: usize, pool: &mut PacketPool) -> Option<Outgoing> {
        let (_, waiting) = self.waiting.iter_mut().find(|(of, _)| *of == link)?;
        let useless =
            |double: &Double| double.packet.len() > limit || now.saturating_since(double.since) > TOO_LATE;
        while waiting.front().is_some_and(useless) {
            pool.put(waiting.pop_front()?.packet);
        }
        let double = waiting.pop_front()?;
        self.packets += 1;
        self.bytes += double.packet.len() as u64;
        Some(Outgoing { packet: double.packet, number: Some(double.number) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_millis(1_000);

    fn offer(doubles: &mut Doubles, pool: &mut PacketPool, seq: u32, own: u32, links: &[u32]) {
        let packet = pool.copy_of(&[0; 100]);
        let number = Numbering { bucket: 0, seq, ordered: false };
        let others = links.iter().copied().filter(|&link| link != own);
        doubles.offer(NOW, (number, &packet), (others, own), pool);
    }

    #[test]
    fn every_other_link_gets_each_packet_once() {
        let (mut doubles, mut pool) = (Doubles::default(), PacketPool::new(8));
        offer(&mut doubles, &mut pool, 7, 1, &[1, 2, 3]);
        offer(&mut doubles, &mut pool, 8, 2, &[1, 2, 3]);
        let mut given =
            |link| doubles.next(NOW, link, 1_400, &mut pool).map(|double| double.number.unwrap().seq);
        assert_eq!([given(1), given(1)], [Some(8), None]);
        assert_eq!([given(2), given(2)], [Some(7), None]);
        assert_eq!([given(3), given(3), given(3)], [Some(7), Some(8), None]);
        assert_eq!((doubles.packets, doubles.bytes), (4, 400));
        assert!(doubles.is_empty());
    }

    #[test]
    fn a_slow_link_leaves_out_what_it_cannot_send_in_time_and_a_link_that_left_is_forgotten() {
        let (mut doubles, mut pool) = (Doubles::default(), PacketPool::new(8));
        for seq in 0..2 * MAX_WAITING as u32 {
            offer(&mut doubles, &mut pool, seq, 1, &[1, 2]);
        }
        assert_eq!(doubles.waiting[0].1.len(), MAX_WAITING);
        assert_eq!(doubles.next(NOW + TOO_LATE + TOO_LATE, 2, 1_400, &mut pool), None);
        offer(&mut doubles, &mut pool, 0, 1, &[1, 2]);
        offer(&mut doubles, &mut pool, 0, 1, &[1, 3]);
        assert_eq!(doubles.next(NOW, 2, 1_400, &mut pool), None);
    }
    #[test]
    fn a_narrow_link_leaves_out_what_is_too_long_for_it() {
        let (mut doubles, mut pool) = (Doubles::default(), PacketPool::new(8));
        offer(&mut doubles, &mut pool, 7, 1, &[1, 2]);
        assert_eq!(doubles.next(NOW, 2, 99, &mut pool), None);
        assert!(doubles.is_empty());
    }
}
