//! Links that are not for everything: secondary ones, backups, caps and weights, in virtual time.

use std::time::Duration;

use ratbond_netem::LinkConfig;
use ratbond_proto::Role;
use ratbond_proto::preference::{Preference, Tier};
use ratbond_proto::scheduler::SchedulerKind;
use ratbond_sim::scenario::{dsl_lte, equal, link, lossy};
use ratbond_sim::tcp::Algorithm;
use ratbond_sim::trial::Trial;

const IP_BYTES: usize = 1_400;
const PAYLOAD_BYTES: f64 = 1_372.0;
const FOREVER: Duration = Duration::from_secs(1 << 20);

fn tier(tier: Tier) -> Preference {
    Preference { tier, ..Preference::default() }
}

fn trial(scheduler: SchedulerKind, links: &[LinkConfig], preferences: &[Preference]) -> Trial {
    let both: Vec<_> = links.iter().map(|link| [link.clone(), link.clone()]).collect();
    Trial::new(scheduler, &both, preferences, 1)
}

fn with_second(second: Preference) -> Trial {
    trial(SchedulerKind::Adaptive, &dsl_lte(), &[Preference::default(), second])
}

/// UDP of so many Mbit/s of payload from an end.
fn load(trial: &mut Trial, from: Role, mbps: f64) {
    let every = Duration::from_secs_f64(PAYLOAD_BYTES * 8.0 / mbps / 1e6);
    trial.add_stream(from, every, IP_BYTES, trial.now(), FOREVER);
}

fn run(trial: &mut Trial, seconds: u64) {
    trial.advance(trial.now() + Duration::from_secs(seconds));
}

fn sum(seconds: &[u64], from: usize) -> u64 {
    seconds[from..].iter().sum()
}

/// Bytes over each link both ways from a second on.
fn carried(trial: &Trial, from: usize) -> Vec<u64> {
    trial.links().map(|link| sum(link.up, from) + sum(link.down, from)).collect()
}

/// Mbit/s of payload of the first load from a second on.
fn goodput(trial: &Trial, from: usize) -> f64 {
    let load = trial.loads().next().expect("a load");
    sum(load.seconds, from) as f64 * 8e-6 / (load.seconds.len() - from) as f64
}

/// Datagrams of the first load that never came, of those sent more than a second ago.
fn lost(trial: &Trial) -> usize {
    let until = trial.now() - Duration::from_secs(1);
    let load = trial.loads().next().expect("a load");
    load.datagrams.iter().filter(|(sent, delay)| *sent < until && delay.is_none()).count()
}

#[test]
fn a_secondary_link_carries_nothing_of_a_load_that_the_primary_carries() {
    for from in [Role::Client, Role::Server] {
        let mut trial = with_second(tier(Tier::Secondary));
        load(&mut trial, from, 50.0);
        run(&mut trial, 15);
        let carried = carried(&trial, 0);
        assert!(carried[1] * 100 < carried[0] + carried[1], "{carried:?} from {from:?}");
        assert_eq!(lost(&trial), 0);
    }
}

#[test]
fn a_secondary_link_carries_what_the_primary_cannot() {
    for from in [Role::Client, Role::Server] {
        let mut trial = with_second(tier(Tier::Secondary));
        load(&mut trial, from, 100.0);
        run(&mut trial, 15);
        let goodput = goodput(&trial, 5);
        assert!(goodput >= 95.0, "{goodput:.1} of 100 Mbit/s from {from:?}");
    }
}

#[test]
fn downloads_use_a_secondary_link_once_they_have_filled_the_primary() {
    let mut trial = with_second(tier(Tier::Secondary));
    trial.add_transfers(Role::Server, 6, Algorithm::Cubic, (Duration::ZERO, FOREVER));
    run(&mut trial, 15);
    let goodput = goodput(&trial, 7);
    assert!(goodput > 90.0, "{goodput:.1} Mbit/s");
}

#[test]
fn when_the_primary_is_pulled_all_moves_to_the_other_without_a_lost_packet() {
    for kind in [Tier::Secondary, Tier::Backup] {
        let mut trial = with_second(tier(kind));
        load(&mut trial, Role::Server, 15.0);
        run(&mut trial, 5);
        trial.pair.pull(0);
        run(&mut trial, 5);
        let stats = trial.pair.server.endpoint.reports().remove(0).stats;
        assert_eq!(lost(&trial), 0, "{kind:?} {stats:?}");
        let dsl = trial.links().next().unwrap();
        assert_eq!(dsl.down[6..].iter().sum::<u64>(), 0);
        let lte = trial.links().nth(1).unwrap();
        assert!(lte.down[6..].iter().all(|&bytes| bytes > 1_900_000), "{:?}", lte.down);
    }
}

