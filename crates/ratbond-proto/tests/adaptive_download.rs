//! One download uses every link: the scenarios of the benchmarks in virtual time.

use std::time::Duration;

use ratbond_netem::LinkConfig;
use ratbond_proto::scheduler::SchedulerKind;
use ratbond_sim::pair::Pair;
use ratbond_sim::scenario::{
    Outcome, bad_link, bloat, bound, connected, dsl_lte, equal, four, idle_rtt, lossy_both, redraw,
    redrawn_bound, redrawn_bps, run, run_flows, satellite, varying, wandering,
};
use ratbond_sim::tcp::{Algorithm, BOND_PACKET_BYTES, Tcp};

fn downloads(links: &[LinkConfig], count: u16, seconds: usize, seed: u64) -> Outcome {
    run(&mut connected(SchedulerKind::Adaptive, links, seed), count, seconds, |_, _| {})
}

/// So many downloads reach `share` of what the links could deliver from a second on, and a ping beside them takes at most
/// `extra_ms` longer than on idle links.
fn assert_used(links: &[LinkConfig], count: u16, (seconds, from): (usize, usize), share: f64, extra_ms: u64) {
    let outcome = downloads(links, count, seconds, 1);
    let used = outcome.share_from(from, bound(links));
    assert!(used >= share, "{count} downloads use {used:.3} of the bound: {:?}", outcome.seconds);
    let extra = outcome.ping_p99_from(from as f64).saturating_sub(idle_rtt(links));
    assert!(
        extra <= Duration::from_millis(extra_ms),
        "a ping takes {extra:?} longer beside {count} downloads"
    );
}

#[test]
fn one_download_fills_two_equal_links() {
    assert_used(&equal(), 1, (8, 3), 0.98, 20);
}

#[test]
fn six_downloads_fill_two_equal_links() {
    assert_used(&equal(), 6, (8, 3), 0.98, 20);
}

/// Repairs alone would make HyStart leave its slow start in the first second, at 6 to 12 Mbit/s, and a ping wait for them.
#[test]
fn one_download_grows_fast_on_lossy_links_and_a_ping_beside_it_meets_no_repair() {
    // Where HyStart leaves is chance, at 12 Mbit/s or at twice that again and again, so that one run says little.
    let outcomes: Vec<_> = (1..=11).map(|seed| downloads(&lossy_both(), 1, 6, seed)).collect();
    let mut used: Vec<_> =
        outcomes.iter().map(|outcome| outcome.share_from(1, bound(&lossy_both()))).collect();
    used.sort_by(f64::total_cmp);
    assert!(used[5] >= 0.40, "shares of the bound: {used:.3?}");
    for outcome in &outcomes {
        let extra = outcome.ping_p99_from(1.0).saturating_sub(idle_rtt(&lossy_both()));
        assert!(extra <= Duration::from_millis(25), "a ping takes {extra:?} longer beside it");
    }
}

/// While a repair is under way nothing is delivered or acknowledged: what stands in the queue has to last for as long.
#[test]
fn one_download_keeps_lossy_links_busy_while_it_waits_for_repairs() {
    assert_used(&lossy_both(), 1, (24, 12), 0.95, 25);
    assert_used(&dsl_lte(), 1, (24, 12), 0.97, 25);
}

/// The far link is found to be fast though a probe of it takes a round trip to tell, and is not taken for a lossy one when its
/// queue ran over meanwhile.
#[test]
fn six_downloads_fill_a_near_link_and_one_by_satellite() {
    assert_used(&satellite(), 6, (34, 22), 0.93, 40);
}

/// A delay that wanders is no queue: a link that took it for one would send less and less.
#[test]
fn downloads_go_on_over_links_whose_delay_wanders() {
    for seed in 1..=3 {
        let outcome = downloads(&wandering(), 6, 24, seed);
        let used = outcome.share_from(12, bound(&wandering()));
        assert!(used >= 0.9, "seed {seed}: {used:.3} of the bound: {:?}", outcome.seconds);
        let extra = outcome.ping_p99_from(12.0).saturating_sub(idle_rtt(&wandering()));
        assert!(extra <= Duration::from_millis(60), "seed {seed}: a ping takes {extra:?} longer");
    }
}

/// BBR keeps no backlog, but between links of one delay it needs none. Every ten seconds it looks at the bare round trip, which costs it a
/// fifth of a second.
#[test]
fn downloads_with_bbr_fill_equal_links() {
    for count in [1, 6] {
        let flows = (0..count)
            .map(|flow| Tcp::with_packets(flow, BOND_PACKET_BYTES).with_congestion(Algorithm::Bbr))
            .collect();
        let mut pair = connected(SchedulerKind::Adaptive, &equal(), 1);
        let outcome = run_flows(&mut pair, flows, 20, |_, _| {});
        let used = outcome.share_from(3, bound(&equal()));
        assert!(used >= 0.96, "{count} downloads use {used:.3} of the bound: {:?}", outcome.seconds);
        let extra = outcome.ping_p99_from(3.0).saturating_sub(idle_rtt(&equal()));
        assert!(extra <= Duration::from_millis(20), "a ping takes {extra:?} longer");
    }
}

/// No rate is above 60 Mbit/s or below 5, and each holds for 5 s.
#[test]
fn rates_that_change_are_followed_by_a_download_with_a_backlog_or_without() {
    for (count, share) in [(1, 0.92), (6, 0.95)] {
        for seed in 1..=4 {
            let mut pair = connected(SchedulerKind::Adaptive, &varying(), seed);
            let outcome = run(&mut pair, count, 40, |pair, second| redraw(pair, seed, second));
            let used = outcome.share_from(8, redrawn_bound(seed, 8..40));
            assert!(used >= share, "{count} downloads, seed {seed}: {used:.3} of the bound");
            let extra = outcome.ping_p99_from(8.0).saturating_sub(idle_rtt(&varying()));
            assert!(
                extra <= Duration::from_millis(60),
                "{count} downloads, seed {seed}: a ping takes {extra:?} longer"
            );
        }
    }
}

