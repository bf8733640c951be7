//! Transfers: CUBIC or BBR senders with selective acknowledgements, RACK's loss detection and delayed acks.
//!
//! Enough of RFC 9438, RFC 2018 and RFC 8985 to load a bond as the kernel's TCP does: self-clocked, backlogged, put off by
//! drops, reordering and growing delay.

mod bbr;
mod cubic;
mod download;
mod receiver;

use std::collections::VecDeque;
use std::time::Duration;

pub use bbr::Bbr;
use bbr::Delivery;
pub use cubic::Cubic;
pub(crate) use download::receive;
pub use download::{download, download_beside};
use ratbond_proto::{Role, Time};

use self::receiver::{Receiver, read_acknowledgement};
use crate::pair::{Pair, packet, sequence_of};

/// A full packet of the stock tunnel: MTU 1336.
pub const PACKET_BYTES: usize = 1336;
/// A full packet of a sealed tunnel: MTU 1400.
pub const BOND_PACKET_BYTES: usize = 1400;
/// IPv4 and TCP with timestamps.
pub const HEADER_BYTES: usize = 52;
/// What a kernel's send buffer holds.
const MAX_BYTES: usize = 4 << 20;
/// As Linux has it.
const MIN_RTO: Duration = Duration::from_millis(200);
/// Before a round trip is known (RFC 6298, section 2).
const INITIAL_RTO: Duration = Duration::from_secs(1);
/// How often the timeout doubles at most.
const MAX_DOUBLINGS: u32 = 6;
/// How often callers let a transfer send, at least.
const STEP: Duration = Duration::from_millis(1);
/// How often a sender with holes looks whether one of them has grown old enough to be a loss.
const LOOK_EVERY: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Out,
    Sacked,
    Lost,
}

/// Which congestion control a sender has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// [`Cubic`].
    Cubic,
    /// [`Bbr`].
    Bbr,
}

/// How a sender finds out how fast it may be.
#[derive(Debug)]
pub enum Congestion {
    /// By losses.
    Cubic(Cubic),
    /// By a model of the path.
    Bbr(Bbr),
}

impl Congestion {
    fn window(&self) -> f64 {
        match self {
            Self::Cubic(cubic) => cubic.window(),
            Self::Bbr(bbr) => bbr.window(),
        }
    }

    fn least_rtt(&self) -> Duration {
        match self {
            Self::Cubic(cubic) => cubic.least_rtt(),
            Self::Bbr(bbr) => bbr.least_rtt(),
        }
    }

    fn pace(&self) -> Option<f64> {
        match self {
            Self::Cubic(_) => None,
            Self::Bbr(bbr) => bbr.pace(),
        }
    }
}

/// What is noted of a segment when it leaves.
#[derive(Clone, Copy, Debug)]
struct Sending {
    at: Time,
    /// What had arrived then, when the last of it had, and when what it came with was sent.
    delivered: u64,
    delivered_at: Time,
    first_sent: Time,
}

#[derive(Debug)]
struct Segment {
    sending: Sending,
    fate: Fate,
    resent: bool,
}

/// One transfer: its sender at one end of a pair and its receiver at the other. It has always something to send.
#[derive(Debug)]
pub struct Tcp {
    flow: u16,
    from: Role,
    packet_bytes: usize,
    /// Its congestion control.
    pub congestion: Congestion,
    delivered: u64,
    delivered_at: Time,
    first_sent: Time,
    /// When the pace lets the next segment go.
    next_send: Time,
    /// Segments from `acked` on.
    segments: VecDeque<Segment>,
    acked: u32,
    out: usize,
    sacked: usize,
    lost: usize,
    recovery_until: u32,
    newest_arrived: Time,
    /// The newest segment that an acknowledgement tells of.
    newest: Option<Sending>,
    /// Smoothed round trip.
    pub srtt: Duration,
    progress_at: Time,
    /// Retransmission timeouts since a round trip was seen.
    timeouts_in_a_row: u32,
    /// Retransmission timeouts.
    pub timeouts: u32,
    /// How often the window was cut for a loss.
    pub backoffs: u32,
    /// Segments that were sent again.
    pub resent: u32,
    receiver: Receiver,
}

impl Tcp {
    /// A download in packets of the stock tunnel.
    #[must_use]
    pub fn new(flow: u16) -> Self {
        Self::with_packets(flow, PACKET_BYTES)
    }

