//! Downloads: TCP senders with a window that doubles, then grows by a segment a round trip, and is halved by a loss.
//!
//! Enough of RFC 5681 and RFC 6675 to load a bond as a real download does: self-clocked, backlogged, slowed down by drops.

use std::collections::BTreeSet;
use std::time::Duration;

use ratbond_proto::Time;

use super::{Pair, packet};

/// A full packet of the stock tunnel: MTU 1336.
pub const PACKET_BYTES: usize = 1336;
const ACK_BYTES: usize = 52;
const MIN_RTO: Duration = Duration::from_millis(200);

pub struct Tcp {
    flow: u16,
    window: f64,
    threshold: f64,
    next: u32,
    /// Everything below has arrived.
    acked: u32,
    sacked: BTreeSet<u32>,
    resent: BTreeSet<u32>,
    recovery_until: u32,
    progress_at: Time,
    arrived: BTreeSet<u32>,
    expected: u32,
    /// An acknowledgement came since it last sent.
    clocked: bool,
}

impl Tcp {
    pub fn new(flow: u16) -> Self {
        Self {
            flow: flow * 2,
            window: 10.0,
            threshold: f64::MAX,
            next: 0,
            acked: 0,
            sacked: BTreeSet::new(),
            resent: BTreeSet::new(),
            recovery_until: 0,
            progress_at: Time::ZERO,
            arrived: BTreeSet::new(),
            expected: 0,
            clocked: true,
        }
    }

    /// Segments that have arrived in order.
    pub fn delivered(&self) -> u32 {
        self.expected
    }

    fn in_flight(&self) -> f64 {
        f64::from(self.next - self.acked) - self.sacked.len() as f64
    }

    fn on_ack(&mut self, now: Time, cumulative: u32, selective: u32) {
        self.clocked = true;
        if cumulative > self.acked {
            let newly = f64::from(cumulative - self.acked);
            self.acked = cumulative;
            self.sacked = self.sacked.split_off(&cumulative);
            self.resent = self.resent.split_off(&cumulative);
            self.progress_at = now;
            self.window += if self.window < self.threshold { newly } else { newly / self.window };
        }
        if selective > self.acked {
            self.sacked.insert(selective);
        }
    }

    /// Holes with three later segments beyond them are lost, each once; the window shrinks once for each window.
    fn lost(&mut self) -> Vec<u32> {
        let Some(&edge) = self.sacked.iter().rev().nth(2) else { return Vec::new() };
        let is_hole = |sequence: &u32| !self.sacked.contains(sequence) && !self.resent.contains(sequence);
        let from = self.resent.last().map_or(self.acked, |&last| self.acked.max(last + 1));
        let holes: Vec<u32> = (from..edge).filter(is_hole).collect();
        self.resent.extend(&holes);
        if !holes.is_empty() && self.acked >= self.recovery_until {
            self.window = (self.window / 2.0).max(2.0);
            self.threshold = self.window;
            self.recovery_until = self.next;
        }
        holes
    }
}

/// Runs downloads from the server to the client for a while; returns the goodput of each in bits per second.
pub fn download(pair: &mut Pair, flows: &mut [Tcp], duration: Duration) -> Vec<f64> {
    let before: Vec<u32> = flows.iter().map(Tcp::delivered).collect();
    let (start, end) = (pair.now, pair.now + duration);
    for flow in flows.iter_mut() {
        flow.progress_at = start;
    }
    pair.client.delivered.clear();
    pair.server.delivered.clear();
    while pair.now < end {
        for flow in flows.iter_mut() {
            send(pair, flow);
        }
        pair.advance(pair.now + Duration::from_millis(5));
        receive(pair, flows);
    }
    let seconds = (end - start).as_secs_f64();
    flows
        .iter()
        .zip(before)
        .map(|(flow, before)| f64::from(flow.delivered() - before) * 1284.0 * 8.0 / seconds)
        .collect()
}

fn send(pair: &mut Pair, flow: &mut Tcp) {
    if pair.now.saturating_since(flow.progress_at) > MIN_RTO * 3 && flow.next > flow.acked {
        flow.progress_at = pair.now;
        flow.window = 2.0;
        flow.resent.clear();
        flow.clocked = true;
        pair.server_sends(&packet(flow.flow, flow.acked, PACKET_BYTES));
    }
    if !std::mem::take(&mut flow.clocked) {
        return;
    }
    for hole in flow.lost() {
        pair.server_sends(&packet(flow.flow, hole, PACKET_BYTES));
    }
    while flow.in_flight() + 1.0 <= flow.window {
        pair.server_sends(&packet(flow.flow, flow.next, PACKET_BYTES));
        flow.next += 1;
    }
}

/// Data at the client is acknowledged, acknowledgements at the server open windows.
fn receive(pair: &mut Pair, flows: &mut [Tcp]) {
    for (_, data) in std::mem::take(&mut pair.client.delivered) {
        let (id, sequence) = (u16::from_be_bytes([data[20], data[21]]) - 1024, sequence_of(&data));
        let Some(flow) = flows.iter_mut().find(|flow| flow.flow == id) else { continue };
        flow.arrived.insert(sequence);
        while flow.arrived.remove(&flow.expected) {
            flow.expected += 1;
        }
        flow.arrived = flow.arrived.split_off(&flow.expected);
        let mut ack = packet(id, flow.expected, ACK_BYTES);
        ack[32..36].copy_from_slice(&sequence.to_be_bytes());
        pair.client_sends(&ack);
    }
    for (_, ack) in std::mem::take(&mut pair.server.delivered) {
        let id = u16::from_be_bytes([ack[20], ack[21]]) - 1024;
        let selective = u32::from_be_bytes([ack[32], ack[33], ack[34], ack[35]]);
        let Some(flow) = flows.iter_mut().find(|flow| flow.flow == id) else { continue };
        flow.on_ack(pair.now, sequence_of(&ack), selective);
    }
}

fn sequence_of(packet: &[u8]) -> u32 {
    u32::from_be_bytes([packet[28], packet[29], packet[30], packet[31]])
}
