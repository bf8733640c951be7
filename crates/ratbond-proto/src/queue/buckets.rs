//! Which bucket a flow has: a set-associative table, so that two busy flows hardly ever share one.
//!
//! After CAKE (Høiland-Jørgensen, Täht, Morton, "Piece of CAKE", 2018, section 3.1): a flow's hash names a set of eight
//! buckets, and it takes one of them that is idle. With plain hashing into 1,024 buckets one of 20 busy flows shares a
//! bucket in 17 of 100 cases; here it takes more than eight busy flows in one set of 128. Sets are made when a flow first
//! needs them, since most tunnels have few flows at a time.

use std::collections::VecDeque;
use std::ops::{Index, IndexMut};

use super::Queued;
use super::codel::CoDel;

const WAYS: usize = 8;
const SETS: usize = 128;

/// Whether, and in which round, a bucket waits for its turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Turn {
    #[default]
    Idle,
    New,
    Old,
}

#[derive(Debug, Default)]
pub(super) struct Bucket {
    pub packets: VecDeque<Queued>,
    pub bytes: usize,
    pub deficit: i64,
    pub turn: Turn,
    pub codel: CoDel,
    /// The hash of the flow that has it, or had it last.
    flow: u64,
}

/// Names a bucket while it is not idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BucketId(u16);

/// See the module.
#[derive(Debug)]
pub(super) struct Buckets {
    sets: Box<[Option<Box<[Bucket; WAYS]>>; SETS]>,
}

impl Default for Buckets {
    fn default() -> Self {
        Self { sets: Box::new([const { None }; SETS]) }
    }
}

impl Buckets {
    /// The bucket that a flow's next packet waits in.
    pub fn of_flow(&mut self, flow: u64) -> (BucketId, &mut Bucket) {
        let set = (flow % SETS as u64) as usize;
        let ways = self.sets[set].get_or_insert_with(Box::default);
        let own = ways.iter().position(|bucket| bucket.flow == flow);
        let way = own.or_else(|| ways.iter().position(|bucket| bucket.turn == Turn::Idle));
        let way = way.unwrap_or((flow / SETS as u64) as usize % WAYS);
        let bucket = &mut ways[way];
        if bucket.turn == Turn::Idle && bucket.flow != flow {
            // What CoDel learned of another flow says nothing of this one.
            bucket.codel = CoDel::default();
            bucket.flow = flow;
        }
        (BucketId((set * WAYS + way) as u16), bucket)
    }

    /// The one with the most bytes.
    pub fn fattest(&mut self) -> Option<&mut Bucket> {
        self.sets.iter_mut().flatten().flat_map(|ways| ways.iter_mut()).max_by_key(|bucket| bucket.bytes)
    }
}

impl Index<BucketId> for Buckets {
    type Output = Bucket;

    fn index(&self, id: BucketId) -> &Bucket {
        let (set, way) = id.split();
        self.sets[set].as_ref().map(|ways| &ways[way]).expect(MADE)
    }
}

impl IndexMut<BucketId> for Buckets {
    fn index_mut(&mut self, id: BucketId) -> &mut Bucket {
        let (set, way) = id.split();
        self.sets[set].as_mut().map(|ways| &mut ways[way]).expect(MADE)
    }
}

/// Ids come of [`Buckets::of_flow`] alone, which made the set, and sets stay.
const MADE: &str = "a bucket's set is there";

impl BucketId {
    fn split(self) -> (usize, usize) {
        let index = usize::from(self.0);
        (index / WAYS, index % WAYS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::mix;

    fn busy(buckets: &mut Buckets, flow: u64) -> BucketId {
        let (id, bucket) = buckets.of_flow(flow);
        bucket.turn = Turn::Old;
        id
    }

    #[test]
    fn flows_of_one_set_have_buckets_of_their_own_up_to_eight() {
        let mut buckets = Buckets::default();
        let flows: Vec<u64> = (0..9).map(|n| 5 + n * SETS as u64).collect();
        let ids: Vec<BucketId> = flows.iter().map(|&flow| busy(&mut buckets, flow)).collect();
        for (position, id) in ids[..8].iter().enumerate() {
            assert!(!ids[..position].contains(id));
            assert_eq!(busy(&mut buckets, flows[position]), *id, "a busy flow keeps its bucket");
        }
        assert!(ids[..8].contains(&ids[8]), "the ninth has to share");
    }

    #[test]
    fn twenty_busy_flows_hardly_ever_share() {
        let mut shared = 0;
        for trial in 0..1_000 {
            let mut buckets = Buckets::default();
            let ids: Vec<BucketId> = (0..20).map(|n| busy(&mut buckets, mix(trial * 20 + n))).collect();
            shared += usize::from(ids.iter().enumerate().any(|(position, id)| ids[..position].contains(id)));
        }
        assert_eq!(shared, 0);
    }

    #[test]
    fn an_idle_bucket_serves_another_flow_and_the_first_finds_a_new_one() {
        let mut buckets = Buckets::default();
        let first = busy(&mut buckets, 7);
        buckets[first].turn = Turn::Idle;
        assert_eq!(busy(&mut buckets, 7 + SETS as u64), first);
        assert_ne!(busy(&mut buckets, 7), first);
    }
}