    /// A download in packets of this size.
    #[must_use]
    pub fn with_packets(flow: u16, packet_bytes: usize) -> Self {
        Self::from(Role::Server, flow, packet_bytes)
    }

    /// A transfer from one of the ends to the other. `flow` is below 32,768.
    #[must_use]
    pub fn from(from: Role, flow: u16, packet_bytes: usize) -> Self {
        Self {
            flow: flow * 2,
            from,
            packet_bytes,
            congestion: Congestion::Cubic(Cubic::default()),
            delivered: 0,
            delivered_at: Time::ZERO,
            first_sent: Time::ZERO,
            next_send: Time::ZERO,
            segments: VecDeque::new(),
            acked: 0,
            out: 0,
            sacked: 0,
            lost: 0,
            recovery_until: 0,
            newest_arrived: Time::ZERO,
            newest: None,
            srtt: Duration::ZERO,
            progress_at: Time::ZERO,
            timeouts_in_a_row: 0,
            timeouts: 0,
            backoffs: 0,
            resent: 0,
            receiver: Receiver::default(),
        }
    }

    /// The same, before it has sent anything, with this congestion control.
    #[must_use]
    pub fn with_congestion(self, algorithm: Algorithm) -> Self {
        let congestion = match algorithm {
            Algorithm::Cubic => Congestion::Cubic(Cubic::default()),
            Algorithm::Bbr => Congestion::Bbr(Bbr::default()),
        };
        Self { congestion, ..self }
    }

