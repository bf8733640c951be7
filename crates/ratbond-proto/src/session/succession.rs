//! A session that follows another one with the same peer: after a restart of either end, or when new keys had to be made.

use super::Session;
use crate::event::{DownReason, Event};
use crate::link::{Link, LinkId, Outgoing, Route};
use crate::time::Time;

impl<L: Link> Session<L> {
    /// Takes over what an older session held: packets that wait or are not known to have arrived, packets for the tun,
    /// counters and events. The older one's links are gone; nobody is told, since the peer has replaced them as well.
    ///
    /// The new session gives new numbers, so of what was under way when it began some may arrive twice.
    pub fn adopt(&mut self, now: Time, mut older: Self) {
        self.preferences = std::mem::take(&mut older.preferences);
        self.mtu.adopt(&older.mtu);
        self.tell_packet_limit();
        let stats = older.stats();
        self.stats.no_link_drops += stats.no_link_drops;
        self.stats.not_ip_drops += stats.not_ip_drops;
        self.stats.repaired_packets += stats.repaired_packets;
        self.stats.too_big_packets += stats.too_big_packets;
        self.stats.too_big_answers += stats.too_big_answers;
        self.stats.queues += stats.queues;
        if self.peer.is_none() {
            (self.peer, self.up_since) = (older.peer, older.up_since);
        }
        let mut held = Vec::new();
        let mut waiting = older.drain_shared();
        if let Some(numbered) = &mut older.numbered {
            numbered.release(&mut older.deliveries);
            held.extend(std::iter::from_fn(|| numbered.next_repair()));
            held.extend(std::iter::from_fn(|| numbered.next_long(usize::MAX)));
        }
        let mut events = std::mem::take(&mut older.events);
        for mut slot in older.slots {
            let down = Event::WanDown(slot.wan, DownReason::Replaced);
            if slot.up_since.is_some() && !events.contains(&down) {
                events.push_back(down);
            }
            waiting.extend(slot.queue.drain());
            held.extend(slot.link.into_unacknowledged());
        }
        self.stats.requeued_packets += stats.requeued_packets + held.len() as u64;
        events.append(&mut self.events);
        self.events = events;
        older.deliveries.append(&mut self.deliveries);
        self.deliveries = older.deliveries;
        self.requeue(now, held);
        for item in waiting.into_iter().chain(older.parked) {
            self.enqueue(item);
        }
    }

    /// The peer is somewhere else now.
    pub fn set_route(&mut self, id: LinkId, route: Route) {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.id == id) {
            slot.route = route;
        }
    }

    /// Whether some link answers, or may yet: new, or suspect for less than a moment.
    #[must_use]
    pub fn has_hope(&self, now: Time) -> bool {
        self.slots.iter().any(|slot| slot.has_hope(now))
    }

    /// Of the links that packets may take, the one with the least round trip.
    #[must_use]
    pub fn best_link(&self) -> Option<LinkId> {
        let usable = self.usable.iter().map(|&position| &self.slots[position]);
        usable.min_by_key(|slot| slot.link.stats().srtt).map(|slot| slot.id)
    }

    /// Packets without numbers of this session go through a queue once more.
    pub(super) fn requeue(&mut self, now: Time, held: Vec<Outgoing>) {
        for Outgoing { packet, .. } in held {
            if let Some(flow) = crate::flow::Flow::of(packet.as_slice()) {
                self.enqueue(crate::queue::Queued { packet, flow, since: now });
            }
        }
    }
}
