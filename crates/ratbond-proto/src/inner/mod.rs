//! What a tunnel does to the IP packets inside it, as any router would.
//!
//! | module | what it holds |
//! |---|---|
//! | [`mss`] | the segment size that TCP ends tell each other, lowered to what fits |
//! | [`too_big`] | the ICMP answer to a packet that does not fit |
//! | [`fragment`] | an IPv4 packet cut into those that do |
//! | [`ecn`] | the mark of a full queue |
//! | [`checksum`] | the Internet checksum |

pub mod checksum;
pub mod ecn;
pub mod fragment;
pub mod mss;
pub mod too_big;
