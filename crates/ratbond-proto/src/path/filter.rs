//! Windowed extremes: a maximum over rounds, a minimum over time.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Time;

/// The largest value of the last `window` rounds. Values that cannot become the maximum are not kept.
#[derive(Debug)]
pub(super) struct RoundMax {
    window: u64,
    entries: VecDeque<(u64, u64)>,
}

impl RoundMax {
    pub(super) fn new(window: u64) -> Self {
        Self { window, entries: VecDeque::new() }
    }

    pub(super) fn update(&mut self, round: u64, value: u64) {
        while self.entries.back().is_some_and(|&(_, last)| last <= value) {
            self.entries.pop_back();
        }
        // One entry a round is enough, so the length stays below the window.
        if self.entries.back().is_none_or(|&(last_round, _)| last_round < round) {
            self.entries.push_back((round, value));
        }
        while self.entries.front().is_some_and(|&(first, _)| first + self.window <= round) {
            self.entries.pop_front();
        }
    }

    /// Forgets what is older than this round, but for the newest.
    pub(super) fn forget_before(&mut self, round: u64) {
        while self.entries.len() > 1 && self.entries.front().is_some_and(|&(first, _)| first < round) {
            self.entries.pop_front();
        }
    }

    /// No value of any round was above this.
    pub(super) fn limit(&mut self, round: u64, most: u64) {
        if self.get() > most {
            self.entries.clear();
            self.entries.push_back((round, most));
        }
    }

    pub(super) fn get(&self) -> u64 {
        self.entries.front().map_or(0, |&(_, value)| value)
    }
}

/// The smallest duration of the last `window` of time; an old one stands until a newer sample replaces it.
#[derive(Debug)]
pub(super) struct WindowedMin {
    window: Duration,
    best: Option<(Time, Duration)>,
}

impl WindowedMin {
    pub(super) fn new(window: Duration) -> Self {
        Self { window, best: None }
    }

    pub(super) fn update(&mut self, now: Time, value: Duration) {
        if self.best.is_none_or(|(_, best)| value <= best) || self.is_stale(now) {
            self.best = Some((now, value));
        }
    }

    pub(super) fn is_stale(&self, now: Time) -> bool {
        self.best.is_some_and(|(at, _)| now.saturating_since(at) > self.window)
    }

    pub(super) fn get(&self) -> Option<Duration> {
        self.best.map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_maximum_leaves_with_its_round() {
        let mut filter = RoundMax::new(3);
        for (round, value) in [(0, 10), (1, 7), (2, 8), (2, 5)] {
            filter.update(round, value);
        }
        assert_eq!(filter.get(), 10);
        filter.update(3, 1);
        assert_eq!(filter.get(), 8);
        filter.update(9, 2);
        assert_eq!(filter.get(), 2);
    }

    #[test]
    fn older_rounds_are_forgotten_but_never_all() {
        let mut filter = RoundMax::new(10);
        for (round, value) in [(0, 10), (1, 8), (2, 5)] {
            filter.update(round, value);
        }
        filter.forget_before(1);
        assert_eq!(filter.get(), 8);
        filter.forget_before(9);
        assert_eq!(filter.get(), 5);
    }

    #[test]
    fn the_minimum_stands_until_it_is_old_and_replaced() {
        let mut filter = WindowedMin::new(Duration::from_secs(10));
        filter.update(Time::from_millis(0), Duration::from_millis(20));
        filter.update(Time::from_millis(5_000), Duration::from_millis(30));
        assert_eq!(filter.get(), Some(Duration::from_millis(20)));
        assert!(filter.is_stale(Time::from_millis(10_001)));
        filter.update(Time::from_millis(10_001), Duration::from_millis(30));
        assert_eq!(filter.get(), Some(Duration::from_millis(30)));
    }
}
