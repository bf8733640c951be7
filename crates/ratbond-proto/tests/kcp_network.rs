//! A conversation over bad networks, in virtual time: nothing is lost, nothing comes twice, all is in order.

#![allow(clippy::unwrap_used, reason = "tests")]

mod kcp_support;

use std::time::Duration;

use kcp_support::{CONV, End, Ours, Pair, ms};
use proptest::prelude::*;
use ratbond_netem::{Bursts, Distribution, Jitter, LinkConfig, QueueLimit, Reordering};
use ratbond_proto::kcp::config::Mode;
use ratbond_proto::kcp::segment::{Cmd, Segments};
use ratbond_proto::kcp::{Config, Kcp};
use ratbond_proto::{PacketPool, Time};

/// Header and mean payload of [`kcp_support::message`].
const MEAN_SEGMENT_BYTES: u64 = 24 + 654;
const COUNT: u32 = 2_000;
const LIMIT: Duration = Duration::from_secs(600);

fn link() -> LinkConfig {
    LinkConfig { rate_bps: 50_000_000, delay_ns: ms(10), ..LinkConfig::default() }
}

fn assert_exchange(pair: &mut Pair<Ours, Ours>, count: u32) {
    let (read_b, read_a) = pair.exchange(count, LIMIT);
    let expected: Vec<_> = (0..count).collect();
    assert!(read_b == expected, "b read {} of {count}", read_b.len());
    assert!(read_a == expected, "a read {} of {count}", read_a.len());
}

#[test]
fn a_clean_link_repeats_nothing() {
    let mut pair = Pair::ours(Config::default(), LinkConfig { rate_bps: 0, ..link() }, 1);
    assert_exchange(&mut pair, COUNT);
    for stats in [pair.a.kcp.stats(), pair.b.kcp.stats()] {
        assert_eq!((stats.retransmits, stats.duplicates_received, stats.malformed), (0, 0, 0));
    }
}

#[test]
fn loss_up_to_30_percent_loses_nothing() {
    for percent in [1_u8, 5, 10, 20, 30] {
        let lossy = LinkConfig { loss: f64::from(percent) / 100.0, ..link() };
        let mut pair = Pair::ours(Config::default(), lossy, percent.into());
        assert_exchange(&mut pair, COUNT);
    }
}

#[test]
fn bursts_of_loss_lose_nothing() {
    let lossy = LinkConfig { bursts: Some(Bursts::from_mean(0.1, 30.0)), ..link() };
    assert_exchange(&mut Pair::ours(Config::default(), lossy, 7), COUNT);
}

#[test]
fn reordering_is_put_in_order() {
    let reordering = Reordering { probability: 0.2, held_back_ns: ms(8) };
    let mut pair = Pair::ours(Config::default(), LinkConfig { reordering: Some(reordering), ..link() }, 3);
    assert_exchange(&mut pair, COUNT);
}

#[test]
fn a_path_that_reorders_is_soon_not_taken_for_one_that_loses() {
    // Held back for longer than the first window, a quarter of the least round trip: a few repeats are needless.
    let reordering = Reordering { probability: 0.2, held_back_ns: ms(8) };
    let mut pair = Pair::ours(Config::default(), LinkConfig { reordering: Some(reordering), ..link() }, 3);
    pair.b_to_a.reconfigure(0, link()).unwrap();
    // Less than path and queue hold: nothing is lost.
    let limit = 200 * MEAN_SEGMENT_BYTES;
    pair.a.kcp.set_in_flight_limit(limit);
    pair.b.kcp.set_in_flight_limit(limit);
    assert_exchange(&mut pair, 4 * COUNT);
    let (sent, arrived) = (pair.a.kcp.stats(), pair.b.kcp.stats());
    println!("{} duplicates, {} known of", arrived.duplicates_received, sent.spurious_retransmits);
    assert_eq!(sent.retransmits, arrived.duplicates_received, "nothing was lost");
    assert!((1..80).contains(&sent.retransmits), "{} needless repeats", sent.retransmits);
    assert!(sent.spurious_retransmits > sent.retransmits / 2, "{} known of", sent.spurious_retransmits);
}

