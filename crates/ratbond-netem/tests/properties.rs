//! What must hold for every link and every traffic.

mod common;

use common::{MS, drain};
use proptest::prelude::*;
use ratbond_netem::{Bursts, Distribution, Jitter, Link, LinkConfig, QueueLimit, Reordering};

#[derive(Clone, Debug)]
enum Step {
    Send { size_bytes: u32 },
    Wait { ns: u64 },
    Reconfigure(Box<LinkConfig>),
}

fn any_config() -> impl Strategy<Value = LinkConfig> {
    let queue =
        prop_oneof![(0..200_000_u64).prop_map(QueueLimit::Bytes), (0..200 * MS).prop_map(QueueLimit::Nanos)];
    let distribution =
        prop_oneof![Just(Distribution::Uniform), Just(Distribution::Normal), Just(Distribution::Exponential)];
    let jitter = (distribution, 0..20 * MS, any::<bool>())
        .prop_map(|(distribution, size_ns, reorders)| Jitter { distribution, size_ns, reorders });
    let bursts =
        proptest::option::of((0.0..0.5, 1.0..20.0).prop_map(|(loss, len)| Bursts::from_mean(loss, len)));
    let reordering = proptest::option::of((0.0..=1.0, 0..50 * MS))
        .prop_map(|o| o.map(|(probability, held_back_ns)| Reordering { probability, held_back_ns }));
    let rate_bps = prop_oneof![Just(0), 10_000..10_000_000_000_u64];
    (
        (rate_bps, 0..100_u32, queue, 0..200 * MS, jitter),
        (
            0.0..=1.0,
            bursts,
            reordering,
            0.0..=1.0,
            prop_oneof![Just(0), 100..1_500_u32],
            prop::bool::weighted(0.1),
        ),
    )
        .prop_map(
            |(
                (rate_bps, overhead_bytes, queue, delay_ns, jitter),
                (loss, bursts, reordering, duplication, mtu_bytes, blackhole),
            )| LinkConfig {
                rate_bps,
                overhead_bytes,
                queue,
                delay_ns,
                jitter,
                loss,
                bursts,
                reordering,
                duplication,
                mtu_bytes,
                blackhole,
            },
        )
}

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1..1_500_u32).prop_map(|size_bytes| Step::Send { size_bytes }),
        4 => (0..5 * MS).prop_map(|ns| Step::Wait { ns }),
        1 => any_config().prop_map(|config| Step::Reconfigure(Box::new(config))),
    ];
    proptest::collection::vec(step, 0..200)
}

/// Takes the steps, polling whenever the link asks for it, and says what arrived when.
fn run(link: &mut Link<u32>, steps: &[Step]) -> Vec<(u64, u32)> {
    let (mut now_ns, mut next_number, mut arrived) = (0, 0, Vec::new());
    for step in steps {
        match step {
            Step::Send { size_bytes } => {
                link.send(now_ns, *size_bytes, next_number);
                next_number += 1;
            }
            Step::Wait { ns } => {
                let until_ns = now_ns + ns;
                while let Some(due_ns) = link.next_deadline().filter(|due_ns| *due_ns <= until_ns) {
                    now_ns = now_ns.max(due_ns);
                    arrived.extend(std::iter::from_fn(|| link.poll(now_ns)).map(|packet| (now_ns, packet)));
                }
                now_ns = until_ns;
            }
            Step::Reconfigure(config) => {
                link.reconfigure(now_ns, *config.clone()).expect("a valid configuration")
            }
        }
    }
    arrived.extend(drain(link));
    arrived
}

/// Without anything that reorders.
fn in_order(config: LinkConfig) -> LinkConfig {
    LinkConfig { reordering: None, jitter: Jitter { reorders: false, ..config.jitter }, ..config }
}

proptest! {
    #[test]
    fn every_packet_is_accounted_for(config in any_config(), steps in any_steps(), seed: u64) {
        let mut link = Link::new(config, seed).unwrap();
        let arrived = run(&mut link, &steps);
        let stats = link.stats();
        prop_assert_eq!(stats.delivered_packets, arrived.len() as u64);
        prop_assert_eq!(stats.queued_packets + stats.in_flight_packets + stats.queued_bytes, 0);
        prop_assert_eq!(
            stats.sent_packets + stats.duplicated_packets,
            stats.delivered_packets + stats.oversize_packets + stats.queue_dropped_packets + stats.lost_packets
                + stats.blackholed_packets
        );
    }

    #[test]
    fn the_same_seed_gives_the_same_network(config in any_config(), steps in any_steps(), seed: u64) {
        let mut first = Link::new(config.clone(), seed).unwrap();
        let mut second = Link::new(config, seed).unwrap();
        prop_assert_eq!(run(&mut first, &steps), run(&mut second, &steps));
    }

    #[test]
    fn nothing_overtakes_unless_it_is_told_to(config in any_config(), steps in any_steps(), seed: u64) {
        let steps: Vec<Step> = steps
            .into_iter()
            .map(|step| match step {
                Step::Reconfigure(config) => Step::Reconfigure(Box::new(in_order(*config))),
                other => other,
            })
            .collect();
        let arrived = run(&mut Link::new(in_order(config), seed).unwrap(), &steps);
        prop_assert!(arrived.is_sorted_by(|earlier, later| earlier.1 <= later.1));
    }

    #[test]
    fn a_busy_link_keeps_to_its_rate(rate_bps in 10_000..10_000_000_000_u64, sizes in proptest::collection::vec(40..1_500_u32, 100..300)) {
        let config = LinkConfig { rate_bps, queue: QueueLimit::Bytes(u64::MAX), ..LinkConfig::default() };
        let mut link = Link::new(config, 0).unwrap();
        sizes.iter().for_each(|size_bytes| link.send(0, *size_bytes, ()));
        let busy_ns = drain(&mut link).last().map_or(0, |(at_ns, ())| *at_ns);
        let bits: u64 = sizes.iter().map(|size_bytes| u64::from(*size_bytes) * 8).sum();
        let observed_bps = bits as f64 * 1e9 / busy_ns as f64;
        prop_assert!((observed_bps / rate_bps as f64 - 1.0).abs() < 0.001, "{} instead of {}", observed_bps, rate_bps);
    }

    #[test]
    fn the_deadline_is_exact_when_nothing_is_random(rate_bps in 10_000..10_000_000_000_u64, delay_ns in 0..200 * MS, sizes in proptest::collection::vec(40..1_500_u32, 1..50)) {
        let config = LinkConfig { rate_bps, delay_ns, queue: QueueLimit::Bytes(u64::MAX), ..LinkConfig::default() };
        let mut link = Link::new(config, 0).unwrap();
        sizes.iter().for_each(|size_bytes| link.send(0, *size_bytes, ()));
        while let Some(due_ns) = link.next_deadline() {
            prop_assert_eq!(link.poll(due_ns - 1), None);
            prop_assert_eq!(link.poll(due_ns), Some(()));
        }
    }
}
