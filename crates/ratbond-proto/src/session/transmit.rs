//! The sending half of a session: from a packet of the tun to a datagram of a link.

use super::numbered::{Class, Numbered};
use super::spread::Spread;
use super::{Session, Slot};
use crate::flow::Flow;
use crate::inner::mss;
use crate::link::{Link, Outgoing, Outlook, Route};
use crate::outer;
use crate::packet::PacketPool;
use crate::queue::Queued;
use crate::scheduler::SchedulerKind;
use crate::time::Time;

/// Packets that wait while there is no link at all.
const MAX_PARKED: usize = 2048;
/// A call's packets and name service are not larger.
const SMALL_BYTES: usize = 300;
/// Datagrams of one link in a row, so that the driver can send them in one system call.
const BURST_DATAGRAMS: usize = 32;

impl<L: Link> Session<L> {
    /// Packets are spread by another rule from now on.
    pub fn set_scheduler(&mut self, scheduler: SchedulerKind) {
        let fresh = Spread::new(scheduler, L::NUMBERED, self.queue_config);
        if let Some(shared) = self.spread.shared() {
            self.stats.doubled_packets += shared.copies.packets;
            self.stats.doubled_bytes += shared.copies.bytes;
        }
        let mut waiting = self.drain_shared();
        self.spread = fresh;
        for slot in &mut self.slots {
            waiting.extend(slot.queue.drain());
        }
        for item in waiting {
            self.enqueue(item);
        }
    }

    /// A packet came from the tun.
    pub fn handle_packet(&mut self, now: Time, bytes: &[u8]) {
        let Some(flow) = Flow::of(bytes) else {
            self.stats.not_ip_drops += 1;
            return;
        };
        if outer::is_udp(bytes) && self.slots.iter().any(|slot| outer::is_to(bytes, slot.route.remote)) {
            self.stats.own_drops += 1;
            return;
        }
        if !self.mtu.fits(bytes.len()) {
            return self.refuse(now, bytes);
        }
        // Asked of what has lain there for long: to read what was just copied takes longer.
        let is_syn = L::NUMBERED && flow.tcp && mss::is_syn(bytes);
        let mut packet = self.pool.copy_of(bytes);
        if is_syn {
            mss::clamp(packet.as_mut_slice(), self.mtu.both);
        }
        self.enqueue(Queued { packet, flow, since: now });
    }

    /// Appends the next datagram to `out`; returns its route. `None` when nothing is due.
    pub fn poll_transmit(&mut self, now: Time, out: &mut Vec<u8>) -> Option<Route> {
        self.refuse_stranded(now);
        if self.burst == 0 || self.looked_at != Some(now) {
            self.looked_at = Some(now);
            self.look(now);
        }
        for _ in 0..=self.slots.len() {
            if self.burst >= BURST_DATAGRAMS || self.cursor >= self.slots.len() {
                self.next_slot();
            }
            let idle = self.fill(now);
            let slot = self.slots.get_mut(self.cursor)?;
            let before = out.len();
            if slot.link.poll_transmit(now, idle, out, &mut self.pool) {
                slot.traffic.wire_tx_datagrams += 1;
                slot.traffic.wire_tx_bytes += (out.len() - before) as u64;
                self.burst += 1;
                return Some(slot.route);
            }
            self.next_slot();
        }
        None
    }

    /// What is known of the links, for a scheduler that chooses when packets leave.
    fn look(&mut self, now: Time) {
        let Spread::Shared(shared) = &mut self.spread else { return };
        let has_repairs = self.numbered.as_ref().is_some_and(Numbered::has_repairs);
        let has_doubles = shared.doubles.as_ref().is_some_and(|doubles| !doubles.is_empty());
        if shared.queue.is_empty() && shared.copies.is_empty() && !has_doubles && !has_repairs {
            return;
        }
        shared.adaptive.look(self.slots.iter().enumerate().map(|(position, slot)| Outlook {
            usable: self.usable.contains(&position),
            tier: slot.preference.tier,
            ..slot.link.outlook(now)
        }));
        shared.follow(now, self.usable.iter().map(|&position| self.slots[position].link.key()));
        let rtts = self.usable.iter().map(|&position| self.slots[position].link.stats().srtt);
        shared.tune(now, rtts);
    }

