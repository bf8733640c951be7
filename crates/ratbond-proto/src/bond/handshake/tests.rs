use std::net::SocketAddr;

use super::client::{ClientHandshake, Established};
use super::join::{Join, JoinVerdict, LinkNumbers};
use super::rekey::RekeyOffer;
use super::server::{ClientId, ServerHandshakes, Verdict};
use super::*;
use crate::Time;
use crate::bond::datagram::{Kind, ReceiverIndex};
use crate::bond::frame::tlv::{FieldWriter, Fields, field};
use crate::bond::keys::{Cipher, Direction};

const STEER: ReceiverIndex = ReceiverIndex(0x1234_5678);
const SERVER_INDEX: ReceiverIndex = ReceiverIndex(0x0c00_0001);

fn secret(byte: u8) -> Secret32 {
    Secret32([byte; 32])
}

fn address() -> SocketAddr {
    "192.0.2.7:40000".parse().unwrap()
}

fn named() -> (Credentials, ServerKeys) {
    let server = secret(2);
    let credentials = Credentials::Named { own: secret(1), server: public_key(&server), psk: secret(9) };
    (credentials, ServerKeys::Named { own: server })
}

fn shared() -> (Credentials, ServerKeys) {
    let psk = shared_psk(&secret(5));
    (Credentials::Shared { psk: psk.clone() }, ServerKeys::Shared { psk })
}

fn client(credentials: &Credentials) -> ClientHandshake {
    let mut fields = FieldWriter::default();
    fields.put(field::CIPHERS, &[99, 2, 1]).put(field::TUNNEL_ID, &660u16.to_be_bytes());
    ClientHandshake::new(Time::ZERO, credentials.clone(), fields.as_slice().to_vec(), STEER, &secret(77))
}

fn server(keys: &ServerKeys) -> ServerHandshakes {
    ServerHandshakes::new(keys.clone(), secret(50), secret(51), 1)
}

fn reply(verdict: Result<Verdict, HandshakeError>) -> Vec<u8> {
    match verdict.unwrap() {
        Verdict::Reply(datagram) => datagram,
        other => panic!("not a reply: {other:?}"),
    }
}

/// Up to the INIT: the client after it got its cookie, and the INIT.
fn init(client: &mut ClientHandshake, server: &mut ServerHandshakes) -> Vec<u8> {
    let request = client.poll_transmit(Time::ZERO).unwrap().to_vec();
    let challenge = reply(server.handle(Time::ZERO, address(), &request));
    assert!(challenge.len() <= request.len(), "a challenge amplifies nothing");
    assert!(client.handle(Time::ZERO, &challenge).unwrap().is_none());
    client.poll_transmit(Time::ZERO).unwrap().to_vec()
}

fn run(credentials: &Credentials, keys: &ServerKeys) -> (Established, Established) {
    let (mut client, mut server) = (client(credentials), server(keys));
    let init = init(&mut client, &mut server);
    let Verdict::Offer(offer) = server.handle(Time::ZERO, address(), &init).unwrap() else {
        panic!("an offer")
    };
    assert_eq!(offer.fields().array(field::TUNNEL_ID), Some(660u16.to_be_bytes()));
    let cipher = offer.cipher(|_| true).unwrap();
    let mut fields = FieldWriter::default();
    fields.put(field::MTU, &1442u16.to_be_bytes());
    let (answer, at_server) = offer.accept(SERVER_INDEX, cipher, &secret(9), &fields).unwrap();
    let at_client = client.handle(Time::ZERO, &answer.datagram).unwrap().unwrap();
    assert_eq!(client.poll_timeout(), None);
    (at_client, at_server)
}

fn talk(a: &crate::bond::keys::Master, b: &crate::bond::keys::Master, cipher: Cipher) -> bool {
    let mut datagram = [0; 64];
    let len =
        a.seal_key(Direction::ClientToServer, cipher, 0).seal(SERVER_INDEX, 1, &mut datagram, 8).unwrap();
    b.open_key(Direction::ClientToServer, cipher, 0).open(1, &mut datagram[..len]).is_some()
}

