//! Downloads: CUBIC senders with selective acknowledgements, RACK's loss detection and delayed acks.
//!
//! Enough of RFC 9438, RFC 2018 and RFC 8985 to load a bond as the kernel's TCP does: self-clocked, backlogged, put off by
//! drops, reordering and growing delay.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ratbond_proto::Time;

use super::cubic::Cubic;
use super::{Pair, packet};

/// A full packet of the stock tunnel: MTU 1336.
pub const PACKET_BYTES: usize = 1336;
/// A full packet of a sealed tunnel: MTU 1400.
pub const BOND_PACKET_BYTES: usize = 1400;
/// IPv4 and TCP with timestamps.
const HEADER_BYTES: usize = 52;
const ACK_BYTES: usize = 64;
const MAX_RANGES: usize = 3;
/// What a kernel's send buffer holds.
const MAX_BYTES: usize = 4 << 20;
const MIN_RTO: Duration = Duration::from_millis(200);
const DELAYED_ACK: Duration = Duration::from_millis(40);

#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Out,
    Sacked,
    Lost,
}

struct Segment {
    sent: Time,
    fate: Fate,
    resent: bool,
}

/// One download: its sender at the server and its receiver at the client.
pub struct Tcp {
    flow: u16,
    packet_bytes: usize,
    pub window: Cubic,
    /// Segments from `acked` on.
    segments: VecDeque<Segment>,
    acked: u32,
    out: usize,
    sacked: usize,
    lost: usize,
    recovery_until: u32,
    newest_arrived: Time,
    pub srtt: Duration,
    progress_at: Time,
    pub timeouts: u32,
    pub backoffs: u32,
    receiver: Receiver,
}

#[derive(Default)]
struct Receiver {
    expected: u32,
    /// Ranges beyond a gap: start to end, exclusive.
    beyond: BTreeMap<u32, u32>,
    latest: u32,
    unacked: u32,
    ack_due: Option<Time>,
}

impl Tcp {
    /// A download in packets of the stock tunnel.
    pub fn new(flow: u16) -> Self {
        Self::with_packets(flow, PACKET_BYTES)
    }

    pub fn with_packets(flow: u16, packet_bytes: usize) -> Self {
        Self {
            flow: flow * 2,
            packet_bytes,
            window: Cubic::default(),
            segments: VecDeque::new(),
            acked: 0,
            out: 0,
            sacked: 0,
            lost: 0,
            recovery_until: 0,
            newest_arrived: Time::ZERO,
            srtt: Duration::ZERO,
            progress_at: Time::ZERO,
            timeouts: 0,
            backoffs: 0,
            receiver: Receiver::default(),
        }
    }

    /// Segments that have arrived in order.
    pub fn delivered(&self) -> u32 {
        self.receiver.expected
    }

    fn next(&self) -> u32 {
        self.acked + self.segments.len() as u32
    }

    fn set(&mut self, index: usize, fate: Fate) {
        let before = std::mem::replace(&mut self.segments[index].fate, fate);
        for (of, by) in [(before, usize::MAX), (fate, 1)] {
            let count = match of {
                Fate::Out => &mut self.out,
                Fate::Sacked => &mut self.sacked,
                Fate::Lost => &mut self.lost,
            };
            *count = count.wrapping_add(by);
        }
    }

    /// A segment has arrived: what it tells of time.
    fn learn(&mut self, now: Time, index: usize) {
        let Segment { sent, resent, .. } = self.segments[index];
        self.newest_arrived = self.newest_arrived.max(sent);
        if !resent {
            let rtt = now.saturating_since(sent);
            self.srtt = if self.srtt.is_zero() { rtt } else { (self.srtt * 7 + rtt) / 8 };
            self.window.on_rtt(rtt, self.acked, self.next());
        }
    }

