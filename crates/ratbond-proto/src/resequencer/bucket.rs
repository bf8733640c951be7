//! One bucket: what has come, what is expected next, and what waits.

use std::collections::VecDeque;
use std::time::Duration;

use super::seen::{MAX_WINDOW, Seen};
use super::{ResequencerStats, Usage};
use crate::numbering::{Numbering, seq_add, seq_distance};
use crate::packet::Packet;
use crate::time::Time;

/// Where released packets go, and what is counted on the way.
pub(super) struct Ready<'a> {
    pub out: &'a mut Vec<Packet>,
    pub usage: &'a mut Usage,
    pub stats: &'a mut ResequencerStats,
}

impl Ready<'_> {
    fn deliver(&mut self, packet: Packet) {
        self.stats.delivered += 1;
        self.out.push(packet);
    }
}

#[derive(Debug)]
enum Slot {
    Missing,
    /// Will not come, or came without having to wait.
    Done,
    Held(Packet),
}

#[derive(Debug, Default)]
pub(super) struct Bucket {
    seen: Seen,
    next: u32,
    /// Sequences from `next` on; the first is missing when there is any.
    slots: VecDeque<Slot>,
    /// Arrivals of what is held, in order of time; those already released are dropped when they come to the front.
    arrivals: VecDeque<(Time, u32)>,
}

impl Bucket {
    /// Takes a packet; gives back a duplicate.
    pub fn receive(
        &mut self,
        now: Time,
        numbering: Numbering,
        packet: Packet,
        ready: &mut Ready<'_>,
    ) -> Option<Packet> {
        let seq = numbering.seq;
        if !self.seen.take(now, seq) {
            ready.stats.duplicates += 1;
            return Some(packet);
        }
        let ahead = seq_distance(seq, self.next);
        if ahead < 0 {
            ready.stats.late += u64::from(numbering.ordered);
            ready.deliver(packet);
        } else if !numbering.ordered {
            ready.deliver(packet);
            self.pass(seq, ahead.unsigned_abs(), ready);
        } else if ahead == 0 {
            ready.deliver(packet);
            self.step(ready);
        } else {
            self.hold(now, seq, ahead.unsigned_abs(), packet, ready);
        }
        None
    }

    /// `count` sequences from `first` on will not come.
    pub fn skip(&mut self, first: u32, count: u32, ready: &mut Ready<'_>) {
        for seq in (0..count).map(|offset| seq_add(first, offset)) {
            let ahead = seq_distance(seq, self.next);
            if ahead == 0 {
                self.step(ready);
            } else if (0..MAX_WINDOW as i32).contains(&ahead) {
                self.mark_done(ahead.unsigned_abs(), ready);
            }
        }
    }

    /// When the packet that has waited longest must go.
    pub fn deadline(&self, hold: Duration) -> Option<Time> {
        self.arrivals.front().map(|&(arrived, _)| arrived + hold)
    }

    /// Releases what has waited for `hold`, and everything before it.
    pub fn release_due(&mut self, now: Time, hold: Duration, ready: &mut Ready<'_>) {
        while let Some(&(arrived, seq)) = self.arrivals.front() {
            if arrived + hold > now {
                break;
            }
            self.release_through(seq, ready);
        }
    }

    /// Releases everything, in order.
    pub fn release_all(&mut self, ready: &mut Ready<'_>) {
        if let Some(last) = self.slots.len().checked_sub(1) {
            self.release_through(seq_add(self.next, last as u32), ready);
        }
    }

    fn hold(&mut self, now: Time, seq: u32, ahead: u32, packet: Packet, ready: &mut Ready<'_>) {
        if ahead >= MAX_WINDOW {
            // Farther ahead than is remembered: what lies between is not worth waiting for.
            self.release_all(ready);
            ready.stats.given_up += u64::from(seq_distance(seq, self.next).unsigned_abs());
            self.next = seq;
            ready.deliver(packet);
            self.step(ready);
            return;
        }
        ready.usage.packets += 1;
        ready.usage.bytes += packet.len();
        *self.slot(ahead, ready) = Slot::Held(packet);
        self.arrivals.push_back((now, seq));
    }

    /// A packet that does not wait has come: neither need others wait for it.
    fn pass(&mut self, seq: u32, ahead: u32, ready: &mut Ready<'_>) {
        if ahead == 0 {
            self.step(ready);
        } else if self.slots.is_empty() {
            // In a bucket where nobody waits, what comes next is judged from here.
            self.next = seq_add(seq, 1);
        } else {
            self.mark_done(ahead, ready);
        }
    }

    fn mark_done(&mut self, ahead: u32, ready: &mut Ready<'_>) {
        let slot = self.slot(ahead, ready);
        if matches!(slot, Slot::Missing) {
            *slot = Slot::Done;
        }
    }

    fn slot(&mut self, ahead: u32, ready: &mut Ready<'_>) -> &mut Slot {
        let ahead = ahead as usize;
        if ahead >= self.slots.len() {
            ready.usage.slots += ahead + 1 - self.slots.len();
            self.slots.resize_with(ahead + 1, || Slot::Missing);
        }
        &mut self.slots[ahead]
    }

    /// The sequence `next` is done; releases the run that waited for it.
    fn step(&mut self, ready: &mut Ready<'_>) {
        if let Some(slot) = self.slots.front_mut() {
            *slot = Slot::Done;
        }
        self.release_run(seq_add(self.next, 1), ready);
    }

    fn release_through(&mut self, seq: u32, ready: &mut Ready<'_>) {
        self.release_run(seq_add(seq, 1), ready);
    }

    /// Releases up to `end`, then what waited for it.
    fn release_run(&mut self, end: u32, ready: &mut Ready<'_>) {
        while seq_distance(end, self.next) > 0 {
            self.pop(ready);
        }
        while matches!(self.slots.front(), Some(Slot::Done | Slot::Held(_))) {
            self.pop(ready);
        }
        self.forget_released();
    }

    fn pop(&mut self, ready: &mut Ready<'_>) {
        self.next = seq_add(self.next, 1);
        let Some(slot) = self.slots.pop_front() else { return };
        ready.usage.slots -= 1;
        match slot {
            Slot::Held(packet) => {
                ready.usage.packets -= 1;
                ready.usage.bytes -= packet.len();
                ready.deliver(packet);
            }
            Slot::Missing => ready.stats.given_up += 1,
            Slot::Done => {}
        }
    }

    fn forget_released(&mut self) {
        while self.arrivals.front().is_some_and(|&(_, seq)| seq_distance(seq, self.next) < 0) {
            self.arrivals.pop_front();
        }
        if self.slots.is_empty() {
            self.arrivals.clear();
        }
    }
}
