use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::bond::keys::NoiseOutput;
use crate::bond::secret::Secret32;
use crate::numbering::Numberer;

fn ms(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn noise(byte: u8) -> NoiseOutput {
    NoiseOutput { split: (Secret32([byte; 32]), Secret32([byte; 32])), hash: [byte; 32] }
}

fn pair() -> (BondLink, BondLink) {
    let master = Master::first(&noise(1));
    let (a, b) = (ReceiverIndex(11), ReceiverIndex(22));
    let client = Identity { role: Role::Client, link: 0, own: a, peer: b };
    let server = Identity { role: Role::Server, link: 0, own: b, peer: a };
    let make =
        |identity| BondLink::new(Time::ZERO, identity, &master, Cipher::Aes256Gcm, PathMtu::known(1_472));
    (make(client), make(server))
}

fn packet(label: u64, len: usize) -> Packet {
    let mut bytes = vec![0x45; len.max(8)];
    bytes[..8].copy_from_slice(&label.to_be_bytes());
    Packet::from(bytes)
}

fn label(packet: &Packet) -> u64 {
    u64::from_be_bytes(packet.as_slice()[..8].try_into().unwrap())
}

fn transmit(link: &mut BondLink, now: Time) -> Vec<Vec<u8>> {
    let mut datagrams = Vec::new();
    loop {
        let mut out = Vec::new();
        if !link.poll_transmit(now, &mut out) {
            return datagrams;
        }
        datagrams.push(out);
    }
}

fn receive(link: &mut BondLink, now: Time, datagrams: Vec<Vec<u8>>) -> Vec<Received> {
    let mut received = Vec::new();
    let mut pool = PacketPool::new(64);
    for mut datagram in datagrams {
        link.receive(now, &mut datagram, &mut received, &mut pool).unwrap();
    }
    received
}

#[test]
fn a_full_packet_travels_with_thirty_bytes_around_it() {
    let (mut client, mut server) = pair();
    let numbering = Numberer::default().assign(3, true);
    assert_eq!(client.max_packet_len(), 1_442);
    client.send(numbering, packet(7, 1_442));
    let datagrams = transmit(&mut client, ms(0));
    assert_eq!(datagrams.iter().map(Vec::len).collect::<Vec<_>>(), [1_472]);
    assert!(!datagrams[0].windows(8).any(|w| w == [0x45; 8]), "no plaintext on the wire");
    assert_eq!(receive(&mut server, ms(10), datagrams), [Received::Packet(numbering, packet(7, 1_442))]);
}

#[test]
fn small_packets_share_a_datagram_and_one_ack() {
    let (mut client, mut server) = pair();
    let mut numberer = Numberer::default();
    for count in 0..20 {
        client.send(numberer.assign(1, false), packet(count, 60));
    }
    let datagrams = transmit(&mut client, ms(0));
    assert_eq!(datagrams.len(), 2, "16 packets in one, 4 in the other");
    let labels: Vec<u64> = receive(&mut server, ms(10), datagrams)
        .iter()
        .map(|item| match item {
            Received::Packet(_, packet) => label(packet),
            other => panic!("a packet, not {other:?}"),
        })
        .collect();
    assert_eq!(labels, (0..20).collect::<Vec<_>>());
    assert!(transmit(&mut server, ms(10)).is_empty(), "the ack is not due yet");
    let due = server.poll_timeout().unwrap();
    let acks = transmit(&mut server, due);
    assert_eq!(acks.len(), 1);
    assert!(acks[0].len() <= 40, "{} bytes", acks[0].len());
    receive(&mut client, ms(25), acks);
    assert_eq!((client.recovery().in_flight(), client.recovery().in_flight_bytes()), (0, 0));
    assert_eq!(client.poll_timeout(), None);
}

#[test]
fn replays_and_forgeries_change_nothing_but_counters() {
    let (mut client, mut server) = pair();
    client.send(Numberer::default().assign(1, true), packet(1, 100));
    let datagram = transmit(&mut client, ms(0)).remove(0);
    let mut received = Vec::new();
    let mut pool = PacketPool::new(4);
    let before = server.replay.expected();
    for bit in 0..datagram.len() * 8 {
        let mut forged = datagram.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert!(server.receive(ms(1), &mut forged, &mut received, &mut pool).is_err());
    }
    assert_eq!((received.len(), server.replay.expected(), server.poll_timeout()), (0, before, None));
    let mut whole = datagram.clone();
    assert!(server.receive(ms(1), &mut whole, &mut received, &mut pool).unwrap().newest);
    assert_eq!(
        server.receive(ms(1), &mut datagram.clone(), &mut received, &mut pool),
        Err(Rejected::Replayed)
    );
    assert_eq!((received.len(), server.counters().received, server.counters().replayed), (1, 1, 1));
    assert!(server.counters().forged > 0);
}

#[test]
fn what_got_lost_comes_back_with_its_numbering() {
    let (mut client, mut server) = pair();
    let mut numberer = Numberer::default();
    let first = numberer.assign(5, true);
    client.send(first, packet(0, 900));
    client.send(numberer.assign(5, true), packet(1, 900));
    let mut datagrams = transmit(&mut client, ms(0));
    assert_eq!(datagrams.len(), 2);
    datagrams.remove(0);
    receive(&mut server, ms(10), datagrams);
    let acks = transmit(&mut server, ms(20));
    receive(&mut client, ms(30), acks);
    let due = client.poll_timeout().unwrap();
    client.handle_timeout(due);
    let mut lost = Vec::new();
    client.take_lost(&mut lost);
    assert_eq!(lost, [Item::Data(first, packet(0, 900))]);
    assert_eq!(client.counters().lost, 1);
}

#[test]
fn a_link_that_dies_gives_back_only_what_had_not_arrived() {
    let (mut client, mut server) = pair();
    let mut numberer = Numberer::default();
    for count in 0..6 {
        client.send(numberer.assign(1, true), packet(count, 1_000));
    }
    let mut datagrams = transmit(&mut client, ms(0));
    datagrams.truncate(4);
    receive(&mut server, ms(10), datagrams);
    client.send(numberer.assign(1, true), packet(6, 1_000));
    client.send_control(Control::Ping);

    // The server tells over another link what had arrived.
    let (mut other_server, mut other_client) = pair();
    other_server.send_control(server.obituary(ms(11), LinkDownReason::Silent));
    let told = receive(&mut other_client, ms(20), transmit(&mut other_server, ms(11)));
    let [Received::LinkDown { link: 0, reason: LinkDownReason::Silent, received: Some(ack) }] = &told[..]
    else {
        panic!("an obituary, not {told:?}")
    };
    client.on_foreign_ack(ms(20), ack, &mut PacketPool::new(4)).unwrap();
    let mut back = Vec::new();
    client.drain(&mut back);
    let labels: Vec<u64> = back
        .iter()
        .map(|item| match item {
            Item::Data(_, packet) => label(packet),
            other => panic!("no {other:?}"),
        })
        .collect();
    assert_eq!(labels, [4, 5, 6]);
}

#[test]
fn frames_of_the_protocol_go_first_and_come_back_when_lost() {
    let (mut client, _) = pair();
    client.send(Numberer::default().assign(1, true), packet(0, 100));
    client.send_control(Control::Skip { bucket: 1, first: 2, count: 3 });
    client.send_control(Control::PathChallenge([9; 8]));
    transmit(&mut client, ms(0));
    let mut back = Vec::new();
    client.drain(&mut back);
    assert_eq!(back.len(), 2, "a lost challenge is not repeated");
    assert_eq!(back[0], Item::Control(Control::Skip { bucket: 1, first: 2, count: 3 }));
}

#[test]
fn a_challenge_is_answered_by_the_link_itself() {
    let (mut client, mut server) = pair();
    server.send_control(Control::PathChallenge([1; 8]));
    server.send_control(Control::PathChallenge([2; 8]));
    let sent = transmit(&mut server, ms(0));
    assert_eq!(receive(&mut client, ms(5), sent), []);
    let answers = transmit(&mut client, ms(5));
    assert_eq!(receive(&mut server, ms(10), answers), [Received::PathResponse([2; 8])]);
}

#[test]
fn a_silent_path_is_probed() {
    let (mut client, mut server) = pair();
    client.send(Numberer::default().assign(1, true), packet(0, 100));
    transmit(&mut client, ms(0));
    let due = client.poll_timeout().unwrap();
    client.handle_timeout(due);
    let probes = transmit(&mut client, ms(300));
    assert_eq!((probes.len(), client.counters().probes), (1, 1));
    assert_eq!(receive(&mut server, ms(310), probes), []);
    assert!(server.poll_timeout().is_some(), "a probe asks for an ack");
}

#[test]
fn acks_are_not_acknowledged_and_are_not_in_flight() {
    let (mut client, mut server) = pair();
    client.send_control(Control::Ping);
    let sent = transmit(&mut client, ms(0));
    receive(&mut server, ms(5), sent);
    let acks = transmit(&mut server, ms(20));
    assert_eq!((acks.len(), server.recovery().in_flight()), (1, 0));
    receive(&mut client, ms(25), acks);
    assert_eq!((client.poll_timeout(), client.poll_transmit(ms(99), &mut Vec::new())), (None, false));
}

#[test]
fn probes_of_the_path_mtu_have_the_lengths_under_test() {
    let (mut client, mut server) = pair();
    client.on_new_path(false);
    let sent = transmit(&mut client, ms(0));
    let lens: Vec<usize> = sent.iter().map(Vec::len).collect();
    assert_eq!(lens, [1_472, 1_464, 1_452, 1_432, 1_430, 1_392, 1_372, 1_252, 1_200, 26]);
    assert_eq!(receive(&mut server, ms(5), sent), []);
    let acks = transmit(&mut server, ms(10));
    assert_eq!(acks.len(), 1, "they are acknowledged together");
    receive(&mut client, ms(15), acks);
    assert_eq!((client.path_mtu().packet_len(), client.max_packet_len()), (1_500, 1_442));
    assert_eq!((client.recovery().in_flight(), client.path().loss()), (0, 0.0));
}

#[test]
fn lost_probes_are_neither_losses_nor_sent_again_as_packets_are() {
    let (mut client, mut server) = pair();
    client.on_new_path(false);
    let mut now = 0;
    while client.path_mtu().state() != path_mtu::PathMtuState::Complete {
        let passing =
            transmit(&mut client, ms(now)).into_iter().filter(|one| one.len() + 28 <= 1_420).collect();
        receive(&mut server, ms(now + 5), passing);
        let acks = transmit(&mut server, ms(now + 10));
        receive(&mut client, ms(now + 15), acks);
        now += 20;
        client.handle_timeout(ms(now));
        assert!(now < 2_000, "{:?}", client.path_mtu());
    }
    assert_eq!(client.path_mtu().packet_len(), 1_420);
    assert_eq!((client.counters().lost, client.path().loss()), (0, 0.0));
}

/// Six full packets get lost while a small one arrives; then all that is sent and `passes` does.
fn suspect_a_black_hole(passes: impl Fn(usize) -> bool) -> (BondLink, Vec<usize>) {
    let (mut client, mut server) = pair();
    let mut numberer = Numberer::default();
    let mut lens = Vec::new();
    for round in 0..20 {
        let now = 40 * round;
        if client.path_mtu().is_blocked() {
            assert_eq!(client.room_bytes(), 0);
        }
        for label in 0..6 {
            if client.room_bytes() > 0 {
                client.send(numberer.assign(1, true), packet(label, client.max_packet_len()));
            }
        }
        client.send(numberer.assign(1, true), packet(9, 100));
        let mut sent = transmit(&mut client, ms(now));
        for at in now + 1..now + 20 {
            sent.extend(transmit(&mut client, ms(at)));
        }
        lens.extend(sent.iter().map(Vec::len));
        sent.retain(|one| if round == 0 { one.len() < 1_472 } else { passes(one.len()) });
        receive(&mut server, ms(now + 25), sent);
        let acks = transmit(&mut server, ms(now + 32));
        receive(&mut client, ms(now + 35), acks);
        client.handle_timeout(ms(now + 39));
        client.take_lost(&mut Vec::new());
    }
    (client, lens)
}

#[test]
fn full_packets_that_get_lost_in_a_row_are_no_black_hole_where_one_of_them_passes() {
    let (client, lens) = suspect_a_black_hole(|_| true);
    assert_eq!(client.path_mtu().packet_len(), 1_500);
    assert!(!lens.contains(&1_200), "nobody asked what else would pass: {lens:?}");
}

#[test]
fn a_path_that_swallows_full_packets_is_found_out_by_three_probes_and_a_volley() {
    let (client, lens) = suspect_a_black_hole(|len| len <= 1_392);
    assert_eq!(client.path_mtu().packet_len(), 1_420);
    let volleys = lens.iter().filter(|&&len| len == 1_200).count();
    assert_eq!(volleys, 1, "{lens:?}");
}

#[test]
fn a_challenge_travels_alone() {
    let (mut client, mut server) = pair();
    server.send(Numberer::default().assign(1, true), packet(0, 100));
    let mut out = Vec::new();
    assert!(server.transmit_challenge(ms(0), [4; 8], &mut out));
    assert_eq!(out.len(), 34);
    assert_eq!(receive(&mut client, ms(5), vec![out]), []);
    let answers = transmit(&mut client, ms(5));
    assert_eq!(receive(&mut server, ms(10), answers), [Received::PathResponse([4; 8])]);
}

#[test]
fn an_ack_of_what_was_never_sent_is_malformed() {
    let (mut client, mut server) = pair();
    client.send_control(Control::Ping);
    let sent = transmit(&mut client, ms(0));
    receive(&mut server, ms(5), sent);
    let mut acks = transmit(&mut server, ms(20));
    let (_, mut stranger) = pair();
    std::mem::swap(&mut stranger.identity, &mut server.identity);
    let (mut fresh_client, _) = pair();
    let result = fresh_client.receive(ms(25), &mut acks[0], &mut Vec::new(), &mut PacketPool::new(1));
    assert_eq!(result, Err(Rejected::Ack(BadAck)));
    assert_eq!(fresh_client.counters().malformed, 1);
}

proptest! {
    /// One link, both directions, loss, reordering, a rekeying in the middle; what is lost is sent again.
    #[test]
    fn every_packet_arrives_over_a_bad_path(
        seed in any::<u64>(), loss_percent in 0u64..30, jitter_ms in 1u64..40, rekey_at in 0u64..200,
    ) {
        let (mut client, mut server) = pair();
        let master = Master::first(&noise(1));
        let next = master.next(&noise(2));
        let mut random = seed | 1;
        let mut draw = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let mut numberer = Numberer::default();
        let mut on_the_way: Vec<(u64, bool, Vec<u8>)> = Vec::new();
        let mut arrived: HashSet<u64> = HashSet::new();
        let mut nonces = HashSet::new();
        let mut pool = PacketPool::new(64);
        let (mut lost, mut received, mut handed) = (Vec::new(), Vec::new(), 0u64);
        for at in 0..20_000u64 {
            let now = ms(at);
            if at == rekey_at {
                server.expect_epoch(&next);
            }
            if at == rekey_at + 50 {
                client.expect_epoch(&next);
                client.switch_epoch(now, &next, Duration::from_millis(200));
            }
            while handed < 300 && client.room_bytes() > 1_500 {
                client.send(numberer.assign(1, true), packet(handed, 700));
                handed += 1;
            }
            client.take_lost(&mut lost);
            for item in lost.drain(..) {
                match item {
                    Item::Data(numbering, packet) => client.send(numbering, packet),
                    Item::Control(control) => client.send_control(control),
                    Item::Probe(probe) => panic!("{probe:?} is not sent again"),
                }
            }
            for (to_server, link) in [(true, &mut client), (false, &mut server)] {
                if link.poll_timeout().is_some_and(|due| due <= now) {
                    link.handle_timeout(now);
                }
                for datagram in transmit(link, now) {
                    prop_assert!(nonces.insert((to_server, datagram[0], datagram[5..9].to_vec())), "no nonce twice");
                    if draw() % 100 >= loss_percent {
                        on_the_way.push((at + 10 + draw() % jitter_ms, to_server, datagram));
                    }
                }
            }
            while let Some(due) = on_the_way.iter().position(|&(due, ..)| due <= at) {
                let (_, to_server, mut datagram) = on_the_way.swap_remove(due);
                let link = if to_server { &mut server } else { &mut client };
                let opened = link.receive(now, &mut datagram, &mut received, &mut pool).unwrap();
                if to_server && opened.epoch == 1 {
                    server.switch_epoch(now, &next, Duration::from_millis(200));
                }
            }
            arrived.extend(received.drain(..).map(|item| match item {
                Received::Packet(_, packet) => label(&packet),
                other => panic!("a packet, not {other:?}"),
            }));
            if handed == 300 && arrived.len() == 300 && client.recovery().in_flight() == 0 {
                break;
            }
        }
        prop_assert_eq!(arrived.len(), 300);
        prop_assert_eq!(client.recovery().in_flight(), 0);
    }
}
