//! Named clients on one server: who gets in, what each may do, and what a new table of clients changes.

use std::time::Duration;

use proptest::prelude::*;
use ratbond_proto::bond::endpoint::{NamedClient, RateCaps};
use ratbond_proto::bond::handshake::{Credentials, public_key};
use ratbond_proto::endpoint::{Endpoint, SessionId};
use ratbond_proto::link::WanId;
use ratbond_proto::{DownReason, Event, Time};
use ratbond_sim::star::{Star, client_address, credentials, named, packet, private_key};

const INTERNET: [u8; 4] = [192, 0, 2, 1];

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn inner(number: u8) -> [u8; 4] {
    [10, 66, number, 2]
}

#[test]
fn each_client_has_a_session_and_addresses_of_its_own() {
    let mut star = Star::up(3, 1);
    for number in 1..=3u16 {
        let position = usize::from(number) - 1;
        let assigned = |event: &Event| *event == Event::Assigned(named(number).addresses);
        assert_eq!(star.client_events[position].iter().filter(|event| assigned(event)).count(), 1);
        star.server_sends(u32::from(number), &packet(INTERNET, inner(number as u8), 200));
        assert!(star.passes(position, inner(number as u8), INTERNET));
        assert_eq!(star.at_server.last().unwrap().1, SessionId(u32::from(number)));
    }
    star.run_for(ms(100));
    assert_eq!(star.at_clients.iter().map(|&(_, position, _)| position).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn a_hundred_clients_are_up_within_a_second() {
    let star = Star::up(100, 2);
    assert_eq!(star.server_said(|event| matches!(event, Event::SessionUp(_))), 100);
}

#[test]
fn an_unknown_key_gets_no_answer_and_the_operator_is_told() {
    let mut star = Star::up(1, 3);
    let stranger = star.join(credentials(2));
    star.run_for(Duration::from_secs(20));
    assert!(star.clients[stranger].reports().remove(0).links.is_empty());
    assert_eq!(star.client_events[stranger], []);
    let told = star.server_said(
        |event| matches!(event, Event::Refused(words) if words.contains("no client has the key")),
    );
    assert!((1..=3).contains(&told), "told {told} times in 20 s");
    assert!(star.passes(0, inner(1), INTERNET));
}

#[test]
fn a_wrong_server_key_or_psk_gets_nobody_in() {
    let mut star = Star::up(1, 4);
    let Credentials::Named { own, psk, .. } = credentials(1) else { panic!("named") };
    let another_server = public_key(&private_key(99));
    let wrong_server = Credentials::Named { own: own.clone(), server: another_server, psk };
    let Credentials::Named { server, psk: another_psk, .. } = credentials(2) else { panic!("named") };
    let wrong_psk = Credentials::Named { own, server, psk: another_psk };
    for credentials in [wrong_server, wrong_psk] {
        let stranger = star.join(credentials);
        star.run_for(Duration::from_secs(15));
        assert!(star.clients[stranger].reports().remove(0).links.is_empty());
    }
    assert_eq!(star.server_said(|event| matches!(event, Event::Replaced)), 0);
    assert!(star.passes(0, inner(1), INTERNET), "the true client goes on");
}

#[test]
fn of_two_processes_with_one_key_the_newer_wins_and_it_is_told() {
    let mut star = Star::up(2, 5);
    let second = star.join(credentials(1));
    star.run_for(Duration::from_secs(2));
    assert!(star.passes(second, inner(1), INTERNET));
    assert!(!star.passes(0, inner(1), INTERNET));
    let replaced: Vec<_> = star.server_events.iter().filter(|event| event.event == Event::Replaced).collect();
    assert_eq!(replaced.len(), 1);
    assert_eq!(replaced[0].session, SessionId(1));
    assert_eq!(replaced[0].remote, Some(client_address(second)));
    let told = |event: &Event| matches!(event, Event::Refused(words) if words.contains("newer session"));
    assert!(star.client_events[0].iter().any(told), "{:?}", star.client_events[0]);
    assert!(star.passes(1, inner(2), INTERNET), "the other client is not touched");
}

#[test]
fn the_older_of_two_processes_with_one_key_stays_out_until_the_newer_is_gone() {
    let mut star = Star::up(1, 15);
    let second = star.join(credentials(1));
    star.run_for(Duration::from_secs(120));
    assert_eq!(star.server_said(|event| matches!(event, Event::Replaced)), 1, "they take no turns");
    assert!(star.passes(second, inner(1), INTERNET));
    let told =
        |event: &Event| matches!(event, Event::Refused(words) if words.contains("a client of its own"));
    let times = star.client_events[0].iter().filter(|event| told(event)).count();
    assert!((2..=5).contains(&times), "the older one is told now and then: {times} times");
    star.stop(second);
    star.run_for(Duration::from_secs(35));
    assert!(star.passes(0, inner(1), INTERNET), "its turn now");
}

#[test]
fn a_client_that_says_farewell_and_comes_again_replaces_nobody() {
    let mut star = Star::up(1, 6);
    star.stop(0);
    star.run_for(ms(200));
    let again = star.join(credentials(1));
    star.run_for(Duration::from_secs(1));
    assert!(star.passes(again, inner(1), INTERNET));
    assert_eq!(star.server_said(|event| matches!(event, Event::Replaced)), 0);
}

#[test]
fn a_source_that_is_not_the_clients_is_dropped_and_counted() {
    let mut star = Star::up(2, 7);
    for source in [inner(2), [192, 168, 2, 9], INTERNET] {
        assert!(!star.passes(0, source, [198, 51, 100, 1]), "{source:?}");
    }
    assert!(star.passes(0, [192, 168, 1, 9], INTERNET), "its own LAN");
    assert_eq!(star.server.reports()[0].gate.spoofed_drops, 3);
}

#[test]
fn clients_reach_each_other_only_while_both_may() {
    let mut star = Star::up(2, 8);
    let may = |number| NamedClient { reaches_clients: true, ..named(number) };
    for (table, wanted) in [
        (vec![named(1), named(2)], false),
        (vec![may(1), named(2)], false),
        (vec![may(1), may(2)], true),
        (vec![named(1), may(2)], false),
    ] {
        star.set_clients(table);
        assert_eq!(star.passes(0, inner(1), inner(2)), wanted);
        assert_eq!(star.passes(1, inner(2), [192, 168, 1, 9]), wanted);
    }
    assert_eq!(star.server.reports()[0].gate.other_client_drops, 3);
}

/// Links are numbered within their session, so two clients' links have the same numbers.
#[test]
fn a_client_that_says_a_link_is_down_takes_down_its_own_alone() {
    let mut star = Star::up(2, 17);
    for position in 0..2 {
        star.connect(position, WanId(1));
    }
    star.run_for(ms(500));
    let links =
        |star: &Star| star.server.reports().iter().map(|report| report.links.len()).collect::<Vec<_>>();
    assert_eq!(links(&star), [2, 2]);
    star.disconnect(0, WanId(0));
    star.run_for(ms(100));
    assert_eq!(links(&star), [1, 2]);
    let down: Vec<_> =
        star.server_events.iter().filter(|it| matches!(it.event, Event::WanDown(..))).collect();
    assert_eq!(down.iter().map(|event| event.session).collect::<Vec<_>>(), [SessionId(1)]);
    assert!(star.passes(0, inner(1), INTERNET));
    assert!(star.passes(1, inner(2), INTERNET));
}

#[test]
fn a_revoked_client_is_cut_off_at_once_and_told_why_and_the_other_notices_nothing() {
    let mut star = Star::up(2, 9);
    // Until their tuns have the size that they keep.
    star.run_for(Duration::from_secs(6));
    let events_before = star.client_events[1].len();
    star.set_clients(vec![NamedClient { revoked: true, ..named(1) }, named(2)]);
    assert_eq!(star.server.reports().len(), 1, "at once");
    assert_eq!(star.server_said(|event| *event == Event::SessionDown), 1);
    assert!(!star.passes(0, inner(1), INTERNET));
    star.run_for(Duration::from_secs(190));
    let told = |event: &Event| matches!(event, Event::Refused(words) if words.contains("revoked"));
    assert!(
        star.client_events[0].iter().filter(|event| told(event)).count() >= 2,
        "by CLOSE and when it knocks again"
    );
    assert!((1..=4).contains(&star.server_said(told)), "it knocks once a minute");
    assert_eq!(star.server.reports().len(), 1);
    assert_eq!(star.client_events[1].len(), events_before, "{:?}", star.client_events[1]);
    assert!(star.passes(1, inner(2), INTERNET));
}

#[test]
fn a_removed_client_is_cut_off_and_one_that_is_added_is_in() {
    let mut star = Star::up(2, 10);
    star.set_clients(vec![named(2), named(3)]);
    let third = star.join(credentials(3));
    star.run_for(Duration::from_secs(1));
    assert!(!star.passes(0, inner(1), INTERNET));
    assert!(star.passes(1, inner(2), INTERNET));
    assert!(star.passes(third, inner(3), INTERNET));
    let down = |event: &Event| matches!(event, Event::WanDown(_, DownReason::Local(words)) if words.contains("revoked"));
    assert_eq!(star.server_said(down), 1);
}

#[test]
fn a_client_whose_addresses_change_comes_again_and_learns_them() {
    let mut star = Star::up(1, 11);
    let moved = NamedClient { addresses: named(50).addresses, ..named(1) };
    star.set_clients(vec![moved.clone()]);
    star.run_for(Duration::from_secs(2));
    assert_eq!(
        star.client_events[0].iter().rfind(|event| matches!(event, Event::Assigned(_))),
        Some(&Event::Assigned(moved.addresses))
    );
    assert!(star.passes(0, inner(50), INTERNET));
    assert!(!star.passes(0, inner(1), INTERNET));
}

#[test]
fn a_named_client_renews_its_keys_with_its_own_psk() {
    let mut star = Star::up(2, 12);
    star.run_for(Duration::from_secs(125));
    for (position, number) in [(0, 1), (1, 2)] {
        for _ in 0..10 {
            assert!(star.passes(position, inner(number), INTERNET));
        }
    }
    star.run_for(Duration::from_secs(130));
    assert!(star.passes(0, inner(1), INTERNET));
    assert_eq!(star.server_said(|event| matches!(event, Event::SessionDown | Event::WanDown(..))), 0);
}

/// Bytes a second that come out within 4 s when 20 Mbit/s are offered.
fn carried(star: &mut Star, send: impl Fn(&mut Star), arrived: impl Fn(&Star, Time) -> usize) -> usize {
    let start = star.now;
    for _ in 0..4_000 {
        for _ in 0..2 {
            send(star);
        }
        star.run_for(ms(1));
    }
    arrived(star, start) / 4
}

#[test]
fn caps_hold_in_both_directions_and_for_one_client_alone() {
    let caps = RateCaps { to_client_bps: Some(4_000_000), from_client_bps: Some(2_000_000) };
    let mut star = Star::up(2, 13);
    star.set_clients(vec![NamedClient { caps, ..named(1) }, named(2)]);
    let up = |position: usize, number: u8| {
        move |star: &mut Star| star.client_sends(position, &packet(inner(number), INTERNET, 1_250))
    };
    let came_up = |session: u32| {
        move |star: &Star, since: Time| {
            let mine = star.at_server.iter().filter(|(at, from, _)| *at >= since && from.0 == session);
            mine.map(|(.., packet)| packet.len()).sum()
        }
    };
    let capped = carried(&mut star, up(0, 1), came_up(1));
    assert!((237_000..=275_000).contains(&capped), "{capped} bytes/s from the client");
    let free = carried(&mut star, up(1, 2), came_up(2));
    assert!(free > 2_300_000, "{free} bytes/s from the other");
    let down = |star: &mut Star| star.server_sends(1, &packet(INTERNET, inner(1), 1_250));
    let came_down = |star: &Star, since: Time| {
        star.at_clients.iter().filter(|(at, ..)| *at >= since).map(|(.., packet)| packet.len()).sum()
    };
    let capped = carried(&mut star, down, came_down);
    assert!((475_000..=550_000).contains(&capped), "{capped} bytes/s to the client");
    let gate = star.server.reports()[0].gate;
    assert!(gate.cap_drops_to_client > 0 && gate.cap_drops_from_client > 0, "{gate:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever is revoked, added again and lost on the way: at the end exactly those are in that may be, and nothing of
    /// one client ever comes out in another's session.
    #[test]
    fn after_any_changes_of_the_table_exactly_the_welcome_are_in(
        seed in any::<u64>(),
        loss in 0.0..0.2f64,
        tables in prop::collection::vec(prop::collection::vec(any::<bool>(), 4), 1..5),
    ) {
        let mut star = Star::up(4, seed);
        star.loss = loss;
        let mut welcome = vec![true; 4];
        for table in tables {
            let entries = table.iter().zip(1u16..).map(|(&in_it, n)| NamedClient { revoked: !in_it, ..named(n) });
            star.set_clients(entries.collect());
            for (position, number) in [(0, 1), (1, 2), (2, 3), (3, 4)] {
                star.client_sends(position, &packet(inner(number), INTERNET, 100));
            }
            star.run_for(ms(1_500));
            welcome = table;
        }
        star.loss = 0.0;
        star.run_for(Duration::from_secs(70));
        let sessions: Vec<_> = star.server.reports().iter().map(|report| report.id.0).collect();
        let wanted: Vec<_> = (1..=4u32).filter(|&number| welcome[number as usize - 1]).collect();
        prop_assert_eq!(sessions, wanted);
        for (_, session, packet) in &star.at_server {
            prop_assert_eq!(u32::from(packet[14]), session.0);
        }
    }
}
