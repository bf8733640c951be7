//! When to let packets gather before the next look at them.
//!
//! A stream of single packets, as a WAN brings it, wakes the worker for each: the wake-up, the system calls around it and
//! the datagram that leaves alone cost several times what the packet does. Network cards know that and tell of packets late
//! while many come (interrupt moderation: `rx-usecs` and `adaptive-rx` of ethtool). So does the worker, under the same
//! conditions: while packets are few, each is served at once; a turn that was a full batch by itself is followed by the next.

use std::time::Duration;

use ratbond_proto::Time;

/// Packets gather until so many are to be expected: what a turn costs by itself is little for each of them then.
const ENOUGH: u64 = 12;
/// A turn with so many packets is a batch already.
const BATCH: u64 = 16;
/// So long they gather, whatever the rate, and so long at most. A WAN's round trip is 10 ms and more.
const SHORTEST: Duration = Duration::from_micros(500);
const LONGEST: Duration = Duration::from_millis(1);
/// The rate is counted over this long.
const WINDOW: Duration = Duration::from_millis(2);
/// Packets a second from which on they gather: six in the longest time. A call has 50, a game 128.
const DENSE_PER_S: u64 = 6_000;
/// And below which they no longer do.
const THIN_PER_S: u64 = 3_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Moderation {
    since: Time,
    packets: u64,
    /// While packets are dense: for how long they gather.
    pause: Option<Duration>,
}

impl Moderation {
    /// A turn that began at `now` has handled so many packets and datagrams. Returns for how long from then the worker
    /// leaves alone what comes.
    pub(super) fn on_turn(&mut self, now: Time, packets: u64) -> Option<Duration> {
        self.packets += packets;
        let elapsed = now.saturating_since(self.since);
        if elapsed >= WINDOW {
            let per_s = self.packets as f64 / elapsed.as_secs_f64();
            let least = if self.pause.is_some() { THIN_PER_S } else { DENSE_PER_S };
            self.pause = (per_s >= least as f64)
                .then(|| Duration::from_secs_f64(ENOUGH as f64 / per_s).clamp(SHORTEST, LONGEST));
            self.since = now;
            self.packets = 0;
        }
        self.pause.filter(|_| (1..BATCH).contains(&packets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds a stream of evenly spaced packets for a second and gives the share of turns that end in a pause, and packets
    /// a turn.
    fn stream(per_s: u64) -> (f64, f64) {
        let mut moderation = Moderation::default();
        let (mut turns, mut pauses, mut served, mut now_us) = (0, 0, 0, 1_000_000_u64);
        while now_us < 2_000_000 {
            let arrived = (now_us - 1_000_000) * per_s / 1_000_000;
            let packets = arrived - served;
            served = arrived;
            turns += 1;
            match moderation.on_turn(Time::from_micros(now_us), packets) {
                Some(pause) => {
                    pauses += 1;
                    now_us += u64::try_from(pause.as_micros()).unwrap();
                }
                // It sleeps until the next packet comes.
                None => now_us = 1_000_000 + ((served + 1) * 1_000_000).div_ceil(per_s),
            }
        }
        (f64::from(pauses) / f64::from(turns), served as f64 / f64::from(turns))
    }

    #[test]
    fn sparse_packets_are_served_at_once() {
        for per_s in [50, 128, 1_000, 5_000] {
            assert_eq!(stream(per_s).0, 0.0, "{per_s} a second");
        }
    }

    #[test]
    fn a_stream_of_single_packets_gathers() {
        for per_s in [10_000, 20_000, 30_000] {
            let (pauses, packets_a_turn) = stream(per_s);
            assert!(pauses > 0.9, "{per_s} a second: {pauses}");
            assert!(packets_a_turn > (per_s as f64 * 900e-6).min(11.0), "{per_s} a second: {packets_a_turn}");
        }
    }

    #[test]
    fn full_batches_do_not_wait() {
        let mut moderation = Moderation::default();
        for turn in 1..1_000 {
            assert_eq!(moderation.on_turn(Time::from_micros(turn * 150), 64), None);
        }
    }

    #[test]
    fn a_stream_that_thins_out_no_longer_waits() {
        let mut moderation = Moderation::default();
        let mut paused = Vec::new();
        for ms in 1..200 {
            let packets = if ms < 100 { 10 } else { 1 };
            paused.push(moderation.on_turn(Time::from_millis(ms), packets).is_some());
        }
        assert!(paused[10..98].iter().all(|&one| one));
        assert!(!paused[104..].iter().any(|&one| one));
    }

    #[test]
    fn a_timer_waits_for_nothing() {
        let mut moderation = Moderation::default();
        for turn in 1..100 {
            moderation.on_turn(Time::from_micros(turn * 100), 1);
        }
        assert!(moderation.on_turn(Time::from_micros(10_000), 1).is_some());
        assert_eq!(moderation.on_turn(Time::from_micros(10_100), 0), None);
    }
}
