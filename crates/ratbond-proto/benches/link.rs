//! What a packet costs from the queue of one `bond/1` link to the far end and back as an ack, with and without an AEAD,
//! and what the AEAD costs alone. `cargo bench -p ratbond-proto --features bench-null-cipher --bench link`
//!
//! "sealed" less "not sealed" is what sealing adds to a link; the aim is at most 1.2 times "the AEAD alone".

#![allow(missing_docs, reason = "a benchmark")]

mod cpu_time;

use std::hint::black_box;
use std::time::Duration;

use cpu_time::CpuTime;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ratbond_proto::bond::datagram::{HEADER_LEN, ReceiverIndex, SEALED_OVERHEAD};
use ratbond_proto::bond::frame::DATA_HEADER_LEN;
use ratbond_proto::bond::keys::{Cipher, Direction, Master, NoiseOutput};
use ratbond_proto::bond::link::path_mtu::PathMtu;
use ratbond_proto::bond::link::{BondLink, Identity, Received};
use ratbond_proto::bond::secret::Secret32;
use ratbond_proto::numbering::Numberer;
use ratbond_proto::session::Role;
use ratbond_proto::{PacketPool, Time};

const PACKET_LEN: usize = 1_400;
const PACKETS: u64 = 1_000;
/// Datagrams, without what is around them.
const PATH_MTU: usize = 1_472;

fn master() -> Master {
    Master::first(&NoiseOutput { split: (Secret32([1; 32]), Secret32([2; 32])), hash: [3; 32] })
}

/// Both ends of a link and a perfect wire between them.
struct Wire {
    client: BondLink,
    server: BondLink,
    now: Time,
    numberer: Numberer,
    pool: PacketPool,
    received: Vec<Received>,
    datagram: Vec<u8>,
}

impl Wire {
    fn new(cipher: Cipher) -> Self {
        let (a, b) = (ReceiverIndex(11), ReceiverIndex(22));
        let end = |role, own, peer| {
            let identity = Identity { role, link: 0, own, peer };
            BondLink::new(Time::ZERO, identity, &master(), cipher, PathMtu::known(PATH_MTU))
        };
        Self {
            client: end(Role::Client, a, b),
            server: end(Role::Server, b, a),
            now: Time::ZERO,
            numberer: Numberer::default(),
            pool: PacketPool::new(1_024),
            received: Vec::new(),
            datagram: Vec::new(),
        }
    }

    fn packets(&mut self, count: u64) {
        for _ in 0..count {
            let packet = self.pool.copy_of(&[0x45; PACKET_LEN]);
            self.client.send(self.numberer.assign(3, true), packet);
            self.now += Duration::from_micros(20);
            while self.client.poll_transmit(self.now, &mut self.datagram) {
                let taken =
                    self.server.receive(self.now, &mut self.datagram, &mut self.received, &mut self.pool);
                assert!(taken.is_ok());
                self.datagram.clear();
            }
            while self.server.poll_transmit(self.now, &mut self.datagram) {
                let taken =
                    self.client.receive(self.now, &mut self.datagram, &mut self.received, &mut self.pool);
                assert!(taken.is_ok());
                self.datagram.clear();
            }
            for item in self.received.drain(..) {
                if let Received::Packet(_, packet) = item {
                    self.pool.put(packet);
                }
            }
        }
    }
}

fn whole_link(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("1000 packets of 1400 bytes");
    group.throughput(Throughput::Bytes(PACKETS * PACKET_LEN as u64));
    for (name, cipher) in [
        ("not sealed", Cipher::Null),
        ("sealed, AES-256-GCM", Cipher::Aes256Gcm),
        ("sealed, ChaCha20-Poly1305", Cipher::ChaCha20Poly1305),
    ] {
        let mut wire = Wire::new(cipher);
        wire.packets(10_000);
        group.bench_function(name, |b| b.iter(|| wire.packets(PACKETS)));
        assert_eq!(wire.server.counters().forged + wire.server.counters().malformed, 0);
    }
    for (name, cipher) in
        [("AES-256-GCM alone", Cipher::Aes256Gcm), ("ChaCha20-Poly1305 alone", Cipher::ChaCha20Poly1305)]
    {
        group.bench_function(name, |b| b.iter(|| seal_and_open(cipher)));
    }
    group.finish();
}

/// The same datagrams, their acks left out, with nothing around them but the header and the nonce.
fn seal_and_open(cipher: Cipher) {
    const FRAMES_LEN: usize = DATA_HEADER_LEN + PACKET_LEN;
    let mut seal = master().seal_key(Direction::ClientToServer, cipher, 0);
    let mut open = master().open_key(Direction::ClientToServer, cipher, 0);
    let mut datagram = [0x45; FRAMES_LEN + SEALED_OVERHEAD];
    for number in 0..PACKETS {
        let sealed = seal.seal(ReceiverIndex(22), number, &mut datagram, FRAMES_LEN);
        assert_eq!(sealed, Ok(datagram.len()));
        assert!(open.open(number, black_box(&mut datagram)).is_some());
    }
    black_box(&datagram[HEADER_LEN..]);
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = whole_link
}
criterion_main!(benches);
