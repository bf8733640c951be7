//! The sender's side of acknowledgement: what is in flight, what of it is lost, and what acks say of the path.
//!
//! Numbers are never used twice, so an ack is never ambiguous. Loss is told by time, after RACK (RFC 8985): a datagram is
//! lost once one that was sent later has arrived, and a round trip plus a reordering window have passed. What is lost
//! comes back as its content, to be sent under a new number on whichever link is best. The reordering window grows when
//! a loss turns out to be a false alarm. When nothing is acknowledged any more, a probe asks (RFC 8985, section 7; RFC
//! 9002, section 6.2): it declares nothing lost by itself.

mod bits;
mod flight;

#[cfg(test)]
mod tests;

use std::time::Duration;

use thiserror::Error;

use self::flight::{Flight, Sent};
use super::ack::{MAX_ACK_DELAY, wire_micros};
use super::frame::AckBlock;
use crate::Time;
use crate::path::rate::{Newest, RateEstimator, RateSample};
use crate::path::rtt::{RtoLimits, RttEstimator};

/// Before the first sample, and limits of the probe timeout. The granularity covers the peer's ack delay.
const PROBE_LIMITS: RtoLimits = RtoLimits {
    initial: Duration::from_millis(250),
    min: Duration::from_millis(6),
    max: Duration::from_secs(2),
    granularity: MAX_ACK_DELAY,
};
/// The reordering window is this share of the least RTT, times the multiplier.
const REORDERING_SHARE: u32 = 4;
const MAX_REORDERING_MULTIPLIER: u32 = 16;
/// Round trips with a loss after which a raised reordering window is tried lower again (RFC 8985, section 6.2).
const REORDERING_PERSISTENCE: u32 = 16;

/// Timers and the peer's timestamps are no finer than this together.
const GRANULARITY: Duration = Duration::from_millis(1);

/// An ack that no honest peer sends: the datagram that carried it is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("acknowledges what was never sent")]
pub struct BadAck;

/// What became of datagrams. The vectors are the caller's to reuse: nothing is allocated once they have grown.
#[derive(Debug)]
pub struct Outcome<C> {
    /// Contents that have arrived.
    pub acked: Vec<C>,
    /// Contents to be sent again.
    pub lost: Vec<C>,
}

impl<C> Default for Outcome<C> {
    fn default() -> Self {
        Self { acked: Vec::new(), lost: Vec::new() }
    }
}

/// What one ack said.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AckSummary {
    /// Bytes newly acknowledged.
    pub acked_bytes: u64,
    /// Bytes newly declared lost.
    pub lost_bytes: u64,
    /// Datagrams that had been declared lost and had arrived all the same.
    pub false_alarms: u32,
    /// Round-trip time, the peer's ack delay taken off. Only from acks that came over the link itself.
    pub rtt: Option<Duration>,
    /// The peer's clock at arrival less this end's at departure, in µs modulo 2^32: the one-way delay plus an offset
    /// that is the same for all links of the session.
    pub one_way_us: Option<u32>,
    /// Delivery rate.
    pub rate: Option<RateSample>,
    /// An ACK that told up to this number has arrived at the peer.
    pub ack_told: Option<u64>,
}

/// What a timeout asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// Nothing: the deadline has moved.
    Nothing,
    /// Datagrams were declared lost: this many bytes.
    Lost(u64),
    /// Send something that asks for an ack, new data if there is any.
    Probe,
}

/// The newest datagram that is known to have arrived: what was sent before it should have, too.
#[derive(Clone, Copy, Debug)]
struct Rack {
    number: u64,
    rtt: Duration,
}

/// Loss detection, round trip and delivery rate of one link in one direction. `C` is what a datagram carried.
#[derive(Debug)]
pub struct Recovery<C> {
    flight: Flight<C>,
    rtt: RttEstimator,
    rate: RateEstimator,
    rack: Option<Rack>,
    loss_at: Option<Time>,
    last_sent: Time,
    last_ack: Option<Time>,
    probes: u32,
    reordering_multiplier: u32,
    reordering_rounds_left: u32,
    round_end: u64,
}

impl<C> Recovery<C> {
    /// Nothing sent yet.
    #[must_use]
    pub fn new(now: Time) -> Self {
        Self {
            flight: Flight::default(),
            rtt: RttEstimator::new(PROBE_LIMITS),
            rate: RateEstimator::new(now),
            rack: None,
            loss_at: None,
            last_sent: now,
            last_ack: None,
            probes: 0,
            reordering_multiplier: 1,
            reordering_rounds_left: 0,
            round_end: 0,
        }
    }