#[test]
fn jitter_that_overtakes_is_put_in_order() {
    let jitter = Jitter { distribution: Distribution::Exponential, size_ns: ms(5), reorders: true };
    assert_exchange(&mut Pair::ours(Config::default(), LinkConfig { jitter, ..link() }, 4), COUNT);
}

#[test]
fn what_the_network_duplicates_is_read_once() {
    let mut pair = Pair::ours(Config::default(), LinkConfig { duplication: 0.5, ..link() }, 5);
    assert_exchange(&mut pair, COUNT);
    assert!(pair.b.kcp.stats().duplicates_received > 0);
}

#[test]
fn everything_at_once_loses_nothing() {
    let bad = LinkConfig {
        loss: 0.1,
        duplication: 0.1,
        reordering: Some(Reordering { probability: 0.1, held_back_ns: ms(15) }),
        jitter: Jitter { distribution: Distribution::Normal, size_ns: ms(3), reorders: true },
        ..link()
    };
    assert_exchange(&mut Pair::ours(Config::default(), bad, 6), COUNT);
}

#[test]
fn sequence_numbers_and_clock_wrap_around_under_loss() {
    // Both wraps lie within the first quarter of a second.
    let config = Config { first_sn: u32::MAX - 700, ..Config::default() };
    let begin = Time::from_millis(u64::from(u32::MAX) - 150);
    let lossy = LinkConfig { loss: 0.1, ..link() };
    let mut pair = Pair::ours_at(begin, config, lossy, 8);
    assert_exchange(&mut pair, COUNT);
    assert!(pair.now > Time::from_millis(u64::from(u32::MAX)));
    let round_trips: Vec<_> = pair.a.summaries.iter().filter_map(|summary| summary.rtt).collect();
    assert!(round_trips.len() > 100, "{} round trips measured", round_trips.len());
    assert!(round_trips.iter().all(|rtt| *rtt < Duration::from_secs(2)), "the wrap spoiled a round trip");
}

#[test]
fn messages_of_many_fragments_come_whole() {
    let config = Config { mode: Mode::Message, mtu: 124, ..Config::default() };
    let lossy = LinkConfig { loss: 0.05, ..link() };
    assert_exchange(&mut Pair::ours(config, lossy, 9), 200);
}

#[test]
fn a_reader_that_stops_closes_the_window_and_opens_it_again() {
    let config = Config { receive_window: 32, ..Config::default() };
    let mut pair = Pair::ours(config, link(), 10);
    for index in 0..100 {
        pair.a.send(&kcp_support::message(index));
    }
    pair.run(Duration::from_secs(30));
    assert_eq!(pair.a.kcp.waiting(), 100 - 32);
    let stats = pair.a.kcp.stats();
    assert!((5..20).contains(&stats.probes_sent), "{} probes in 30 s", stats.probes_sent);
    assert_eq!(stats.retransmits, 0);
    let mut read = 0;
    while read < 100 {
        read += std::iter::from_fn(|| pair.b.recv()).count();
        let before = pair.now;
        pair.run(Duration::from_millis(25));
        assert!(before < Time::from_millis(31_000), "the window stayed closed");
    }
}

#[test]
fn a_lost_word_of_the_open_window_is_asked_for() {
    let config = Config { receive_window: 8, ..Config::default() };
    let mut pair = Pair::ours(config, link(), 11);
    for index in 0..16 {
        pair.a.send(&kcp_support::message(index));
    }
    pair.run(Duration::from_millis(300));
    let hole = LinkConfig { blackhole: true, ..link() };
    pair.b_to_a.reconfigure(pair.now.as_nanos(), hole).unwrap();
    assert_eq!(std::iter::from_fn(|| pair.b.recv()).count(), 8);
    pair.run(Duration::from_millis(100));
    pair.b_to_a.reconfigure(pair.now.as_nanos(), link()).unwrap();
    pair.run(Duration::from_secs(2));
    assert_eq!(std::iter::from_fn(|| pair.b.recv()).count(), 8);
}

