//! The clear part of handshake datagrams. Layouts stand in docs/wire.md.
//!
//! What every version keeps, so that versions can refuse each other in words: type, index and version in bytes 0..6,
//! the client's receiver index in bytes 7..11 of what a client sends to begin, the MAC over everything before it in the
//! last 16 bytes, and the VERSION datagram.

use super::{HandshakeError, Mode};
use crate::bond::datagram::{Kind, ReceiverIndex, VERSION};
use crate::bond::kdf::{MAC_LEN, MacKey};

/// Type, index, version.
pub const COMMON_LEN: usize = 6;
/// Bytes of a cookie.
pub const COOKIE_LEN: usize = 16;
/// Length of a REQUEST; not less than a CHALLENGE or a VERSION, so that nothing is amplified.
pub const REQUEST_LEN: usize = 11 + TOKEN_LEN + MAC_LEN;
/// Length of a CHALLENGE.
pub const CHALLENGE_LEN: usize = COMMON_LEN + COOKIE_LEN + MAC_LEN;
/// Length of a VERSION.
pub const VERSION_LEN: usize = COMMON_LEN + 2 + MAC_LEN;
/// The longest handshake datagram: fits every path that IPv6 allows.
pub const MAX_HANDSHAKE_LEN: usize = 1_200;

const TOKEN_LEN: usize = 16;
const INIT_HEADER_LEN: usize = 11 + COOKIE_LEN;

/// The parts that REQUEST and INIT share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Any number; the same in all handshakes of one client process, so that they reach the same worker.
    pub steer: ReceiverIndex,
    /// The mode that the client wants.
    pub mode: Mode,
    /// The index that the client wants to be addressed by on this link.
    pub sender: ReceiverIndex,
}

impl Opening {
    fn write(self, kind: Kind, out: &mut Vec<u8>) {
        write_common(kind, self.steer, out);
        out.push(self.mode.to_wire());
        out.extend_from_slice(&self.sender.0.to_be_bytes());
    }

    /// The first 11 bytes of the INIT of this opening: part of the Noise prologue.
    #[must_use]
    pub fn prologue(self) -> Vec<u8> {
        let mut prologue = b"ratbond bond/1 client initiates".to_vec();
        self.write(Kind::Init, &mut prologue);
        prologue
    }

    fn read(datagram: &[u8]) -> Option<Self> {
        let steer = ReceiverIndex::of(datagram).ok()?;
        let mode = Mode::from_wire(*datagram.get(6)?)?;
        Some(Self { steer, mode, sender: sender_of(datagram)? })
    }
}

/// The REQUEST of an opening. `token` is random.
#[must_use]
pub fn request(opening: Opening, token: [u8; TOKEN_LEN], filter: &MacKey) -> Vec<u8> {
    let mut out = Vec::with_capacity(REQUEST_LEN);
    opening.write(Kind::Request, &mut out);
    out.extend_from_slice(&token);
    append_mac(filter, &mut out);
    out
}

/// The CHALLENGE that answers `request`, which was checked. Its MAC covers the request's, so that nobody who has not
/// seen that can forge an answer.
#[must_use]
pub fn challenge(request: &[u8], cookie: [u8; COOKIE_LEN], filter: &MacKey) -> Vec<u8> {
    let mut out = Vec::with_capacity(CHALLENGE_LEN);
    write_common(Kind::Challenge, sender_of(request).unwrap_or_default(), &mut out);
    out.extend_from_slice(&cookie);
    let mac = filter.tag(&[&out, mac_of(request)]);
    out.extend_from_slice(&mac);
    out
}

/// The cookie in a CHALLENGE that answers `request`.
///
/// # Errors
/// Not a CHALLENGE of this version, or not an answer to `request`.
pub fn read_challenge(
    datagram: &[u8],
    request: &[u8],
    filter: &MacKey,
) -> Result<[u8; COOKIE_LEN], HandshakeError> {
    if datagram.len() != CHALLENGE_LEN || datagram[5] != VERSION {
        return Err(HandshakeError::Malformed);
    }
    let (body, mac) = datagram.split_at(CHALLENGE_LEN - MAC_LEN);
    if !filter.verify(&[body, mac_of(request)], mac) {
        return Err(HandshakeError::WrongMac);
    }
    body[COMMON_LEN..].try_into().map_err(|_| HandshakeError::Malformed)
}