    /// The number of the next datagram.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.flight.next_number()
    }

    /// Whether another datagram may be numbered. False only when a datagram from 131,072 numbers ago is still out.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.flight.has_room()
    }

    /// Datagrams in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flight.count()
    }

    /// The first datagram in flight with a number in `from..end`: the number, when it left, what it carried.
    #[must_use]
    pub fn first_in(&self, from: u64, end: u64) -> Option<(u64, Time, &C)> {
        let number = self.flight.first_in(from, end)?;
        self.flight.get(number).map(|sent| (number, sent.at, &sent.content))
    }

    /// Bytes in flight.
    #[must_use]
    pub fn in_flight_bytes(&self) -> u64 {
        self.flight.bytes()
    }

    /// Round-trip times.
    #[must_use]
    pub const fn rtt(&self) -> &RttEstimator {
        &self.rtt
    }

    /// Since when the oldest datagram in flight waits, or the last word of the peer after that; `None` when nothing is
    /// in flight.
    #[must_use]
    pub fn waiting_since(&self) -> Option<Time> {
        let sent = self.flight.get(self.flight.oldest()?)?.at;
        Some(self.last_ack.map_or(sent, |ack| ack.max(sent)))
    }

    /// When something in flight was acknowledged last.
    #[must_use]
    pub const fn last_ack(&self) -> Option<Time> {
        self.last_ack
    }

    /// Probes sent since the last ack.
    #[must_use]
    pub const fn probes(&self) -> u32 {
        self.probes
    }

    /// A datagram of `bytes` that asks for an ack leaves. `ack_told`: see [`AckState::on_sent`](super::ack::AckState).
    pub fn on_sent(&mut self, now: Time, bytes: u32, content: C, ack_told: Option<u64>) -> u64 {
        let rate = Some(self.rate.on_send(now, u64::from(bytes), self.flight.bytes()));
        self.last_sent = now;
        self.flight.push(Sent { content, at: now, bytes, counted_bytes: bytes, rate, ack_told })
    }

    /// The same of a probe of the path MTU, whose loss is no sign of congestion and whose pace is nobody's.
    pub fn on_probe_sent(&mut self, now: Time, bytes: u32, content: C) -> u64 {
        self.last_sent = now;
        self.flight.push(Sent { content, at: now, bytes, counted_bytes: 0, rate: None, ack_told: None })
    }

    /// A datagram that asks for no ack leaves: it only uses up a number.
    pub fn on_sent_unacknowledged(&mut self) -> u64 {
        self.flight.skip_number()
    }

    /// There is nothing to send although the path would take more.
    pub fn on_app_limited(&mut self) {
        self.rate.on_app_limited(self.flight.bytes());
    }

    /// Takes an ack. `own_path`: it came over this link, so its round trip is this link's.
    ///
    /// The cost is that of the datagrams newly acknowledged or lost plus that of the ranges; it does not depend on how
    /// many are in flight.
    ///
    /// # Errors
    /// It acknowledges what was never sent; nothing has changed.
    pub fn on_ack(
        &mut self,
        now: Time,
        block: &AckBlock<'_>,
        own_path: bool,
        outcome: &mut Outcome<C>,
    ) -> Result<AckSummary, BadAck> {
        let largest = block.largest(self.flight.next_number()).ok_or(BadAck)?;
        let mut summary = AckSummary::default();
        let mut newest: Option<(u64, Time)> = None;
        let mut newest_rated: Option<(u64, Newest)> = None;
        for range in block.ranges(largest) {
            let (low, high) = (*range.start(), *range.end());
            while self.flight.take_false_alarm(low, high).is_some() {
                summary.false_alarms += 1;
            }
            let mut from = low;
            while let Some(number) = self.flight.first_in(from, high + 1) {
                from = number + 1;
                let Some(sent) = self.flight.remove(number) else { continue };
                self.rate.on_delivered(now, u64::from(sent.bytes));
                summary.acked_bytes += u64::from(sent.counted_bytes);
                summary.ack_told = summary.ack_told.max(sent.ack_told);
                if newest.is_none_or(|(before, _)| before < number) {
                    newest = Some((number, sent.at));
                }
                if let Some(record) = sent.rate
                    && newest_rated.is_none_or(|(before, _)| before < number)
                {
                    newest_rated = Some((number, Newest { sent: sent.at, record }));
                }
                outcome.acked.push(sent.content);
            }
        }
        if let Some((number, sent)) = newest {
            self.on_progress(now, number, sent);
            if number == largest {
                summary.one_way_us = Some(block.received_at_us.wrapping_sub(wire_micros(sent)));
                summary.rtt = own_path.then(|| self.rtt_sample(now, sent, block.delay));
            }
        }
        if let Some((_, newest)) = newest_rated {
            summary.rate = self.rate.sample(newest, self.rtt.min_rtt());
        }
        self.adapt(summary.false_alarms);
        summary.lost_bytes = self.detect_losses(now, &mut outcome.lost);
        Ok(summary)
    }

    /// When [`on_timeout`](Self::on_timeout) wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.flight.count() == 0 {
            return None;
        }
        let probe = self.probe_at();
        Some(self.loss_at.map_or(probe, |loss| loss.min(probe)))
    }

    /// Time has passed. What is declared lost is pushed onto `lost`.
    pub fn on_timeout(&mut self, now: Time, lost: &mut Vec<C>) -> Timeout {
        if self.loss_at.is_some_and(|at| at <= now) {
            return match self.detect_losses(now, lost) {
                0 => Timeout::Nothing,
                bytes => Timeout::Lost(bytes),
            };
        }
        if self.flight.count() > 0 && self.probe_at() <= now {
            self.probes += 1;
            self.last_sent = now;
            return Timeout::Probe;
        }
        Timeout::Nothing
    }

    /// Takes back everything that is in flight, oldest first: the link is gone.
    pub fn drain(&mut self, into: &mut Vec<C>) {
        while let Some(number) = self.flight.oldest() {
            into.extend(self.flight.remove_as_lost(number).map(|sent| sent.content));
        }
        self.loss_at = None;
    }

    /// Extra time that a datagram has to arrive after later ones did.
    #[must_use]
    pub fn reordering_window(&self) -> Duration {
        let (Some(min_rtt), Some(srtt)) = (self.rtt.min_rtt(), self.rtt.srtt()) else {
            return PROBE_LIMITS.initial;
        };
        (min_rtt / REORDERING_SHARE * self.reordering_multiplier).min(srtt).max(GRANULARITY)
    }

    fn probe_at(&self) -> Time {
        self.last_sent + self.rtt.rto(self.probes)
    }

    fn on_progress(&mut self, now: Time, number: u64, sent: Time) {
        self.probes = 0;
        self.last_ack = Some(now);
        if self.rack.is_none_or(|rack| rack.number < number) {
            self.rack = Some(Rack { number, rtt: now - sent });
        }
    }

    fn rtt_sample(&mut self, now: Time, sent: Time, delay: Duration) -> Duration {
        let raw = now - sent;
        let adjusted = raw.saturating_sub(delay);
        // RFC 9002, section 5.3: an ack delay that would push the sample below the minimum is not believed.
        let rtt = match self.rtt.min_rtt() {
            Some(min) => adjusted.max(min).min(raw),
            None => adjusted,
        };
        self.rtt.on_sample(now, rtt);
        rtt
    }

    /// The oldest in flight is the first to be lost, so the walk ends at the first that is not.
    fn detect_losses(&mut self, now: Time, lost: &mut Vec<C>) -> u64 {
        self.loss_at = None;
        let Some(rack) = self.rack else { return 0 };
        let allowed = rack.rtt.max(self.rtt.srtt().unwrap_or_default()) + self.reordering_window();
        let mut lost_bytes = 0;
        while let Some(number) = self.flight.oldest().filter(|&number| number < rack.number) {
            let Some(at) = self.flight.get(number).map(|sent| sent.at + allowed) else { break };
            if at > now {
                self.loss_at = Some(at);
                break;
            }
            if let Some(sent) = self.flight.remove_as_lost(number) {
                lost_bytes += u64::from(sent.counted_bytes);
                lost.push(sent.content);
            }
        }
        if lost_bytes > 0 {
            self.count_loss_round(rack.number);
        }
        lost_bytes
    }

    fn adapt(&mut self, false_alarms: u32) {
        if false_alarms > 0 {
            self.reordering_multiplier = (self.reordering_multiplier + 1).min(MAX_REORDERING_MULTIPLIER);
            self.reordering_rounds_left = REORDERING_PERSISTENCE;
        }
    }

    fn count_loss_round(&mut self, arrived: u64) {
        if arrived < self.round_end {
            return;
        }
        self.round_end = self.flight.next_number();
        self.reordering_rounds_left = self.reordering_rounds_left.saturating_sub(1);
        if self.reordering_rounds_left == 0 {
            self.reordering_multiplier = 1;
        }
    }
}
