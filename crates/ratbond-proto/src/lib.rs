//! The link protocols, schedulers and session of ratbond, as pure state machines.
//!
//! **Guarantee.** Nothing in this crate reads a clock, opens a socket, starts a thread or draws a random number of
//! its own. Time ([`Time`]), datagrams, packets and seeds come in as arguments; datagrams to send, packets to
//! deliver, events and the next deadline come out. The same inputs give the same outputs, always, so an hour of a lossy
//! network is a test of a second. `clippy.toml` beside this crate holds it to that.

pub mod addressing;
pub mod bond;
pub mod endpoint;
pub mod event;
pub mod flow;
pub mod inner;
pub mod kcp;
pub mod link;
pub mod numbering;
pub mod outer;
pub mod packet;
pub mod path;
pub mod preference;
mod prefetch;
pub mod queue;
pub mod resequencer;
pub mod scheduler;
pub mod session;
pub mod time;
pub mod trace;

pub use event::{DownReason, Event, Peer};
pub use packet::{Packet, PacketPool};
pub use session::{Role, Session};
pub use time::Time;
