//! Which sessions of a server want a turn, and when: so that a packet costs the same with one client and with hundreds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::time::Time;

/// Datagrams of one session in a row while others wait too.
const TURN_DATAGRAMS: usize = 64;

/// Sessions are named by numbers that are never used again.
pub(super) type Number = u64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    /// Sessions that something happened to: they may have datagrams to send.
    active: VecDeque<Number>,
    is_active: BTreeSet<Number>,
    /// Deadlines of the others.
    deadlines: BTreeSet<(Time, Number)>,
    deadline_of: BTreeMap<Number, Time>,
    sent_in_turn: usize,
}

impl Agenda {
    /// Something happened to a session.
    pub fn wake(&mut self, number: Number) {
        if self.is_active.insert(number) {
            self.active.push_back(number);
            self.forget_deadline(number);
        }
    }

    /// The session whose turn it is to send.
    pub fn turn(&self) -> Option<Number> {
        self.active.front().copied()
    }

    /// It has sent a datagram.
    pub fn sent(&mut self) {
        self.sent_in_turn += 1;
        if self.sent_in_turn >= TURN_DATAGRAMS {
            self.sent_in_turn = 0;
            self.active.rotate_left(usize::from(!self.active.is_empty()));
        }
    }

    /// It has nothing to send until its deadline.
    pub fn rest(&mut self, deadline: Option<Time>) {
        self.sent_in_turn = 0;
        let Some(number) = self.active.pop_front() else { return };
        self.is_active.remove(&number);
        if let Some(at) = deadline {
            self.deadlines.insert((at, number));
            self.deadline_of.insert(number, at);
        }
    }

    /// A session is gone.
    pub fn remove(&mut self, number: Number) {
        if self.is_active.remove(&number) {
            self.active.retain(|&other| other != number);
        }
        self.forget_deadline(number);
    }

    /// The sessions whose deadline has come; they are awake from now on.
    pub fn take_due(&mut self, now: Time) -> Vec<Number> {
        let mut due: Vec<_> = self.active.iter().copied().collect();
        while let Some(&(at, number)) = self.deadlines.first()
            && at <= now
        {
            self.wake(number);
            due.push(number);
        }
        due
    }

    /// Sessions that are awake.
    pub fn awake(&self) -> impl Iterator<Item = Number> {
        self.active.iter().copied()
    }

    /// The first deadline of those that rest.
    pub fn next_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|&(at, _)| at)
    }

    fn forget_deadline(&mut self, number: Number) {
        if let Some(at) = self.deadline_of.remove(&number) {
            self.deadlines.remove(&(at, number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn a_session_that_rests_is_due_at_its_deadline_and_not_before() {
        let mut agenda = Agenda::default();
        for (number, deadline) in [(1, Some(at(30))), (2, Some(at(20))), (3, None)] {
            agenda.wake(number);
            agenda.rest(deadline);
        }
        assert_eq!(agenda.next_deadline(), Some(at(20)));
        assert_eq!(agenda.take_due(at(19)), []);
        assert_eq!(agenda.take_due(at(30)), [2, 1]);
        assert_eq!((agenda.turn(), agenda.next_deadline()), (Some(2), None));
    }

    #[test]
    fn a_session_that_is_woken_early_has_no_deadline_until_it_rests_again() {
        let mut agenda = Agenda::default();
        agenda.wake(1);
        agenda.rest(Some(at(20)));
        agenda.wake(1);
        agenda.wake(1);
        assert_eq!(agenda.next_deadline(), None);
        assert_eq!(agenda.awake().collect::<Vec<_>>(), [1]);
        agenda.rest(Some(at(50)));
        assert_eq!((agenda.turn(), agenda.next_deadline()), (None, Some(at(50))));
    }

    #[test]
    fn a_session_with_much_to_send_lets_others_have_their_turn() {
        let mut agenda = Agenda::default();
        agenda.wake(1);
        agenda.wake(2);
        let mut turns = Vec::new();
        for _ in 0..3 * TURN_DATAGRAMS {
            turns.push(agenda.turn().unwrap());
            agenda.sent();
        }
        assert_eq!(turns.iter().filter(|&&number| number == 2).count(), TURN_DATAGRAMS);
    }

    #[test]
    fn a_session_that_is_gone_gets_no_turn() {
        let mut agenda = Agenda::default();
        agenda.wake(1);
        agenda.wake(2);
        agenda.rest(Some(at(5)));
        agenda.remove(1);
        agenda.remove(2);
        assert_eq!((agenda.turn(), agenda.next_deadline()), (None, None));
    }
}
