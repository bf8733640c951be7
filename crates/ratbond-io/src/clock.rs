//! The driver's clock.

use ratbond_proto::Time;

/// `CLOCK_MONOTONIC` now: the origin that [`Time`] counts from in this driver.
pub(crate) fn now() -> Time {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // The kernel's monotonic clock starts at boot and never goes back: both fields are non-negative.
    Time::from_nanos(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}