#[test]
fn both_ends_come_out_with_the_same_keys() {
    for (credentials, keys) in [named(), shared()] {
        let (at_client, at_server) = run(&credentials, &keys);
        assert_eq!(
            (at_client.cipher, at_server.cipher),
            (Cipher::ChaCha20Poly1305, Cipher::ChaCha20Poly1305)
        );
        assert_eq!((at_client.peer, at_server.own), (SERVER_INDEX, SERVER_INDEX));
        assert_eq!(at_client.own, at_server.peer);
        assert!(talk(&at_client.master, &at_server.master, at_client.cipher));
        let fields = Fields::parse(&at_client.fields).unwrap();
        assert_eq!(fields.array(field::MTU), Some(1442u16.to_be_bytes()));
    }
}

#[test]
fn a_named_client_is_known_by_its_key() {
    let (credentials, keys) = named();
    let (mut client, mut server) = (client(&credentials), server(&keys));
    let init = init(&mut client, &mut server);
    let Verdict::Offer(offer) = server.handle(Time::ZERO, address(), &init).unwrap() else {
        panic!("an offer")
    };
    assert_eq!(offer.client(), ClientId::Named(public_key(&secret(1))));
}

#[test]
fn garbage_and_strangers_are_dropped_before_any_public_key_work() {
    let (credentials, keys) = named();
    let mut server = server(&keys);
    let mut request = client(&credentials).poll_transmit(Time::ZERO).unwrap().to_vec();
    for byte in 1..request.len() {
        request[byte] ^= 1;
        assert!(server.handle(Time::ZERO, address(), &request).is_err(), "byte {byte}");
        request[byte] ^= 1;
    }
    let stranger = Credentials::Named { own: secret(1), server: public_key(&secret(3)), psk: secret(9) };
    let request = client(&stranger).poll_transmit(Time::ZERO).unwrap().to_vec();
    assert_eq!(server.handle(Time::ZERO, address(), &request).unwrap_err(), HandshakeError::WrongMac);
}

#[test]
fn an_init_from_another_address_or_with_an_old_cookie_is_dropped() {
    let (credentials, keys) = shared();
    let (mut client, mut server) = (client(&credentials), server(&keys));
    let init = init(&mut client, &mut server);
    let elsewhere = "192.0.2.8:40000".parse().unwrap();
    assert_eq!(server.handle(Time::ZERO, elsewhere, &init).unwrap_err(), HandshakeError::WrongCookie);
    let later = Time::from_millis(120_000);
    assert_eq!(server.handle(later, address(), &init).unwrap_err(), HandshakeError::WrongCookie);
}

#[test]
fn a_recorded_request_is_answered_a_bounded_number_of_times_and_others_all_the_same() {
    let (credentials, keys) = shared();
    let mut server = server(&keys);
    let request = client(&credentials).poll_transmit(Time::ZERO).unwrap().to_vec();
    let answers = |server: &mut ServerHandshakes, from| {
        (0..10_000).filter(|_| server.handle(Time::ZERO, from, &request).is_ok()).count()
    };
    assert_eq!(answers(&mut server, address()), 256);
    assert_eq!(answers(&mut server, "198.51.100.77:1".parse().unwrap()), 256);
    assert!(server.handle(Time::from_millis(10), address(), &request).is_ok(), "forgiven after a while");
}

#[test]
fn a_repeated_init_gets_the_same_response() {
    let (credentials, keys) = named();
    let (mut client, mut server) = (client(&credentials), server(&keys));
    let init = init(&mut client, &mut server);
    let Verdict::Offer(offer) = server.handle(Time::ZERO, address(), &init).unwrap() else {
        panic!("an offer")
    };
    let (answer, _) =
        offer.accept(SERVER_INDEX, Cipher::Aes256Gcm, &secret(9), &FieldWriter::default()).unwrap();
    server.answered(Time::ZERO, &answer);
    assert_eq!(reply(server.handle(Time::ZERO, address(), &init)), answer.datagram);
}

