//! Which links are alive, and what becomes of what a dead one held.
//!
//! | state | becomes | when |
//! |---|---|---|
//! | connecting | up | something valid came |
//! | connecting | gone | nothing came for 3 s |
//! | up | suspect | an answer is overdue by more than the round-trip times explain |
//! | suspect | up | something valid came |
//! | up, suspect | gone | silent for 10 s, 5 s without a message of a stock peer, retransmitted too often, or taken down |
//!
//! A client asks for a new link when one is gone, and also when no link is up and one has been suspect for a moment:
//! perhaps the server restarted and no longer knows the conversation. Whichever answers first stays.

use std::time::Duration;

use super::numbered::Numbered;
use super::slot::{LinkState, RECONNECT_AFTER, Slot};
use super::{Role, Session};
use crate::event::{DownReason, Event};
use crate::link::{Link, WanId};
use crate::time::Time;

/// A driver that could not open a new link is asked again after this long.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

impl<L: Link> Session<L> {
    /// The next deadline of any link; `None` without links.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let across = [
            self.reconnect_at(),
            self.numbered.as_ref().and_then(Numbered::poll_timeout),
            self.mtu.poll_timeout(),
        ];
        self.slots.iter().map(Slot::timeout).chain(across.into_iter().flatten()).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        for slot in &mut self.slots {
            if slot.link.poll_timeout().is_some_and(|deadline| deadline <= now) {
                slot.link.handle_timeout(now);
            }
            if slot.state != LinkState::Connecting && slot.hello_due <= now {
                slot.link.send_hello(now, &mut self.pool);
                slot.hello_due = now + slot.link.keepalive(now);
            }
        }
        if let Some(numbered) = &mut self.numbered {
            for slot in &mut self.slots {
                slot.link.take_lost(&mut self.returned);
            }
            numbered.repair(&mut self.returned);
            numbered.handle_timeout(now, &mut self.deliveries);
            self.send_copies(now);
        }
        self.suspect_silent_links(now);
        while let Some((position, reason)) = self.find_dead(now) {
            self.remove_slot(now, position, &reason);
        }
        self.reconnect_when_all_are_suspect(now);
        self.follow_packet_limits(now);
    }

    /// Second copies of overdue real-time packets go at once over the best of the other links, or not at all.
    fn send_copies(&mut self, now: Time) {
        for position in 0..self.slots.len() {
            self.slots[position].link.take_copies(now, &mut self.returned);
            if self.returned.is_empty() {
                continue;
            }
            for copy in std::mem::take(&mut self.returned) {
                if let Some(best) = self.best_other(position, copy.packet.len()) {
                    self.stats.copied_packets += 1;
                    self.slots[best].link.send(now, copy);
                }
            }
        }
    }

    /// Something valid came on a link.
    pub(super) fn heard(&mut self, now: Time, position: usize) {
        let slot = &mut self.slots[position];
        slot.last_rx = now;
        match slot.state {
            LinkState::Up => return,
            LinkState::Suspect { since } if !slot.link.has_answered_since(since) => return,
            LinkState::Suspect { .. } | LinkState::Connecting => {}
        }
        let (id, wan) = (slot.id, slot.wan);
        let was_carrying = self.wan_is_up(wan);
        let slot = &mut self.slots[position];
        slot.state = LinkState::Up;
        if slot.up_since.is_none() {
            slot.up_since = Some(now);
            slot.last_message = now;
        }
        self.update_usable();
        self.followed_at = None;
        if !was_carrying {
            self.events.push_back(Event::WanUp(wan));
        }
        self.retire_twins(now, id, wan);
        self.move_what_suspects_hold(now);
        for item in std::mem::take(&mut self.parked) {
            self.enqueue(item);
        }
    }

    /// Takes a link out: what it held goes over the others, before anything newer.
    pub(super) fn remove_slot(&mut self, now: Time, position: usize, reason: &DownReason) {
        let mut slot = self.slots.remove(position);
        self.apply_preference(slot.wan);
        self.update_usable();
        let connected = slot.up_since.is_some();
        if self.says_farewell() {
            let farewell = slot.link.farewell(now, reason);
            for other in self.slots.iter_mut().filter(|other| other.state != LinkState::Connecting) {
                other.link.send_farewell(now, &farewell, &mut self.pool);
            }
        }
        let wan = slot.wan;
        let waiting = slot.queue.drain();
        self.stats.queues += slot.queue.stats();
        let mut held = slot.link.into_unacknowledged();
        self.stats.requeued_packets += held.len() as u64;
        match &mut self.numbered {
            Some(numbered) => numbered.repair(&mut held),
            None => self.requeue(now, held),
        }
        for item in waiting {
            self.enqueue(item);
        }
        self.announce_removal(wan, connected, reason);
    }

    fn announce_removal(&mut self, wan: WanId, connected: bool, reason: &DownReason) {
        if connected && !self.slots.iter().any(|other| other.wan == wan && other.up_since.is_some()) {
            self.events.push_back(Event::WanDown(wan, reason.clone()));
        }
        let by_choice = matches!(reason, DownReason::Local(_) | DownReason::Replaced);
        if self.role == Role::Client && !by_choice {
            self.events.push_back(Event::Reconnect(wan));
        }
        if self.peer.is_some() && !self.slots.iter().any(|other| other.up_since.is_some()) {
            self.peer = None;
            self.up_since = None;
            self.events.push_back(Event::SessionDown);
        }
    }

    /// After a reconnection two links of one WAN lead to the same peer: the one that answers stays.
    fn retire_twins(&mut self, now: Time, winner: crate::link::LinkId, wan: WanId) {
        if self.role == Role::Server {
            return;
        }
        // Those that were opened together, one for each conversation of the WAN, are no twins.
        let Some(opened) = self.slots.iter().find(|slot| slot.id == winner).map(|slot| slot.joined) else {
            return;
        };
        let twin = |slot: &Slot<L>| slot.wan == wan && slot.joined != opened && !slot.is_up();
        while let Some(position) = self.slots.iter().position(twin) {
            self.remove_slot(now, position, &DownReason::Replaced);
        }
    }

    fn suspect_silent_links(&mut self, now: Time) {
        let mut suspected = Vec::new();
        for slot in &mut self.slots {
            if slot.suspect_at().is_some_and(|deadline| deadline <= now) {
                slot.state = LinkState::Suspect { since: now };
                suspected.push(slot.wan);
            }
        }
        if suspected.is_empty() {
            return;
        }
        self.update_usable();
        for wan in suspected {
            if !self.wan_is_up(wan) {
                self.events.push_back(Event::WanSuspect(wan));
            }
        }
        self.move_what_suspects_hold(now);
    }

    /// What has not entered a suspect link yet need not wait for it; what has entered it is sent again over the others
    /// where that does no harm.
    fn move_what_suspects_hold(&mut self, now: Time) {
        if !self.slots.iter().any(Slot::is_up) {
            return;
        }
        let mut items = Vec::new();
        for slot in self.slots.iter_mut().filter(|slot| matches!(slot.state, LinkState::Suspect { .. })) {
            items.extend(slot.queue.drain());
            slot.link.take_in_flight(now, &mut self.returned);
        }
        if let Some(numbered) = &mut self.numbered {
            numbered.repair(&mut self.returned);
        }
        for item in items {
            self.enqueue(item);
        }
    }

    fn find_dead(&self, now: Time) -> Option<(usize, DownReason)> {
        self.slots.iter().enumerate().find_map(|(position, slot)| {
            if slot.link.is_exhausted() {
                return Some((position, DownReason::Exhausted));
            }
            (slot.dead_at() <= now).then_some((position, DownReason::Silent))
        })
    }

    /// When a client with suspect links only should try new ones beside them.
    fn reconnect_at(&self) -> Option<Time> {
        if self.role == Role::Server
            || self.slots.iter().any(|slot| !matches!(slot.state, LinkState::Suspect { .. }))
        {
            return None;
        }
        let since = |slot: &Slot<L>| match slot.state {
            LinkState::Suspect { since } => Some(since),
            _ => None,
        };
        let due = self.slots.iter().filter_map(since).max()? + RECONNECT_AFTER;
        Some(due.max(self.ask_again_at))
    }

    fn reconnect_when_all_are_suspect(&mut self, now: Time) {
        if self.reconnect_at().is_none_or(|at| at > now) {
            return;
        }
        self.ask_again_at = now + ASK_AGAIN_AFTER;
        let mut wans: Vec<_> = self.slots.iter().map(|slot| slot.wan).collect();
        wans.dedup();
        self.events.extend(wans.into_iter().map(Event::Reconnect));
    }

    fn wan_is_up(&self, wan: WanId) -> bool {
        self.slots.iter().any(|slot| slot.wan == wan && slot.is_up())
    }
}
