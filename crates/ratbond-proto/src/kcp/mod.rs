//! KCP as stock ratbond and kcp-go v5 speak it, as a pure state machine.
//!
//! What the peer sees is exactly KCP: segments, una, ACKs, windows, probes. What the peer does not see is ours: losses are
//! found in the order of transmission times (after RACK, RFC 8985) instead of by scanning all that is in flight for each
//! ACK, acknowledgements are sent when they are due instead of every 10 ms, and nothing runs on an interval.
//!
//! | module | what it holds |
//! |---|---|
//! | [`crypt`] | the 20-byte header around a datagram: nonce, CRC-32, stock AES-CFB |
//! | [`segment`] | the 24-byte segment header, and the walk over a datagram's segments |
//! | [`conversation`] | [`Kcp`]: one conversation, composed of the parts below |
//! | `sender`, `flight`, `loss` | what was sent: its ring, which of it is lost |
//! | `receiver`, `acks`, `probe` | what has arrived and what is owed for it; zero windows |
//! | [`link`], [`endpoint`] | a link of a session, and an end of a tunnel, made of the above |
//! | `tenancy` | which of two clients a server's port belongs to |
//! | [`frame`] | what stock ratbond puts in KCP messages: HELLO, LINKDOWN, IP packets |

mod acks;
pub mod config;
pub mod conversation;
pub mod crypt;
pub mod endpoint;
pub mod fec;
mod flight;
pub mod frame;
pub mod fuzz;
pub mod link;
mod loss;
mod payload;
mod probe;
mod receiver;
pub mod segment;
mod sender;
mod serial;
pub mod stats;
mod tenancy;

pub use crate::path::rate::RateSample;
pub use config::Config;
pub use conversation::{InputSummary, Kcp, SendError};
pub use crypt::Crypt;
pub use endpoint::{KcpEndpoint, KcpEndpointConfig};
pub use frame::{Frame, FrameReader};
pub use link::KcpLink;
pub use sender::LossSummary;
pub use stats::Stats;