    /// The flow's number in its packets.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.flow
    }

    /// Payload that the receiver's application has got.
    #[must_use]
    pub fn delivered_bytes(&self) -> u64 {
        u64::from(self.delivered()) * (self.packet_bytes - HEADER_BYTES) as u64
    }

    /// Sends what the window lets go, after a look at what is lost.
    pub fn send(&mut self, pair: &mut Pair) {
        self.find_lost(pair.now);
        if self.is_timed_out(pair.now) {
            self.time_out(pair.now);
        }
        while let Some(sequence) = self.next_segment(pair.now) {
            pair.sends(self.from, &packet(self.flow, sequence, self.packet_bytes));
        }
    }

    /// A packet of this flow came out at an end: data that is acknowledged, or an acknowledgement that opens the window.
    pub fn take(&mut self, pair: &mut Pair, at: Role, packet: &[u8]) {
        if at == self.from {
            let (cumulative, ranges) = read_acknowledgement(packet);
            self.on_ack(pair.now, cumulative, &ranges);
        } else if self.receiver.receive(pair.now, sequence_of(packet)) {
            pair.sends(at, &self.receiver.acknowledgement(self.flow));
        }
    }

    /// Sends the acknowledgement that has been put off for long enough.
    pub fn send_due_acknowledgement(&mut self, pair: &mut Pair) {
        if self.receiver.ack_due.is_some_and(|due| due <= pair.now) {
            let to = if self.from == Role::Server { Role::Client } else { Role::Server };
            pair.sends(to, &self.receiver.acknowledgement(self.flow));
        }
    }

    /// When [`Tcp::send`] or [`Tcp::send_due_acknowledgement`] has something to do though nothing has come.
    #[must_use]
    pub fn poll_timeout(&self, now: Time) -> Option<Time> {
        let look = (self.sacked > 0).then(|| now + LOOK_EVERY);
        let timeout = (!self.segments.is_empty()).then(|| self.times_out_at() + Duration::from_nanos(1));
        let is_open = self.out as f64 + 1.0 <= self.congestion.window();
        let paced = (is_open && now < self.next_send).then_some(self.next_send);
        [look, timeout, self.receiver.ack_due, paced].into_iter().flatten().min()
    }

    /// Segments that have arrived in order.
    #[must_use]
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
        let Segment { sending, resent, .. } = self.segments[index];
        self.delivered += 1;
        self.delivered_at = now;
        if self.newest.is_none_or(|newest| (newest.at, newest.delivered) <= (sending.at, sending.delivered)) {
            self.newest = Some(sending);
        }
        self.newest_arrived = self.newest_arrived.max(sending.at);
        if !resent {
            let rtt = now.saturating_since(sending.at);
            self.timeouts_in_a_row = 0;
            self.srtt = if self.srtt.is_zero() { rtt } else { (self.srtt * 7 + rtt) / 8 };
            let next = self.next();
            if let Congestion::Cubic(cubic) = &mut self.congestion {
                cubic.on_rtt(rtt, self.acked, next);
            }
        }
    }

    fn on_ack(&mut self, now: Time, cumulative: u32, ranges: &[(u32, u32)]) {
        let (arrived_before, delivered_before) = (self.sacked, self.delivered);
        let mut newly = 0;
        self.newest = None;
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
        match &mut self.congestion {
            Congestion::Cubic(cubic) if self.acked >= self.recovery_until && arrived_before == 0 => {
                cubic.on_ack(now, f64::from(newly), self.srtt);
            }
            Congestion::Cubic(_) => {}
            Congestion::Bbr(bbr) => {
                let Some(newest) = self.newest else { return };
                self.first_sent = newest.at;
                bbr.on_delivery(
                    now,
                    &Delivery {
                        delivered: self.delivered,
                        prior: newest.delivered,
                        acked: self.delivered - delivered_before,
                        interval: (newest.at.saturating_since(newest.first_sent))
                            .max(now.saturating_since(newest.delivered_at)),
                        rtt: now.saturating_since(newest.at),
                        out: self.out,
                    },
                );
            }
        }
    }

    /// What was sent a round trip and a quarter ago, and before something that has arrived, is lost.
    fn find_lost(&mut self, now: Time) {
        if self.sacked == 0 {
            return;
        }
        // None is known while all that has arrived had been sent again before: then only the timeout tells.
        let least = self.congestion.least_rtt();
        let allowed = self.srtt.max(least).saturating_add(least / 4);
        for index in 0..self.segments.len() {
            let Segment { sending, fate, resent } = self.segments[index];
            if fate != Fate::Out {
                continue;
            }
            if sending.at >= self.newest_arrived || now.saturating_since(sending.at) < allowed {
                if resent {
                    continue;
                }
                break;
            }
            self.set(index, Fate::Lost);
            if self.acked + index as u32 >= self.recovery_until {
                self.recovery_until = self.next();
                self.backoffs += 1;
                if let Congestion::Cubic(cubic) = &mut self.congestion {
                    cubic.on_loss();
                }
            }
        }
    }

    fn times_out_at(&self) -> Time {
        let rto = if self.srtt.is_zero() { INITIAL_RTO } else { self.srtt * 2 + MIN_RTO.max(self.srtt) };
        self.progress_at + rto * (1 << self.timeouts_in_a_row)
    }

    fn is_timed_out(&self, now: Time) -> bool {
        !self.segments.is_empty() && now > self.times_out_at()
    }

    fn time_out(&mut self, now: Time) {
        self.timeouts += 1;
        self.timeouts_in_a_row = (self.timeouts_in_a_row + 1).min(MAX_DOUBLINGS);
        self.progress_at = now;
        if let Congestion::Cubic(cubic) = &mut self.congestion {
            cubic.on_timeout();
        }
        self.recovery_until = self.next();
        for index in 0..self.segments.len() {
            if self.segments[index].fate == Fate::Out {
                self.set(index, Fate::Lost);
            }
        }
    }

    /// The next segment that the window lets go: of those that are lost, else a new one.
    fn next_segment(&mut self, now: Time) -> Option<u32> {
        if self.out as f64 + 1.0 > self.congestion.window() || now < self.next_send {
            return None;
        }
        let is_full = (self.segments.len() + 1) * self.packet_bytes > MAX_BYTES;
        if self.lost == 0 && is_full {
            return None;
        }
        if let Some(pace) = self.congestion.pace() {
            // What a step of the caller was late for is made up for.
            self.next_send = self.next_send.max(now - STEP) + Duration::from_secs_f64(1.0 / pace.max(1.0));
        }
        if self.out == 0 {
            (self.first_sent, self.delivered_at) = (now, now);
        }
        let sending = Sending {
            at: now,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent: self.first_sent,
        };
        if self.lost > 0 {
            let index = self.segments.iter().position(|segment| segment.fate == Fate::Lost)?;
            self.set(index, Fate::Out);
            (self.segments[index].sending, self.segments[index].resent) = (sending, true);
            self.resent += 1;
            return Some(self.acked + index as u32);
        }
        let sequence = self.next();
        if self.segments.is_empty() {
            self.progress_at = now;
        }
        self.segments.push_back(Segment { sending, fate: Fate::Out, resent: false });
        self.out += 1;
        Some(sequence)
    }
}
