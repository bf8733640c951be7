//! A seeded model of one direction of a network link: rate, delay, jitter, queue, loss, reordering, duplication.
//!
//! **Guarantee.** Nothing in this crate reads a clock, opens a socket, starts a thread or draws a random number that
//! its seed did not decide. Time comes in as nanoseconds, packets come in and go out as values of any type, and
//! [`Link::next_deadline`] says when to look again. The same calls give the same results, always. So one model serves
//! both the protocol's tests, in virtual time, and the emulator of the lab, in real time.
//!
//! What a packet passes, in this order:
//!
//! ```text
//!  send ─ MTU ─ queue (tail drop) ─ serializer (rate) ─ blackhole ─ loss ─ duplication ─ delay, jitter, reordering ─ poll
//!                └─ bottleneck ──────────────────────┘  └─ the wire behind it ──────────────────────────────────┘
//! ```
//!
//! Loss lies behind the bottleneck, as on a radio link: a lost packet has taken its share of the rate. A change of the
//! configuration holds for every packet that has not left the serializer yet; a packet that is already on the wire
//! keeps its arrival time.
//!
//! ```
//! use ratbond_netem::{Link, LinkConfig};
//!
//! let config = LinkConfig { rate_bps: 8_000_000, delay_ns: 5_000_000, ..LinkConfig::default() };
//! let mut link = Link::new(config, 1).expect("a valid configuration");
//! link.send(0, 1_000, "a packet of 1,000 bytes");
//! let arrival_ns = link.next_deadline().expect("one packet is on its way");
//! assert_eq!(arrival_ns, 1_000_000 + 5_000_000); // 1 ms to serialize, 5 ms to propagate
//! assert_eq!(link.poll(arrival_ns), Some("a packet of 1,000 bytes"));
//! ```

mod bottleneck;
mod config;
mod jitter;
mod link;
mod loss;
mod rng;
mod stats;

pub use config::{Bursts, ConfigError, Distribution, Jitter, LinkConfig, QueueLimit, Reordering};
pub use link::Link;
pub use stats::Stats;

/// Nanoseconds in a second.
const NS_PER_S: u64 = 1_000_000_000;