#[test]
fn a_lost_tail_is_sent_again_by_timeout() {
    let mut pair = Pair::ours(Config::default(), link(), 12);
    assert_exchange(&mut pair, 50);
    let hole = LinkConfig { blackhole: true, ..link() };
    pair.a_to_b.reconfigure(pair.now.as_nanos(), hole).unwrap();
    pair.a.send(b"tail");
    pair.run(Duration::from_millis(50));
    pair.a_to_b.reconfigure(pair.now.as_nanos(), link()).unwrap();
    pair.run(Duration::from_millis(200));
    assert_eq!(pair.b.recv().as_deref(), Some(&b"tail"[..]));
    assert_eq!(pair.a.kcp.stats().timeout_losses, 1);
}

#[test]
fn a_dead_link_is_probed_not_flooded_and_recovers_within_a_round_trip() {
    let mut pair = Pair::ours(Config::default(), link(), 13);
    assert_exchange(&mut pair, 200);
    let hole = LinkConfig { blackhole: true, ..link() };
    pair.a_to_b.reconfigure(pair.now.as_nanos(), hole).unwrap();
    for index in 0..500 {
        pair.a.send(&kcp_support::message(index));
    }
    pair.run(Duration::from_secs(5));
    let during = pair.a.kcp.stats();
    assert!(during.retransmits < 500 + 40, "{} repeats into a dead link", during.retransmits);
    pair.a_to_b.reconfigure(pair.now.as_nanos(), link()).unwrap();
    while pair.b.kcp.stats().pushes_received < 201 {
        pair.run(Duration::from_millis(1));
    }
    pair.run(Duration::from_millis(500));
    assert_eq!(pair.a.kcp.waiting(), 0);
}

#[test]
fn what_a_dead_link_held_is_handed_back_in_order_once() {
    let mut pair = Pair::ours(Config::default(), link(), 14);
    assert_exchange(&mut pair, 100);
    let hole = LinkConfig { blackhole: true, ..link() };
    for index in 0..30 {
        pair.a.send(&kcp_support::message(index));
    }
    // Some have left the bottleneck by then, most have not.
    pair.run(Duration::from_millis(2));
    pair.a_to_b.reconfigure(pair.now.as_nanos(), hole).unwrap();
    for index in 30..2_000 {
        pair.a.send(&kcp_support::message(index));
    }
    pair.run(Duration::from_secs(1));
    let mut arrived: Vec<Vec<u8>> = std::iter::from_fn(|| pair.b.recv()).collect();
    assert!((1..30).contains(&arrived.len()), "{} arrived before the link died", arrived.len());
    arrived.extend(pair.a.kcp.into_unacknowledged().map(|packet| packet.as_slice().to_vec()));
    let expected: Vec<_> = (0..2_000).map(kcp_support::message).collect();
    assert!(arrived == expected, "{} messages, not 2,000 in order", arrived.len());
}

#[test]
fn a_pile_of_acks_that_is_lost_costs_no_data() {
    let mut pair = Pair::ours(Config::default(), LinkConfig { loss: 0.0, ..link() }, 15);
    let deaf = LinkConfig { loss: 0.6, ..link() };
    pair.b_to_a.reconfigure(0, deaf).unwrap();
    let mut sent = 0;
    let mut read = 0;
    while read < COUNT {
        while sent < COUNT && pair.a.has_room() {
            pair.a.send(&kcp_support::message(sent));
            sent += 1;
        }
        assert!(pair.step(Time::ZERO + LIMIT), "stalled after {read}");
        read += std::iter::from_fn(|| pair.b.recv()).count() as u32;
    }
    assert_eq!(pair.b.recv(), None);
}

