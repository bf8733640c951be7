//! Which link a packet takes.
//!
//! A [`Scheduler`] is asked once for each packet when it comes, with the links that may carry it now. It keeps what state
//! it likes; it never sees a packet's bytes, only its [`Flow`]. [`Adaptive`] is another kind: it is asked when a packet can
//! leave.

mod adaptive;
mod consistent;
mod round_robin;

pub use adaptive::Adaptive;
pub use consistent::Consistent;
pub use round_robin::RoundRobin;

use crate::flow::Flow;

/// A link that may carry a packet now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// A name of the link that both ends know (KCP: the conversation), so that both choose alike.
    pub key: u32,
    /// How many flows or packets it gets for each that a link of weight 1 gets.
    pub weight: u16,
    /// Where it is among the session's links.
    pub position: usize,
}

/// A rule that spreads packets over links.
pub trait Scheduler: std::fmt::Debug + Send {
    /// The position in `candidates` of the link for a packet of `flow`; `None` only when there are none.
    fn choose(&mut self, flow: &Flow, candidates: &[Candidate]) -> Option<usize>;
}

/// The schedulers, by the names a user gives them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SchedulerKind {
    /// A flow stays on its link: [`Consistent`].
    #[default]
    Consistent,
    /// Packet by packet: [`RoundRobin`].
    RoundRobin,
    /// Each packet goes where it arrives first: [`Adaptive`]. Only for links that number their packets; on others flows are
    /// pinned.
    Adaptive,
    /// Every packet over every link, the first copy counts. Only for links that number their packets; on others flows are
    /// pinned.
    Redundant,
}

impl SchedulerKind {
    /// A new scheduler of this kind that chooses when a packet comes.
    #[must_use]
    pub fn build(self) -> Box<dyn Scheduler> {
        match self {
            Self::Consistent | Self::Adaptive | Self::Redundant => Box::new(Consistent),
            Self::RoundRobin => Box::new(RoundRobin::default()),
        }
    }
}
