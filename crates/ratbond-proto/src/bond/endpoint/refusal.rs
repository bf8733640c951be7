//! What is told of datagrams that are refused: once in a while, however many come.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use crate::time::Time;

/// Something is told at most this often.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// The last refusal, until it is told.
#[derive(Debug, Default)]
pub(super) struct Refusal {
    waiting: Option<(String, SocketAddr)>,
    told_at: Option<Time>,
}

impl Refusal {
    /// Remembers words about what came from `remote`, unless others were said a moment ago. Only then are they written
    /// out: under a flood nearly all are not.
    pub fn tell(&mut self, now: Time, remote: SocketAddr, words: impl Display) {
        if self.told_at.is_none_or(|at| now.saturating_since(at) >= TELL_EVERY) {
            self.told_at = Some(now);
            self.waiting = Some((words.to_string(), remote));
        }
    }

    pub fn take(&mut self) -> Option<(String, SocketAddr)> {
        self.waiting.take()
    }
}