#[test]
fn a_wrong_pre_shared_key_is_found_out_by_the_client_which_still_waits_for_the_true_answer() {
    let (credentials, keys) = named();
    let (mut client, mut server) = (client(&credentials), server(&keys));
    let init = init(&mut client, &mut server);
    let Verdict::Offer(offer) = server.handle(Time::ZERO, address(), &init).unwrap() else {
        panic!("an offer")
    };
    let fields = FieldWriter::default();
    let (answer, _) = offer.accept(SERVER_INDEX, Cipher::Aes256Gcm, &secret(8), &fields).unwrap();
    assert_eq!(client.handle(Time::ZERO, &answer.datagram).unwrap_err(), HandshakeError::Unproved);
    let Verdict::Offer(offer) = server.handle(Time::ZERO, address(), &init).unwrap() else {
        panic!("an offer")
    };
    let (answer, at_server) = offer.accept(SERVER_INDEX, Cipher::Aes256Gcm, &secret(9), &fields).unwrap();
    let at_client = client.handle(Time::ZERO, &answer.datagram).unwrap().unwrap();
    assert!(talk(&at_client.master, &at_server.master, Cipher::Aes256Gcm));
}

#[test]
fn a_refusal_arrives_in_words() {
    let (credentials, keys) = named();
    let (mut client, mut server) = (client(&credentials), server(&keys));
    let init = init(&mut client, &mut server);
    let Verdict::Offer(offer) = server.handle(Time::ZERO, address(), &init).unwrap() else {
        panic!("an offer")
    };
    let answer = offer.refuse(&secret(9), 3, "tunnel-id 660 is not yours").unwrap();
    assert_eq!(
        client.handle(Time::ZERO, &answer.datagram).unwrap_err(),
        HandshakeError::Refused { code: 3, reason: "tunnel-id 660 is not yours".into() }
    );
}

#[test]
fn another_version_is_refused_in_words_at_both_ends() {
    let (credentials, keys) = shared();
    let (mut client, mut server) = (client(&credentials), server(&keys));
    let request = client.poll_transmit(Time::ZERO).unwrap().to_vec();
    // What a peer of version 0 that knows the secret would send.
    let mut old = request[..request.len() - 16].to_vec();
    old[5] = 0;
    let mac = credentials.filter_key().tag(&[&old]);
    old.extend_from_slice(&mac);
    let Ok(Verdict::Refuse(answer, error)) = server.handle(Time::ZERO, address(), &old) else {
        panic!("a refusal")
    };
    assert_eq!(
        error.to_string(),
        "the peer speaks bond/0, this end speaks bond/1: bring both to the same version"
    );
    assert!(answer.len() <= old.len());
    assert_eq!(message::read_version(&answer, &old, &credentials.filter_key()), Ok(1));
    // The client believes only an answer to what it sent itself.
    assert_eq!(client.handle(Time::ZERO, &answer).unwrap_err(), HandshakeError::WrongMac);
    let answer = message::version(&request, &credentials.filter_key());
    assert_eq!(client.handle(Time::ZERO, &answer).unwrap_err(), HandshakeError::WrongVersion { theirs: 1 });
}

#[test]
fn a_forged_challenge_leads_nowhere() {
    let (credentials, keys) = named();
    let (mut client, mut server) = (client(&credentials), server(&keys));
    let request = client.poll_transmit(Time::ZERO).unwrap().to_vec();
    let challenge = reply(server.handle(Time::ZERO, address(), &request));
    for byte in 0..challenge.len() {
        let mut forged = challenge.clone();
        forged[byte] ^= 0x10;
        assert!(client.handle(Time::ZERO, &forged).is_err(), "byte {byte}");
    }
    assert!(client.handle(Time::ZERO, &challenge).unwrap().is_none());
}

#[test]
fn a_response_out_of_turn_does_not_end_the_handshake() {
    let (credentials, keys) = named();
    let (mut client, mut server) = (client(&credentials), server(&keys));
    let mut forged = vec![0x04];
    forged.extend_from_slice(&client.own_index().0.to_be_bytes());
    forged.extend_from_slice(&[1; 60]);
    assert_eq!(client.handle(Time::ZERO, &forged).unwrap_err(), HandshakeError::Unexpected);
    init(&mut client, &mut server);
    assert_eq!(client.handle(Time::ZERO, &forged).unwrap_err(), HandshakeError::Unproved);
    assert!(client.poll_timeout().is_some());
}

#[test]
fn a_silent_server_is_asked_again_and_again_and_a_stale_cookie_is_renewed() {
    let (credentials, keys) = named();
    let (mut client, mut server) = (client(&credentials), server(&keys));
    init(&mut client, &mut server);
    let mut kinds = Vec::new();
    let mut now = Time::ZERO;
    while kinds.len() < 6 {
        now = client.poll_timeout().unwrap();
        kinds.push(Kind::of(client.poll_transmit(now).unwrap()).unwrap());
    }
    assert_eq!(kinds, [Kind::Init, Kind::Init, Kind::Init, Kind::Request, Kind::Request, Kind::Request]);
    assert!(now <= Time::from_millis(10_000));
}

