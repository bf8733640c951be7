//! What a packet costs on a `bond/1` link, stage by stage. `cargo bench -p ratbond-proto --bench bond`

#![allow(missing_docs, reason = "a benchmark")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ratbond_proto::bond::ack::AckState;
use ratbond_proto::bond::datagram::{HEADER_LEN, ReceiverIndex, SEALED_OVERHEAD};
use ratbond_proto::bond::frame::{Frame, Frames, Writer};
use ratbond_proto::bond::keys::{Cipher, Direction, Master, NoiseOutput};
use ratbond_proto::bond::recovery::{Outcome, Recovery};
use ratbond_proto::bond::replay::ReplayWindow;
use ratbond_proto::bond::secret::Secret32;
use ratbond_proto::numbering::{Numberer, Numbering};
use ratbond_proto::resequencer::{Limits, Resequencer};
use ratbond_proto::{PacketPool, Time};

const FRAMES_LEN: usize = 1_400 - SEALED_OVERHEAD;

fn master() -> Master {
    Master::first(&NoiseOutput { split: (Secret32([1; 32]), Secret32([2; 32])), hash: [3; 32] })
}

fn sealing(c: &mut Criterion) {
    let mut group = c.benchmark_group("1400-byte datagram");
    group.throughput(Throughput::Bytes(1_400));
    for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
        let mut datagram = [0; 1_400];
        let mut seal = master().seal_key(Direction::ClientToServer, cipher, 0);
        let mut number = 0;
        group.bench_function(format!("seal {cipher:?}"), |b| {
            b.iter(|| {
                number += 1;
                seal.seal(ReceiverIndex(1), number, black_box(&mut datagram), FRAMES_LEN)
            });
        });
        let sealed = datagram;
        let mut open = master().open_key(Direction::ClientToServer, cipher, 0);
        group.bench_function(format!("copy and open {cipher:?}"), |b| {
            b.iter(|| {
                let mut datagram = sealed;
                black_box(open.open(number, &mut datagram)).is_some()
            });
        });
    }
    group.finish();
}

fn framing(c: &mut Criterion) {
    let packet = [0x45; FRAMES_LEN - 5];
    let numbering = Numbering { bucket: 7, seq: 9, ordered: true };
    let mut out = [0; 1_400];
    c.bench_function("write a DATA frame", |b| {
        b.iter(|| Writer::new(&mut out[HEADER_LEN..]).data(numbering, black_box(&packet), true));
    });
    c.bench_function("parse a DATA frame", |b| {
        b.iter(|| Frames::new(black_box(&out[HEADER_LEN..HEADER_LEN + FRAMES_LEN])).count());
    });
    let mut window = ReplayWindow::default();
    let mut acks = AckState::default();
    let mut number = 0;
    c.bench_function("replay window and ack state of a datagram", |b| {
        b.iter(|| {
            number += 1;
            let fresh = window.take(number);
            acks.on_received(Time::from_micros(number), number, fresh);
            acks.on_sent(Time::from_micros(number))
        });
    });
}

/// A flow of datagrams with `in_flight` always on their way, every tenth acknowledged, every hundredth lost.
struct Flow {
    recovery: Recovery<u64>,
    acks: AckState,
    outcome: Outcome<u64>,
    next_arrival: u64,
    step: u64,
}

impl Flow {
    fn new(in_flight: u64) -> Self {
        let mut flow = Self {
            recovery: Recovery::new(Time::ZERO),
            acks: AckState::default(),
            outcome: Outcome::default(),
            next_arrival: 0,
            step: 0,
        };
        for _ in 0..in_flight {
            flow.send();
        }
        for _ in 0..in_flight / 10 + 100 {
            flow.ten_more();
        }
        flow
    }

    fn now(&self) -> Time {
        Time::from_micros(self.step * 11)
    }

    fn send(&mut self) {
        self.step += 1;
        self.recovery.on_sent(self.now(), 1_400, self.step, None);
    }

    fn ten_more(&mut self) {
        for _ in 0..10 {
            if self.next_arrival % 100 != 50 {
                self.acks.on_received(self.now(), self.next_arrival, true);
            }
            self.next_arrival += 1;
            self.send();
        }
        let now = self.now();
        let mut bytes = [0; 400];
        let mut writer = Writer::new(&mut bytes);
        if let Some(content) = self.acks.content(now) {
            writer.ack(None, &content);
        }
        self.acks.on_sent(now);
        let len = writer.len();
        if let Some(Ok(Frame::Ack { block, .. })) = Frames::new(&bytes[..len]).next() {
            let summary = self.recovery.on_ack(now, &block, true, &mut self.outcome);
            assert!(summary.is_ok());
        }
        self.outcome.acked.clear();
        self.outcome.lost.clear();
    }
}

fn recovering(c: &mut Criterion) {
    let mut group = c.benchmark_group("ten datagrams sent, acknowledged by one ack, 1 % lost");
    for in_flight in [300, 3_000, 30_000] {
        let mut flow = Flow::new(in_flight);
        group.bench_function(format!("{in_flight} in flight"), |b| b.iter(|| flow.ten_more()));
    }
    group.finish();
}

fn resequencing(c: &mut Criterion) {
    let mut group = c.benchmark_group("resequence 1000 packets");
    group.throughput(Throughput::Elements(1_000));
    for (name, lag) in [("in order", 0usize), ("from two links, one 40 packets behind", 40)] {
        group.bench_function(name, |b| {
            let mut pool = PacketPool::new(4_096);
            let mut reseq = Resequencer::new(Limits::default(), Duration::from_millis(100));
            let mut numberer = Numberer::default();
            let mut out = Vec::new();
            let mut late = std::collections::VecDeque::new();
            b.iter_batched(
                || (),
                |()| {
                    for count in 0..1_000 {
                        let numbering = numberer.assign(3, true);
                        let packet = pool.copy_of(&[0x45; 1_400]);
                        if lag > 0 && count % 2 == 0 {
                            late.push_back((numbering, packet));
                        } else {
                            reseq.receive(Time::ZERO, numbering, packet, &mut out);
                        }
                        if late.len() > lag / 2
                            && let Some((numbering, packet)) = late.pop_front()
                        {
                            reseq.receive(Time::ZERO, numbering, packet, &mut out);
                        }
                        out.drain(..).for_each(|packet| pool.put(packet));
                    }
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, sealing, framing, recovering, resequencing);
criterion_main!(benches);