    /// Moves packets into the link whose turn it is, while it has room: repairs first, if no other link is better for them.
    /// Returns whether there is nothing more for it.
    fn fill(&mut self, now: Time) -> bool {
        let repairs_here = self.takes_repairs(now, self.cursor);
        let Some(slot) = self.slots.get_mut(self.cursor) else { return true };
        let limit = slot.link.packet_limit().len;
        let is_usable = self.usable.contains(&self.cursor);
        for _ in 0..slot.link.room(now) {
            let again = self.numbered.as_mut().and_then(|numbered| {
                let long = if is_usable { numbered.next_long(limit) } else { None };
                long.or_else(|| if repairs_here { numbered.next_repair() } else { None })
            });
            let outgoing = match again {
                Some(again) => again,
                None => {
                    match slot.next(now, self.cursor, &mut self.spread, &mut self.numbered, &mut self.pool) {
                        Some(next) => next,
                        None => return true,
                    }
                }
            };
            if outgoing.packet.len() > limit
                && let Some(numbered) = &mut self.numbered
            {
                numbered.keep_long(outgoing);
                continue;
            }
            slot.traffic.tx_packets += 1;
            slot.traffic.tx_bytes += outgoing.packet.len() as u64;
            if let Spread::Shared(shared) = &mut self.spread {
                shared.adaptive.on_given(self.cursor, outgoing.packet.len());
            }
            slot.link.send(now, outgoing);
        }
        match &self.spread {
            Spread::Pinned(_) => slot.queue.is_empty(),
            Spread::Shared(shared) => shared.queue.is_empty(),
        }
    }

    /// Whether repairs go over this link: of those that are usable and have room, it is the best.
    fn takes_repairs(&self, now: Time, position: usize) -> bool {
        if !self.numbered.as_ref().is_some_and(Numbered::has_repairs) || !self.usable.contains(&position) {
            return false;
        }
        if let Spread::Shared(shared) = &self.spread {
            return shared.adaptive.takes_repairs(position);
        }
        let open =
            self.usable.iter().filter(|&&other| other == position || self.slots[other].link.room(now) > 0);
        open.min_by_key(|&&other| self.slots[other].link.stats().srtt) == Some(&position)
    }

    fn next_slot(&mut self) {
        self.burst = 0;
        self.cursor = if self.cursor + 1 < self.slots.len() { self.cursor + 1 } else { 0 };
    }

    /// Puts a packet into the queue that it leaves from.
    pub(super) fn enqueue(&mut self, item: Queued) {
        if self.usable.is_empty() {
            self.park(item);
            return;
        }
        match &mut self.spread {
            Spread::Shared(shared) => shared.queue.push(item, &mut self.pool),
            Spread::Pinned(scheduler) => match scheduler.choose(&item.flow, &self.candidates) {
                Some(choice) => {
                    self.slots[self.candidates[choice].position].queue.push(item, &mut self.pool);
                }
                None => self.park(item),
            },
        }
    }

    /// Takes back what waits in front of all links.
    pub(super) fn drain_shared(&mut self) -> Vec<Queued> {
        self.spread.shared_mut().map(|shared| shared.queue.drain()).unwrap_or_default()
    }

    fn park(&mut self, item: Queued) {
        if self.parked.len() >= MAX_PARKED
            && let Some(oldest) = self.parked.pop_front()
        {
            self.stats.no_link_drops += 1;
            self.pool.put(oldest.packet);
        }
        self.parked.push_back(item);
    }
}

impl<L: Link> Slot<L> {
    /// The next packet for this link, which is at `position`.
    fn next(
        &mut self,
        now: Time,
        position: usize,
        spread: &mut Spread,
        numbered: &mut Option<Numbered>,
        pool: &mut PacketPool,
    ) -> Option<Outgoing> {
        match spread {
            Spread::Pinned(_) => {
                let item = self.queue.pop(now, pool)?;
                let number = numbered.as_mut().map(|numbered| numbered.number(now, &item, Class::Pinned));
                Some(Outgoing { packet: item.packet, number })
            }
            Spread::Shared(shared) => {
                let (adaptive, limit) = (&shared.adaptive, self.link.packet_limit().len);
                let takes_copy =
                    |first, len: usize| len <= limit && adaptive.takes_copies_of(position, first);
                if let Some(doubles) = &mut shared.doubles
                    && let Some(double) = doubles.next(now, self.link.key(), limit, pool)
                {
                    return Some(double);
                }
                if let Some(copy) = shared.copies.next_urgent(now, takes_copy, pool) {
                    return Some(copy);
                }
                if shared.queue.is_empty() {
                    return shared.copies.next_spare(now, takes_copy, pool);
                }
                let (item, class) = shared.next_for(now, position, pool)?;
                // Who has everything sent over every link does not want it to wait for what all of them lost.
                let class = if shared.doubles.is_some() && !item.flow.tcp { Class::Sparse } else { class };
                let number = numbered.as_mut()?.number(now, &item, class);
                if let Some(doubles) = &mut shared.doubles {
                    let others = shared.adaptive.usable_keys().filter(|&key| key != self.link.key());
                    doubles.offer(now, (number, &item.packet), (others, self.link.key()), pool);
                } else if shared.adaptive.may_lose(position) {
                    let urgent = class == Class::Sparse && !item.flow.tcp && item.packet.len() <= SMALL_BYTES;
                    shared.copies.offer(now, self.link.key(), (number, &item.packet), urgent, pool);
                }
                shared.copies.on_sent(item.packet.len());
                Some(Outgoing { packet: item.packet, number: Some(number) })
            }
        }
    }
}
