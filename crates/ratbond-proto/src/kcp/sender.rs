//! The sending half of a conversation: what waits, what is under way, what is to be sent again and when.

use std::collections::VecDeque;
use std::time::Duration;

use super::config::Config;
use super::flight::{Delivery, Flight, Launch, Transmission};
use super::loss::{LossDetector, Verdict};
use super::payload::{self, Queued};
use super::segment::HEADER_LEN;
use super::serial::{distance, precedes, wire_clock};
use super::stats::Stats;
use crate::path::rate::{Newest, RateEstimator, RateSample};
use crate::path::rtt::RttEstimator;
use crate::{Packet, PacketPool, Time};

/// Window assumed until the peer has told its own: kcp-go's default.
const INITIAL_REMOTE_WINDOW: u16 = 32;
/// Segments that are sent again at a timeout. Either the link is dead, then more would be wasted; or the round trip
/// has grown, then more would be needless; or the answer to one of them shows at once which of the others are lost.
const PROBES_PER_TIMEOUT: usize = 2;

/// What was found to be lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LossSummary {
    /// Transmissions found lost.
    pub segments: u32,
    /// Their bytes, segment headers included.
    pub bytes: u64,
    /// Whether it was a timeout that found them.
    pub timed_out: bool,
}

/// What the segments of one datagram acknowledge together.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub segments: u32,
    pub bytes: u64,
    /// Repeats of segments of which an earlier transmission has arrived.
    pub needless_repeats: u32,
    /// Order, send time and sn of the newest transmission that has arrived.
    newest: Option<(u64, Time, u32)>,
    /// The latest transmission that has arrived beyond a doubt, and its round trip: one that was the only one of its
    /// segment (Karn), or that the ACK names by its ts.
    rtt: Option<(Time, Duration)>,
}

impl Round {
    fn note_rtt(&mut self, sent: Time, now: Time) {
        if self.rtt.is_none_or(|(latest, _)| sent > latest) {
            self.rtt = Some((sent, now - sent));
        }
    }
}

/// What an acknowledgement round has shown.
#[derive(Debug)]
pub(super) struct RoundResult {
    pub rtt: Option<Duration>,
    pub rate: Option<RateSample>,
    pub lost: LossSummary,
}

/// A una or ACK for something that was never sent.
#[derive(Debug)]
pub(super) struct NeverSent;

/// The sending half.
#[derive(Debug)]
pub(super) struct Sender {
    config: Config,
    queue: VecDeque<Queued>,
    flight: Flight,
    pub rtt: RttEstimator,
    loss: LossDetector,
    rate: RateEstimator,
    remote_window: u16,
    /// The una that came with `remote_window`.
    window_una: u32,
    in_flight_limit_bytes: u64,
    /// The pacer lets nothing go now.
    held: bool,
    transmissions: u64,
    backoff: u32,
    /// The last word from the peer, or the last timeout: the retransmission timer runs from here.
    progress_at: Time,
    reordering_deadline: Option<Time>,
    dead: bool,
}

impl Sender {
    pub fn new(config: Config, now: Time) -> Self {
        Self {
            config,
            queue: VecDeque::new(),
            flight: Flight::new(config.send_window, config.first_sn),
            rtt: RttEstimator::new(config.rto),
            loss: LossDetector::new(config.resend),
            rate: RateEstimator::new(now),
            remote_window: INITIAL_REMOTE_WINDOW,
            window_una: config.first_sn,
            in_flight_limit_bytes: u64::MAX,
            held: false,
            transmissions: 0,
            backoff: 0,
            progress_at: now,
            reordering_deadline: None,
            dead: false,
        }
    }

    /// Queues a message; it comes back if it needs too many fragments.
    pub fn enqueue(&mut self, message: Packet) -> Result<(), Packet> {
        payload::cut(message, self.config.mss(), self.config.mode, &mut self.queue)
    }

    /// Segments that wait or are under way.
    pub fn waiting(&self) -> usize {
        self.queue.len() + self.flight.span() as usize
    }

    pub fn is_dead(&self) -> bool {
        self.dead
    }

    pub fn set_in_flight_limit(&mut self, bytes: u64) {
        self.in_flight_limit_bytes = bytes;
    }

    fn is_flight_full(&self) -> bool {
        self.flight.in_flight_segments() > 0 && self.flight.in_flight_bytes() >= self.in_flight_limit_bytes
    }

