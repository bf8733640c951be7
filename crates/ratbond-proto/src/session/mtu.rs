//! The longest packet of a session, and what becomes of those that are longer.
//!
//! It is what the narrowest of the links that are up carries, in either direction, so that any packet may take any link.
//! It falls at once, and rises when all links have found their sizes and nothing has fallen for a while. The tun's MTU
//! follows it, so that longer packets hardly come: only those that were on their way when a link has shrunk.
//!
//! Such a packet takes a link that is wide enough. When there is none, it is cut, if it is IPv4 and does not forbid it (RFC
//! 791), or its sender is told how long it may be (RFC 1191, RFC 8201), as any router would.

use std::time::Duration;

use super::Session;
use super::slot::Slot;
use crate::event::Event;
use crate::flow::Flow;
use crate::inner::{fragment, too_big};
use crate::link::{Link, Outgoing};
use crate::packet::Packet;
use crate::queue::Queued;
use crate::time::Time;

/// The tun's MTU rises after this long without a reason to fall.
const RISE_AFTER: Duration = Duration::from_secs(5);
/// No end believes less: what every IPv4 host takes (RFC 791).
const LEAST: usize = 576;
/// Answers to packets that are too long: one each so often, and so many at once (RFC 1812, section 4.3.2.8).
const ANSWER_EVERY: Duration = Duration::from_millis(10);
const ANSWERS_AT_ONCE: u32 = 50;

/// See the module.
#[derive(Debug)]
pub(super) struct InnerMtu {
    /// What this end sends at most.
    own: usize,
    /// Whether that is what every session begins with, so that the peer knows.
    is_usual: bool,
    rise_at: Option<Time>,
    /// What the peer sends at most, if it has said so.
    peer: Option<usize>,
    /// What both do.
    pub both: usize,
    /// What the widest of the links carries.
    widest: usize,
    /// When all answers that may be given at once may be given again.
    answers_full_at: Time,
}

impl InnerMtu {
    pub fn new(len: usize) -> Self {
        Self {
            own: len,
            is_usual: true,
            rise_at: None,
            peer: None,
            both: len,
            widest: usize::MAX,
            answers_full_at: Time::ZERO,
        }
    }

    pub fn poll_timeout(&self) -> Option<Time> {
        self.rise_at
    }

    /// A session that takes the place of another one, with the same tun.
    pub fn adopt(&mut self, older: &Self) {
        (self.own, self.is_usual, self.both) = (older.own, older.is_usual, older.both);
    }

    pub fn fits(&self, packet_len: usize) -> bool {
        packet_len <= self.widest
    }

    /// Learns what the narrowest link carries, and whether all links are settled; returns whether this end's size has changed.
    fn follow(&mut self, now: Time, narrowest: usize, settled: bool) -> bool {
        if narrowest <= self.own || !settled {
            self.rise_at = None;
        } else if now < *self.rise_at.get_or_insert(now + RISE_AFTER) {
            return false;
        }
        let changed = narrowest < self.own || (narrowest > self.own && settled);
        if changed {
            self.own = narrowest;
            self.is_usual = false;
            self.rise_at = None;
        }
        changed
    }

    /// Whether one more answer may be given.
    fn may_answer(&mut self, now: Time) -> bool {
        let full_at = self.answers_full_at.max(now) + ANSWER_EVERY;
        let may = full_at <= now + ANSWERS_AT_ONCE * ANSWER_EVERY;
        if may {
            self.answers_full_at = full_at;
        }
        may
    }
}

impl<L: Link> Session<L> {
    /// Looks at what the links carry now.
    pub(super) fn follow_packet_limits(&mut self, now: Time) {
        if !L::NUMBERED {
            return;
        }
        let usable = self.usable.iter().map(|&position| self.slots[position].link.packet_limit().len);
        self.mtu.widest = usable.max().unwrap_or(usize::MAX);
        let up = || self.slots.iter().filter(|slot| slot.is_up()).map(|slot| slot.link.packet_limit());
        let sound = up().filter(|limit| !limit.crippled).map(|limit| limit.len).min();
        let Some(narrowest) = sound.or_else(|| up().map(|limit| limit.len).min()) else {
            self.mtu.rise_at = None;
            return;
        };
        if self.mtu.follow(now, narrowest, up().all(|limit| limit.settled)) {
            self.tell_packet_limit();
            self.agree_on_mtu();
        }
    }

    /// The peer sends packets of this length at most.
    pub(super) fn take_packet_limit(&mut self, len: u16) {
        self.mtu.peer = Some(usize::from(len).max(LEAST));
        self.agree_on_mtu();
    }

    /// Tells the peer over every link, where there is something to tell.
    pub(super) fn tell_packet_limit(&mut self) {
        if self.mtu.is_usual {
            return;
        }
        let len = self.mtu.own as u16;
        for slot in &mut self.slots {
            slot.link.tell_packet_limit(len);
        }
    }

    fn agree_on_mtu(&mut self) {
        let both = self.mtu.own.min(self.mtu.peer.unwrap_or(usize::MAX));
        if both != self.mtu.both {
            self.mtu.both = both;
            self.events.push_back(Event::InnerMtu(both as u16));
        }
    }

    /// A packet from the tun that fits no link.
    pub(super) fn refuse(&mut self, now: Time, packet: &[u8]) {
        self.stats.too_big_packets += 1;
        let mtu = self.mtu.both.min(self.mtu.widest);
        if fragment::may_cut(packet) {
            let mut fragments = Vec::new();
            fragment::cut(packet, mtu, |bytes| fragments.push(self.pool.copy_of(bytes)));
            for packet in fragments {
                if let Some(flow) = Flow::of(packet.as_slice()) {
                    self.enqueue(Queued { packet, flow, since: now });
                }
            }
        } else if let Some(answer) = too_big::answer(packet, mtu)
            && self.mtu.may_answer(now)
        {
            self.stats.too_big_answers += 1;
            self.deliveries.push_back(Packet::from(answer));
        }
    }

    /// Packets that have left the queue and now fit no link any more; their places in their buckets stay empty.
    pub(super) fn refuse_stranded(&mut self, now: Time) {
        if self.usable.is_empty() {
            return;
        }
        while let Some(Outgoing { packet, number }) =
            self.numbered.as_mut().and_then(|numbered| numbered.next_longer_than(self.mtu.widest))
        {
            let best = self.usable.iter().copied().min_by_key(|&at| self.slots[at].link.stats().srtt);
            if let (Some(best), Some(number)) = (best, number) {
                self.slots[best].link.give_up(number);
            }
            self.refuse(now, packet.as_slice());
            self.pool.put(packet);
        }
    }

    /// Of the other links that are up and carry a packet of this length, the one with the least round trip. A copy over a link that
    /// does not answer either would be copied in turn.
    pub(super) fn best_other(&self, position: usize, packet_len: usize) -> Option<usize> {
        let wide = |slot: &Slot<L>| slot.is_up() && slot.link.packet_limit().len >= packet_len;
        let others = self.usable.iter().copied().filter(|&at| at != position && wide(&self.slots[at]));
        others.min_by_key(|&at| self.slots[at].link.stats().srtt)
    }
}
