//! What a packet costs before it has a link, stage by stage. `cargo bench -p ratbond-proto --bench spread`

#![allow(missing_docs, reason = "a benchmark")]

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ratbond_proto::flow::Flow;
use ratbond_proto::inner::mss;
use ratbond_proto::link::Outlook;
use ratbond_proto::preference::Tier;
use ratbond_proto::queue::{FairQueue, QueueConfig, Queued};
use ratbond_proto::scheduler::Adaptive;
use ratbond_proto::{PacketPool, Time};

const PACKETS: usize = 1_000;

/// A TCP segment of 1,400 bytes with its headers.
fn segment(port: u16) -> Vec<u8> {
    let mut packet = vec![0; 1_400];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&1_400u16.to_be_bytes());
    packet[9] = 6;
    packet[12..20].copy_from_slice(&[10, 10, 10, 1, 10, 10, 10, 2]);
    packet[20..22].copy_from_slice(&port.to_be_bytes());
    packet[32] = 0x50;
    packet
}

fn classifying(c: &mut Criterion) {
    let packet = segment(5_201);
    c.bench_function("know a packet's flow", |b| b.iter(|| Flow::of(black_box(&packet))));
    let mut packet = segment(5_201);
    c.bench_function("look for an MSS to clamp", |b| b.iter(|| mss::clamp(black_box(&mut packet), 1_400)));
}

fn queueing(c: &mut Criterion) {
    let mut group = c.benchmark_group("queue, and take again, 1000 packets");
    group.throughput(Throughput::Elements(PACKETS as u64));
    for flows in [1u16, 64] {
        let packets: Vec<_> = (0..flows).map(segment).collect();
        let mut queue = FairQueue::new(QueueConfig::default());
        let mut pool = PacketPool::new(4_096);
        group.bench_function(BenchmarkId::new("flows", flows), |b| {
            b.iter_batched(
                || (),
                |()| {
                    for packet in packets.iter().cycle().take(PACKETS) {
                        let flow = Flow::of(packet).expect("it is IPv4");
                        let packet = pool.copy_of(packet);
                        queue.push(Queued { packet, flow, since: Time::ZERO }, &mut pool);
                    }
                    while let Some(item) = queue.pop_bulk(Time::ZERO, &mut pool) {
                        pool.put(item.packet);
                    }
                    while let Some(item) = queue.pop(Time::ZERO, &mut pool) {
                        pool.put(item.packet);
                    }
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn scheduling(c: &mut Criterion) {
    let mut group = c.benchmark_group("look at the links, and ask each for a packet");
    for count in [2u32, 8] {
        let outlooks: Vec<_> = (1..=count)
            .map(|key| Outlook {
                key,
                usable: true,
                tier: Tier::Primary,
                has_room: true,
                one_way_us: Some(5_000 * key),
                min_rtt_us: 10_000 * key,
                wait_us: 1_000,
                rate_bytes_per_s: 6_250_000,
                loss: 0.01,
                may_lose: true,
            })
            .collect();
        let mut adaptive = Adaptive::default();
        group.bench_function(BenchmarkId::new("links", count), |b| {
            b.iter(|| {
                adaptive.look(black_box(&outlooks).iter().copied());
                (0..outlooks.len()).filter(|&at| adaptive.takes_bulk(at, 100_000)).count()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, classifying, queueing, scheduling);
criterion_main!(benches);
