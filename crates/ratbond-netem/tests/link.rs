//! The link model, scenario by scenario, in virtual time.

mod common;

use common::{MS, constant_stream, drain};
use ratbond_netem::{Bursts, ConfigError, Distribution, Jitter, Link, LinkConfig, QueueLimit, Reordering};

#[test]
fn a_default_link_is_a_perfect_wire() {
    let mut link = Link::new(LinkConfig::default(), 0).unwrap();
    link.send(7, 1_500, 'a');
    assert_eq!(link.next_deadline(), Some(7));
    assert_eq!(link.poll(7), Some('a'));
    assert_eq!(link.poll(7), None);
    assert_eq!(link.next_deadline(), None);
}

#[test]
fn a_packet_arrives_after_serialization_and_delay_and_not_a_nanosecond_earlier() {
    let config = LinkConfig { rate_bps: 12_000_000, delay_ns: 8 * MS, ..LinkConfig::default() };
    let mut link = Link::new(config, 0).unwrap();
    link.send(0, 1_500, ()); // 1 ms at 12 Mbit/s
    assert_eq!(link.poll(9 * MS - 1), None);
    assert_eq!(link.poll(9 * MS), Some(()));
}

#[test]
fn the_overhead_of_a_packet_takes_its_share_of_the_rate() {
    let config = LinkConfig { rate_bps: 8_000_000, overhead_bytes: 100, ..LinkConfig::default() };
    let mut link = Link::new(config, 0).unwrap();
    link.send(0, 900, ());
    assert_eq!(drain(&mut link), [(MS, ())]);
    assert_eq!(link.stats().delivered_bytes, 900);
}

#[test]
fn small_packets_on_a_fast_link_keep_to_the_rate() {
    // 61 bytes at 10 Gbit/s take 48.8 ns: a rounding of each would be off by 1.6 %.
    let config =
        LinkConfig { rate_bps: 10_000_000_000, queue: QueueLimit::Bytes(u64::MAX), ..LinkConfig::default() };
    let mut link = Link::new(config, 0).unwrap();
    (0..10_000).for_each(|n| link.send(0, 61, n));
    assert_eq!(drain(&mut link).last().map(|(at_ns, _)| *at_ns), Some(488_000));
}

#[test]
fn a_full_queue_drops_the_newest() {
    let config = LinkConfig { rate_bps: 8_000, queue: QueueLimit::Bytes(2_500), ..LinkConfig::default() };
    let mut link = Link::new(config, 0).unwrap();
    ('a'..='d').for_each(|name| link.send(0, 1_000, name));
    assert_eq!(link.stats().queue_dropped_packets, 2);
    assert_eq!(drain(&mut link).into_iter().map(|(_, name)| name).collect::<String>(), "ab");
}

#[test]
fn a_queue_limited_in_time_never_delays_longer_than_that() {
    let config =
        LinkConfig { rate_bps: 8_000_000, queue: QueueLimit::Nanos(50 * MS), ..LinkConfig::default() };
    let mut link = Link::new(config, 0).unwrap();
    (0..1_000).for_each(|n| link.send(0, 1_000, n));
    assert_eq!(drain(&mut link).last().map(|(at_ns, _)| *at_ns), Some(50 * MS));
}

#[test]
fn one_packet_fits_even_into_no_queue() {
    let config = LinkConfig { rate_bps: 8_000, queue: QueueLimit::Bytes(0), ..LinkConfig::default() };
    let mut link = Link::new(config, 0).unwrap();
    link.send(0, 1_500, ());
    assert_eq!(drain(&mut link).len(), 1);
}

#[test]
fn a_change_of_the_rate_holds_for_the_rest_of_the_packet_being_sent() {
    let slow = LinkConfig { rate_bps: 8_000_000, ..LinkConfig::default() };
    let fast = LinkConfig { rate_bps: 80_000_000, ..LinkConfig::default() };
    let mut link = Link::new(slow.clone(), 0).unwrap();
    link.send(0, 1_000, 'a'); // would take 1 ms
    link.send(0, 1_000, 'b');
    link.reconfigure(MS / 2, fast).unwrap(); // half of a is out; the rest takes 50 us, b 100 us
    assert_eq!(drain(&mut link), [(550_000, 'a'), (650_000, 'b')]);

    link.send(MS, 1_000, 'c');
    link.reconfigure(MS, LinkConfig { rate_bps: 0, ..slow }).unwrap();
    assert_eq!(link.poll(MS), Some('c'));
}

#[test]
fn a_larger_packet_than_the_mtu_vanishes() {
    let mut link = Link::new(LinkConfig { mtu_bytes: 1_400, ..LinkConfig::default() }, 0).unwrap();
    link.send(0, 1_401, 'x');
    link.send(0, 1_400, 'y');
    assert_eq!(drain(&mut link), [(0, 'y')]);
    assert_eq!(link.stats().oversize_packets, 1);
}

#[test]
fn a_blackhole_takes_what_is_queued_and_spares_what_is_on_the_wire() {
    let config = LinkConfig { rate_bps: 8_000_000, delay_ns: 10 * MS, ..LinkConfig::default() };
    let mut link = Link::new(config.clone(), 0).unwrap();
    ('a'..='c').for_each(|name| link.send(0, 1_000, name)); // a leaves after 1 ms
    link.reconfigure(3 * MS / 2, LinkConfig { blackhole: true, ..config.clone() }).unwrap();
    assert_eq!(drain(&mut link), [(11 * MS, 'a')]);
    assert_eq!(link.stats().blackholed_packets, 2);
    link.reconfigure(20 * MS, config).unwrap();
    link.send(20 * MS, 1_000, 'd');
    assert_eq!(drain(&mut link), [(31 * MS, 'd')]);
}

