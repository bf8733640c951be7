use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::bond::ack::AckState;
use crate::bond::frame::{Frame, Frames, Writer};

fn ms(millis: u64) -> Time {
    Time::from_millis(millis)
}

/// An ack of `ranges` (newest first) as it comes off the wire.
fn with_ack<R>(
    ranges: &[(u64, u64)],
    received_at: Time,
    delay: Duration,
    f: impl FnOnce(&AckBlock<'_>) -> R,
) -> R {
    let content = crate::bond::frame::AckContent { ranges, received_at_us: wire_micros(received_at), delay };
    let mut out = [0; 600];
    let mut writer = Writer::new(&mut out);
    assert!(writer.ack(None, &content));
    let len = writer.len();
    match Frames::new(&out[..len]).next() {
        Some(Ok(Frame::Ack { block, .. })) => f(&block),
        other => panic!("an ack, not {other:?}"),
    }
}

fn ack(recovery: &mut Recovery<u64>, now: Time, ranges: &[(u64, u64)]) -> (AckSummary, Outcome<u64>) {
    let mut outcome = Outcome::default();
    let summary =
        with_ack(ranges, now, Duration::ZERO, |block| recovery.on_ack(now, block, true, &mut outcome));
    (summary.unwrap(), outcome)
}

fn sent(count: u64, gap_ms: u64) -> Recovery<u64> {
    let mut recovery = Recovery::new(Time::ZERO);
    for number in 0..count {
        assert_eq!(recovery.on_sent(ms(number * gap_ms), 1_000, number, None), number);
    }
    recovery
}

#[test]
fn what_is_acknowledged_comes_back_once() {
    let mut recovery = sent(10, 1);
    let (summary, outcome) = ack(&mut recovery, ms(40), &[(5, 7), (0, 2)]);
    assert_eq!((summary.acked_bytes, summary.lost_bytes), (6_000, 0));
    assert_eq!(outcome.acked, [5, 6, 7, 0, 1, 2]);
    let (summary, outcome) = ack(&mut recovery, ms(41), &[(5, 7), (0, 2)]);
    assert_eq!((summary.acked_bytes, outcome.acked.len()), (0, 0));
    assert_eq!((recovery.in_flight(), recovery.in_flight_bytes()), (4, 4_000));
}

#[test]
fn an_ack_of_what_was_never_sent_changes_nothing() {
    let mut recovery = sent(3, 1);
    let mut outcome = Outcome::default();
    let result =
        with_ack(&[(0, 3)], ms(9), Duration::ZERO, |block| recovery.on_ack(ms(9), block, true, &mut outcome));
    assert_eq!(result, Err(BadAck));
    assert_eq!((recovery.in_flight(), outcome.acked.len()), (3, 0));
}

#[test]
fn a_hole_is_lost_after_the_reordering_window_and_not_before() {
    let mut recovery = sent(4, 1);
    let (summary, _) = ack(&mut recovery, ms(41), &[(1, 1)]);
    assert_eq!(summary.rtt, Some(Duration::from_millis(40)));
    // Packet 0 left at 0 ms: 40 ms of round trip and 10 ms of reordering window later it is lost.
    assert_eq!(recovery.poll_timeout(), Some(ms(50)));
    let mut lost = Vec::new();
    assert_eq!(recovery.on_timeout(ms(49), &mut lost), Timeout::Nothing);
    assert_eq!(recovery.on_timeout(ms(50), &mut lost), Timeout::Lost(1_000));
    assert_eq!(lost, [0]);
    assert_eq!(recovery.in_flight(), 2, "what left after the newest arrival is not judged");
}

#[test]
fn a_false_alarm_widens_the_reordering_window() {
    let mut recovery = sent(4, 1);
    ack(&mut recovery, ms(41), &[(1, 1)]);
    let before = recovery.reordering_window();
    let mut lost = Vec::new();
    recovery.on_timeout(ms(60), &mut lost);
    assert_eq!(lost, [0]);
    let (summary, outcome) = ack(&mut recovery, ms(61), &[(0, 2)]);
    assert_eq!(summary.false_alarms, 1);
    assert_eq!(outcome.acked, [2], "the content of 0 was given back before");
    assert!(recovery.reordering_window() > before);
    let (summary, _) = ack(&mut recovery, ms(62), &[(0, 3)]);
    assert_eq!(summary.false_alarms, 0, "told once");
}

#[test]
fn a_lost_tail_is_probed_for_with_backoff() {
    let mut recovery = sent(2, 0);
    ack(&mut recovery, ms(20), &[(0, 0)]);
    let first = recovery.poll_timeout().unwrap();
    let mut lost = Vec::new();
    assert_eq!(recovery.on_timeout(first, &mut lost), Timeout::Probe);
    let second = recovery.poll_timeout().unwrap();
    assert!(second - first > first - Time::ZERO, "{first:?} {second:?}");
    // The probe's ack shows that the tail is missing.
    assert_eq!(recovery.on_sent(first, 30, 99, None), 2);
    let (_, outcome) = ack(&mut recovery, first + Duration::from_millis(20), &[(2, 2), (0, 0)]);
    assert_eq!((outcome.acked, outcome.lost), (vec![99], vec![1]));
    assert_eq!((recovery.poll_timeout(), recovery.probes()), (None, 0));
}

#[test]
fn the_peers_ack_delay_is_taken_off_but_never_below_the_minimum() {
    let mut recovery = sent(3, 0);
    let mut outcome = Outcome::default();
    let mut sample = |ranges: &[(u64, u64)], at, delay| {
        let delay = Duration::from_millis(delay);
        with_ack(ranges, at, delay, |block| recovery.on_ack(at, block, true, &mut outcome)).unwrap().rtt
    };
    assert_eq!(sample(&[(0, 0)], ms(24), 4), Some(Duration::from_millis(20)));
    assert_eq!(sample(&[(0, 1)], ms(30), 25), Some(Duration::from_millis(20)));
}

#[test]
fn one_way_delay_is_told_modulo_the_clocks_wrap() {
    let mut recovery: Recovery<u64> = Recovery::new(Time::ZERO);
    let sent_at = Time::from_micros((1 << 32) - 10);
    recovery.on_sent(sent_at, 100, 0, None);
    let mut outcome = Outcome::default();
    let now = sent_at + Duration::from_millis(30);
    let peer_clock = Time::from_micros((1 << 32) + 5_000);
    let summary =
        with_ack(&[(0, 0)], peer_clock, Duration::ZERO, |b| recovery.on_ack(now, b, false, &mut outcome))
            .unwrap();
    assert_eq!(summary.one_way_us, Some(5_010));
    assert_eq!(summary.rtt, None, "an ack over another link says nothing of this one's round trip");
}

#[test]
fn a_probe_of_the_path_mtu_says_nothing_of_the_rate_and_its_loss_nothing_of_the_path() {
    let mut recovery = Recovery::new(Time::ZERO);
    for number in 0..3 {
        recovery.on_sent(ms(number), 1_000, number, None);
    }
    for number in 3..5 {
        recovery.on_probe_sent(ms(number), 1_400, number);
    }
    assert_eq!(recovery.in_flight_bytes(), 5_800);
    let (summary, _) = ack(&mut recovery, ms(40), &[(4, 4)]);
    assert_eq!((summary.acked_bytes, summary.rate, summary.rtt), (0, None, Some(ms(36) - ms(0))));
    let (summary, outcome) = ack(&mut recovery, ms(41), &[(0, 2)]);
    assert_eq!(summary.acked_bytes, 3_000);
    let rate = summary.rate.unwrap();
    assert!(!rate.app_limited && rate.newest_sent == ms(2), "{rate:?}");
    assert_eq!(outcome.lost, []);
    let mut lost = Vec::new();
    assert_eq!(recovery.on_timeout(ms(100), &mut lost), Timeout::Nothing);
    assert_eq!(lost, [3]);
}

#[test]
fn a_dead_link_gives_everything_back_in_order() {
    let mut recovery = sent(600, 0);
    ack(&mut recovery, ms(20), &[(3, 500)]);
    let mut back = Vec::new();
    recovery.drain(&mut back);
    assert_eq!(back, (0..3).chain(501..600).collect::<Vec<_>>());
    assert_eq!((recovery.in_flight(), recovery.in_flight_bytes(), recovery.poll_timeout()), (0, 0, None));
}

#[test]
fn numbering_stops_rather_than_reuse_a_slot() {
    let mut recovery: Recovery<u64> = Recovery::new(Time::ZERO);
    recovery.on_sent(Time::ZERO, 1, 0, None);
    let mut numbered = 1u64;
    while recovery.has_room() {
        recovery.on_sent_unacknowledged();
        numbered += 1;
    }
    assert_eq!(numbered, 1 << 17);
    assert_eq!(ack(&mut recovery, ms(1), &[(0, 5)]).1.acked, [0]);
    assert!(recovery.has_room());
}

#[test]
fn the_arrival_of_an_ack_is_reported_back() {
    let mut recovery: Recovery<u64> = Recovery::new(Time::ZERO);
    recovery.on_sent(Time::ZERO, 100, 0, Some(77));
    recovery.on_sent(Time::ZERO, 100, 1, Some(80));
    assert_eq!(ack(&mut recovery, ms(5), &[(0, 1)]).0.ack_told, Some(80));
}

/// A path that loses, delays and reorders, in steps of 1 ms.
#[derive(Debug)]
struct Fate {
    lost: bool,
    delay_ms: u64,
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = (prop::bool::weighted(0.15), 10u64..60).prop_map(|(lost, delay_ms)| Fate { lost, delay_ms });
    prop::collection::vec(fate, 1..800)
}

proptest! {
    #[test]
    fn every_datagram_ends_once_as_acknowledged_or_lost(fates in fates(), ack_loss in 0u64..4) {
        let mut recovery: Recovery<u64> = Recovery::new(Time::ZERO);
        let mut acks = AckState::default();
        let mut forward: VecDeque<(u64, u64)> = VecDeque::new();
        let mut backward: VecDeque<(u64, Vec<(u64, u64)>)> = VecDeque::new();
        let mut ended = vec![0u32; fates.len()];
        let mut probes = 0u64;
        let mut outcome = Outcome::default();
        let mut next = 0usize;
        for at in 0..60_000u64 {
            let now = ms(at);
            for _ in 0..3 {
                if let Some(fate) = fates.get(next) {
                    let number = recovery.on_sent(now, 1_000, next as u64, None);
                    if !fate.lost {
                        forward.push_back((at + fate.delay_ms, number));
                    }
                    next += 1;
                }
            }
            while let Some(arrived) = forward.iter().position(|&(due, _)| due <= at) {
                let (_, number) = forward.remove(arrived).unwrap();
                acks.on_received(now, number, true);
            }
            if acks.due().is_some_and(|due| due <= now) {
                let ranges = acks.content(now).unwrap().ranges.to_vec();
                acks.on_sent(now);
                if ((at * 2_654_435_761) >> 9) % 4 >= ack_loss {
                    backward.push_back((at + 20, ranges));
                }
            }
            while backward.front().is_some_and(|&(due, _)| due <= at) {
                let (_, ranges) = backward.pop_front().unwrap();
                with_ack(&ranges, now, Duration::ZERO, |b| recovery.on_ack(now, b, true, &mut outcome)).unwrap();
            }
            if recovery.poll_timeout().is_some_and(|due| due <= now)
                && recovery.on_timeout(now, &mut outcome.lost) == Timeout::Probe
            {
                probes += 1;
                let number = recovery.on_sent(now, 30, u64::MAX, None);
                forward.push_back((at + 20, number));
            }
            for content in outcome.acked.drain(..).chain(outcome.lost.drain(..)) {
                if content != u64::MAX {
                    ended[usize::try_from(content).unwrap()] += 1;
                }
            }
            if next == fates.len() && recovery.in_flight() == 0 {
                break;
            }
        }
        prop_assert_eq!(recovery.in_flight(), 0, "nothing hangs, after {} probes", probes);
        prop_assert!(ended.iter().all(|&times| times == 1), "{:?}", ended);
        prop_assert_eq!(recovery.in_flight_bytes(), 0);
    }
}
