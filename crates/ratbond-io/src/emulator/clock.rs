//! The emulator's time: nanoseconds of `CLOCK_MONOTONIC`.

use std::time::Duration;

use rustix::thread::{ClockId as SleepClock, clock_nanosleep_absolute};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Now, and what to add to a wall-clock time to get this clock's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) ns: u64,
    realtime_lead_ns: i128,
}

impl Now {
    pub(super) fn read() -> Self {
        let ns = nanos(clock_gettime(ClockId::Monotonic));
        let realtime_ns = nanos(clock_gettime(ClockId::Realtime));
        Self { ns, realtime_lead_ns: i128::from(realtime_ns) - i128::from(ns) }
    }

    /// This clock's time of a frame's stamp. A stamp from the future, as after the wall clock was set, counts as now.
    pub(super) fn of_stamp(self, seconds: u32, nanoseconds: u32) -> u64 {
        let stamp_ns = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        let ns = (stamp_ns - self.realtime_lead_ns).clamp(0, i128::from(self.ns));
        u64::try_from(ns).unwrap_or(self.ns)
    }
}

/// Sleeps until `until_ns`; a signal may end it early.
pub(super) fn sleep_until(until_ns: u64) {
    let _early = clock_nanosleep_absolute(SleepClock::Monotonic, &timespec(until_ns));
}

/// What the calling thread has used of the processor.
pub(super) fn thread_cpu_time() -> Duration {
    Duration::from_nanos(nanos(clock_gettime(ClockId::ThreadCPUTime)))
}

/// A length or a point of time for the kernel.
pub(super) fn timespec(ns: u64) -> Timespec {
    // Both parts are below the types' limits: 2^64 ns are 584 years.
    Timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 }
}

/// Asks for real-time priority and says whether it was granted.
///
/// Without it a busy machine keeps the thread from the processor for milliseconds, and the delay would be the
/// scheduler's, not the link's.
pub(super) fn raise_priority() -> bool {
    let param = libc::sched_param { sched_priority: 1 };
    // SAFETY: 0 is the calling thread, and the kernel only reads `param`.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &raw const param) == 0 }
}

fn nanos(time: Timespec) -> u64 {
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64 // neither clock is before its origin
}
