//! Every parser of `bond/1` under arbitrary bytes, and under mutations of what honest peers send. `make fuzz` runs these
//! for minutes.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::time::Duration;

use proptest::prelude::*;
use ratbond_proto::Time;
use ratbond_proto::bond::datagram::{Header, ReceiverIndex};
use ratbond_proto::bond::frame::tlv::FieldWriter;
use ratbond_proto::bond::frame::{AckContent, LinkDownReason, RekeyStep, Writer};
use ratbond_proto::bond::handshake::client::ClientHandshake;
use ratbond_proto::bond::handshake::join::{Join, JoinVerdict};
use ratbond_proto::bond::handshake::{Credentials, message, shared_psk};
use ratbond_proto::bond::kdf::MacKey;
use ratbond_proto::bond::secret::Secret32;
use ratbond_proto::bond::{fuzz, handshake};
use ratbond_proto::numbering::Numbering;

fn every_frame() -> Vec<u8> {
    let ranges = [(70_000, 70_009), (60_000, 69_000), (5, 17)];
    let content = AckContent { ranges: &ranges, received_at_us: 7, delay: Duration::from_millis(3) };
    let mut fields = FieldWriter::default();
    fields.put(10, &[1]).put(8, b"wan0");
    let mut out = vec![0; 1_000];
    let mut writer = Writer::new(&mut out);
    let numbering = Numbering { bucket: 1, seq: 2, ordered: true };
    let fits = writer.ping()
        && writer.ack(None, &content)
        && writer.ack(Some(3), &content)
        && writer.skip(1, 2, 3)
        && writer.hello(fields.as_slice())
        && writer.link_down(4, LinkDownReason::Silent, Some(&content))
        && writer.path_challenge([5; 8])
        && writer.rekey(RekeyStep::Offer, 1, &[6; 40])
        && writer.close(1, "over")
        && writer.data(numbering, b"packet", false)
        && writer.data(numbering, b"packet", true);
    assert!(fits, "the seed holds every frame");
    let len = writer.len();
    out.truncate(len);
    out
}

/// Datagrams of a true peer for [`fuzz::sealed_frames`]: pings, packets with a gap, a SKIP, a CLOSE in between.
fn frame_sequence() -> Vec<u8> {
    let data = |sequence: u8| [&[0xc0, 3, 0, 0, sequence][..], &[0x45; 40]].concat();
    let skip = vec![0x04, 3, 0, 0, 1, 0, 1];
    let datagrams = [vec![0x01], data(0), data(2), skip, vec![0x0a, 0, 0], data(3), vec![0x01, 0x00, 0x00]];
    datagrams.into_iter().flat_map(|frames| [&[frames.len() as u8, 7][..], &frames].concat()).collect()
}

/// What honest peers send, to be mutated.
fn seeds() -> Vec<Vec<u8>> {
    let credentials = Credentials::Shared { psk: shared_psk(&Secret32([1; 32])) };
    let filter = credentials.filter_key();
    let steer = ReceiverIndex(9);
    let mut client = ClientHandshake::new(Time::ZERO, credentials, Vec::new(), steer, &Secret32([5; 32]));
    let request = client.poll_transmit(Time::ZERO).unwrap().to_vec();
    let opening = message::Opening { steer, mode: handshake::Mode::Shared, sender: client.own_index() };
    let key = MacKey::new(&Secret32([8; 32]));
    let join = Join { session: steer, epoch: 0, link: 1, sender: steer }.encode(&key);
    let mut sealed = Header { phase: 1, receiver: steer, counter_low: 3 }.encode().to_vec();
    sealed.resize(60, 0xa5);
    vec![
        every_frame(),
        frame_sequence(),
        message::challenge(&request, [7; 16], &filter),
        message::version(&request, &filter),
        message::init(opening, [7; 16], &[3; 48], &filter),
        request,
        JoinVerdict::Joined(steer).encode(&join, &key),
        join,
        sealed,
    ]
}

#[derive(Clone, Debug)]
enum Mutation {
    Set(usize, u8),
    Flip(usize, u8),
    Cut(usize),
    Insert(usize, Vec<u8>),
    Repeat(usize, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = 0usize..1_200;
    prop_oneof![
        (at.clone(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (at.clone(), 0u8..8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        at.clone().prop_map(Mutation::Cut),
        (at.clone(), prop::collection::vec(any::<u8>(), 1..20))
            .prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (at, 1usize..100).prop_map(|(at, len)| Mutation::Repeat(at, len)),
    ]
}

fn mutate(data: &mut Vec<u8>, mutation: Mutation) {
    let place = |at: usize, len: usize| at % len.max(1);
    let len = data.len();
    match mutation {
        Mutation::Set(at, byte) if len > 0 => data[place(at, len)] = byte,
        Mutation::Flip(at, bit) if len > 0 => data[place(at, len)] ^= 1 << bit,
        Mutation::Cut(at) => data.truncate(place(at, len)),
        Mutation::Insert(at, bytes) => {
            let at = place(at, len);
            data.splice(at..at, bytes);
        }
        Mutation::Repeat(at, count) if len > 0 => {
            let at = place(at, len);
            let part = data[at..(at + count).min(len)].to_vec();
            data.splice(at..at, part);
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn fuzz_parsers_with_arbitrary_bytes(data in prop::collection::vec(any::<u8>(), 0..1_300)) {
        for (_, target) in fuzz::ALL {
            target(&data);
        }
    }

    #[test]
    fn fuzz_parsers_with_mutated_datagrams(
        seed in prop::sample::select(seeds()),
        mutations in prop::collection::vec(mutation(), 1..8),
    ) {
        let mut data = seed;
        for mutation in mutations {
            mutate(&mut data, mutation);
        }
        for (_, target) in fuzz::ALL {
            target(&data);
        }
    }
}
