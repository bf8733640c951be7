//! What KCP costs: per segment with few and with many in flight, per datagram, and for stock's AES-CFB.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

mod cpu_time;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::hint::black_box;

use cpu_time::CpuTime;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ratbond_proto::kcp::crypt::Crypt;
use ratbond_proto::kcp::segment::{Cmd, Header, Segments};
use ratbond_proto::kcp::{Config, Kcp};
use ratbond_proto::{Packet, PacketPool, Time};

const CONV: u32 = 11;
/// Segments that one datagram of the peer acknowledges.
const PER_ACK: usize = 16;
/// Segments of a measured round.
const PER_ROUND: usize = 64;

/// A sender whose peer acknowledges each segment when `in_flight` later ones have been sent.
struct SteadySender {
    kcp: Kcp,
    now: Time,
    /// sn and ts of what is in flight.
    pipe: VecDeque<(u32, u32)>,
    datagram: Vec<u8>,
    acks: Vec<u8>,
    loses_each: u32,
    /// What was lost and has not been sent again, in order: that is the order in which it will be.
    missing: VecDeque<u32>,
}

impl SteadySender {
    fn new(in_flight: usize, loses_each: u32, packet: impl Fn() -> Packet) -> Self {
        let config = Config { send_window: u16::MAX, ..Config::default() };
        let mut sender = Self {
            kcp: Kcp::new(CONV, config, Time::ZERO),
            now: Time::ZERO,
            pipe: VecDeque::new(),
            datagram: Vec::with_capacity(2_048),
            acks: Vec::with_capacity(2_048),
            loses_each,
            missing: VecDeque::new(),
        };
        // Opens the window: the peer is known to take 65,535 segments.
        Header { conv: CONV, cmd: Cmd::WindowTell, frg: 0, wnd: u16::MAX, ts: 0, sn: 0, una: 0 }
            .write(&[], &mut sender.acks);
        sender.kcp.input(sender.now, &sender.acks, &mut PacketPool::new(0));
        while sender.pipe.len() < in_flight {
            sender.send(packet());
        }
        sender
    }

    /// Sends one segment, and what was found lost before it.
    fn send(&mut self, packet: Packet) {
        self.now = Time::from_nanos(self.now.as_nanos() + 10_000);
        self.kcp.send(packet).unwrap();
        loop {
            self.datagram.clear();
            if self.kcp.poll_transmit(self.now, &mut self.datagram) == 0 {
                return;
            }
            for segment in Segments::new(&self.datagram) {
                let Header { sn, ts, .. } = segment.unwrap().header;
                self.pipe.push_back((sn, ts));
            }
        }
    }

    /// Takes in the ACKs of as many transmissions as were made. The first transmission of every `loses_each`th segment
    /// never arrives, so that una lags behind, and each ACK takes a segment from the middle.
    fn acknowledge(&mut self, pool: &mut PacketPool) {
        self.acks.clear();
        for (sn, ts) in self.pipe.drain(..PER_ACK) {
            if self.missing.front() == Some(&sn) {
                self.missing.pop_front();
            } else if self.loses_each != 0 && sn % self.loses_each == 0 {
                self.missing.push_back(sn);
                continue;
            }
            let una = self.missing.front().map_or(sn, |missing| sn.min(*missing));
            Header { conv: CONV, cmd: Cmd::Ack, frg: 0, wnd: u16::MAX, ts, sn, una }
                .write(&[], &mut self.acks);
        }
        black_box(self.kcp.input(self.now, &self.acks, pool));
    }

    fn round(&mut self, packets: Vec<Packet>, pool: &mut PacketPool) {
        for (index, packet) in packets.into_iter().enumerate() {
            self.send(packet);
            if index % PER_ACK == PER_ACK - 1 {
                self.acknowledge(pool);
            }
        }
    }
}

/// The packets of a round are made outside the measured time, as reading the tun makes them: what their own memory
/// costs is not KCP's.
fn segment_cost(c: &mut Criterion<CpuTime>) {
    for (name, payload_bytes, loses_each) in
        [("segment", 64, 0), ("segment_1336_bytes", 1_336, 0), ("segment_under_loss", 64, 50)]
    {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(PER_ROUND as u64));
        for in_flight in [300, 3_000, 30_000] {
            let payload = vec![0x5a; payload_bytes];
            let pool = RefCell::new(PacketPool::new(100_000));
            let packet = || pool.borrow_mut().copy_of(&payload);
            let mut sender = SteadySender::new(in_flight, loses_each, packet);
            group.bench_function(BenchmarkId::new("in_flight", in_flight), |b| {
                b.iter_batched(
                    || (0..PER_ROUND).map(|_| packet()).collect(),
                    |packets| sender.round(packets, &mut pool.borrow_mut()),
                    BatchSize::PerIteration,
                );
            });
            assert!(sender.pipe.len() >= in_flight);
        }
        group.finish();
    }
}

fn datagram_codec(c: &mut Criterion<CpuTime>) {
    let header = Header { conv: CONV, cmd: Cmd::Push, frg: 0, wnd: 1_024, ts: 1, sn: 2, una: 3 };
    let payload = [0x5a; 1_336];
    let mut datagram = Vec::with_capacity(2_048);
    let mut group = c.benchmark_group("datagram");
    group.bench_function("encode", |b| {
        b.iter(|| {
            datagram.clear();
            black_box(header).write(black_box(&payload), &mut datagram);
        });
    });
    let mut acks = Vec::new();
    for sn in 0..56 {
        Header { cmd: Cmd::Ack, sn, ..header }.write(&[], &mut acks);
    }
    group.bench_function("decode_1_push", |b| {
        b.iter(|| Segments::new(black_box(&datagram)).flatten().count())
    });
    group.bench_function("decode_56_acks", |b| b.iter(|| Segments::new(black_box(&acks)).flatten().count()));
    group.finish();
}

fn crypt(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("crypt");
    group.throughput(Throughput::Bytes(1_380));
    for (name, crypt) in [("plain", Crypt::Plain), ("aes", Crypt::aes("a secret"))] {
        let mut sealed = vec![0x5a; 1_380];
        group.bench_function(BenchmarkId::new("seal", name), |b| {
            b.iter(|| crypt.seal(black_box(&mut sealed), [7; 16]));
        });
        sealed.fill(0x5a);
        crypt.seal(&mut sealed, [7; 16]);
        let mut datagram = Vec::with_capacity(2_048);
        group.bench_function(BenchmarkId::new("open", name), |b| {
            b.iter(|| {
                datagram.clear();
                datagram.extend_from_slice(&sealed);
                crypt.open(black_box(&mut datagram)).unwrap().len()
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = segment_cost, datagram_codec, crypt
}
criterion_main!(benches);
