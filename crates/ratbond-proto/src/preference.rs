//! What a link is for, as its owner says: when it may be used, how fast, and how much beside others.
//!
//! The client knows its links and says so in the HELLO of each, so that both ends spread packets by the same rules. Links of
//! the kcp protocol have no words for it: there it holds for what the client sends.

use crate::bond::frame::tlv::{FieldWriter, Fields, field};
use crate::session::Role;

/// When a link is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Always.
    #[default]
    Primary,
    /// For what the primary links cannot carry; by schedulers that choose a link when a packet comes, only when no primary
    /// link is up.
    Secondary,
    /// Only when no other link is up.
    Backup,
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preference {
    /// When it is used.
    pub tier: Tier,
    /// The most that the client sends over it, in bit/s of IP packets.
    pub up_bps: Option<u64>,
    /// The most that the server sends over it.
    pub down_bps: Option<u64>,
    /// How many flows or packets it gets for each that another gets, by schedulers that count them; 1 to 1,000.
    pub weight: u16,
}

/// The largest weight.
pub const MAX_WEIGHT: u16 = 1_000;
/// Of a cap, for UDP payload: the rest is the tunnel's own IP and UDP headers of full datagrams.
const PAYLOAD_SHARE: f64 = 1430.0 / 1458.0;

impl Default for Preference {
    fn default() -> Self {
        Self { tier: Tier::Primary, up_bps: None, down_bps: None, weight: 1 }
    }
}

impl Preference {
    /// The cap on what an end sends over one of the WAN's `links` links, in bytes a second of UDP payload.
    #[must_use]
    pub(crate) fn cap(&self, sender: Role, links: usize) -> Option<u64> {
        let bps = match sender {
            Role::Client => self.up_bps,
            Role::Server => self.down_bps,
        };
        bps.map(|bps| ((bps as f64 * PAYLOAD_SHARE / 8.0) as u64 / links.max(1) as u64).max(1))
    }

    /// Fields of a HELLO that say it; none for a link like any other. A cap is rounded to kbit/s, and never to none.
    #[must_use]
    pub fn to_fields(&self) -> Vec<u8> {
        let mut fields = FieldWriter::default();
        if *self == Self::default() {
            return Vec::new();
        }
        let kbps = |cap: Option<u64>| {
            cap.map_or(0, |bps| u32::try_from(bps.div_ceil(1_000)).unwrap_or(u32::MAX)).to_be_bytes()
        };
        let caps = [kbps(self.up_bps), kbps(self.down_bps)].concat();
        fields.put(field::TIER, &[self.tier as u8]).put(field::RATE_CAP, &caps);
        fields.put(field::WEIGHT, &self.weight.to_be_bytes());
        fields.as_slice().to_vec()
    }

    /// What a HELLO says; what it leaves out, or what no link can have, is as of a link like any other.
    #[must_use]
    pub fn from_fields(fields: Fields<'_>) -> Self {
        let tier = match fields.array(field::TIER) {
            Some([1]) => Tier::Secondary,
            Some([2]) => Tier::Backup,
            _ => Tier::Primary,
        };
        let cap = |at: usize| {
            let caps: [u8; 8] = fields.array(field::RATE_CAP)?;
            let kbps = u32::from_be_bytes([caps[at], caps[at + 1], caps[at + 2], caps[at + 3]]);
            (kbps > 0).then(|| u64::from(kbps) * 1_000)
        };
        let weight = fields.array(field::WEIGHT).map_or(1, u16::from_be_bytes);
        Self { tier, up_bps: cap(0), down_bps: cap(4), weight: weight.clamp(1, MAX_WEIGHT) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preference_comes_out_of_a_hello_as_it_went_in() {
        let secondary =
            Preference { tier: Tier::Secondary, up_bps: Some(5_000_000), down_bps: None, weight: 3 };
        let backup = Preference { tier: Tier::Backup, down_bps: Some(1_000), ..Preference::default() };
        for preference in [secondary, backup, Preference::default()] {
            let fields = preference.to_fields();
            assert_eq!(Preference::from_fields(Fields::parse(&fields).unwrap()), preference);
        }
    }

    #[test]
    fn what_a_peer_says_wrongly_is_as_if_it_said_nothing() {
        let mut fields = FieldWriter::default();
        fields.put(field::TIER, &[9]).put(field::RATE_CAP, &[1]).put(field::WEIGHT, &[0, 0]);
        let read = Preference::from_fields(Fields::parse(fields.as_slice()).unwrap());
        assert_eq!(read, Preference::default());
    }

    #[test]
    fn a_cap_is_shared_by_the_links_of_a_wan_and_counts_ip_packets() {
        let capped = Preference { up_bps: Some(8_000_000), ..Preference::default() };
        assert_eq!(capped.cap(Role::Client, 2), Some(490_397));
        assert_eq!(capped.cap(Role::Server, 1), None);
    }
}
