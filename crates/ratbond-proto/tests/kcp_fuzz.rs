//! Every parser of KCP, and whole conversations, under arbitrary bytes and under mutations of what honest peers send.
//! `make fuzz` gives the same entry points to a fuzzer that follows the code's branches.

#![allow(clippy::unwrap_used, reason = "tests")]

mod kcp_support;

use std::time::Duration;

use kcp_support::{End, Pair, ms};
use proptest::prelude::*;
use ratbond_netem::LinkConfig;
use ratbond_proto::kcp::segment::{Cmd, Header};
use ratbond_proto::kcp::{Config, frame, fuzz};

/// What honest peers send: datagrams of a lossy exchange, and stock's frames.
fn honest() -> Vec<Vec<u8>> {
    let lossy = LinkConfig { delay_ns: ms(10), loss: 0.2, ..LinkConfig::default() };
    let mut pair = Pair::ours(Config::default(), lossy, 1);
    let mut seen = vec![frame::hello(660, 7).to_vec(), frame::link_down(11).to_vec()];
    for index in 0..20 {
        pair.a.send(&kcp_support::message(index));
        pair.b.send(&kcp_support::message(index));
        pair.run(Duration::from_millis(7));
        seen.extend(pair.a.transmit(pair.now));
        seen.extend(pair.b.transmit(pair.now));
    }
    let mut stream = Vec::new();
    for cmd in [Cmd::Push, Cmd::Ack, Cmd::WindowAsk, Cmd::WindowTell] {
        Header { conv: 1, cmd, frg: 0, wnd: 16, ts: 0, sn: u32::MAX - 8, una: u32::MAX - 8 }
            .write(b"data", &mut stream);
    }
    // For `hostile_peer`: led by its length, and by the time before it.
    seen.push([&[stream.len() as u8, 5][..], &stream].concat());
    seen.push(stream);
    seen
}

#[derive(Clone, Debug)]
enum Mutation {
    Flip { at: prop::sample::Index, bits: u8 },
    Word { at: prop::sample::Index, value: u32 },
    Cut { at: prop::sample::Index },
    Repeat { at: prop::sample::Index },
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<prop::sample::Index>;
    let edge =
        prop_oneof![Just(0), Just(1), Just(0x7fff_ffff), Just(0x8000_0000), Just(u32::MAX), any::<u32>()];
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, bits)| Mutation::Flip { at, bits }),
        (at(), edge).prop_map(|(at, value)| Mutation::Word { at, value }),
        at().prop_map(|at| Mutation::Cut { at }),
        at().prop_map(|at| Mutation::Repeat { at }),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    if bytes.is_empty() {
        return;
    }
    match mutation {
        Mutation::Flip { at, bits } => {
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
        }
        Mutation::Word { at, value } => {
            let at = at.index(bytes.len());
            for (byte, new) in bytes[at..].iter_mut().zip(value.to_le_bytes()) {
                *byte = new;
            }
        }
        Mutation::Cut { at } => bytes.truncate(at.index(bytes.len())),
        Mutation::Repeat { at } => bytes.extend_from_within(at.index(bytes.len())..),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn fuzz_kcp_with_arbitrary_bytes(data in prop::collection::vec(any::<u8>(), 0..1_000)) {
        for (_, target) in fuzz::ALL {
            target(&data);
        }
    }

    #[test]
    fn fuzz_kcp_with_mutated_datagrams(
        which in any::<prop::sample::Index>(),
        mutations in prop::collection::vec(mutation(), 0..6),
    ) {
        thread_local! {
            static HONEST: Vec<Vec<u8>> = honest();
        }
        let mut data = HONEST.with(|honest| honest[which.index(honest.len())].clone());
        for mutation in &mutations {
            mutate(&mut data, mutation);
        }
        for (_, target) in fuzz::ALL {
            target(&data);
        }
    }
}