#[test]
fn a_link_joins_with_a_proof_and_only_with_one() {
    let (at_client, at_server) = run(&named().0, &named().1);
    let join = Join { session: SERVER_INDEX, epoch: 0, link: 1, sender: ReceiverIndex(42) };
    let datagram = join.encode(&at_client.master.join_key());
    assert_eq!(Join::decode(&datagram), Ok(join));
    assert!(Join::verify(&datagram, &at_server.master.join_key()));
    let verdict = JoinVerdict::Joined(ReceiverIndex(0x0c00_0002));
    let answer = verdict.encode(&datagram, &at_server.master.join_key());
    assert!(answer.len() <= datagram.len(), "nothing is amplified");
    assert_eq!(ReceiverIndex::of(&answer), Ok(ReceiverIndex(42)));
    assert_eq!(JoinVerdict::decode(&answer, &datagram, &at_client.master.join_key()), Ok(verdict));

    let other = run(&shared().0, &shared().1).0.master.join_key();
    assert!(!Join::verify(&datagram, &other));
    for byte in 0..datagram.len() {
        let mut forged = datagram.clone();
        forged[byte] ^= 1;
        assert!(!Join::verify(&forged, &at_server.master.join_key()));
        assert!(JoinVerdict::decode(&answer, &forged, &at_client.master.join_key()).is_err());
    }
}

#[test]
fn a_link_number_is_used_once() {
    let mut numbers = LinkNumbers::default();
    assert!(!numbers.take(0), "the handshake's own link");
    assert!(numbers.take(2) && numbers.take(1));
    assert!(!numbers.take(1) && !numbers.take(2));
    assert_eq!(numbers.allot(), Some(3));
    assert!(numbers.take(500));
    assert!(!numbers.take(4), "too old to tell");
    assert!(numbers.take(450));
    assert!(numbers.take(u16::MAX));
    assert_eq!(numbers.allot(), None);
}

#[test]
fn rekeying_gives_both_ends_the_same_new_keys() {
    for (credentials, keys) in [named(), shared()] {
        let (at_client, at_server) = run(&credentials, &keys);
        let offer = RekeyOffer::new(&at_client.master, &credentials, &secret(60)).unwrap();
        let client_key = public_key(&secret(1));
        let known = matches!(credentials, Credentials::Named { .. }).then_some(&client_key);
        let (answer, next_at_server) =
            rekey::answer(&at_server.master, &keys, known, &secret(9), offer.frame(), &secret(61)).unwrap();
        let next_at_client = offer.finish(&at_client.master, 1, &answer).unwrap();
        assert_eq!((next_at_client.epoch(), next_at_server.epoch()), (1, 1));
        assert!(talk(&next_at_client, &next_at_server, Cipher::Aes256Gcm));
        assert!(!talk(&at_client.master, &next_at_server, Cipher::Aes256Gcm));
    }
}

#[test]
fn a_rekeying_of_another_session_or_client_is_refused() {
    let (credentials, keys) = named();
    let (at_client, at_server) = run(&credentials, &keys);
    let offer = RekeyOffer::new(&at_client.master, &credentials, &secret(60)).unwrap();
    let (epoch, message) = offer.frame();
    let answer = |master: &_, client: &[u8; 32], epoch| {
        rekey::answer(master, &keys, Some(client), &secret(9), (epoch, message), &secret(61)).map(|_| ())
    };
    let own = public_key(&secret(1));
    assert_eq!(answer(&at_server.master, &public_key(&secret(7)), epoch), Err(HandshakeError::Unproved));
    assert_eq!(answer(&at_server.master, &own, epoch + 1), Err(HandshakeError::Unexpected));
    let other = crate::bond::keys::Master::first(&crate::bond::keys::NoiseOutput {
        split: (secret(1), secret(2)),
        hash: [0; 32],
    });
    assert_eq!(answer(&other, &own, epoch), Err(HandshakeError::Unproved));
    assert_eq!(answer(&at_server.master, &own, epoch), Ok(()));
}
