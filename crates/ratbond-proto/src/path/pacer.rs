//! Spreads what is sent over time, so that the bottleneck's queue stays short.

use std::time::Duration;

use crate::time::Time;

/// What may leave at once after a pause: a burst worth a system call on a fast link.
const BURST: Duration = Duration::from_millis(1);
/// What may be made up for when something waited for the pace and the host woke us late. Without it a busy host would
/// send below the pace, and the path would seem slower than it is.
const CATCH_UP: Duration = Duration::from_millis(10);
const MIN_BURST_BYTES: u64 = 2 * 1500;
/// No link is so slow that its next datagram must wait longer.
const MAX_GAP: Duration = Duration::from_secs(1);

/// A token bucket in time: each datagram moves the next one's earliest time.
#[derive(Debug, Default)]
pub(super) struct Pacer {
    /// Bytes a second; 0: not paced.
    rate: u64,
    next: Time,
}

impl Pacer {
    pub fn set_rate(&mut self, bytes_per_s: u64) {
        self.rate = bytes_per_s;
    }

    pub fn next_send(&self) -> Time {
        self.next
    }

    pub fn burst_bytes(&self) -> u64 {
        if self.rate == 0 {
            return u64::MAX;
        }
        (self.rate / (1_000_000 / BURST.as_micros() as u64)).max(MIN_BURST_BYTES)
    }

    /// `bytes` left; `waited` says that they had been waiting for the pace.
    pub fn on_sent(&mut self, now: Time, bytes: u64, waited: bool) {
        if self.rate == 0 {
            self.next = now;
            return;
        }
        let gap =
            |bytes: u64| Duration::from_nanos((bytes as f64 * 1e9 / self.rate as f64) as u64).min(MAX_GAP);
        // Whatever the pace left unused before that is gone.
        let credit = gap(self.burst_bytes());
        let earliest = now - if waited { credit.max(CATCH_UP) } else { credit };
        self.next = self.next.max(earliest) + gap(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_leaves_at_the_rate() {
        let mut pacer = Pacer::default();
        pacer.set_rate(1_500_000);
        let mut now = Time::from_millis(1_000);
        for _ in 0..1_000 {
            now = now.max(pacer.next_send());
            pacer.on_sent(now, 1_500, false);
        }
        let took = now - Time::from_millis(1_000);
        assert!(took.abs_diff(Duration::from_secs(1)) < Duration::from_millis(5), "{took:?}");
    }

    #[test]
    fn after_a_pause_no_more_than_a_burst_leaves_at_once() {
        let mut pacer = Pacer::default();
        pacer.set_rate(15_000_000);
        pacer.on_sent(Time::from_millis(1), 1_500, false);
        let now = Time::from_millis(5_000);
        let mut sent = 0;
        while pacer.next_send() <= now {
            pacer.on_sent(now, 1_500, false);
            sent += 1_500;
        }
        assert!((15_000..=16_500).contains(&sent), "{sent} bytes left at once");
    }

    #[test]
    fn a_host_that_wakes_us_late_does_not_slow_a_backlog_down() {
        let mut pacer = Pacer::default();
        pacer.set_rate(1_500_000);
        let start = Time::from_millis(1_000);
        let (mut now, mut sent) = (start, 0u64);
        while now - start < Duration::from_secs(1) {
            while pacer.next_send() <= now {
                pacer.on_sent(now, 1_500, true);
                sent += 1_500;
            }
            now = pacer.next_send() + Duration::from_millis(4);
        }
        assert!(sent > 1_480_000, "{sent} bytes in a second");
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let mut pacer = Pacer::default();
        pacer.on_sent(Time::from_millis(7), 1 << 30, false);
        assert!(pacer.next_send() <= Time::from_millis(7));
    }
}
