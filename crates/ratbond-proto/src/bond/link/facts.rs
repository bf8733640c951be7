//! What the two ends tell each other of a link in HELLO.

use super::{Control, Opened};
use crate::bond::frame::tlv::{FieldWriter, Fields, field};
use crate::preference::Preference;

/// What a HELLO says of a link: a client's preference, how long this end's packets are, and how new the peer's word is.
#[derive(Debug, Default)]
pub(super) struct Facts {
    preference: Vec<u8>,
    /// The longest packet that this end sends, over whichever link.
    pub packet_limit: Option<u16>,
    /// Number of the datagram that the peer's were in: one that was sent before and comes late tells nothing.
    from: u64,
}

impl Facts {
    pub fn hello(&self) -> Control {
        let mut fields = self.preference.clone();
        if let Some(len) = self.packet_limit {
            let mut limit = FieldWriter::default();
            fields.extend_from_slice(limit.put(field::MTU, &len.to_be_bytes()).as_slice());
        }
        Control::Hello(fields)
    }

    pub fn change(&mut self, preference: &Preference) -> bool {
        let before = std::mem::replace(&mut self.preference, preference.to_fields());
        before != self.preference
    }

    /// What the peer says, if this is its newest word.
    pub fn told<'a>(&mut self, fields: &'a [u8], opened: Option<&Opened>) -> Option<Fields<'a>> {
        let number = opened?.number;
        if number < self.from {
            return None;
        }
        self.from = number;
        Fields::parse(fields).ok()
    }
}

/// How long the packets are at most that the peer sends, where it says so.
pub(super) fn packet_limit_of(fields: Fields<'_>) -> Option<u16> {
    fields.array(field::MTU).map(u16::from_be_bytes)
}