#[test]
fn a_backup_carries_nothing_while_another_link_is_up_whatever_the_load() {
    for scheduler in [SchedulerKind::Adaptive, SchedulerKind::Consistent, SchedulerKind::RoundRobin] {
        let mut trial = trial(scheduler, &equal(), &[Preference::default(), tier(Tier::Backup)]);
        trial.add_transfers(Role::Server, 4, Algorithm::Cubic, (Duration::ZERO, FOREVER));
        run(&mut trial, 6);
        let before = carried(&trial, 1);
        assert!(before[1] < 2_000, "{before:?} with {scheduler:?}");
        trial.pair.blackhole(0, true);
        run(&mut trial, 4);
        let down = trial.links().nth(1).unwrap().down.to_vec();
        assert!(down[8] > 5_000_000, "{down:?} with {scheduler:?}");
        trial.pair.blackhole(0, false);
        run(&mut trial, 8);
        let down = trial.links().nth(1).unwrap().down.to_vec();
        assert!(down[15..].iter().sum::<u64>() < 200_000, "{down:?} with {scheduler:?}");
    }
}

#[test]
fn schedulers_that_choose_when_a_packet_comes_leave_a_secondary_link_alone_while_a_primary_is_up() {
    for scheduler in [SchedulerKind::Consistent, SchedulerKind::RoundRobin] {
        let mut trial = trial(scheduler, &equal(), &[Preference::default(), tier(Tier::Secondary)]);
        trial.add_transfers(Role::Server, 4, Algorithm::Cubic, (Duration::ZERO, FOREVER));
        run(&mut trial, 4);
        let carried = carried(&trial, 1);
        // A repair goes wherever there is room.
        assert!(carried[1] * 50 < carried[0], "{carried:?} with {scheduler:?}");
    }
}

#[test]
fn a_cap_holds_in_its_direction_and_is_lifted_while_it_runs() {
    for (from, capped) in [
        (Role::Client, Preference { up_bps: Some(10_000_000), ..Preference::default() }),
        (Role::Server, Preference { down_bps: Some(10_000_000), ..Preference::default() }),
    ] {
        let mut trial = trial(SchedulerKind::Adaptive, &[link(50, 20)], &[capped]);
        trial.add_transfers(from, 2, Algorithm::Cubic, (Duration::ZERO, FOREVER));
        run(&mut trial, 8);
        let sent = |trial: &Trial| {
            let link = trial.links().next().unwrap();
            if from == Role::Client { link.up.to_vec() } else { link.down.to_vec() }
        };
        let mbps = |bytes: u64| bytes as f64 * 8e-6;
        for &second in &sent(&trial)[1..] {
            assert!((9.0..=10.1).contains(&mbps(second)), "{:.2} Mbit/s from {from:?}", mbps(second));
        }
        trial.prefer(0, Preference::default());
        run(&mut trial, 6);
        assert!(mbps(sent(&trial)[13]) > 45.0, "{:?}", sent(&trial));
    }
}

#[test]
fn a_link_s_tier_may_change_while_it_runs_and_the_peer_follows() {
    let mut trial = with_second(tier(Tier::Backup));
    load(&mut trial, Role::Server, 100.0);
    run(&mut trial, 5);
    assert!(carried(&trial, 1)[1] < 2_000);
    trial.prefer(1, tier(Tier::Secondary));
    run(&mut trial, 5);
    let lte = trial.links().nth(1).unwrap().down.to_vec();
    assert!(lte[7..].iter().all(|&bytes| bytes > 2_000_000), "{lte:?}");
    trial.prefer(1, tier(Tier::Backup));
    run(&mut trial, 4);
    let lte = trial.links().nth(1).unwrap().down.to_vec();
    assert!(lte[11..].iter().sum::<u64>() < 20_000, "{lte:?}");
}

#[test]
fn what_is_wanted_of_a_link_reaches_the_peer_over_a_bad_one_and_the_last_word_counts() {
    for seed in 0..8 {
        let links: Vec<_> =
            equal().iter().map(|link| lossy(0.4, link.clone())).map(|link| [link.clone(), link]).collect();
        let mut trial = Trial::new(SchedulerKind::Adaptive, &links, &[], seed);
        for weight in 1..=20 {
            trial.prefer(1, Preference { weight, ..tier(Tier::Secondary) });
            trial.advance(trial.now() + Duration::from_millis(30));
        }
        trial.prefer(1, tier(Tier::Backup));
        run(&mut trial, 5);
        let reports = trial.pair.server.endpoint.reports();
        let told: Vec<_> = reports[0].links.iter().map(|link| link.preference).collect();
        assert!(told.contains(&tier(Tier::Backup)), "{told:?} with seed {seed}");
        assert!(told.contains(&Preference::default()));
    }
}

#[test]
fn flows_are_spread_by_weight_in_both_directions() {
    let weights = [Preference { weight: 3, ..Preference::default() }, Preference::default()];
    for from in [Role::Client, Role::Server] {
        let mut trial = trial(SchedulerKind::Consistent, &equal(), &weights);
        for _ in 0..400 {
            trial.add_stream(from, Duration::from_millis(100), 200, Duration::ZERO, FOREVER);
        }
        run(&mut trial, 3);
        let carried = carried(&trial, 1);
        let share = carried[0] as f64 / (carried[0] + carried[1]) as f64;
        assert!((0.68..0.82).contains(&share), "{share:.2} from {from:?}");
    }
}
