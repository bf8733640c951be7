//! The client's side of the handshake over one link.
//!
//! ```text
//! Requesting ──CHALLENGE──► Proving ──RESPONSE──► done
//!      ▲                       │
//!      └── no RESPONSE to 4 ───┘      (the cookie may have expired, the server may have restarted)
//! ```

use std::time::Duration;

use super::message::{self, Opening};
use super::noise::Noise;
use super::{Credentials, HandshakeError};
use crate::Time;
use crate::bond::datagram::{Kind, ReceiverIndex};
use crate::bond::entropy::Entropy;
use crate::bond::frame::tlv::{Fields, field};
use crate::bond::kdf::MacKey;
use crate::bond::keys::{Cipher, Master};
use crate::bond::secret::Secret32;

/// Wait for the first answer; doubled after each try, up to [`RETRY_MAX`].
pub const RETRY_FIRST: Duration = Duration::from_millis(250);
/// Longest wait for an answer: a server that comes back is found within this.
pub const RETRY_MAX: Duration = Duration::from_secs(2);
const TRIES_PER_COOKIE: u32 = 4;

/// A session as its handshake left it. Everything the server said, it said under seal.
#[derive(Debug)]
pub struct Established {
    /// Master secret of key epoch 0.
    pub master: Master,
    /// The AEAD that the server chose.
    pub cipher: Cipher,
    /// The index to address the other end by, on the link that the handshake ran over. That is link 0.
    pub peer: ReceiverIndex,
    /// This end's own index on that link.
    pub own: ReceiverIndex,
    /// The peer's other fields (addresses, MTU, tunnel-id, features); see [`Fields::parse`].
    pub fields: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Requesting { request: Vec<u8> },
    Proving { init: Vec<u8>, noise: Box<Noise>, tries: u32 },
    Done,
}

/// One handshake over one link; a pure state machine.
#[derive(Debug)]
pub struct ClientHandshake {
    credentials: Credentials,
    payload: Vec<u8>,
    filter: MacKey,
    opening: Opening,
    entropy: Entropy,
    state: State,
    next_send: Time,
    wait: Duration,
}

impl ClientHandshake {
    /// Begins at `now`. `payload` holds the client's fields (see docs/wire.md), `seed` is fresh entropy, `steer` is the
    /// same for all links of the client.
    #[must_use]
    pub fn new(
        now: Time,
        credentials: Credentials,
        payload: Vec<u8>,
        steer: ReceiverIndex,
        seed: &Secret32,
    ) -> Self {
        let mut entropy = Entropy::new(seed.clone());
        let [a, b, c, d, ..] = entropy.draw().0;
        let sender = ReceiverIndex(u32::from_be_bytes([a, b, c, d]));
        let opening = Opening { steer, mode: credentials.mode(), sender };
        let filter = credentials.filter_key();
        let mut handshake = Self {
            credentials,
            payload,
            filter,
            opening,
            entropy,
            state: State::Done,
            next_send: now,
            wait: RETRY_FIRST,
        };
        handshake.start_over();
        handshake
    }

    /// The index by which the server addresses this link.
    #[must_use]
    pub const fn own_index(&self) -> ReceiverIndex {
        self.opening.sender
    }

