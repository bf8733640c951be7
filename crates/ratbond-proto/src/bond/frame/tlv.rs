//! Type-length-value fields: u8 type, u8 length, value. Unknown types are skipped, so that either end can grow.
//!
//! They carry what HELLO frames and the sealed payloads of the handshake say.

use super::FrameError;

/// Field types. A type is used with one meaning only, wherever it stands.
pub mod field {
    /// Feature bits, u32.
    pub const FEATURES: u8 = 1;
    /// AEADs that this end can use, best first, one byte each (client); the one chosen (server).
    pub const CIPHERS: u8 = 2;
    /// Tunnel-id, u16.
    pub const TUNNEL_ID: u8 = 3;
    /// Receiver index of the sender of this message, u32.
    pub const RECEIVER: u8 = 4;
    /// Inner MTU, u16.
    pub const MTU: u8 = 5;
    /// IPv4: client's address, server's address, prefix length; 9 bytes.
    pub const ADDRESS4: u8 = 6;
    /// IPv6: client's address, server's address, prefix length; 33 bytes.
    pub const ADDRESS6: u8 = 7;
    /// A name, UTF-8, at most 32 bytes.
    pub const NAME: u8 = 8;
    /// Refusal: code u8 and a text.
    pub const REFUSED: u8 = 9;
    /// Tier of the link, u8: 0 primary, 1 secondary, 2 backup.
    pub const TIER: u8 = 10;
    /// Rate caps of the link in kbit/s, client to server and server to client, u32 each; 0 = none.
    pub const RATE_CAP: u8 = 11;
    /// Datagrams and bytes received over the link, u64 each.
    pub const RECEIVED: u8 = 12;
    /// How many flows or packets the link gets for each that another gets, u16.
    pub const WEIGHT: u8 = 13;
}

/// A checked run of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields<'a> {
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    /// No fields.
    pub const EMPTY: Self = Self { bytes: &[] };

    /// Checks that `bytes` is a run of whole fields.
    ///
    /// # Errors
    /// A field reaches beyond the end.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            (_, rest) = split(rest).ok_or(FrameError::Truncated)?;
        }
        Ok(Self { bytes })
    }

    /// The run itself.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// All fields in order: type and value.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            let (field, tail) = split(rest)?;
            rest = tail;
            Some(field)
        })
    }

    /// The value of the first field of type `kind`.
    #[must_use]
    pub fn get(&self, kind: u8) -> Option<&'a [u8]> {
        self.iter().find(|&(k, _)| k == kind).map(|(_, value)| value)
    }

    /// The same, when it has exactly `N` bytes.
    #[must_use]
    pub fn array<const N: usize>(&self, kind: u8) -> Option<[u8; N]> {
        self.get(kind)?.try_into().ok()
    }

    /// The same as text; `None` when it is not UTF-8.
    #[must_use]
    pub fn text(&self, kind: u8) -> Option<&'a str> {
        std::str::from_utf8(self.get(kind)?).ok()
    }
}

/// Type and value.
type Field<'a> = (u8, &'a [u8]);

fn split(bytes: &[u8]) -> Option<(Field<'_>, &[u8])> {
    let (&[kind, len], rest) = bytes.split_first_chunk()?;
    let (value, rest) = rest.split_at_checked(usize::from(len))?;
    Some(((kind, value), rest))
}

/// Collects fields. Allocates; it is for handshakes and HELLO only.
#[derive(Clone, Debug, Default)]
pub struct FieldWriter {
    bytes: Vec<u8>,
}

impl FieldWriter {
    /// Appends a field. A value of more than 255 bytes is cut there; no field of this protocol is longer.
    pub fn put(&mut self, kind: u8, value: &[u8]) -> &mut Self {
        let len = u8::try_from(value.len()).unwrap_or(u8::MAX);
        self.bytes.extend_from_slice(&[kind, len]);
        self.bytes.extend_from_slice(&value[..usize::from(len)]);
        self
    }

    /// The fields so far.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_out_as_they_went_in() {
        let mut writer = FieldWriter::default();
        writer.put(field::MTU, &1442u16.to_be_bytes()).put(200, b"later").put(field::NAME, "büro".as_bytes());
        let fields = Fields::parse(writer.as_slice()).unwrap();
        assert_eq!(fields.array(field::MTU).map(u16::from_be_bytes), Some(1442));
        assert_eq!(fields.text(field::NAME), Some("büro"));
        assert_eq!(fields.get(field::TIER), None);
        assert_eq!(fields.iter().count(), 3);
    }

    #[test]
    fn a_field_of_the_wrong_size_is_absent() {
        let fields = Fields::parse(&[field::MTU, 1, 9]).unwrap();
        assert_eq!(fields.array::<2>(field::MTU), None);
    }

    #[test]
    fn a_field_that_reaches_too_far_spoils_the_run() {
        assert_eq!(Fields::parse(&[1, 2, 0]), Err(FrameError::Truncated));
        assert_eq!(Fields::parse(&[1]), Err(FrameError::Truncated));
    }
}