#[test]
fn the_in_flight_limit_is_kept() {
    let mut pair = Pair::ours(Config::default(), LinkConfig { loss: 0.05, ..link() }, 16);
    // A segment goes while less than the limit is in flight.
    let limit = 10 * MEAN_SEGMENT_BYTES;
    pair.a.kcp.set_in_flight_limit(limit);
    for index in 0..500 {
        pair.a.send(&kcp_support::message(index));
    }
    while pair.a.kcp.waiting() > 0 {
        pair.step(Time::ZERO + LIMIT);
        assert!(pair.a.kcp.stats().in_flight_bytes < limit + 1_360);
        while pair.b.recv().is_some() {}
    }
}

#[test]
fn the_delivery_rate_of_a_bottleneck_is_measured() {
    let slow = LinkConfig { rate_bps: 8_000_000, queue: QueueLimit::Nanos(ms(500)), ..link() };
    let mut pair = Pair::ours(Config::default(), slow, 17);
    // More than the path holds (20 ms at 8 Mbit/s: 15 packets), less than its queue.
    pair.a.kcp.set_in_flight_limit(100 * 1_360);
    let end = Time::from_millis(5_000);
    let mut index = 0;
    loop {
        while pair.a.has_room() {
            pair.a.send(&[index as u8; 1_336]);
            index += 1;
        }
        if !pair.step(end) {
            break;
        }
        while pair.b.recv().is_some() {}
    }
    let sample = pair.a.summaries.iter().rev().find_map(|summary| summary.rate).unwrap();
    // Of 1,388 bytes on the wire 1,360 are the segment.
    let expected = 8_000_000 * 1_360 / 1_388;
    assert!(sample.rate_bps().abs_diff(expected) < expected / 50, "{} bit/s", sample.rate_bps());
    assert!(!sample.app_limited);
}

#[test]
fn acks_wait_two_milliseconds_for_company_and_una_speaks_for_most() {
    let mut a = Kcp::new(CONV, Config::default(), Time::ZERO);
    let mut b = Kcp::new(CONV, Config::default(), Time::ZERO);
    let mut pool = PacketPool::new(16);
    for index in 0..10 {
        a.send(kcp_support::packet(&[index])).unwrap();
    }
    let mut datagram = Vec::new();
    a.poll_transmit(Time::ZERO, &mut datagram);
    assert_eq!(Segments::new(&datagram).count(), 10, "small segments share a datagram");
    b.input(Time::ZERO, &datagram, &mut pool);
    datagram.clear();
    assert_eq!(b.poll_transmit(Time::from_micros(1_999), &mut datagram), 0);
    assert_eq!(b.poll_timeout(), Some(Time::from_millis(2)));
    b.poll_transmit(Time::from_millis(2), &mut datagram);
    let acks: Vec<_> = Segments::new(&datagram).map(|segment| segment.unwrap().header).collect();
    assert_eq!(acks.len(), 1);
    assert_eq!((acks[0].cmd, acks[0].sn, acks[0].una), (Cmd::Ack, 9, 10));
    assert_eq!(b.poll_timeout(), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn on_any_network_nothing_is_lost_and_nothing_comes_twice(
        seed: u64,
        loss in 0.0..0.3,
        duplication in 0.0..0.3,
        reordered in 0.0..0.3,
        delay_us in 0_u64..120_000,
        jitter_us in 0_u64..30_000,
        rate_kbps in 500_u64..200_000,
        send_window in 4_u16..2_000,
        receive_window in 4_u16..2_000,
        first_sn: u32,
        begin_ms in prop_oneof![Just(0_u64), 4_294_960_000_u64..4_294_970_000],
    ) {
        let network = LinkConfig {
            rate_bps: rate_kbps * 1_000,
            delay_ns: delay_us * 1_000,
            jitter: Jitter { distribution: Distribution::Uniform, size_ns: jitter_us * 1_000, reorders: true },
            loss,
            duplication,
            reordering: Some(Reordering { probability: reordered, held_back_ns: jitter_us * 2_000 }),
            ..LinkConfig::default()
        };
        let config = Config { send_window, receive_window, first_sn, ..Config::default() };
        let mut pair = Pair::ours_at(Time::from_millis(begin_ms), config, network, seed);
        assert_exchange(&mut pair, 300);
    }
}
