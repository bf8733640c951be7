//! Which transmissions are lost, told by the order in which they were made (after RACK, RFC 8985).
//!
//! A transmission is lost when a later one has arrived and enough of either kind of evidence is there: on a path that was never
//! seen to reorder, `resend` later ones that have arrived (stock's rule, by count); else, and for the tail, a round trip and a
//! reordering window have passed since it was made. The window widens when a repeat turns out to have been needless: the ACK's
//! ts names the transmission that arrived.

use std::time::Duration;

use super::flight::Transmission;
use crate::Time;
use crate::path::rtt::RttEstimator;

/// Most evidence by count that can be asked for.
const MAX_RESEND: usize = 4;
/// The reordering window's unit is this part of the least round trip.
const WINDOW_PART: u32 = 4;
/// Widest reordering window in units; the smoothed round trip bounds it too (RFC 8985, section 6.2).
const MAX_UNITS: u32 = 16;
/// Smoothed round trips without a needless repeat after which the window is narrow again.
const FORGET_ROUNDS: u32 = 16;

/// What is known of the order of arrival.
#[derive(Debug)]
pub(super) struct LossDetector {
    resend: usize,
    /// The highest orders that have arrived, highest first.
    highest: [u64; MAX_RESEND],
    arrived: usize,
    /// The newest arrival's round trip.
    newest_rtt: Duration,
    reordered: bool,
    units: u32,
    widened_at: Time,
}

/// What is to become of a transmission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is lost.
    Lost,
    /// Lost at this time, if no word of it has come.
    LostAt(Time),
    /// Nothing sent later has arrived.
    Unknown,
}

impl LossDetector {
    pub fn new(resend: u8) -> Self {
        Self {
            resend: usize::from(resend).clamp(1, MAX_RESEND),
            highest: [0; MAX_RESEND],
            arrived: 0,
            newest_rtt: Duration::ZERO,
            reordered: false,
            units: 1,
            widened_at: Time::ZERO,
        }
    }

    /// The order of the newest transmission that has arrived.
    pub fn newest(&self) -> Option<u64> {
        (self.arrived > 0).then(|| self.highest[0])
    }

    /// Takes in that a transmission has arrived.
    pub fn on_arrival(&mut self, transmission: &Transmission, rtt: Duration) {
        if self.newest().is_none_or(|newest| transmission.order > newest) {
            self.newest_rtt = rtt;
        }
        let rank = self.highest[..self.arrived].iter().position(|&order| transmission.order > order);
        let rank = rank.unwrap_or(self.arrived);
        if rank < MAX_RESEND {
            self.highest[rank..].rotate_right(1);
            self.highest[rank] = transmission.order;
            self.arrived = (self.arrived + 1).min(MAX_RESEND);
        }
    }

    /// A segment that was sent once has arrived after one that was sent later.
    pub fn on_reordering(&mut self) {
        self.reordered = true;
    }

    /// What was taken for lost has arrived: waits longer from now on. Once a round trip, for they come in bursts.
    pub fn on_spurious(&mut self, now: Time, rtt: &RttEstimator) {
        self.reordered = true;
        if self.units == 1 || now - self.widened_at >= rtt.srtt().unwrap_or_default() {
            self.units = (self.units + 1).min(MAX_UNITS);
            self.widened_at = now;
        }
    }

    /// Judges a transmission that has not been acknowledged.
    pub fn judge(&self, transmission: &Transmission, now: Time, rtt: &RttEstimator) -> Verdict {
        if self.newest().is_none_or(|newest| transmission.order >= newest) {
            return Verdict::Unknown;
        }
        let counted = self.arrived >= self.resend && transmission.order < self.highest[self.resend - 1];
        let lost_at = transmission.sent + self.newest_rtt + self.window(now, rtt);
        if (counted && !self.reordered) || now >= lost_at { Verdict::Lost } else { Verdict::LostAt(lost_at) }
    }

    fn window(&self, now: Time, rtt: &RttEstimator) -> Duration {
        let min_rtt = rtt.min_rtt().unwrap_or_default();
        let srtt = rtt.srtt().unwrap_or_default();
        let forgotten = now - self.widened_at > srtt * FORGET_ROUNDS;
        let units = if forgotten { 1 } else { self.units };
        (min_rtt / WINDOW_PART * units).min(srtt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kcp::Config;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// One transmission a millisecond, from 0.
    fn transmission(order: u64) -> Transmission {
        Transmission { order, sent: Time::from_millis(order) }
    }

    /// Steady at 40 ms: the window's unit is 10 ms.
    fn rtt() -> RttEstimator {
        let mut rtt = RttEstimator::new(Config::default().rto);
        rtt.on_sample(Time::ZERO, ms(40));
        rtt
    }

    /// A detector to which these transmissions have arrived, each after 40 ms.
    fn arrived(orders: &[u64]) -> LossDetector {
        let mut loss = LossDetector::new(2);
        orders.iter().for_each(|order| loss.on_arrival(&transmission(*order), ms(40)));
        loss
    }

    fn judge(loss: &LossDetector, order: u64, now_ms: u64) -> Verdict {
        loss.judge(&transmission(order), Time::from_millis(now_ms), &rtt())
    }

    #[test]
    fn two_later_arrivals_in_any_order_show_a_loss() {
        assert_eq!(judge(&arrived(&[3, 2]), 1, 43), Verdict::Lost);
        assert_eq!(judge(&arrived(&[2, 3]), 1, 43), Verdict::Lost);
        assert_eq!(judge(&arrived(&[0, 3]), 1, 43), Verdict::LostAt(Time::from_millis(51)));
    }

    #[test]
    fn one_later_arrival_shows_it_after_a_while() {
        let loss = arrived(&[2]);
        assert_eq!(judge(&loss, 1, 50), Verdict::LostAt(Time::from_millis(51)));
        assert_eq!(judge(&loss, 1, 51), Verdict::Lost);
    }

    #[test]
    fn nothing_is_known_of_what_was_sent_last() {
        assert_eq!(judge(&arrived(&[]), 1, 10_000), Verdict::Unknown);
        assert_eq!(judge(&arrived(&[2]), 3, 10_000), Verdict::Unknown);
    }

    #[test]
    fn on_a_path_that_reorders_time_decides() {
        let mut loss = arrived(&[2, 3, 4, 5, 6]);
        loss.on_reordering();
        assert_eq!(judge(&loss, 1, 50), Verdict::LostAt(Time::from_millis(51)));
        assert_eq!(judge(&loss, 1, 51), Verdict::Lost);
    }

    #[test]
    fn needless_repeats_widen_the_window_up_to_a_round_trip_and_are_forgotten() {
        let mut loss = arrived(&[2, 3]);
        loss.on_spurious(Time::from_millis(100), &rtt());
        assert_eq!(judge(&loss, 1, 43), Verdict::LostAt(Time::from_millis(1 + 40 + 20)));
        loss.on_spurious(Time::from_millis(120), &rtt());
        assert_eq!(judge(&loss, 1, 43), Verdict::LostAt(Time::from_millis(61)), "once a round trip");
        for at in [140, 180, 220, 260] {
            loss.on_spurious(Time::from_millis(at), &rtt());
        }
        assert_eq!(judge(&loss, 1, 43), Verdict::LostAt(Time::from_millis(1 + 40 + 40)));
        let late = Transmission { order: 1, sent: Time::from_millis(901) };
        let verdict = loss.judge(&late, Time::from_millis(901), &rtt());
        assert_eq!(
            verdict,
            Verdict::LostAt(Time::from_millis(901 + 40 + 10)),
            "forgotten after 16 round trips"
        );
    }
}
