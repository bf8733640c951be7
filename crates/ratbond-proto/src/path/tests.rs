//! The model against a bottleneck of known rate, delay, queue and loss, in virtual time.

use std::collections::VecDeque;

use super::rate::{Newest, RateEstimator, SendRecord};
use super::*;

const SEGMENT: u64 = 1_384;

struct Flight {
    arrives: Time,
    acked: Time,
    sent: Time,
    record: SendRecord,
    lost: bool,
}

/// A sender with an endless backlog over one bottleneck with a tail-drop queue.
struct Bottleneck {
    now: Time,
    rate: f64,
    delay: Duration,
    queue: Duration,
    loss_every: u64,
    free_at: Time,
    path: PathModel,
    estimator: RateEstimator,
    flight: VecDeque<Flight>,
    in_flight: u64,
    sent: u64,
    delivered: u64,
    worst_queue: Duration,
    /// Whoever sends through it has so many bytes on their way and no backlog, as a download whose window is full.
    most_in_flight: u64,
}

impl Bottleneck {
    fn new(mbps: f64, rtt_ms: u64, queue_ms: u64, loss_every: u64) -> Self {
        Self {
            now: Time::from_millis(1_000),
            rate: mbps * 125_000.0,
            delay: Duration::from_millis(rtt_ms / 2),
            queue: Duration::from_millis(queue_ms),
            loss_every,
            free_at: Time::ZERO,
            path: PathModel::default(),
            estimator: RateEstimator::new(Time::from_millis(1_000)),
            flight: VecDeque::new(),
            in_flight: 0,
            sent: 0,
            delivered: 0,
            worst_queue: Duration::ZERO,
            most_in_flight: u64::MAX,
        }
    }

    fn has_work(&self) -> bool {
        self.in_flight + SEGMENT <= self.most_in_flight
    }

    fn has_room(&self) -> bool {
        self.in_flight + SEGMENT <= self.path.window_bytes()
    }

    fn send(&mut self) {
        let record = self.estimator.on_send(self.now, SEGMENT, self.in_flight);
        self.path.on_sent(self.now, SEGMENT, true);
        self.sent += 1;
        self.in_flight += SEGMENT;
        let wait = self.free_at.saturating_since(self.now);
        let dropped = wait > self.queue;
        let lost = dropped || (self.loss_every > 0 && self.sent.is_multiple_of(self.loss_every));
        if !dropped {
            self.free_at = self.free_at.max(self.now) + Duration::from_secs_f64(SEGMENT as f64 / self.rate);
            self.worst_queue = self.worst_queue.max(wait);
        }
        let arrives = self.free_at.max(self.now) + self.delay;
        self.flight.push_back(Flight { arrives, acked: arrives + self.delay, sent: self.now, record, lost });
    }

    fn acknowledge(&mut self, flight: &Flight) {
        self.in_flight -= SEGMENT;
        let mut sample = AckSample { in_flight_bytes: self.in_flight, ..AckSample::default() };
        if flight.lost {
            sample.lost_bytes = SEGMENT;
        } else {
            self.delivered += SEGMENT;
            self.estimator.on_delivered(self.now, SEGMENT);
            sample.acked_bytes = SEGMENT;
            sample.rtt = Some(self.now - flight.sent);
            sample.rate = self
                .estimator
                .sample(Newest { sent: flight.sent, record: flight.record }, self.path.min_rtt());
        }
        self.path.on_ack(self.now, &sample);
    }

    fn run(&mut self, duration: Duration) -> f64 {
        let end = self.now + duration;
        let (before, start) = (self.delivered, self.now);
        while self.now < end {
            while self.has_work() && self.has_room() && self.path.may_send(self.now) {
                self.send();
            }
            if !self.has_work() && self.has_room() {
                self.estimator.on_app_limited(self.in_flight);
            }
            let next_ack = self.flight.front().map_or(end, |flight| flight.acked);
            let next_send = if self.has_work() && self.has_room() { self.path.next_send() } else { end };
            self.now = next_ack.min(next_send).max(self.now + Duration::from_nanos(1));
            while self.flight.front().is_some_and(|flight| flight.acked <= self.now) {
                if let Some(flight) = self.flight.pop_front() {
                    debug_assert!(flight.arrives <= flight.acked);
                    self.acknowledge(&flight);
                }
            }
        }
        (self.delivered - before) as f64 / (self.now - start).as_secs_f64() / self.rate
    }
}

