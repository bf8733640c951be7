//! Window probes: how a closed window is found to be open again when the word of it was lost.

use std::time::Duration;

use crate::Time;

/// First wait, as kcp-go's.
const FIRST: Duration = Duration::from_millis(500);
/// Longest wait, as kcp-go's.
const LONGEST: Duration = Duration::from_secs(120);

/// When the next WASK is due.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum WindowProbe {
    /// The window is open, or there is nothing to send.
    #[default]
    Idle,
    /// The window is closed.
    Waiting { at: Time, wait: Duration },
}

impl WindowProbe {
    /// Takes in whether the peer's window holds data back.
    pub fn update(&mut self, now: Time, closed: bool) {
        *self = match *self {
            _ if !closed => Self::Idle,
            Self::Idle => Self::Waiting { at: now + FIRST, wait: FIRST },
            waiting @ Self::Waiting { .. } => waiting,
        };
    }

    /// When the next probe is due.
    pub fn due_at(&self) -> Option<Time> {
        match self {
            Self::Idle => None,
            Self::Waiting { at, .. } => Some(*at),
        }
    }

    /// Whether to send a probe now; if so, the next waits half as long again.
    pub fn take_due(&mut self, now: Time) -> bool {
        match self {
            Self::Waiting { at, wait } if now >= *at => {
                *wait = (*wait + *wait / 2).min(LONGEST);
                *at = now + *wait;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_come_ever_more_seldom_up_to_two_minutes() {
        let mut probe = WindowProbe::default();
        let mut now = Time::ZERO;
        let mut waits = Vec::new();
        probe.update(now, true);
        for _ in 0..20 {
            let at = probe.due_at().unwrap();
            waits.push((at - now).as_millis());
            now = at;
            assert!(probe.take_due(now));
            assert!(!probe.take_due(now));
        }
        assert_eq!(waits[..4], [500, 750, 1_125, 1_687]);
        assert_eq!(waits[19], 120_000);
    }

    #[test]
    fn an_open_window_ends_the_probing() {
        let mut probe = WindowProbe::default();
        probe.update(Time::ZERO, true);
        probe.update(Time::from_millis(100), false);
        assert_eq!(probe.due_at(), None);
    }
}