#[test]
fn an_invalid_value_is_refused_and_changes_nothing() {
    let bad = LinkConfig { loss: 1.5, ..LinkConfig::default() };
    assert_eq!(Link::<()>::new(bad.clone(), 0).err(), Some(ConfigError::Probability("loss", 1.5)));
    let mut link = Link::<()>::new(LinkConfig::default(), 0).unwrap();
    assert!(link.reconfigure(0, bad).is_err());
    assert!(link.reconfigure(0, LinkConfig { duplication: f64::NAN, ..LinkConfig::default() }).is_err());
    assert_eq!(*link.config(), LinkConfig::default());
}

#[test]
fn independent_loss_hits_its_rate() {
    let config = LinkConfig { loss: 0.05, ..LinkConfig::default() };
    let arrived = constant_stream(config, 100_000, MS).len();
    assert!((94_600..=95_400).contains(&arrived), "{arrived}"); // 95,000 +- 5.8 sigma
}

#[test]
fn bursty_loss_hits_its_rate_and_its_burst_length() {
    let config = LinkConfig { bursts: Some(Bursts::from_mean(0.02, 8.0)), ..LinkConfig::default() };
    let arrived: Vec<u32> = constant_stream(config, 400_000, MS).into_iter().map(|(_, n)| n).collect();
    let gaps: Vec<u32> =
        arrived.windows(2).map(|pair| pair[1] - pair[0] - 1).filter(|gap| *gap > 0).collect();
    let lost = 400_000 - arrived.len();
    let mean_burst = f64::from(gaps.iter().sum::<u32>()) / gaps.len() as f64;
    assert!((6_800..=9_200).contains(&lost), "{lost} of 400,000 lost");
    assert!((7.0..=9.0).contains(&mean_burst), "{mean_burst} packets a burst");
}

#[test]
fn duplication_hits_its_rate_and_the_copy_is_right_behind() {
    let config = LinkConfig { duplication: 0.1, delay_ns: MS, ..LinkConfig::default() };
    let arrived = constant_stream(config, 10_000, MS);
    let copies = arrived.windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert_eq!(arrived.len(), 10_000 + copies);
    assert!((850..=1_150).contains(&copies), "{copies}");
}

#[test]
fn a_reordered_packet_is_held_back_while_others_pass() {
    let reordering = Some(Reordering { probability: 0.1, held_back_ns: 10 * MS });
    let config = LinkConfig { reordering, delay_ns: 5 * MS, ..LinkConfig::default() };
    let arrived = constant_stream(config, 10_000, MS);
    let held_back = arrived.iter().filter(|(at_ns, n)| *at_ns == u64::from(*n) * MS + 15 * MS).count();
    let in_time = arrived.iter().filter(|(at_ns, n)| *at_ns == u64::from(*n) * MS + 5 * MS).count();
    assert_eq!(held_back + in_time, 10_000);
    assert!((850..=1_150).contains(&held_back), "{held_back}");
    assert!(arrived.windows(2).any(|pair| pair[0].1 > pair[1].1));
}

#[test]
fn jitter_stays_within_its_distribution_and_keeps_the_mean_delay() {
    for (distribution, mean_ms, least_ms, most_ms) in [
        (Distribution::Uniform, 20.0, 16, 24),
        (Distribution::Normal, 20.0, 4, 34),
        (Distribution::Exponential, 24.0, 20, 52),
    ] {
        let jitter = Jitter { distribution, size_ns: 4 * MS, reorders: false };
        let config = LinkConfig { delay_ns: 20 * MS, jitter, ..LinkConfig::default() };
        // 5 packets a millisecond: an independent draw per packet, put in order, would sit at the top.
        let arrived = constant_stream(config, 200_000, MS / 5);
        let delays = arrived.iter().map(|(at_ns, n)| at_ns - u64::from(*n) * MS / 5);
        let sum_ns: u64 = delays.clone().sum();
        let observed_mean_ms = sum_ns as f64 / arrived.len() as f64 / MS as f64;
        assert!((observed_mean_ms - mean_ms).abs() < 0.8, "{distribution:?}: {observed_mean_ms} ms");
        assert!(delays.clone().min() >= Some(least_ms * MS), "{distribution:?}");
        assert!(delays.clone().max() <= Some(most_ms * MS), "{distribution:?}");
        assert!(delays.max() > Some((mean_ms as u64 + 3) * MS), "{distribution:?} does not vary");
    }
}

#[test]
fn jitter_that_may_reorder_does() {
    let jitter = Jitter { distribution: Distribution::Uniform, size_ns: 4 * MS, reorders: true };
    let arrived =
        constant_stream(LinkConfig { delay_ns: 20 * MS, jitter, ..LinkConfig::default() }, 10_000, MS);
    let overtakers = arrived.windows(2).filter(|pair| pair[0].1 > pair[1].1).count();
    assert!(overtakers > 1_000, "{overtakers}");
}

#[test]
fn a_shorter_delay_lets_no_packet_overtake() {
    let far = LinkConfig { delay_ns: 100 * MS, ..LinkConfig::default() };
    let near = LinkConfig { delay_ns: MS, ..LinkConfig::default() };
    let mut link = Link::new(far, 0).unwrap();
    link.send(0, 100, 'a');
    link.reconfigure(MS, near).unwrap();
    link.send(MS, 100, 'b');
    assert_eq!(drain(&mut link), [(100 * MS, 'a'), (100 * MS, 'b')]);
}
