//! A link's place in a session: its state, its queue, its clocks and counters.

use std::time::Duration;

use crate::link::{Link, LinkId, LinkStats, Route, WanId};
use crate::preference::Preference;
use crate::queue::{FairQueue, QueueConfig};
use crate::time::Time;

/// A link that was up is dead after this long without a valid datagram (stock ratbond's documentation).
pub(super) const DEAD_AFTER: Duration = Duration::from_secs(10);
/// A stock peer forgets a link after this long without a message, and so must its other end. Messages count, not
/// datagrams: its kcp-go listener makes a new session of whatever comes for one that it forgot, and acknowledges what it
/// will never deliver.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(5);
/// A link is suspect when an answer is overdue by what its round-trip times explain, at most this.
const MAX_SUSPECT_AFTER: Duration = Duration::from_secs(4);
/// An answer may take this long while no round-trip time is known.
const PATIENCE_AT_FIRST: Duration = Duration::from_secs(1);

/// More round trips of patience for each certain loss, and at most.
const LOSS_PATIENCE: f64 = 15.0;
const MAX_LOSS_PATIENCE: f64 = 4.0;

/// A client whose links are all suspect tries new ones after this long.
pub(super) const RECONNECT_AFTER: Duration = Duration::from_millis(200);

/// What a link is to the bond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Nothing valid has come yet.
    Connecting,
    /// It answers.
    Up,
    /// An answer is overdue: used only when no link is up.
    Suspect {
        /// Since when.
        since: Time,
    },
}

/// IP packets that went through a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets given to the link.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Packets that came out of it.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Datagrams sent.
    pub wire_tx_datagrams: u64,
    /// Their UDP payload bytes.
    pub wire_tx_bytes: u64,
    /// Datagrams received.
    pub wire_rx_datagrams: u64,
    /// Their UDP payload bytes.
    pub wire_rx_bytes: u64,
}

/// A link and what the session knows of it.
#[derive(Debug)]
pub(super) struct Slot<L> {
    pub id: LinkId,
    pub wan: WanId,
    pub route: Route,
    pub link: L,
    pub state: LinkState,
    pub preference: Preference,
    pub queue: FairQueue,
    pub joined: Time,
    pub up_since: Option<Time>,
    pub last_rx: Time,
    pub last_message: Time,
    /// Whether the peer is a stock one, which forgets links without a word.
    pub peer_forgets: bool,
    pub greeted: bool,
    pub hello_due: Time,
    pub traffic: Traffic,
}

impl<L: Link> Slot<L> {
    pub fn new(now: Time, id: LinkId, wan: WanId, route: Route, link: L, queue: QueueConfig) -> Self {
        let hello_due = now + link.keepalive(now);
        Self {
            id,
            wan,
            route,
            link,
            state: LinkState::Connecting,
            preference: Preference::default(),
            queue: FairQueue::new(queue),
            joined: now,
            up_since: None,
            last_rx: now,
            last_message: now,
            peer_forgets: false,
            greeted: false,
            hello_due,
            traffic: Traffic::default(),
        }
    }

    /// How much longer than [`DEAD_AFTER`] a healthy idle link may be silent.
    const QUIET_EXTRA: Duration = L::KEEPALIVE.saturating_sub(Duration::from_secs(2));

    /// Whether the protocol's own keepalive is what bounds silence (KCP: HELLO each 2 s).
    fn is_quiet(&self) -> bool {
        !L::NUMBERED
    }

    pub fn is_up(&self) -> bool {
        self.state == LinkState::Up
    }

    pub fn has_hope(&self, now: Time) -> bool {
        match self.state {
            LinkState::Connecting | LinkState::Up => true,
            LinkState::Suspect { since } => now.saturating_since(since) < RECONNECT_AFTER,
        }
    }

    /// When it is dead unless something comes.
    pub fn dead_at(&self) -> Time {
        match self.state {
            LinkState::Connecting => self.joined + self.link.connect_timeout(),
            LinkState::Up | LinkState::Suspect { .. } if self.peer_forgets => {
                self.last_message + FORGOTTEN_AFTER
            }
            // The peer says something at least each keepalive.
            LinkState::Up | LinkState::Suspect { .. } => match self.link.waiting_since() {
                Some(since) if !self.is_quiet() => since.max(self.last_rx) + DEAD_AFTER,
                _ => self.last_rx + DEAD_AFTER + Self::QUIET_EXTRA,
            },
        }
    }

    /// When it is suspect unless something comes; `None` while no answer is awaited or it already is.
    pub fn suspect_at(&self) -> Option<Time> {
        if !self.is_up() {
            return None;
        }
        let stats: LinkStats = self.link.stats();
        let patience = match stats.srtt.is_zero() {
            true => PATIENCE_AT_FIRST.max(L::PATIENCE),
            false => {
                // Where answers get lost as well, several in a row tell little.
                let round_trips = 3.0 + (LOSS_PATIENCE * stats.loss).min(MAX_LOSS_PATIENCE);
                let patience = stats.srtt.mul_f64(round_trips) + 4 * stats.rttvar;
                patience.clamp(L::PATIENCE, MAX_SUSPECT_AFTER)
            }
        };
        let waiting = self.link.waiting_since()?;
        // Where the protocol acknowledges at once, what else the peer says does not stand for an answer.
        Some(if L::NUMBERED { waiting } else { waiting.max(self.last_rx) } + patience)
    }

    /// The next of its deadlines.
    pub fn timeout(&self) -> Time {
        let mut next = self.dead_at();
        if self.state != LinkState::Connecting {
            next = next.min(self.hello_due);
        }
        for deadline in [self.suspect_at(), self.link.poll_timeout()].into_iter().flatten() {
            next = next.min(deadline);
        }
        next
    }
}
