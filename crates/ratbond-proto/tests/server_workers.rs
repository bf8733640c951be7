//! A server of several workers: each client is one worker's, whichever gets its first datagram.

use std::time::Duration;

use ratbond_proto::Event;
use ratbond_proto::endpoint::Endpoint;
use ratbond_proto::link::WanId;
use ratbond_sim::star::{Star, credentials, named, packet};

/// Seeds with which a [`Star`]'s server has three workers.
const THREE: [u64; 3] = [2, 5, 8];
const INTERNET: [u8; 4] = [192, 0, 2, 1];

fn inner(number: u8) -> [u8; 4] {
    [10, 66, number, 2]
}

/// Which worker has which sessions.
fn shares(star: &Star) -> Vec<Vec<u32>> {
    let sessions = |end: &dyn Endpoint| end.reports().iter().map(|report| report.id.0).collect::<Vec<_>>();
    star.server.ends.iter().map(|end| sessions(end)).collect()
}

#[test]
fn every_client_gets_to_its_own_worker_and_packets_pass_both_ways() {
    for seed in THREE {
        let mut star = Star::up(30, seed);
        let wanted = |worker| (1..=30u32).filter(|number| number % 3 == worker).collect::<Vec<_>>();
        assert_eq!(shares(&star), [wanted(0), wanted(1), wanted(2)]);
        let handed = star.server.handovers;
        assert!((10..=30).contains(&handed), "{handed} of 30 clients knocked at another worker's door");
        for number in 1..=30 {
            star.server_sends(u32::from(number), &packet(INTERNET, inner(number), 200));
            assert!(star.passes(usize::from(number) - 1, inner(number), INTERNET));
        }
        assert_eq!(star.at_clients.len(), 30);
    }
}

#[test]
fn a_process_takes_the_place_of_the_one_before_whichever_worker_hears_it_first() {
    for seed in THREE {
        let mut star = Star::up(1, seed);
        for process in 1..=8 {
            let newer = star.join(credentials(1));
            star.run_for(Duration::from_secs(1));
            assert_eq!(shares(&star), [vec![], vec![1], vec![]]);
            assert!(star.passes(newer, inner(1), INTERNET));
            assert_eq!(star.server_said(|event| matches!(event, Event::Replaced)), process);
        }
        assert!(star.server.handovers > 0);
    }
}

#[test]
fn more_links_and_new_keys_stay_with_the_worker() {
    let mut star = Star::up(2, THREE[0]);
    for position in 0..2 {
        star.connect(position, WanId(1));
    }
    star.run_for(Duration::from_secs(1));
    let handed = star.server.handovers;
    // Keys are renewed every two minutes.
    star.run_for(Duration::from_secs(300));
    let links: Vec<_> = star.server.reports().iter().map(|report| report.links.len()).collect();
    assert_eq!(links, [2, 2]);
    assert_eq!(star.server.handovers, handed);
    for number in 1..=2 {
        assert!(star.passes(usize::from(number) - 1, inner(number), INTERNET));
    }
}

#[test]
fn a_client_that_its_worker_does_not_know_yet_is_in_once_it_does() {
    let mut star = Star::up(3, THREE[1]);
    let table: Vec<_> = (1..=7).map(named).collect();
    let now = star.now;
    // The worker of 4 and 7, and nobody else, has the old table still.
    for worker in [0, 2] {
        star.server.ends[worker].set_clients(now, table.clone());
    }
    for number in [4, 7] {
        star.join(credentials(number));
    }
    star.run_for(Duration::from_secs(2));
    assert_eq!(shares(&star), [vec![3], vec![1], vec![2]]);
    star.set_clients(table);
    star.run_for(Duration::from_secs(20));
    assert_eq!(shares(&star), [vec![3], vec![1, 4, 7], vec![2]]);
    assert_eq!(star.server_said(|event| matches!(event, Event::Replaced | Event::SessionDown)), 0);
}