    /// When [`poll_transmit`](Self::poll_transmit) has the next datagram; `None` once the handshake is done.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Time> {
        match self.state {
            State::Done => None,
            _ => Some(self.next_send),
        }
    }

    /// The datagram to send now, if one is due.
    pub fn poll_transmit(&mut self, now: Time) -> Option<&[u8]> {
        if matches!(self.state, State::Done) || now < self.next_send {
            return None;
        }
        self.next_send = now + self.wait;
        self.wait = (self.wait * 2).min(RETRY_MAX);
        if matches!(self.state, State::Proving { tries, .. } if tries >= TRIES_PER_COOKIE) {
            self.start_over();
        }
        match &mut self.state {
            State::Requesting { request } => Some(request),
            State::Proving { init, tries, .. } => {
                *tries += 1;
                Some(init)
            }
            State::Done => None,
        }
    }

    /// Takes a datagram of the server for this handshake. `Some` when the session is established.
    ///
    /// # Errors
    /// A refusal of the server ([`HandshakeError::Refused`], [`HandshakeError::WrongVersion`]), which the user should
    /// read; everything else was forged, late or garbage and changes nothing.
    pub fn handle(&mut self, now: Time, datagram: &[u8]) -> Result<Option<Established>, HandshakeError> {
        if ReceiverIndex::of(datagram) != Ok(self.opening.sender) {
            return Err(HandshakeError::Unexpected);
        }
        match Kind::of(datagram) {
            Ok(Kind::Challenge) => self.prove(now, datagram).map(|()| None),
            Ok(Kind::Response) => self.establish(datagram).map(Some),
            Ok(Kind::Version) => Err(self.refusal_of_version(datagram)),
            _ => Err(HandshakeError::Unexpected),
        }
    }

    fn start_over(&mut self) {
        let mut token = [0; 16];
        token.copy_from_slice(&self.entropy.draw().0[..16]);
        self.state = State::Requesting { request: message::request(self.opening, token, &self.filter) };
    }

    fn prove(&mut self, now: Time, datagram: &[u8]) -> Result<(), HandshakeError> {
        let State::Requesting { request } = &self.state else { return Err(HandshakeError::Unexpected) };
        let cookie = message::read_challenge(datagram, request, &self.filter)?;
        let seed = self.entropy.draw();
        let mut noise = Box::new(Noise::initiator(&self.credentials, &self.opening.prologue(), &seed)?);
        let mut first = Vec::new();
        noise.write(&self.payload, &mut first)?;
        let init = message::init(self.opening, cookie, &first, &self.filter);
        self.state = State::Proving { init, noise, tries: 0 };
        self.next_send = now;
        self.wait = RETRY_FIRST;
        Ok(())
    }

    fn establish(&mut self, datagram: &[u8]) -> Result<Established, HandshakeError> {
        if datagram.len() < message::COMMON_LEN || datagram[5] != crate::bond::datagram::VERSION {
            return Err(HandshakeError::Malformed);
        }
        let State::Proving { noise, .. } = &mut self.state else { return Err(HandshakeError::Unexpected) };
        // A message that cannot be verified leaves Noise's state as it was, so the true one can still come.
        let fields = noise.read(&datagram[message::COMMON_LEN..])?;
        let State::Proving { noise, .. } = std::mem::replace(&mut self.state, State::Done) else {
            return Err(HandshakeError::Unexpected);
        };
        let own = self.opening.sender;
        established(&fields, *noise, own)
    }

    fn refusal_of_version(&self, datagram: &[u8]) -> HandshakeError {
        let sent = match &self.state {
            State::Requesting { request } => request,
            State::Proving { init, .. } => init,
            State::Done => return HandshakeError::Unexpected,
        };
        match message::read_version(datagram, sent, &self.filter) {
            Ok(theirs) => HandshakeError::WrongVersion { theirs },
            Err(error) => error,
        }
    }
}

fn established(fields: &[u8], noise: Noise, own: ReceiverIndex) -> Result<Established, HandshakeError> {
    let parsed = Fields::parse(fields).map_err(|_| HandshakeError::Malformed)?;
    if let Some((&code, text)) = parsed.get(field::REFUSED).and_then(<[u8]>::split_first) {
        return Err(HandshakeError::Refused { code, reason: String::from_utf8_lossy(text).into_owned() });
    }
    let peer = parsed.array(field::RECEIVER).ok_or(HandshakeError::Malformed)?;
    let cipher = parsed.get(field::CIPHERS).and_then(<[u8]>::first).and_then(|&c| Cipher::from_wire(c));
    Ok(Established {
        master: Master::first(&noise.finish()?),
        cipher: cipher.ok_or(HandshakeError::Malformed)?,
        peer: ReceiverIndex(u32::from_be_bytes(peer)),
        own,
        fields: fields.to_vec(),
    })
}