#[test]
fn a_download_over_clean_links_is_hardly_sent_twice() {
    let mut pair = connected(SchedulerKind::Adaptive, &equal(), 3);
    let outcome = run(&mut pair, 1, 8, |_, _| {});
    let stats = pair.server.endpoint.reports().remove(0).stats;
    let delivered = outcome.seconds.iter().sum::<f64>() / 8.0;
    assert!(stats.doubled_bytes < 600_000 && delivered > 80e6, "{} of {delivered}", stats.doubled_bytes);
}

/// For people who change the model: `cargo test --test adaptive_download figures -- --ignored --nocapture`, with
/// `ONLY=dsl_lte,four`, `SECONDS=30`, `SEED=2`, `BBR=1` and `LINKS=1` in the environment.
#[test]
#[ignore = "prints figures of all scenarios"]
#[allow(clippy::disallowed_methods, reason = "asked for by a person, who has no other way to choose")]
fn figures() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (seconds, seed) = (number("SECONDS").unwrap_or(24) as usize, number("SEED").unwrap_or(1));
    let only = std::env::var("ONLY").unwrap_or_default();
    let shows_links = std::env::var("LINKS").is_ok();
    let all = [
        ("equal", equal()),
        ("dsl_lte", dsl_lte()),
        ("bad", bad_link()),
        ("satellite", satellite()),
        ("bloat", bloat()),
        ("lossy", lossy_both()),
        ("four", four()),
        ("wandering", wandering()),
    ];
    for (name, links) in all.into_iter().filter(|(name, _)| only.is_empty() || only.contains(name)) {
        for count in [1, 6] {
            show(name, &links, count, (seconds, seed), shows_links);
        }
    }
    for seed in (1..=8).filter(|_| only.is_empty() || only.contains("varying")) {
        for count in [1, 6] {
            show_varying(count, (seconds, seed), shows_links);
        }
    }
}

fn show_varying(count: u16, (seconds, seed): (usize, u64), shows_links: bool) {
    let mut pair = connected(SchedulerKind::Adaptive, &varying(), seed);
    let outcome = run(&mut pair, count, seconds, |pair, second| {
        redraw(pair, seed, second);
        if shows_links {
            print!("{:?} ", [0, 1].map(|link| redrawn_bps(seed, link, second) / 1_000_000));
            show_links(pair, second);
        }
    });
    println!(
        "varying, seed {seed}, {count} flows: {:.3} of the bound; ping p99 idle + {:5.1} ms; {} backoffs, {} timeouts; {:?}",
        outcome.share_from(seconds / 5, redrawn_bound(seed, seconds / 5..seconds)),
        outcome.ping_p99_from(seconds as f64 / 5.0).saturating_sub(idle_rtt(&varying())).as_secs_f64() * 1e3,
        outcome.backoffs,
        outcome.timeouts,
        outcome.seconds.iter().map(|rate| (rate / 1e6).round() as u64).collect::<Vec<_>>(),
    );
}

#[allow(clippy::disallowed_methods, reason = "see figures")]
fn flows(count: u16) -> Vec<Tcp> {
    let algorithm = if std::env::var("BBR").is_ok() { Algorithm::Bbr } else { Algorithm::Cubic };
    let flow = |number| Tcp::with_packets(number, BOND_PACKET_BYTES);
    (0..count).map(|number| flow(number).with_congestion(algorithm)).collect()
}

/// What the sending end knows of its links.
fn show_links(pair: &Pair, second: usize) {
    let report = pair.server.endpoint.reports().remove(0);
    let there = pair.client.endpoint.reports().remove(0).stats.resequencer;
    let (late, given_up, held) = (there.late, there.given_up, there.held_packets);
    print!("{second:3} s, {} repaired, {:?}", report.stats.repaired_packets, report.stats.queues);
    print!(", {late} late, {given_up} given up, {held} held");
    for link in report.links {
        let stats = link.stats;
        print!(
            " | {:5.1} Mbit/s, window {:4} kB, {:4} in flight, rtt {:?}, least {:?}, loss {:.3}, {} sent again",
            stats.delivery_rate_bps as f64 / 1e6,
            stats.window_bytes / 1_000,
            stats.in_flight_bytes / 1_000,
            stats.srtt,
            stats.min_rtt,
            stats.loss,
            stats.retransmits,
        );
    }
    println!();
}

fn show(name: &str, links: &[LinkConfig], count: u16, (seconds, seed): (usize, u64), shows_links: bool) {
    let mut pair = connected(SchedulerKind::Adaptive, links, seed);
    let outcome = run_flows(&mut pair, flows(count), seconds, |pair, second| {
        if shows_links {
            show_links(pair, second);
        }
    });
    let (from, bound) = (seconds / 3, bound(links));
    let extra = outcome.ping_p99_from(from as f64).saturating_sub(idle_rtt(links));
    println!(
        "{name:9} {count} flows: {:5.1} of {:5.1} Mbit/s, {:.3}; ping p99 idle + {:4.1} ms; {} backoffs, {} timeouts; {:?}",
        outcome.share_from(from, bound) * bound / 1e6,
        bound / 1e6,
        outcome.share_from(from, bound),
        extra.as_secs_f64() * 1e3,
        outcome.backoffs,
        outcome.timeouts,
        outcome.seconds.iter().map(|rate| (rate / 1e6).round()).collect::<Vec<_>>(),
    );
}