    pub fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// Whether a segment waits for nothing but the pacer.
    pub fn is_held(&self) -> bool {
        self.held && (self.flight.next_lost_len().is_some() || !self.queue.is_empty())
    }

    /// Takes in the peer's window, unless a later segment has told it already.
    pub fn on_window(&mut self, window: u16, una: u32) {
        if !precedes(una, self.window_una) {
            self.remote_window = window;
            self.window_una = una;
        }
    }

    /// Whether the peer's window alone holds data back.
    pub fn is_window_closed(&self) -> bool {
        self.remote_window == 0 && !self.queue.is_empty()
    }

    /// Whether a una speaks of nothing that was never sent.
    pub fn is_possible(&self, una: u32) -> bool {
        distance(una, self.flight.next_sn()) <= 0
    }

    /// Takes in that every sn before `una` has arrived.
    pub fn on_una(&mut self, una: u32, now: Time, round: &mut Round, pool: &mut PacketPool) {
        let mut sn = self.flight.una();
        while precedes(sn, una) {
            if let Some(delivery) = self.flight.deliver(sn) {
                let rtt = now - delivery.last.sent;
                // Which transmission of a repeated segment arrived is not said; the last it cannot have been if that was
                // less than a round trip ago (RFC 8985, section 6.2).
                let is_last = delivery.transmissions == 1 || rtt >= self.rtt.min_rtt().unwrap_or_default();
                if delivery.transmissions == 1 {
                    round.note_rtt(delivery.last.sent, now);
                }
                self.on_delivery(sn, delivery, is_last, now, round, pool);
            }
            sn = sn.wrapping_add(1);
        }
        self.flight.advance();
    }

    /// Takes in the ACK of one segment; `ts` names the transmission that arrived.
    pub fn on_ack(
        &mut self,
        sn: u32,
        ts: u32,
        now: Time,
        round: &mut Round,
        pool: &mut PacketPool,
    ) -> Result<(), NeverSent> {
        if !precedes(sn, self.flight.next_sn()) {
            return Err(NeverSent);
        }
        let Some(delivery) = self.flight.deliver(sn) else { return Ok(()) };
        let Delivery { first_sent, last, transmissions, .. } = delivery;
        let is_last = ts == wire_clock(last.sent);
        if let Some(sent) = [last.sent, first_sent].into_iter().find(|sent| ts == wire_clock(*sent)) {
            round.note_rtt(sent, now);
        }
        if transmissions == 1 && self.loss.newest().is_some_and(|newest| last.order < newest) {
            self.loss.on_reordering();
        }
        self.on_delivery(sn, delivery, is_last, now, round, pool);
        self.flight.advance();
        Ok(())
    }

    fn on_delivery(
        &mut self,
        sn: u32,
        delivery: Delivery,
        is_last: bool,
        now: Time,
        round: &mut Round,
        pool: &mut PacketPool,
    ) {
        let Transmission { order, sent } = delivery.last;
        round.segments += 1;
        round.bytes += delivery.bytes();
        self.rate.on_delivered(now, delivery.bytes());
        let is_needless = delivery.transmissions > 1 && !is_last;
        round.needless_repeats += u32::from(is_needless);
        if is_needless || delivery.was_lost {
            self.loss.on_spurious(now, &self.rtt);
        }
        if is_last {
            self.loss.on_arrival(&delivery.last, now - sent);
            if round.newest.is_none_or(|(newest, ..)| order > newest) {
                round.newest = Some((order, sent, sn));
            }
        }
        delivery.payload.release(pool);
    }

    /// Ends the round of one datagram: learns its round trip and rate, and finds what it shows to be lost.
    pub fn on_round_end(&mut self, round: &Round, now: Time) -> RoundResult {
        let rtt = round.rtt.map(|(_, rtt)| rtt);
        if let Some(rtt) = rtt {
            self.rtt.on_sample(now, rtt);
            self.backoff = 0;
        }
        if round.segments == 0 {
            return RoundResult { rtt, rate: None, lost: LossSummary::default() };
        }
        self.progress_at = now;
        let min_rtt = self.rtt.min_rtt();
        let newest = round.newest.map(|(_, sent, sn)| Newest { sent, record: self.flight.record(sn) });
        let rate = newest.and_then(|newest| self.rate.sample(newest, min_rtt));
        RoundResult { rtt, rate, lost: self.detect_losses(now) }
    }