    fn on_ack(&mut self, now: Time, cumulative: u32, ranges: &[(u32, u32)]) {
        let arrived_before = self.sacked;
        let mut newly = 0;
        while self.acked < cumulative && !self.segments.is_empty() {
            if self.segments[0].fate != Fate::Sacked {
                self.learn(now, 0);
                newly += 1;
            }
            self.set(0, Fate::Out);
            self.out -= 1;
            self.segments.pop_front();
            self.acked += 1;
            self.progress_at = now;
        }
        for &(from, to) in ranges {
            for sequence in from.max(self.acked)..to.min(self.next()) {
                let index = (sequence - self.acked) as usize;
                if self.segments[index].fate != Fate::Sacked {
                    self.learn(now, index);
                    self.set(index, Fate::Sacked);
                    self.progress_at = now;
                }
            }
        }
        if self.acked >= self.recovery_until && arrived_before == 0 {
            self.window.on_ack(now, f64::from(newly), self.srtt);
        }
    }

    /// What was sent a round trip and a quarter ago, and before something that has arrived, is lost.
    fn find_lost(&mut self, now: Time) {
        if self.sacked == 0 {
            return;
        }
        let least = self.window.least_rtt();
        let allowed = self.srtt.max(least) + least / 4;
        for index in 0..self.segments.len() {
            let Segment { sent, fate, resent } = self.segments[index];
            if fate != Fate::Out {
                continue;
            }
            if sent >= self.newest_arrived || now.saturating_since(sent) < allowed {
                if resent {
                    continue;
                }
                break;
            }
            self.set(index, Fate::Lost);
            if self.acked + index as u32 >= self.recovery_until {
                self.recovery_until = self.next();
                self.backoffs += 1;
                self.window.on_loss();
            }
        }
    }

    fn is_timed_out(&self, now: Time) -> bool {
        !self.segments.is_empty()
            && now.saturating_since(self.progress_at) > self.srtt * 2 + MIN_RTO.max(self.srtt)
    }

    fn time_out(&mut self, now: Time) {
        self.timeouts += 1;
        self.progress_at = now;
        self.window.on_timeout();
        self.recovery_until = self.next();
        for index in 0..self.segments.len() {
            if self.segments[index].fate == Fate::Out {
                self.set(index, Fate::Lost);
            }
        }
    }

    /// The next segment that the window lets go: of those that are lost, else a new one.
    fn next_segment(&mut self, now: Time) -> Option<u32> {
        if self.out as f64 + 1.0 > self.window.window() {
            return None;
        }
        if self.lost > 0 {
            let index = self.segments.iter().position(|segment| segment.fate == Fate::Lost)?;
            self.set(index, Fate::Out);
            self.segments[index].sent = now;
            self.segments[index].resent = true;
            return Some(self.acked + index as u32);
        }
        if (self.segments.len() + 1) * self.packet_bytes > MAX_BYTES {
            return None;
        }
        let sequence = self.next();
        if self.segments.is_empty() {
            self.progress_at = now;
        }
        self.segments.push_back(Segment { sent: now, fate: Fate::Out, resent: false });
        self.out += 1;
        Some(sequence)
    }
}

impl Receiver {
    /// Takes a segment; returns whether an acknowledgement is due at once.
    fn receive(&mut self, now: Time, sequence: u32) -> bool {
        let had_gap = !self.beyond.is_empty();
        self.latest = sequence;
        if sequence == self.expected {
            self.expected += 1;
            if let Some(end) = self.beyond.remove(&self.expected) {
                self.expected = end;
            }
        } else if sequence > self.expected {
            self.insert(sequence);
        }
        self.unacked += 1;
        self.ack_due.get_or_insert(now + DELAYED_ACK);
        had_gap || !self.beyond.is_empty() || self.unacked >= 2
    }

    fn insert(&mut self, sequence: u32) {
        let before = self.beyond.range(..=sequence).next_back().map(|(&from, &to)| (from, to));
        let (from, to) = match before {
            Some((_, to)) if to > sequence => return,
            Some((from, to)) if to == sequence => (from, sequence + 1),
            _ => (sequence, sequence + 1),
        };
        let to = self.beyond.remove(&to).unwrap_or(to);
        self.beyond.insert(from, to);
    }

