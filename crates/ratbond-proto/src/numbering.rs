//! The place of a packet in its bucket: given when it leaves the queue, carried by whichever link takes it.

/// Buckets that flows are spread over.
pub const BUCKETS: usize = 256;
/// One more than the largest sequence.
pub const SEQ_MODULUS: u32 = 1 << 24;

/// Bucket, sequence and whether to wait: the identity of a packet between two ends of a session.
///
/// A repair of a packet, on whichever link, carries the same identity, so the receiver delivers it once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Numbering {
    /// Flows that share a bucket wait for each other, and for nobody else.
    pub bucket: u8,
    /// Sequence in the bucket, below [`SEQ_MODULUS`], wrapping.
    pub seq: u32,
    /// Whether it waits for its predecessors; otherwise it is only kept from being delivered twice.
    pub ordered: bool,
}

/// `seq` plus `count`, wrapping.
#[must_use]
pub const fn seq_add(seq: u32, count: u32) -> u32 {
    seq.wrapping_add(count) & (SEQ_MODULUS - 1)
}

/// How far `seq` lies after `base` (negative: before it), taking the shorter way around: RFC 1982 with 24 bits.
#[must_use]
pub const fn seq_distance(seq: u32, base: u32) -> i32 {
    (seq.wrapping_sub(base) << 8) as i32 >> 8
}

/// Gives out sequences, one counter a bucket.
///
/// Ask for a number only when the packet is sure to be sent (after the queue's drops), or tell the peer with SKIP that
/// it will not come: an ordered bucket waits for every number.
#[derive(Clone, Debug)]
pub struct Numberer {
    next: Box<[u32; BUCKETS]>,
}

impl Default for Numberer {
    fn default() -> Self {
        Self { next: Box::new([0; BUCKETS]) }
    }
}

impl Numberer {
    /// The next number of `bucket`.
    pub fn assign(&mut self, bucket: u8, ordered: bool) -> Numbering {
        let next = &mut self.next[usize::from(bucket)];
        let seq = *next;
        *next = seq_add(seq, 1);
        Numbering { bucket, seq, ordered }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_count_for_themselves() {
        let mut numberer = Numberer::default();
        assert_eq!(numberer.assign(3, true), Numbering { bucket: 3, seq: 0, ordered: true });
        assert_eq!(numberer.assign(3, false), Numbering { bucket: 3, seq: 1, ordered: false });
        assert_eq!(numberer.assign(4, true).seq, 0);
    }

    #[test]
    fn the_last_sequence_is_followed_by_the_first() {
        assert_eq!(seq_add(SEQ_MODULUS - 1, 1), 0);
        assert_eq!(seq_distance(0, SEQ_MODULUS - 1), 1);
        assert_eq!(seq_distance(SEQ_MODULUS - 1, 0), -1);
    }

    proptest! {
        #[test]
        fn distance_undoes_addition(base in 0..SEQ_MODULUS, count in 0..SEQ_MODULUS / 2) {
            prop_assert_eq!(seq_distance(seq_add(base, count), base), i32::try_from(count).unwrap());
        }
    }
}