#[test]
fn a_clean_link_is_filled_within_eight_round_trips_and_its_queue_stays_short() {
    for (mbps, rtt_ms) in [(50.0, 20), (10.0, 80), (2.0, 150), (500.0, 10), (50.0, 600)] {
        let mut link = Bottleneck::new(mbps, rtt_ms, 100, 0);
        link.run(Duration::from_millis(10 * rtt_ms));
        let soon = link.run(Duration::from_millis(20 * rtt_ms));
        assert!(soon > 0.85, "{mbps} Mbit/s {rtt_ms} ms: {soon:.3} of the rate after 10 round trips");
        link.run(Duration::from_secs(5));
        link.worst_queue = Duration::ZERO;
        let used = link.run(Duration::from_secs(20));
        assert!(used > 0.96, "{mbps} Mbit/s {rtt_ms} ms: {used:.3} of the rate");
        let bound = Duration::from_millis(rtt_ms).mul_f64(0.7) + Duration::from_millis(16);
        assert!(link.worst_queue < bound, "{mbps} Mbit/s {rtt_ms} ms: queue of {:?}", link.worst_queue);
    }
}

#[test]
fn a_lossy_link_is_filled_all_the_same() {
    for (loss_every, least) in [(50, 0.95), (20, 0.92), (5, 0.74)] {
        let mut link = Bottleneck::new(50.0, 40, 100, loss_every);
        link.run(Duration::from_secs(5));
        let used = link.run(Duration::from_secs(20));
        assert!(used > least, "one in {loss_every} lost: {used:.3} of the rate");
    }
}

#[test]
fn a_rate_that_changed_is_followed_within_two_seconds() {
    for factor in [0.5, 2.0] {
        let mut link = Bottleneck::new(40.0, 30, 200, 0);
        link.run(Duration::from_secs(8));
        link.rate *= factor;
        link.run(Duration::from_secs(2));
        link.worst_queue = Duration::ZERO;
        let used = link.run(Duration::from_secs(5));
        assert!(used > 0.93, "rate times {factor}: {used:.3} used");
        assert!(link.worst_queue < Duration::from_millis(60), "rate times {factor}: {:?}", link.worst_queue);
    }
}

/// A download whose window is smaller than ours keeps the queue of a path that became slower, and never a backlog before it.
#[test]
fn a_path_that_became_slower_is_known_for_it_without_a_backlog() {
    let mut link = Bottleneck::new(56.0, 20, 100, 0);
    link.run(Duration::from_secs(8));
    link.rate = 12.0 * 125_000.0;
    link.most_in_flight = 150_000;
    let used = link.run(Duration::from_secs(2));
    assert!(used > 0.95, "{used:.3} of the rate");
    let known = link.path.rate_bytes_per_s() as f64 / link.rate;
    assert!((0.9..1.2).contains(&known), "taken for {known:.2} times as fast as it is");
    link.worst_queue = Duration::ZERO;
    link.run(Duration::from_secs(2));
    assert!(link.worst_queue < Duration::from_millis(40), "a queue of {:?} stands", link.worst_queue);
}