    /// Goes through the oldest transmissions until one is not lost: O(1) for each that is.
    fn detect_losses(&mut self, now: Time) -> LossSummary {
        let mut lost = LossSummary::default();
        self.reordering_deadline = None;
        while let Some(oldest) = self.flight.oldest() {
            match self.loss.judge(oldest, now, &self.rtt) {
                Verdict::Lost => self.lose_oldest(&mut lost),
                Verdict::LostAt(at) => {
                    self.reordering_deadline = Some(at);
                    break;
                }
                Verdict::Unknown => break,
            }
        }
        lost
    }

    fn lose_oldest(&mut self, lost: &mut LossSummary) {
        let before = self.flight.in_flight_bytes();
        self.flight.lose_oldest();
        lost.segments += 1;
        lost.bytes += before - self.flight.in_flight_bytes();
    }

    /// When [`Sender::on_timeout`] has something to do.
    pub fn deadline(&self) -> Option<Time> {
        let rto =
            self.flight.oldest().map(|oldest| oldest.sent.max(self.progress_at) + self.rtt.rto(self.backoff));
        [rto, self.reordering_deadline].into_iter().flatten().min()
    }

    /// Finds the transmissions that time shows to be lost.
    pub fn on_timeout(&mut self, now: Time) -> LossSummary {
        let mut lost = LossSummary::default();
        if self.reordering_deadline.is_some_and(|at| now >= at) {
            lost = self.detect_losses(now);
        }
        if lost.segments == 0 && self.deadline().is_some_and(|at| now >= at) {
            lost = self.expire(now);
        }
        lost
    }

    fn expire(&mut self, now: Time) -> LossSummary {
        let mut lost = LossSummary { timed_out: true, ..LossSummary::default() };
        let rto = self.rtt.rto(self.backoff);
        for _ in 0..PROBES_PER_TIMEOUT {
            if self.flight.oldest().is_none_or(|oldest| now < oldest.sent + rto) {
                break;
            }
            self.lose_oldest(&mut lost);
        }
        self.backoff = self.backoff.saturating_add(1);
        self.progress_at = now;
        lost
    }

    /// Payload bytes of the segment that may be sent now: a lost one first, a new one if the windows allow it.
    pub fn next_len(&self) -> Option<usize> {
        if self.held || self.is_flight_full() {
            return None;
        }
        let new =
            || self.is_window_open().then(|| self.queue.front().map(|queued| queued.payload.len())).flatten();
        self.flight.next_lost_len().or_else(new)
    }

    fn is_window_open(&self) -> bool {
        self.flight.span() < u32::from(self.config.send_window.min(self.remote_window))
    }

    /// Takes the segment that [`Sender::next_len`] spoke of as sent at `now`.
    pub fn launch(&mut self, now: Time) -> Option<Launch<'_>> {
        let len = self.next_len()?;
        let in_flight_bytes = self.flight.in_flight_bytes();
        let record = self.rate.on_send(now, (HEADER_LEN + len) as u64, in_flight_bytes);
        let transmission = Transmission { order: self.transmissions, sent: now };
        self.transmissions += 1;
        let launch = if self.flight.next_lost_len().is_some() {
            self.flight.launch_lost(transmission, record)?
        } else {
            let Queued { payload, frg } = self.queue.pop_front()?;
            self.flight.launch_new(payload, frg, transmission, record)
        };
        self.dead |= launch.transmissions >= self.config.dead_link;
        Some(launch)
    }

    /// Called when nothing more can be sent: tells the rate estimator if that is not the path's doing.
    pub fn note_idle(&mut self) {
        if !self.held && !self.is_flight_full() {
            self.limit_rate_samples();
        }
    }

    pub fn limit_rate_samples(&mut self) {
        self.rate.on_app_limited(self.flight.in_flight_bytes());
    }

    pub fn fill_stats(&self, stats: &mut Stats) {
        stats.in_flight_segments = self.flight.in_flight_segments();
        stats.in_flight_bytes = self.flight.in_flight_bytes();
        stats.queued_segments = self.queue.len();
        stats.backoff = self.backoff;
    }

    /// Everything not known to have arrived, in order.
    pub fn into_unacknowledged(self) -> Vec<Packet> {
        let Self { flight, queue, .. } = self;
        payload::restore(flight.into_undelivered().chain(queue.into_iter().map(|queued| queued.payload)))
    }
}
