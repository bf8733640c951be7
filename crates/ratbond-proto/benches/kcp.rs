//! What KCP costs: per segment with few and with many in flight, per datagram, and for stock's AES-CFB.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::collections::VecDeque;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ratbond_proto::kcp::crypt::Crypt;
use ratbond_proto::kcp::segment::{Cmd, Header, Segments};
use ratbond_proto::kcp::{Config, Kcp};
use ratbond_proto::{PacketPool, Time};

const CONV: u32 = 11;
/// Segments that one datagram of the peer acknowledges.
const PER_ACK: usize = 16;

/// A sender whose peer acknowledges each segment when `in_flight` later ones have been sent.
struct SteadySender {
    kcp: Kcp,
    pool: PacketPool,
    payload: Vec<u8>,
    now: Time,
    /// sn and ts of what is in flight.
    pipe: VecDeque<(u32, u32)>,
    datagram: Vec<u8>,
    acks: Vec<u8>,
    loses_each: u32,
}

impl SteadySender {
    fn new(in_flight: usize, payload_bytes: usize, loses_each: u32) -> Self {
        let config = Config { send_window: u16::MAX, ..Config::default() };
        let mut sender = Self {
            kcp: Kcp::new(CONV, config, Time::ZERO),
            pool: PacketPool::new(100_000),
            payload: vec![0x5a; payload_bytes],
            now: Time::ZERO,
            pipe: VecDeque::new(),
            datagram: Vec::with_capacity(2_048),
            acks: Vec::with_capacity(2_048),
            loses_each,
        };
        // Opens the window: the peer is known to take 65,535 segments.
        Header { conv: CONV, cmd: Cmd::WindowTell, frg: 0, wnd: u16::MAX, ts: 0, sn: 0, una: 0 }
            .write(&[], &mut sender.acks);
        sender.kcp.input(sender.now, &sender.acks, &mut sender.pool);
        while sender.pipe.len() < in_flight {
            sender.send();
        }
        sender
    }

    /// Sends one segment, and what was found lost before it.
    fn send(&mut self) {
        self.now = Time::from_nanos(self.now.as_nanos() + 10_000);
        let packet = self.pool.copy_of(&self.payload);
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

    /// Sends as many segments as one datagram acknowledges. Every `loses_each`th transmission never arrives, so that
    /// una lags behind, and each ACK after it takes a segment from the middle.
    fn round(&mut self) {
        for _ in 0..PER_ACK {
            self.send();
        }
        self.acks.clear();
        for (sn, ts) in self.pipe.drain(..PER_ACK) {
            let is_lost = self.loses_each != 0 && sn % self.loses_each == 0 && ts % 2 == 0;
            if !is_lost {
                let una = if self.loses_each == 0 { sn } else { 0 };
                Header { conv: CONV, cmd: Cmd::Ack, frg: 0, wnd: u16::MAX, ts, sn, una }
                    .write(&[], &mut self.acks);
            }
        }
        black_box(self.kcp.input(self.now, &self.acks, &mut self.pool));
    }
}

fn segment_cost(c: &mut Criterion) {
    for (name, payload_bytes, loses_each) in
        [("segment", 64, 0), ("segment_1336_bytes", 1_336, 0), ("segment_under_loss", 64, 50)]
    {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(PER_ACK as u64));
        for in_flight in [300, 3_000, 30_000] {
            let mut sender = SteadySender::new(in_flight, payload_bytes, loses_each);
            group.bench_function(BenchmarkId::new("in_flight", in_flight), |b| b.iter(|| sender.round()));
            assert!(sender.pipe.len() >= in_flight);
        }
        group.finish();
    }
}

fn datagram_codec(c: &mut Criterion) {
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

fn crypt(c: &mut Criterion) {
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

criterion_group!(benches, segment_cost, datagram_codec, crypt);
criterion_main!(benches);