/// Bursts with a pause after each, as of a download that waits for repairs: every round has packets that found no queue, and no
/// sample is of a path that was busy all the time.
#[test]
fn a_path_that_became_slower_is_known_for_it_by_bursts() {
    let mut link = Bottleneck::new(26.0, 20, 100, 0);
    link.run(Duration::from_secs(8));
    link.rate = 6.0 * 125_000.0;
    for _ in 0..10 {
        link.most_in_flight = 60_000;
        link.run(Duration::from_millis(10));
        link.most_in_flight = 0;
        link.run(Duration::from_millis(130));
        assert_eq!(link.in_flight, 0);
    }
    let known = link.path.rate_bytes_per_s() as f64 / link.rate;
    assert!((0.8..1.5).contains(&known), "taken for {known:.2} times as fast as it is");
}

/// A radio that stands still for a moment is as fast as before.
#[test]
fn a_path_that_stands_still_once_keeps_its_rate() {
    let mut link = Bottleneck::new(50.0, 20, 300, 0);
    link.run(Duration::from_secs(8));
    link.free_at = link.now + Duration::from_millis(100);
    link.run(Duration::from_millis(500));
    let known = link.path.rate_bytes_per_s() as f64 / link.rate;
    assert!(known > 0.9, "taken for {known:.2} times as fast as it is");
}

/// A longer way is no queue: what little is sent over it does not say what it carries.
#[test]
fn a_quiet_path_that_became_longer_keeps_its_rate() {
    let mut link = Bottleneck::new(50.0, 20, 100, 0);
    link.run(Duration::from_secs(8));
    link.delay *= 3;
    link.most_in_flight = 4 * SEGMENT;
    link.run(Duration::from_secs(2));
    let known = link.path.rate_bytes_per_s() as f64 / link.rate;
    assert!(known > 0.9, "taken for {known:.2} times as fast as it is");
}

/// Sparse traffic with noisy round trips must not be taken for what the path can carry.
#[test]
fn a_path_that_was_idle_for_long_starts_up_when_it_gets_work() {
    let mut link = Bottleneck::new(50.0, 20, 100, 0);
    for n in 0..200u64 {
        link.now += Duration::from_millis(100);
        let record = link.estimator.on_send(link.now, SEGMENT, 0);
        link.estimator.on_app_limited(SEGMENT);
        let sent = link.now;
        link.now += Duration::from_millis(20 + n % 13);
        link.estimator.on_delivered(link.now, SEGMENT);
        let rate = link.estimator.sample(Newest { sent, record }, link.path.min_rtt());
        let rtt = Some(link.now - sent);
        let sample = AckSample { acked_bytes: SEGMENT, rtt, rate, ..AckSample::default() };
        link.path.on_ack(link.now, &sample);
    }
    link.run(Duration::from_millis(300));
    let used = link.run(Duration::from_millis(700));
    assert!(used > 0.85, "{used:.3} of the rate after 300 ms of work");
}

#[test]
fn in_start_up_what_the_window_holds_does_not_count_as_a_queue() {
    let mut link = Bottleneck::new(50.0, 100, 100, 0);
    link.run(Duration::from_millis(250));
    let known = |link: &Bottleneck| link.path.expected_bytes_per_s() / 10;
    let window = link.path.window_bytes();
    assert!(
        window > 3 * known(&link) / 2,
        "{window} bytes may be in flight, {} are known to fit",
        known(&link)
    );
    assert_eq!(link.path.queue_delay(window), Duration::ZERO);
    assert!(
        link.path.queue_delay(window + known(&link)) > Duration::from_millis(80),
        "beyond that they wait"
    );
    link.run(Duration::from_secs(3));
    let over = link.path.queue_delay(3 * known(&link) / 2);
    assert!(
        over > Duration::from_millis(40),
        "once the rate is known, half of a path too much waits {over:?}"
    );
}

#[test]
fn start_up_on_a_long_path_loses_less_than_it_holds() {
    let mut link = Bottleneck::new(50.0, 600, 100, 0);
    link.run(Duration::from_secs(14));
    let lost = (link.sent * SEGMENT) as i64 - link.delivered as i64 - link.in_flight as i64;
    let holds = 50.0 * 125_000.0 * 0.6;
    assert!((lost as f64) < 0.8 * holds, "{lost} bytes were lost, the path holds {holds}");
}
