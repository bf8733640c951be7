//! Everything over every link, the first copy counts; in virtual time.

use std::time::Duration;

use ratbond_netem::LinkConfig;
use ratbond_proto::Role;
use ratbond_proto::scheduler::SchedulerKind;
use ratbond_sim::scenario::{link, lossy};
use ratbond_sim::tcp::Algorithm;
use ratbond_sim::trial::Trial;

const FOREVER: Duration = Duration::from_secs(1 << 20);

fn trial(links: &[LinkConfig], seed: u64) -> Trial {
    let both: Vec<_> = links.iter().map(|link| [link.clone(), link.clone()]).collect();
    Trial::new(SchedulerKind::Redundant, &both, &[], seed)
}

#[test]
fn two_links_that_lose_5_percent_lose_together_what_both_lose_and_the_faster_copy_counts() {
    let (mut sent, mut lost, mut late) = (0, 0, 0);
    for seed in 0..4 {
        let mut trial = trial(&[lossy(0.05, link(20, 40)), lossy(0.05, link(20, 60))], seed);
        let stop = Duration::from_secs(30);
        trial.add_stream(Role::Server, Duration::from_millis(5), 200, Duration::ZERO, stop);
        trial.advance(Duration::from_secs(32));
        let load = trial.loads().next().unwrap();
        assert_eq!(load.duplicates, 0);
        sent += load.datagrams.len();
        lost += load.datagrams.iter().filter(|(_, delay)| delay.is_none()).count();
        let beyond = |delay: &Duration| *delay > Duration::from_millis(34);
        late += load.datagrams.iter().filter_map(|(_, delay)| *delay).filter(beyond).count();
        let both: Vec<u64> = trial.links().map(|link| link.down.iter().sum()).collect();
        assert!(both[0].abs_diff(both[1]) * 5 < both[0], "{both:?}: each carries everything");
    }
    assert!(lost * 1_000 <= sent * 3, "{lost} of {sent}");
    // Lost on both: only a repair brings it.
    assert!(late * 1_000 <= sent * 4, "{late} of {sent} took longer than the slower link");
}

#[test]
fn a_blackholed_link_is_not_felt_at_all() {
    let mut trial = trial(&[link(20, 40), link(20, 44)], 1);
    trial.add_stream(Role::Client, Duration::from_millis(5), 200, Duration::ZERO, Duration::from_secs(9));
    trial.advance(Duration::from_secs(4));
    trial.pair.blackhole(0, true);
    trial.advance(Duration::from_secs(10));
    let load = trial.loads().next().unwrap();
    let worst = load.datagrams.iter().map(|(_, delay)| delay.unwrap()).max().unwrap();
    assert!(worst < Duration::from_millis(30), "{worst:?}");
}

#[test]
fn a_download_is_as_fast_as_one_link_and_beside_a_slower_one_as_the_faster() {
    for (links, at_least) in [([link(20, 20), link(20, 20)], 16.0), ([link(40, 20), link(5, 60)], 33.0)] {
        let mut trial = trial(&links, 2);
        trial.add_transfers(Role::Server, 4, Algorithm::Cubic, (Duration::ZERO, FOREVER));
        trial.advance(Duration::from_secs(12));
        let load = trial.loads().next().unwrap();
        let mbps = load.seconds[5..].iter().sum::<u64>() as f64 * 8e-6 / 7.0;
        assert!(mbps > at_least, "{mbps:.1} Mbit/s");
    }
}
