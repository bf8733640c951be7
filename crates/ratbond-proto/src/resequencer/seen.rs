//! Which sequences of a bucket have come: a bitmap that grows with the packet rate.

use std::time::Duration;

use crate::numbering::{SEQ_MODULUS, seq_add, seq_distance};
use crate::time::Time;

const MIN_WINDOW: u32 = 1 << 10;
/// Sequences that are remembered at most; 8 KiB of bits.
pub(super) const MAX_WINDOW: u32 = 1 << 16;
/// The window covers at least this much time, until it reaches [`MAX_WINDOW`]: copies come no later.
const COVERED: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Seen {
    words: Vec<u64>,
    /// One after the newest sequence.
    top: u32,
    /// When the newest sequence last passed a multiple of the window.
    lap_began: Option<Time>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { words: vec![0; (MIN_WINDOW / 64) as usize], top: 0, lap_began: None }
    }
}

impl Seen {
    /// Marks `seq`; false when it was marked before, or is too old to tell.
    pub fn take(&mut self, now: Time, seq: u32) -> bool {
        let ahead = seq_distance(seq, self.top);
        if ahead >= 0 {
            self.advance(now, seq, ahead.unsigned_abs());
        } else if ahead.unsigned_abs() > self.window() {
            return false;
        } else if ahead.unsigned_abs() > self.window() / 2 {
            self.grow();
        }
        let (word, bit) = self.place(seq);
        let fresh = self.words[word] & bit == 0;
        self.words[word] |= bit;
        fresh
    }

    fn advance(&mut self, now: Time, seq: u32, ahead: u32) {
        let newest = seq_add(self.top, SEQ_MODULUS - 1);
        if newest / self.window() != seq / self.window() {
            if self.lap_began.is_some_and(|began| now.saturating_since(began) < COVERED) {
                self.grow();
            }
            self.lap_began = Some(now);
        }
        // Whole words where there are some; the sequences passed over have not come.
        let count = (ahead + 1).min(self.window());
        let mut at = seq_add(seq, SEQ_MODULUS - count + 1);
        let mut left = count;
        while left > 0 {
            let (word, _) = self.place(at);
            let run = (64 - at % 64).min(left);
            let mask = if run == 64 { !0 } else { ((1u64 << run) - 1) << (at % 64) };
            self.words[word] &= !mask;
            at = seq_add(at, run);
            left -= run;
        }
        self.top = seq_add(seq, 1);
    }

    fn window(&self) -> u32 {
        self.words.len() as u32 * 64
    }

    /// Doubles the window. Older sequences than it held count as not come: the caller drops what is older than that.
    fn grow(&mut self) {
        let window = self.window();
        if window >= MAX_WINDOW {
            return;
        }
        let old = std::mem::replace(&mut self.words, vec![0; (window / 32) as usize]);
        for behind in 1..=window {
            let seq = seq_add(self.top, SEQ_MODULUS - behind);
            let bit = old[(seq % window / 64) as usize] >> (seq % 64) & 1;
            let (word, _) = self.place(seq);
            self.words[word] |= bit << (seq % 64);
        }
        // What was too old to tell stays so: it must not pass for fresh.
        for behind in window + 1..=2 * window {
            let (word, bit) = self.place(seq_add(self.top, SEQ_MODULUS - behind));
            self.words[word] |= bit;
        }
    }

    fn place(&self, seq: u32) -> (usize, u64) {
        ((seq % self.window() / 64) as usize, 1 << (seq % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn a_fast_bucket_remembers_more() {
        let mut seen = Seen::default();
        for seq in 0..100_000 {
            assert!(seen.take(Time::from_micros(u64::from(seq) * 10), seq));
        }
        assert_eq!(seen.window(), MAX_WINDOW);
        assert!(!seen.take(Time::from_millis(1_000), 100_000 - 40_000));
    }

    #[test]
    fn a_slow_bucket_stays_small() {
        let mut seen = Seen::default();
        for seq in 0..10_000 {
            assert!(seen.take(Time::from_millis(u64::from(seq) * 20), seq));
        }
        assert_eq!(seen.window(), MIN_WINDOW);
    }

    proptest! {
        #[test]
        fn no_sequence_passes_twice_and_a_recent_one_passes_once(
            start in prop::sample::select(vec![0u32, SEQ_MODULUS - 700]),
            steps in prop::collection::vec((-900i32..300, 0u64..50), 1..1_500),
        ) {
            let mut seen = Seen { top: start, ..Seen::default() };
            let mut passed = HashSet::new();
            let (mut top, mut now) = (i64::from(start), Time::ZERO);
            for (offset, millis) in steps {
                now += Duration::from_millis(millis);
                let position = top + i64::from(offset);
                let seq = u32::try_from(position.rem_euclid(i64::from(SEQ_MODULUS))).unwrap();
                let fresh = seen.take(now, seq);
                prop_assert_eq!(fresh, passed.insert(position), "{} with top {}", position, top);
                top = top.max(position + 1);
            }
        }
    }
}
