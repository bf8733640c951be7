use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::numbering::{SEQ_MODULUS, seq_add};

const HOLD: Duration = Duration::from_millis(50);

fn ms(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn reseq() -> Resequencer {
    Resequencer::new(Limits::default(), HOLD)
}

fn packet(label: u32) -> Packet {
    Packet::from(&label.to_be_bytes()[..])
}

fn labels(out: &mut Vec<Packet>) -> Vec<u32> {
    out.drain(..).map(|p| u32::from_be_bytes(p.as_slice().try_into().unwrap())).collect()
}

fn ordered(seq: u32) -> Numbering {
    Numbering { bucket: 1, seq, ordered: true }
}

/// Feeds sequences of an ordered bucket at one moment; what comes out.
fn feed(reseq: &mut Resequencer, now: Time, seqs: &[u32]) -> Vec<u32> {
    let mut out = Vec::new();
    for &seq in seqs {
        reseq.receive(now, ordered(seq), packet(seq), &mut out);
    }
    labels(&mut out)
}

fn wait(reseq: &mut Resequencer, now: Time) -> Vec<u32> {
    let mut out = Vec::new();
    reseq.handle_timeout(now, &mut out);
    labels(&mut out)
}

#[test]
fn packets_that_overtook_wait_for_the_one_before() {
    let mut reseq = reseq();
    assert_eq!(feed(&mut reseq, ms(0), &[0, 2, 3]), [0]);
    assert_eq!(reseq.stats().held_packets, 2);
    assert_eq!(feed(&mut reseq, ms(1), &[1, 4]), [1, 2, 3, 4]);
    let stats = reseq.stats();
    assert_eq!((stats.delivered, stats.held_packets, stats.given_up, stats.late), (5, 0, 0, 0));
}

#[test]
fn a_gap_is_waited_for_as_long_as_the_hold_time_and_then_filled_late() {
    let mut reseq = reseq();
    assert_eq!(feed(&mut reseq, ms(0), &[0, 2]), [0]);
    assert_eq!(feed(&mut reseq, ms(10), &[4]), [] as [u32; 0]);
    assert_eq!(reseq.poll_timeout(), Some(ms(50)));
    assert_eq!(wait(&mut reseq, ms(49)), [] as [u32; 0]);
    assert_eq!(wait(&mut reseq, ms(50)), [2], "4 has waited for 40 ms only");
    assert_eq!(reseq.poll_timeout(), Some(ms(60)));
    assert_eq!(feed(&mut reseq, ms(55), &[1]), [1]);
    assert_eq!(feed(&mut reseq, ms(56), &[3]), [3, 4]);
    let stats = reseq.stats();
    assert_eq!((stats.given_up, stats.late, stats.held_bytes), (1, 1, 0));
}

#[test]
fn a_copy_is_dropped_however_late_it_comes() {
    let mut reseq = reseq();
    assert_eq!(feed(&mut reseq, ms(0), &[0, 0, 2, 2]), [0]);
    assert_eq!(wait(&mut reseq, ms(50)), [2]);
    assert_eq!(feed(&mut reseq, ms(60), &[2, 1, 1, 0]), [1]);
    assert_eq!(reseq.stats().duplicates, 5);
}

#[test]
fn what_needs_no_order_never_waits() {
    let mut reseq = reseq();
    let mut out = Vec::new();
    for seq in [3, 1, 2, 1] {
        reseq.receive(ms(0), Numbering { bucket: 9, seq, ordered: false }, packet(seq), &mut out);
    }
    assert_eq!(labels(&mut out), [3, 1, 2]);
    assert_eq!((reseq.poll_timeout(), reseq.stats().duplicates, reseq.stats().late), (None, 1, 0));
}

#[test]
fn what_the_sender_gave_up_is_not_waited_for() {
    let mut reseq = reseq();
    let mut out = Vec::new();
    assert_eq!(feed(&mut reseq, ms(0), &[0, 3, 5]), [0]);
    reseq.skip(1, 1, 2, &mut out);
    assert_eq!(labels(&mut out), [3]);
    reseq.skip(1, 4, 1, &mut out);
    assert_eq!(labels(&mut out), [5]);
    reseq.skip(1, 7, 1, &mut out);
    assert_eq!(feed(&mut reseq, ms(1), &[8]), [] as [u32; 0]);
    assert_eq!(feed(&mut reseq, ms(1), &[6]), [6, 8]);
    assert_eq!(reseq.stats().given_up, 0);
}

#[test]
fn buckets_do_not_wait_for_each_other() {
    let mut reseq = reseq();
    assert_eq!(feed(&mut reseq, ms(0), &[1]), [] as [u32; 0]);
    let mut out = Vec::new();
    reseq.receive(ms(0), Numbering { bucket: 2, seq: 0, ordered: true }, packet(77), &mut out);
    assert_eq!(labels(&mut out), [77]);
}

#[test]
fn the_sequence_wraps() {
    let mut reseq = reseq();
    let mut out = Vec::new();
    let last = SEQ_MODULUS - 1;
    // Far ahead of 0, hence the new start of the bucket.
    assert_eq!(feed(&mut reseq, ms(0), &[SEQ_MODULUS / 2 - 1, last - 1]), [SEQ_MODULUS / 2 - 1, last - 1]);
    for seq in [seq_add(last, 2), seq_add(last, 1), last] {
        reseq.receive(ms(0), ordered(seq), packet(seq), &mut out);
    }
    assert_eq!(labels(&mut out), [last, 0, 1]);
}

#[test]
fn too_much_waiting_is_released_in_order() {
    let mut reseq = Resequencer::new(Limits { slots: 100, bytes: 1 << 20 }, HOLD);
    let out = feed(&mut reseq, ms(0), &(1..=120).collect::<Vec<_>>());
    assert_eq!(out, (1..=120).collect::<Vec<_>>());
    let mut reseq = Resequencer::new(Limits { slots: 1 << 16, bytes: 10 }, HOLD);
    assert_eq!(feed(&mut reseq, ms(0), &[1, 2, 3]), [1, 2, 3]);
}

#[test]
fn a_new_epoch_delivers_what_waits_and_begins_at_zero() {
    let mut reseq = reseq();
    assert_eq!(feed(&mut reseq, ms(0), &[0, 1, 3]), [0, 1]);
    let mut out = Vec::new();
    reseq.reset(&mut out);
    assert_eq!(labels(&mut out), [3]);
    assert_eq!(feed(&mut reseq, ms(1), &[0, 1]), [0, 1]);
    assert_eq!(reseq.poll_timeout(), None);
}

#[derive(Clone, Debug)]
struct Journey {
    delay_ms: u64,
    lost: bool,
    copy_after_ms: Option<u64>,
}

fn journeys() -> impl Strategy<Value = Vec<Journey>> {
    let journey = (0u64..80, prop::bool::weighted(0.1), prop::option::weighted(0.2, 0u64..200))
        .prop_map(|(delay_ms, lost, copy_after_ms)| Journey { delay_ms, lost, copy_after_ms });
    prop::collection::vec(journey, 1..400)
}

proptest! {
    #[test]
    fn nothing_comes_twice_nothing_stays_and_order_breaks_only_after_the_hold_time(
        journeys in journeys(), hold_ms in 0u64..60, modulus in 1u32..4,
    ) {
        let hold = Duration::from_millis(hold_ms);
        let mut reseq = Resequencer::new(Limits::default(), hold);
        let mut arrivals: Vec<(u64, u32)> = Vec::new();
        for (index, journey) in (0u32..).zip(&journeys) {
            let sent = u64::from(index) / 2;
            if !journey.lost {
                arrivals.push((sent + journey.delay_ms, index));
            }
            arrivals.extend(journey.copy_after_ms.map(|after| (sent + after, index)));
        }
        arrivals.sort_unstable();
        let first_arrival: HashMap<u32, u64> = arrivals.iter().rev().map(|&(at, index)| (index, at)).collect();
        let mut delivered: Vec<(u64, u32)> = Vec::new();
        let mut out = Vec::new();
        let last = arrivals.last().map_or(0, |&(at, _)| at);
        let mut waiting = arrivals.into_iter().peekable();
        for at in 0..=last + hold_ms + 1 {
            reseq.handle_timeout(ms(at), &mut out);
            while let Some((_, index)) = waiting.next_if(|&(due, _)| due == at) {
                let bucket = u8::try_from(index % modulus).unwrap();
                let numbering = Numbering { bucket, seq: index / modulus, ordered: true };
                reseq.receive(ms(at), numbering, packet(index), &mut out);
            }
            reseq.handle_timeout(ms(at), &mut out);
            delivered.extend(labels(&mut out).into_iter().map(|index| (at, index)));
        }
        prop_assert_eq!(reseq.stats().held_packets, 0);
        prop_assert_eq!(reseq.poll_timeout().filter(|&due| due <= ms(last)), None);
        let unique: HashSet<u32> = delivered.iter().map(|&(_, index)| index).collect();
        prop_assert_eq!(unique.len(), delivered.len(), "nothing twice");
        prop_assert_eq!(unique.len(), first_arrival.len(), "nothing kept back");
        let mut newest: HashMap<u32, u32> = HashMap::new();
        for &(at, index) in &delivered {
            let arrived = first_arrival[&index];
            prop_assert!(at - arrived <= hold_ms, "{} waited from {} to {}", index, arrived, at);
            let before = newest.insert(index % modulus, index.max(newest.get(&(index % modulus)).copied().unwrap_or(0)));
            if before.is_some_and(|before| before > index) {
                // Overtaken: only by one that had waited for the whole hold time before this one came.
                prop_assert_eq!(at, arrived, "what is late goes out at once");
            }
        }
    }
}