/// An INIT: opening, cookie, Noise message, MAC.
#[must_use]
pub fn init(opening: Opening, cookie: [u8; COOKIE_LEN], noise: &[u8], filter: &MacKey) -> Vec<u8> {
    let mut out = Vec::with_capacity(INIT_HEADER_LEN + noise.len() + MAC_LEN);
    opening.write(Kind::Init, &mut out);
    out.extend_from_slice(&cookie);
    out.extend_from_slice(noise);
    append_mac(filter, &mut out);
    out
}

/// A REQUEST or an INIT whose MAC and version are right.
#[derive(Clone, Copy, Debug)]
pub struct Checked<'a> {
    /// What the client wants.
    pub opening: Opening,
    /// INIT only: cookie and Noise message.
    pub init: Option<(&'a [u8], &'a [u8])>,
}

/// Checks a REQUEST or an INIT, cheapest first: length, MAC, version, mode.
///
/// # Errors
/// See [`HandshakeError`]; on [`HandshakeError::WrongVersion`] the caller answers with [`version`].
pub fn check<'a>(kind: Kind, datagram: &'a [u8], filter: &MacKey) -> Result<Checked<'a>, HandshakeError> {
    if !(REQUEST_LEN..=MAX_HANDSHAKE_LEN).contains(&datagram.len()) {
        return Err(HandshakeError::Malformed);
    }
    let (body, mac) = datagram.split_at(datagram.len() - MAC_LEN);
    if !filter.verify(&[body], mac) {
        return Err(HandshakeError::WrongMac);
    }
    if datagram[5] != VERSION {
        return Err(HandshakeError::WrongVersion { theirs: datagram[5] });
    }
    let opening = Opening::read(datagram).ok_or(HandshakeError::Malformed)?;
    let init = match kind {
        Kind::Request if datagram.len() == REQUEST_LEN => None,
        Kind::Init => Some(body[11..].split_at_checked(COOKIE_LEN).ok_or(HandshakeError::Malformed)?),
        _ => return Err(HandshakeError::Malformed),
    };
    Ok(Checked { opening, init })
}

/// The refusal of a `datagram` of another version whose MAC was right: the versions that this end speaks.
#[must_use]
pub fn version(datagram: &[u8], filter: &MacKey) -> Vec<u8> {
    let mut out = Vec::with_capacity(VERSION_LEN);
    write_common(Kind::Version, sender_of(datagram).unwrap_or_default(), &mut out);
    out.extend_from_slice(&[VERSION, VERSION]);
    let mac = filter.tag(&[&out, mac_of(datagram)]);
    out.extend_from_slice(&mac);
    out
}

/// The newest version of the server that refused `sent`.
///
/// # Errors
/// Not a VERSION datagram, or not an answer to `sent`.
pub fn read_version(datagram: &[u8], sent: &[u8], filter: &MacKey) -> Result<u8, HandshakeError> {
    if datagram.len() != VERSION_LEN {
        return Err(HandshakeError::Malformed);
    }
    let (body, mac) = datagram.split_at(VERSION_LEN - MAC_LEN);
    if !filter.verify(&[body, mac_of(sent)], mac) {
        return Err(HandshakeError::WrongMac);
    }
    Ok(body[7])
}

/// Type, index and version of any handshake datagram.
pub(super) fn write_common(kind: Kind, index: ReceiverIndex, out: &mut Vec<u8>) {
    out.push(kind.type_byte());
    out.extend_from_slice(&index.0.to_be_bytes());
    out.push(VERSION);
}

fn append_mac(filter: &MacKey, out: &mut Vec<u8>) {
    let mac = filter.tag(&[out]);
    out.extend_from_slice(&mac);
}

pub(super) fn mac_of(datagram: &[u8]) -> &[u8] {
    &datagram[datagram.len().saturating_sub(MAC_LEN)..]
}

fn sender_of(datagram: &[u8]) -> Option<ReceiverIndex> {
    let bytes = datagram.get(7..11)?.try_into().ok()?;
    Some(ReceiverIndex(u32::from_be_bytes(bytes)))
}
