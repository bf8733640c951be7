//! A ring of bits with a summary above it: which numbers of a window are set, found without looking at those that are not.

/// Bits for `capacity` successive numbers. A bit of the summary says whether a word of 64 bits has any.
#[derive(Debug)]
pub(super) struct Bits {
    words: Vec<u64>,
    summary: Vec<u64>,
}

impl Bits {
    /// `capacity`: a power of two, at least 64.
    pub fn new(capacity: usize) -> Self {
        debug_assert!(capacity.is_power_of_two() && capacity >= 64);
        let words = capacity / 64;
        Self { words: vec![0; words], summary: vec![0; words.div_ceil(64)] }
    }

    pub fn set(&mut self, number: u64) {
        let (word, bit) = self.place(number);
        self.words[word] |= 1 << bit;
        self.summary[word / 64] |= 1 << (word % 64);
    }

    pub fn clear(&mut self, number: u64) {
        let (word, bit) = self.place(number);
        self.words[word] &= !(1 << bit);
        if self.words[word] == 0 {
            self.summary[word / 64] &= !(1 << (word % 64));
        }
    }

    pub fn is_set(&self, number: u64) -> bool {
        let (word, bit) = self.place(number);
        self.words[word] >> bit & 1 == 1
    }

    /// The first set number in `from..end`; no more than the capacity may lie between.
    pub fn first_in(&self, from: u64, end: u64) -> Option<u64> {
        if from >= end {
            return None;
        }
        let (word, bit) = self.place(from);
        let here = self.words[word] & (!0 << bit);
        let (word, bits) = if here != 0 {
            (word, here)
        } else {
            let next = self.next_word((word + 1) % self.words.len())?;
            (next, self.words[next])
        };
        let index = word as u64 * 64 + u64::from(bits.trailing_zeros());
        let found = from + (index.wrapping_sub(from) & (self.words.len() as u64 * 64 - 1));
        (found < end).then_some(found)
    }

    /// The first word that is not zero, from `from` on around the ring.
    fn next_word(&self, from: usize) -> Option<usize> {
        let first = from / 64;
        let masked = self.summary[first] & (!0 << (from % 64));
        if masked != 0 {
            return Some(first * 64 + masked.trailing_zeros() as usize);
        }
        let count = self.summary.len();
        (1..=count).map(|step| (first + step) % count).find_map(|at| {
            let bits = self.summary[at];
            (bits != 0).then(|| at * 64 + bits.trailing_zeros() as usize)
        })
    }

    fn place(&self, number: u64) -> (usize, u64) {
        ((number / 64) as usize & (self.words.len() - 1), number % 64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn the_ring_agrees_with_a_set(
            base in 0u64..1 << 20,
            size in prop::sample::select(vec![64usize, 256, 4_096, 16_384]),
            offsets in prop::collection::vec((0usize..16_384, any::<bool>()), 0..300),
            from in 0usize..16_384,
        ) {
            let mut bits = Bits::new(size);
            let mut set = BTreeSet::new();
            let end = base + size as u64;
            for (offset, add) in offsets {
                let number = base + (offset % size) as u64;
                if add {
                    bits.set(number);
                    set.insert(number);
                } else {
                    bits.clear(number);
                    set.remove(&number);
                }
                prop_assert_eq!(bits.is_set(number), add);
            }
            let from = base + (from % size) as u64;
            prop_assert_eq!(bits.first_in(from, end), set.range(from..end).next().copied());
        }
    }
}
