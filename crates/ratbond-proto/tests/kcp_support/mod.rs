//! Two ends of a conversation with an emulated link in each direction, in virtual time.
//!
//! ```text
//!   a ── a_to_b ──> b
//!   a <── b_to_a ── b
//! ```

#![allow(dead_code, reason = "each test file uses its part")]

use std::time::Duration;

use ratbond_netem::{Link, LinkConfig};
use ratbond_proto::kcp::{Config, InputSummary, Kcp};
use ratbond_proto::{Packet, PacketPool, Time};

/// Bytes of IPv4 and UDP around a datagram.
const OVERHEAD_BYTES: u32 = 28;

/// One end of a conversation: ours, or an independent one.
pub trait End {
    fn send(&mut self, message: &[u8]);
    fn recv(&mut self) -> Option<Vec<u8>>;
    fn has_room(&self) -> bool;
    fn input(&mut self, now: Time, datagram: &[u8]);
    fn transmit(&mut self, now: Time) -> Option<Vec<u8>>;
    fn deadline(&self, now: Time) -> Option<Time>;
    fn timeout(&mut self, now: Time);
}

/// Our end, and what it has told.
pub struct Ours {
    pub kcp: Kcp,
    pub pool: PacketPool,
    pub summaries: Vec<InputSummary>,
}

impl Ours {
    pub fn new(config: Config, now: Time) -> Self {
        Self { kcp: Kcp::new(CONV, config, now), pool: PacketPool::new(4_096), summaries: Vec::new() }
    }
}

/// The conversation that all tests use.
pub const CONV: u32 = 0x0a0b_0c0d;

impl End for Ours {
    fn send(&mut self, message: &[u8]) {
        let message = self.pool.copy_of(message);
        self.kcp.send(message).unwrap();
    }

    fn recv(&mut self) -> Option<Vec<u8>> {
        let packet = self.kcp.recv(&mut self.pool)?;
        let bytes = packet.as_slice().to_vec();
        self.pool.put(packet);
        Some(bytes)
    }

    fn has_room(&self) -> bool {
        self.kcp.has_room()
    }

    fn input(&mut self, now: Time, datagram: &[u8]) {
        let summary = self.kcp.input(now, datagram, &mut self.pool);
        assert_eq!(summary.error, None, "an honest peer's datagram was refused");
        self.summaries.push(summary);
    }

    fn transmit(&mut self, now: Time) -> Option<Vec<u8>> {
        let mut datagram = Vec::new();
        let len = self.kcp.poll_transmit(now, &mut datagram);
        assert_eq!(len, datagram.len());
        assert!(len <= self.kcp.config().mtu);
        (len > 0).then_some(datagram)
    }

    fn deadline(&self, _: Time) -> Option<Time> {
        self.kcp.poll_timeout()
    }

    fn timeout(&mut self, now: Time) {
        self.kcp.handle_timeout(now);
    }
}

/// Two ends and the links between them.
pub struct Pair<A, B> {
    pub now: Time,
    pub a: A,
    pub b: B,
    pub a_to_b: Link<Vec<u8>>,
    pub b_to_a: Link<Vec<u8>>,
}

impl Pair<Ours, Ours> {
    /// Both ends ours, the same link both ways.
    pub fn ours(config: Config, link: LinkConfig, seed: u64) -> Self {
        Self::ours_at(Time::ZERO, config, link, seed)
    }

    /// The same, begun at a time of day.
    pub fn ours_at(now: Time, config: Config, link: LinkConfig, seed: u64) -> Self {
        Self::new(now, Ours::new(config, now), Ours::new(config, now), link, seed)
    }
}

impl<A: End, B: End> Pair<A, B> {
    pub fn new(now: Time, a: A, b: B, link: LinkConfig, seed: u64) -> Self {
        Self {
            now,
            a,
            b,
            a_to_b: Link::new(link.clone(), seed).unwrap(),
            b_to_a: Link::new(link, seed ^ 0x5555).unwrap(),
        }
    }

    /// Sends what both ends want to send, goes on to the next thing that happens, and lets it happen.
    /// Returns false when nothing will happen before `end`; time stands at `end` then.
    pub fn step(&mut self, end: Time) -> bool {
        flush(&mut self.a, &mut self.a_to_b, self.now);
        flush(&mut self.b, &mut self.b_to_a, self.now);
        let arrivals =
            [self.a_to_b.next_deadline(), self.b_to_a.next_deadline()].map(|at| at.map(Time::from_nanos));
        let timeouts = [self.a.deadline(self.now), self.b.deadline(self.now)];
        let next = arrivals.into_iter().chain(timeouts).flatten().min();
        let Some(next) = next.filter(|next| *next <= end) else {
            self.now = end;
            return false;
        };
        self.now = self.now.max(next);
        while let Some(datagram) = self.a_to_b.poll(self.now.as_nanos()) {
            self.b.input(self.now, &datagram);
        }
        while let Some(datagram) = self.b_to_a.poll(self.now.as_nanos()) {
            self.a.input(self.now, &datagram);
        }
        for (end, deadline) in [(&mut self.a as &mut dyn End, timeouts[0]), (&mut self.b, timeouts[1])] {
            if deadline.is_some_and(|at| at <= self.now) {
                end.timeout(self.now);
            }
        }
        true
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
    }

    /// Sends `count` messages each way, as fast as the windows take them, and returns what each end has read when all
    /// have come, or when `limit` has passed: (by b, by a).
    pub fn exchange(&mut self, count: u32, limit: Duration) -> (Vec<u32>, Vec<u32>) {
        let end = self.now + limit;
        let (mut sent_a, mut sent_b) = (0, 0);
        let (mut read_b, mut read_a) = (Vec::new(), Vec::new());
        loop {
            feed(&mut self.a, &mut sent_a, count);
            feed(&mut self.b, &mut sent_b, count);
            let going_on = self.step(end);
            drain(&mut self.b, &mut read_b);
            drain(&mut self.a, &mut read_a);
            let complete = read_a.len() >= count as usize && read_b.len() >= count as usize;
            if !going_on || complete {
                return (read_b, read_a);
            }
        }
    }
}

fn flush(from: &mut impl End, link: &mut Link<Vec<u8>>, now: Time) {
    while let Some(datagram) = from.transmit(now) {
        let size = u32::try_from(datagram.len()).unwrap() + OVERHEAD_BYTES;
        link.send(now.as_nanos(), size, datagram);
    }
}

fn feed(end: &mut impl End, sent: &mut u32, count: u32) {
    while *sent < count && end.has_room() {
        end.send(&message(*sent));
        *sent += 1;
    }
}

fn drain(end: &mut impl End, read: &mut Vec<u32>) {
    while let Some(bytes) = end.recv() {
        let index = u32::from_le_bytes(bytes[..4].try_into().unwrap());
        assert_eq!(bytes, message(index), "message {index} was changed on the way");
        read.push(index);
    }
}

/// The message with a number: the number, and 0 to 1,300 bytes that follow from it.
pub fn message(index: u32) -> Vec<u8> {
    let len = index.wrapping_mul(2_654_435_761) % 1_300;
    index.to_le_bytes().into_iter().chain((0..len).map(|i| (i ^ index) as u8)).collect()
}

pub fn ms(ms: u64) -> u64 {
    ms * 1_000_000
}

pub fn packet(bytes: &[u8]) -> Packet {
    Packet::from(bytes)
}
