//! CoDel (RFC 8289): signal from the head, ever more often, while packets wait longer than a target.

use std::time::Duration;

use crate::time::Time;

/// Below one packet of backlog a drop cannot help (RFC 8289 section 4.3).
const MIN_BACKLOG_BYTES: usize = 1514;

/// What becomes of the packet at the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Send,
    /// Tell its sender to slow down: by a drop, or by a mark where it listens to marks.
    Signal,
}

/// The state of one queue.
#[derive(Debug, Default)]
pub(super) struct CoDel {
    /// When the delay will have been above the target for a whole interval.
    above_until: Option<Time>,
    dropping: bool,
    drop_next: Time,
    count: u32,
    last_count: u32,
}

impl CoDel {
    /// Judges a packet that waited `sojourn`, with `backlog_bytes` behind it.
    pub(super) fn judge(
        &mut self,
        now: Time,
        sojourn: Duration,
        backlog_bytes: usize,
        target: Duration,
        interval: Duration,
    ) -> Verdict {
        let late = self.is_late(now, sojourn, backlog_bytes, target, interval);
        if self.dropping {
            if !late {
                self.dropping = false;
            } else if now >= self.drop_next {
                self.count = self.count.saturating_add(1);
                self.drop_next += control_law(interval, self.count);
                return Verdict::Signal;
            }
            return Verdict::Send;
        }
        if !late {
            return Verdict::Send;
        }
        self.dropping = true;
        // Soon after the last episode, go on at about the rate that controlled the queue then (RFC 8289 section 5.4).
        let recently = now.saturating_since(self.drop_next) < 16 * interval;
        let delta = self.count.saturating_sub(self.last_count);
        self.count = if recently && delta > 1 { delta } else { 1 };
        self.last_count = self.count;
        self.drop_next = now + control_law(interval, self.count);
        Verdict::Signal
    }

    fn is_late(
        &mut self,
        now: Time,
        sojourn: Duration,
        backlog_bytes: usize,
        target: Duration,
        interval: Duration,
    ) -> bool {
        if sojourn < target || backlog_bytes <= MIN_BACKLOG_BYTES {
            self.above_until = None;
            return false;
        }
        let deadline = *self.above_until.get_or_insert(now + interval);
        now >= deadline
    }
}

fn control_law(interval: Duration, count: u32) -> Duration {
    interval.div_f64(f64::from(count).sqrt())
}
