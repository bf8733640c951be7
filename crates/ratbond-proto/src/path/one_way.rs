//! The least one-way delay of a path, on a clock that nobody knows.

use std::time::Duration;

use crate::time::Time;

const WINDOW: Duration = Duration::from_secs(10);

/// The peer's clock at arrival less ours at departure, in µs modulo 2^32: meaningful only in differences between links.
/// The least of the last 10 s; an old one stands until a newer sample replaces it.
#[derive(Debug, Default)]
pub(super) struct OneWayMin {
    best: Option<(Time, u32)>,
}

impl OneWayMin {
    pub fn update(&mut self, now: Time, one_way_us: u32) {
        let replaces = |(at, best): (Time, u32)| {
            one_way_us.wrapping_sub(best).cast_signed() <= 0 || now.saturating_since(at) > WINDOW
        };
        if self.best.is_none_or(replaces) {
            self.best = Some((now, one_way_us));
        }
    }

    pub fn get(&self) -> Option<u32> {
        self.best.map(|(_, one_way_us)| one_way_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_stands_for_ten_seconds_whatever_the_clocks_say() {
        let mut meter = OneWayMin::default();
        for (ms, offset) in [(0, 500), (100, 0), (200, 800)] {
            meter.update(Time::from_millis(ms), 0xffff_ff00u32.wrapping_add(offset));
        }
        assert_eq!(meter.get(), Some(0xffff_ff00));
        meter.update(Time::from_millis(10_101), 300);
        assert_eq!(meter.get(), Some(300));
    }
}
