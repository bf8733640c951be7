//! How a session's packets find their links: when they come, or when they can leave.

use std::time::Duration;

use super::copies::Copies;
use super::doubles::Doubles;
use super::numbered::Class;
use crate::packet::PacketPool;
use crate::queue::{FairQueue, QUANTUM_BYTES, QueueConfig, Queued};
use crate::scheduler::{Adaptive, Scheduler, SchedulerKind};
use crate::time::Time;

/// How often the queue in front of all links learns what the links have become.
const TUNE_EVERY: Duration = Duration::from_millis(50);
/// Standing delay that a busy flow may have beyond what the links need, as a share of the inner round trip: a window that
/// CUBIC (RFC 9438) cuts to 0.7 still fills the path if 0.43 of it was queue.
const SHARE_OF_RTT: f64 = 0.45;
/// What the standing queue must be larger than the spread for the same reason.
const SHARE_OF_SPREAD: f64 = 1.4;
/// CoDel's own target (RFC 8289) and the most that is made of it.
const BASE_TARGET: Duration = Duration::from_millis(5);
const MAX_TARGET: Duration = Duration::from_millis(600);
/// CoDel's own interval, and the most that is made of it.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
const MAX_INTERVAL: Duration = Duration::from_secs(2);
/// What links take to find their pace when they carry what another one did.
const TAKEOVER: Duration = Duration::from_secs(1);

/// CoDel takes its time, so the queue holds this many times what its target makes of all links' rates, and never more than so
/// many bytes.
const LIMIT_OVER_TARGET: usize = 3;
const MAX_LIMIT_BYTES: usize = 32 << 20;

/// A busy flow's turn takes so long, and at most so many bytes. On fast links that is several packets, which the other end's kernel gets in one
/// piece; up to 120 Mbit/s it is one.
const TURN: Duration = Duration::from_micros(100);
const MAX_QUANTUM_BYTES: usize = 48 << 10;

/// See the module.
#[derive(Debug)]
pub(super) enum Spread {
    /// A packet has its link when it comes; each link has a queue.
    Pinned(Box<dyn Scheduler>),
    /// All links take from one queue.
    Shared(Box<Shared>),
}

/// The queue in front of all links, and who may take from it.
#[derive(Debug)]
pub(super) struct Shared {
    pub queue: FairQueue,
    pub adaptive: Adaptive,
    pub copies: Copies,
    /// Only where every link is to carry everything.
    pub doubles: Option<Doubles>,
    /// What the queue holds at least.
    limit_bytes: usize,
    tune_at: Time,
    /// The links in use, by name, and until when the others are given time to take over from one that has left.
    known: Vec<u32>,
    patient_until: Time,
}

impl Spread {
    /// `numbered`: whether packets may go over any link and are put in order at the other end.
    pub fn new(kind: SchedulerKind, numbered: bool, queue: QueueConfig) -> Self {
        match kind {
            SchedulerKind::Adaptive | SchedulerKind::Redundant if numbered => {
                Self::Shared(Box::new(Shared {
                    queue: FairQueue::new(queue),
                    doubles: (kind == SchedulerKind::Redundant).then(Doubles::default),
                    adaptive: Adaptive::default(),
                    copies: Copies::default(),
                    limit_bytes: queue.limit_bytes,
                    tune_at: Time::ZERO,
                    known: Vec::new(),
                    patient_until: Time::ZERO,
                }))
            }
            kind => Self::Pinned(kind.build()),
        }
    }

    pub fn shared(&self) -> Option<&Shared> {
        match self {
            Self::Shared(shared) => Some(shared),
            Self::Pinned(_) => None,
        }
    }

    pub fn shared_mut(&mut self) -> Option<&mut Shared> {
        match self {
            Self::Shared(shared) => Some(shared),
            Self::Pinned(_) => None,
        }
    }
}

impl Shared {
    /// The next packet for the link at `position`; none that does better to wait for another link.
    pub fn next_for(&mut self, now: Time, position: usize, pool: &mut PacketPool) -> Option<(Queued, Class)> {
        if self.queue.is_empty() {
            return None;
        }
        if self.adaptive.takes_sparse(position)
            && let Some(item) = self.queue.pop_sparse(now, pool)
        {
            return Some((item, Class::Sparse));
        }
        if !self.adaptive.takes_bulk(position, self.queue.bulk_backlog_bytes()) {
            return None;
        }
        self.queue.pop_bulk(now, pool).map(|item| (item, Class::Bulk))
    }

    /// Looks which links are in use. When one has left, a queue that stands while the others find their pace is no reason to drop.
    pub fn follow(&mut self, now: Time, links: impl Iterator<Item = u32> + Clone) {
        if self.known.iter().any(|known| links.clone().all(|link| link != *known)) {
            self.patient_until = now + TAKEOVER;
            self.tune_at = now;
        }
        self.known.clear();
        self.known.extend(links);
    }

    /// Lets CoDel accept the queue that spilling to a slower link needs, and that lasts while a repair is waited for: nothing is
    /// acknowledged then, and nothing new comes. `rtts` are those of the links in use.
    pub fn tune(&mut self, now: Time, rtts: impl Iterator<Item = Duration>) {
        if now < self.tune_at {
            return;
        }
        self.tune_at = now + TUNE_EVERY;
        let largest_rtt = rtts.max().unwrap_or_default();
        let standing = self.adaptive.spread().mul_f64(SHARE_OF_SPREAD)
            + largest_rtt.mul_f64(SHARE_OF_RTT)
            + self.adaptive.hold();
        let target = (BASE_TARGET + standing).min(MAX_TARGET);
        let interval = match now < self.patient_until {
            true => MAX_INTERVAL,
            false => (largest_rtt + target).clamp(MIN_INTERVAL, MAX_INTERVAL),
        };
        let in_target = self.adaptive.rate_bytes_per_s() as f64 * target.as_secs_f64();
        let limit_bytes = self.limit_bytes.max(LIMIT_OVER_TARGET * in_target as usize).min(MAX_LIMIT_BYTES);
        let in_turn = self.adaptive.rate_bytes_per_s() as f64 * TURN.as_secs_f64();
        let quantum_bytes = (in_turn as usize).clamp(QUANTUM_BYTES, MAX_QUANTUM_BYTES);
        self.queue.set_config(QueueConfig { limit_bytes, target, interval, quantum_bytes });
    }
}
