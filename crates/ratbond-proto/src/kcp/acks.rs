//! The ACKs that are owed to the peer.

use std::collections::VecDeque;
use std::time::Duration;

use super::serial::precedes;
use crate::Time;

/// An ACK: the sn and ts of the PUSH it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ack {
    pub sn: u32,
    pub ts: u32,
}

/// ACKs not yet sent, in the order of arrival.
#[derive(Debug)]
pub(super) struct Acks {
    pending: VecDeque<Ack>,
    capacity: usize,
    delay: Duration,
    threshold: usize,
    due_at: Option<Time>,
}

impl Acks {
    /// Holds `capacity` ACKs at most; a PUSH beyond goes unanswered, and its sender repeats it.
    pub fn new(capacity: usize, delay: Duration, threshold: usize) -> Self {
        Self { pending: VecDeque::new(), capacity: capacity.max(threshold), delay, threshold, due_at: None }
    }

    /// Owes an ACK from now on; `urgent` lets it, and the others with it, not wait.
    pub fn owe(&mut self, ack: Ack, now: Time, urgent: bool) {
        if self.pending.len() < self.capacity {
            self.pending.push_back(ack);
        }
        let due_at = if urgent || self.pending.len() >= self.threshold { now } else { now + self.delay };
        self.due_at = Some(self.due_at.map_or(due_at, |earlier| earlier.min(due_at)));
    }

    /// When they are due.
    pub fn due_at(&self) -> Option<Time> {
        self.due_at
    }

    /// Takes out the next ACK that is worth sending. una answers for all before `rcv_nxt`, so of those only the last
    /// goes out, for the sake of its ts.
    pub fn next(&mut self, rcv_nxt: u32) -> Option<Ack> {
        while let Some(ack) = self.pending.pop_front() {
            if self.pending.is_empty() {
                self.due_at = None;
                return Some(ack);
            }
            if !precedes(ack.sn, rcv_nxt) {
                return Some(ack);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(sn: u32) -> Ack {
        Ack { sn, ts: 7 }
    }

    fn acks() -> Acks {
        Acks::new(8, Duration::from_millis(2), 4)
    }

    fn drain(acks: &mut Acks, rcv_nxt: u32) -> Vec<u32> {
        std::iter::from_fn(|| acks.next(rcv_nxt)).map(|ack| ack.sn).collect()
    }

    #[test]
    fn only_what_una_does_not_say_is_sent_and_the_last() {
        let mut acks = acks();
        for sn in [u32::MAX, 0, 3, 1] {
            acks.owe(ack(sn), Time::ZERO, false);
        }
        assert_eq!(drain(&mut acks, 2), [3, 1]);
        assert_eq!(acks.due_at(), None);
    }

    #[test]
    fn an_ack_waits_for_others_but_not_for_long() {
        let mut acks = acks();
        acks.owe(ack(0), Time::from_millis(10), false);
        acks.owe(ack(1), Time::from_millis(11), false);
        assert_eq!(acks.due_at(), Some(Time::from_millis(12)));
        acks.owe(ack(2), Time::from_millis(11), false);
        acks.owe(ack(3), Time::from_millis(11), false);
        assert_eq!(acks.due_at(), Some(Time::from_millis(11)));
    }

    #[test]
    fn an_urgent_ack_does_not_wait() {
        let mut acks = acks();
        acks.owe(ack(5), Time::from_millis(10), true);
        assert_eq!(acks.due_at(), Some(Time::from_millis(10)));
    }

    #[test]
    fn a_flood_does_not_grow_the_list() {
        let mut acks = acks();
        for sn in 0..1_000 {
            acks.owe(ack(sn), Time::ZERO, false);
        }
        assert_eq!(drain(&mut acks, 0).len(), 8);
    }
}
