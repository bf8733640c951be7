//! Which packet numbers of a link have been opened, so that none is believed twice.

/// Numbers behind the newest one that are still taken. 16,384 are 195 ms at 1 Gbit/s: more than any link reorders.
pub const WINDOW: u64 = (WORDS as u64 - 1) * 64;

const WORDS: usize = 257;

/// A sliding window over packet numbers, after RFC 6479: whole words are cleared as it moves, so that a number costs
/// O(1), and a jump at most one pass over the window. 2 KiB.
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    words: Box<[u64; WORDS]>,
    /// One more than the largest number taken; 0 before the first.
    next: u64,
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self { words: Box::new([0; WORDS]), next: 0 }
    }
}

impl ReplayWindow {
    /// The number that is expected next, for [`rebuild_number`](super::datagram::rebuild_number).
    #[must_use]
    pub const fn expected(&self) -> u64 {
        self.next
    }

    /// Whether `number` is neither seen nor too old. Ask before opening, [`take`](Self::take) only after: a forged
    /// number must not move the window.
    #[must_use]
    pub fn is_fresh(&self, number: u64) -> bool {
        if number >= self.next {
            return true;
        }
        let (word, bit) = Self::place(number);
        self.next - number <= WINDOW && self.words[word] & bit == 0
    }

    /// Marks `number` as seen. False when it is not fresh.
    pub fn take(&mut self, number: u64) -> bool {
        if !self.is_fresh(number) {
            return false;
        }
        if number >= self.next {
            self.advance_to(number);
        }
        let (word, bit) = Self::place(number);
        self.words[word] |= bit;
        true
    }

    fn advance_to(&mut self, number: u64) {
        let first_new_word = self.next.div_ceil(64);
        let last_word = number / 64;
        if last_word >= first_new_word {
            let count = (last_word - first_new_word + 1).min(WORDS as u64);
            for word in last_word + 1 - count..=last_word {
                self.words[Self::slot(word)] = 0;
            }
        }
        self.next = number.saturating_add(1);
    }

    const fn slot(word: u64) -> usize {
        (word % WORDS as u64) as usize
    }

    const fn place(number: u64) -> (usize, u64) {
        (Self::slot(number / 64), 1 << (number % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn a_number_is_taken_once() {
        let mut window = ReplayWindow::default();
        assert!(window.take(0));
        assert!(!window.take(0));
        assert!(window.take(5));
        assert!(window.take(3));
        assert!(!window.take(3));
        assert_eq!(window.expected(), 6);
    }

    #[test]
    fn the_window_is_at_least_as_wide_as_promised() {
        const { assert!(WINDOW >= 8_192) };
        let mut window = ReplayWindow::default();
        assert!(window.take(WINDOW));
        assert!(window.take(1), "the oldest that is still inside");
        assert!(!window.take(0), "too old to tell");
    }

    #[test]
    fn a_jump_over_the_whole_window_forgets_all_of_it() {
        let mut window = ReplayWindow::default();
        for number in 0..200 {
            assert!(window.take(number));
        }
        assert!(window.take(1 << 40));
        assert!(window.take((1 << 40) - WINDOW + 1));
        assert!(!window.is_fresh(199));
    }

    #[test]
    fn asking_moves_nothing() {
        let window = ReplayWindow::default();
        assert!(window.is_fresh(1 << 50));
        assert_eq!(window.expected(), 0);
    }

    proptest! {
        #[test]
        fn the_window_agrees_with_a_set_of_all_numbers(
            steps in prop::collection::vec((-20_000i64..400, prop::bool::weighted(0.02)), 1..2_000)
        ) {
            let mut window = ReplayWindow::default();
            let mut seen = HashSet::new();
            let mut next = 0u64;
            for (offset, jump) in steps {
                let base = if jump { next + 30_000 } else { next };
                let number = base.saturating_add_signed(offset);
                let fresh = number >= next || (next - number <= WINDOW && !seen.contains(&number));
                prop_assert_eq!(window.take(number), fresh, "number {} before {}", number, next);
                seen.insert(number);
                next = next.max(number + 1);
                prop_assert_eq!(window.expected(), next);
            }
        }
    }
}