    /// The range that grew last, and the lowest ones.
    fn ranges(&self) -> Vec<(u32, u32)> {
        let latest = self.beyond.range(..=self.latest).next_back().map(|(&from, &to)| (from, to));
        let others = self.beyond.iter().rev().map(|(&from, &to)| (from, to));
        let mut ranges: Vec<_> = latest.into_iter().collect();
        ranges.extend(others.filter(|range| Some(*range) != latest).take(MAX_RANGES - ranges.len()));
        ranges
    }

    fn acknowledgement(&mut self, flow: u16) -> Vec<u8> {
        self.unacked = 0;
        self.ack_due = None;
        let mut ack = packet(flow, self.expected, ACK_BYTES);
        for (index, (from, to)) in self.ranges().into_iter().enumerate() {
            let at = 40 + 8 * index;
            ack[at..at + 4].copy_from_slice(&from.to_be_bytes());
            ack[at + 4..at + 8].copy_from_slice(&to.to_be_bytes());
        }
        ack
    }
}

/// Runs downloads from the server to the client for a while; returns the goodput of each in bits per second.
pub fn download(pair: &mut Pair, flows: &mut [Tcp], duration: Duration) -> Vec<f64> {
    download_beside(pair, flows, duration, |_| {})
}

/// The same, with `beside` called before each step, for what is to happen meanwhile. What other flows deliver stays in
/// the ends' lists.
pub fn download_beside(
    pair: &mut Pair,
    flows: &mut [Tcp],
    duration: Duration,
    mut beside: impl FnMut(&mut Pair),
) -> Vec<f64> {
    let before: Vec<u32> = flows.iter().map(Tcp::delivered).collect();
    let (start, end) = (pair.now, pair.now + duration);
    while pair.now < end {
        beside(pair);
        for flow in flows.iter_mut() {
            send(pair, flow);
        }
        pair.advance((pair.now + Duration::from_millis(1)).min(end));
        receive(pair, flows);
    }
    let seconds = (end - start).as_secs_f64();
    let goodput = |(flow, before): (&Tcp, u32)| {
        f64::from(flow.delivered() - before) * (flow.packet_bytes - HEADER_BYTES) as f64 * 8.0 / seconds
    };
    flows.iter().zip(before).map(goodput).collect()
}

fn send(pair: &mut Pair, flow: &mut Tcp) {
    flow.find_lost(pair.now);
    if flow.is_timed_out(pair.now) {
        flow.time_out(pair.now);
    }
    while let Some(sequence) = flow.next_segment(pair.now) {
        pair.server_sends(&packet(flow.flow, sequence, flow.packet_bytes));
    }
}

/// Data at the client is acknowledged, acknowledgements at the server open windows.
fn receive(pair: &mut Pair, flows: &mut [Tcp]) {
    for (at, data) in std::mem::take(&mut pair.client.delivered) {
        let id = flow_of(&data);
        let Some(flow) = flows.iter_mut().find(|flow| flow.flow == id) else {
            pair.client_others.push((at, data));
            continue;
        };
        if flow.receiver.receive(pair.now, word(&data, 28)) {
            let ack = flow.receiver.acknowledgement(id);
            pair.client_sends(&ack);
        }
    }
    for flow in flows.iter_mut() {
        if flow.receiver.ack_due.is_some_and(|due| due <= pair.now) {
            let ack = flow.receiver.acknowledgement(flow.flow);
            pair.client_sends(&ack);
        }
    }
    for (at, ack) in std::mem::take(&mut pair.server.delivered) {
        let id = flow_of(&ack);
        let Some(flow) = flows.iter_mut().find(|flow| flow.flow == id) else {
            pair.server_others.push((at, ack));
            continue;
        };
        let ranges: Vec<_> = (0..MAX_RANGES)
            .map(|index| (word(&ack, 40 + 8 * index), word(&ack, 44 + 8 * index)))
            .filter(|(from, to)| from < to)
            .collect();
        flow.on_ack(pair.now, word(&ack, 28), &ranges);
    }
}

fn flow_of(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[20], packet[21]]).wrapping_sub(1024)
}

fn word(packet: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
}
