//! What a link is told to be.

use std::fmt;

use crate::NS_PER_S;

/// One direction of a link. The default is a perfect wire: unlimited, instant, lossless.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkConfig {
    /// Bits per second, counted on the packet plus [`overhead_bytes`](Self::overhead_bytes); 0 is unlimited.
    pub rate_bps: u64,
    /// What each packet costs on the bottleneck beyond its own size, such as a layer-2 header.
    pub overhead_bytes: u32,
    /// How much may wait for the bottleneck. Without a rate nothing ever waits.
    pub queue: QueueLimit,
    /// Propagation delay: from the last bit leaving the bottleneck to the packet's arrival.
    pub delay_ns: u64,
    /// Variation of the delay.
    pub jitter: Jitter,
    /// Probability that a packet is lost, each on its own.
    pub loss: f64,
    /// Losses that come in bursts, on top of [`loss`](Self::loss).
    pub bursts: Option<Bursts>,
    /// Packets that are overtaken.
    pub reordering: Option<Reordering>,
    /// Probability that a packet arrives twice, the copy right behind the original.
    pub duplication: f64,
    /// Packets larger than this are dropped without a word; 0 lets every size pass.
    pub mtu_bytes: u32,
    /// Nothing that leaves the serializer arrives. What is on the wire still does.
    pub blackhole: bool,
}

/// What the bottleneck's tail-drop queue holds. One packet always fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueLimit {
    /// Bytes, overhead included.
    Bytes(u64),
    /// The time that a full queue needs to drain at the present rate.
    Nanos(u64),
}

/// How the delay varies around [`LinkConfig::delay_ns`]; it never falls below zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jitter {
    /// Shape of the variation.
    pub distribution: Distribution,
    /// Size of the variation, with the meaning that [`Distribution`] gives it; 0 is none.
    pub size_ns: u64,
    /// `false`: the delay wanders, a new value every four sizes and a straight line between them, so that packets that
    /// follow each other closely see nearly the same delay and none overtakes another, as behind one radio cell. An
    /// independent draw for each packet, put in order afterwards, would hold a busy link at its largest delay instead.
    ///
    /// `true`: an independent draw for each packet, which then overtake each other, as over many paths.
    pub reorders: bool,
}

/// The shape of a [`Jitter`] of size `j`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// Evenly within `-j ..= j`.
    Uniform,
    /// Bell-shaped with standard deviation `j`, within `-3.47 j ..= 3.47 j` (a sum of four even draws).
    Normal,
    /// Only later, never earlier: exponential with mean `j`, cut at `8 j`. The long tail of a radio link.
    Exponential,
}

/// Bursty loss after Gilbert and Elliott: a chain of two states that steps once for every packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bursts {
    /// Probability of a step from good to bad.
    pub enter: f64,
    /// Probability of a step from bad to good; the mean stay in bad is `1 / leave` packets.
    pub leave: f64,
    /// Probability of a loss while bad.
    pub loss_in_bad: f64,
}

/// Packets that are held back while later ones pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reordering {
    /// Probability that a packet is held back.
    pub probability: f64,
    /// For how long, on top of its delay.
    pub held_back_ns: u64,
}

/// A value that no link can have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ConfigError {
    /// The named probability is not within 0..=1.
    Probability(&'static str, f64),
    /// The named time is above [`LinkConfig::MAX_NS`].
    TooLong(&'static str, u64),
    /// The rate is above [`LinkConfig::MAX_RATE_BPS`].
    TooFast(u64),
}

impl LinkConfig {
    /// The shortest time that a packet can be on the wire.
    #[must_use]
    pub fn shortest_delay_ns(&self) -> u64 {
        self.delay_ns.saturating_sub(self.jitter.largest_advance_ns())
    }

    /// The longest delay, jitter, queue or holding back: one minute.
    pub const MAX_NS: u64 = 60 * NS_PER_S;
    /// The highest rate: 1 Tbit/s.
    pub const MAX_RATE_BPS: u64 = 1_000_000_000_000;

    /// Checks every value.
    ///
    /// # Errors
    /// The first value that no link can have.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.rate_bps > Self::MAX_RATE_BPS {
            return Err(ConfigError::TooFast(self.rate_bps));
        }
        probability("loss", self.loss)?;
        probability("duplication", self.duplication)?;
        time("delay", self.delay_ns)?;
        time("jitter", self.jitter.size_ns)?;
        if let QueueLimit::Nanos(limit_ns) = self.queue {
            time("queue", limit_ns)?;
        }
        if let Some(bursts) = self.bursts {
            probability("burst enter", bursts.enter)?;
            probability("burst leave", bursts.leave)?;
            probability("burst loss", bursts.loss_in_bad)?;
        }
        if let Some(reordering) = self.reordering {
            probability("reordering", reordering.probability)?;
            time("reordering", reordering.held_back_ns)?;
        }
        Ok(())
    }
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            rate_bps: 0,
            overhead_bytes: 0,
            queue: QueueLimit::Nanos(100_000_000),
            delay_ns: 0,
            jitter: Jitter { distribution: Distribution::Uniform, size_ns: 0, reorders: false },
            loss: 0.0,
            bursts: None,
            reordering: None,
            duplication: 0.0,
            mtu_bytes: 0,
            blackhole: false,
        }
    }
}

impl Bursts {
    /// Bursts in which everything is lost, from what can be measured: the share of packets lost in the long run
    /// (0 to 0.99) and how many in a row (at least 1, on average).
    #[must_use]
    pub fn from_mean(loss: f64, burst_packets: f64) -> Self {
        let loss = loss.clamp(0.0, 0.99);
        let leave = 1.0 / burst_packets.max(1.0);
        // The chain is bad for enter / (enter + leave) of the time.
        Self { enter: (loss * leave / (1.0 - loss)).min(1.0), leave, loss_in_bad: 1.0 }
    }
}

impl Jitter {
    /// The most that this takes away from the delay.
    fn largest_advance_ns(self) -> u64 {
        match self.distribution {
            Distribution::Uniform => self.size_ns,
            Distribution::Normal => self.size_ns.saturating_mul(4),
            Distribution::Exponential => 0,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Probability(name, value) => write!(f, "{name} must be between 0 and 1, not {value}"),
            Self::TooLong(name, ns) => {
                write!(
                    f,
                    "{name} must be at most {} s, not {} s",
                    LinkConfig::MAX_NS / NS_PER_S,
                    ns / NS_PER_S
                )
            }
            Self::TooFast(rate_bps) => {
                write!(f, "rate must be at most {} bit/s, not {rate_bps}", LinkConfig::MAX_RATE_BPS)
            }
        }
    }
}

impl std::error::Error for ConfigError {}

fn probability(name: &'static str, value: f64) -> Result<(), ConfigError> {
    // Written so that NaN fails too.
    if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(ConfigError::Probability(name, value)) }
}

fn time(name: &'static str, ns: u64) -> Result<(), ConfigError> {
    if ns <= LinkConfig::MAX_NS { Ok(()) } else { Err(ConfigError::TooLong(name, ns)) }
}
