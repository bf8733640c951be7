//! The server's side of the handshake, for all clients of one worker.
//!
//! Nothing is kept for a client before it has shown a cookie, and no public-key work is done. What a verified INIT
//! leaves is a [`Offer`]: the caller looks the client up and accepts or refuses it. The session that comes out must not
//! replace a running one of the same client until the first sealed datagram has come over it: an INIT can be replayed
//! by somebody who watches the wire, but the datagram after it cannot be made.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::cookie::{Cookies, RateLimit};
use super::message::{self, Opening};
use super::noise::{Noise, ServerKeys};
use super::{HandshakeError, Mode};
use crate::Time;
use crate::bond::datagram::{Kind, MAX_DATAGRAM_LEN, ReceiverIndex};
use crate::bond::entropy::Entropy;
use crate::bond::frame::MAX_REASON_LEN;
use crate::bond::frame::tlv::{FieldWriter, Fields, field};
use crate::bond::kdf::{MAC_LEN, MacKey};
use crate::bond::keys::{Cipher, Master};
use crate::bond::secret::Secret32;

use super::client::Established;

/// How long a RESPONSE is kept for an INIT that is repeated because the RESPONSE was lost.
pub const RESPONSE_LIFETIME: Duration = Duration::from_secs(5);
const MAX_RESPONSES: usize = 256;

/// Who a client is, as far as the handshake proves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientId {
    /// The holder of this static public key.
    Named([u8; 32]),
    /// A holder of the shared secret.
    Shared,
}

/// What to do with a handshake datagram.
#[derive(Debug)]
pub enum Verdict {
    /// Send this back to where the datagram came from.
    Reply(Vec<u8>),
    /// Send this back, and tell the operator (at a bounded rate): a client of another version.
    Refuse(Vec<u8>, HandshakeError),
    /// A client that proved who it is.
    Offer(Box<Offer>),
}

/// Checks handshakes for one worker.
#[derive(Debug)]
pub struct ServerHandshakes {
    keys: ServerKeys,
    filter: MacKey,
    cookies: Cookies,
    /// Of public-key work.
    limit: RateLimit,
    /// Of CHALLENGEs: somebody who recorded a REQUEST may send it as often as he likes, and an answer costs more than
    /// all that is needed to drop it.
    challenges: RateLimit,
    entropy: Entropy,
    responses: VecDeque<(Time, [u8; MAC_LEN], Vec<u8>)>,
}

impl ServerHandshakes {
    /// `cookie_seed` is the same for all `workers` of the server, `seed` is this worker's own; both are random.
    #[must_use]
    pub fn new(keys: ServerKeys, cookie_seed: Secret32, seed: Secret32, workers: u8) -> Self {
        let (limit, challenges) = (RateLimit::new(&seed, workers), RateLimit::new(&seed, workers));
        Self {
            filter: keys.filter_key(),
            keys,
            cookies: Cookies::new(cookie_seed),
            limit,
            challenges,
            entropy: Entropy::new(seed),
            responses: VecDeque::new(),
        }
    }

    /// Takes a REQUEST or an INIT that came from `from`.
    ///
    /// # Errors
    /// It is dropped; count it.
    pub fn handle(
        &mut self,
        now: Time,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<Verdict, HandshakeError> {
        let kind = Kind::of(datagram).map_err(|_| HandshakeError::Malformed)?;
        if !matches!(kind, Kind::Request | Kind::Init) || datagram.len() > MAX_DATAGRAM_LEN {
            return Err(HandshakeError::Unexpected);
        }
        let checked = match message::check(kind, datagram, &self.filter) {
            Ok(checked) => checked,
            Err(error @ HandshakeError::WrongVersion { .. }) => {
                return Ok(Verdict::Refuse(message::version(datagram, &self.filter), error));
            }
            Err(error) => return Err(error),
        };
        let opening = checked.opening;
        if opening.mode != self.keys.mode() {
            return Err(HandshakeError::WrongMode { theirs: opening.mode });
        }
        let Some((cookie, noise)) = checked.init else {
            if !self.challenges.take(now, from.ip()) {
                return Err(HandshakeError::TooMany);
            }
            let cookie = self.cookies.make(now, from, opening.sender);
            return Ok(Verdict::Reply(message::challenge(datagram, cookie, &self.filter)));
        };
        if !self.cookies.check(now, from, opening.sender, cookie) {
            return Err(HandshakeError::WrongCookie);
        }
        if let Some(response) = self.response_to(now, datagram) {
            return Ok(Verdict::Reply(response.to_vec()));
        }
        if !self.limit.take(now, from.ip()) {
            return Err(HandshakeError::TooMany);
        }
        self.offer(opening, noise, datagram).map(|offer| Verdict::Offer(Box::new(offer)))
    }

    /// Remembers the answer to an offer, for the case that it gets lost. Bounded in number and time.
    pub fn answered(&mut self, now: Time, answer: &Answer) {
        self.forget_old(now);
        if self.responses.len() >= MAX_RESPONSES {
            self.responses.pop_front();
        }
        self.responses.push_back((now, answer.init_mac, answer.datagram.clone()));
    }

    fn response_to(&mut self, now: Time, init: &[u8]) -> Option<&[u8]> {
        self.forget_old(now);
        let mac = message::mac_of(init);
        self.responses.iter().find(|(_, known, _)| known == mac).map(|(_, _, response)| response.as_slice())
    }

    fn forget_old(&mut self, now: Time) {
        while self.responses.front().is_some_and(|&(at, ..)| now.saturating_since(at) > RESPONSE_LIFETIME) {
            self.responses.pop_front();
        }
    }

    fn offer(&mut self, opening: Opening, message: &[u8], datagram: &[u8]) -> Result<Offer, HandshakeError> {
        let seed = self.entropy.draw();
        let mut noise = Noise::responder(&self.keys, &opening.prologue(), &seed)?;
        let payload = noise.read(message)?;
        Fields::parse(&payload).map_err(|_| HandshakeError::Malformed)?;
        let client = match self.keys.mode() {
            Mode::Named => ClientId::Named(noise.remote_static().ok_or(HandshakeError::Unproved)?),
            Mode::Shared => ClientId::Shared,
        };
        let mut init_mac = [0; MAC_LEN];
        init_mac.copy_from_slice(message::mac_of(datagram));
        let (steer, client_index) = (opening.steer, opening.sender);
        Ok(Offer { client, noise, fields: payload.to_vec(), steer, client_index, init_mac })
    }
}

/// A client at the door, proved to be who it says.
#[derive(Debug)]
pub struct Offer {
    client: ClientId,
    noise: Noise,
    fields: Vec<u8>,
    steer: ReceiverIndex,
    client_index: ReceiverIndex,
    init_mac: [u8; MAC_LEN],
}

/// What goes back to the client, and what it answers.
#[derive(Debug)]
pub struct Answer {
    /// The RESPONSE.
    pub datagram: Vec<u8>,
    init_mac: [u8; MAC_LEN],
}

impl Offer {
    /// Who it is.
    #[must_use]
    pub const fn client(&self) -> ClientId {
        self.client
    }

    /// The same in all handshakes of one process of the client.
    #[must_use]
    pub const fn steer(&self) -> ReceiverIndex {
        self.steer
    }

    /// What it said of itself.
    #[must_use]
    pub fn fields(&self) -> Fields<'_> {
        // Checked when the offer was made; an empty run stands for "nothing said".
        Fields::parse(&self.fields).unwrap_or(Fields::EMPTY)
    }

    /// The first of the client's ciphers (its best) that `allowed` holds for.
    #[must_use]
    pub fn cipher(&self, allowed: impl Fn(Cipher) -> bool) -> Option<Cipher> {
        let offered = self.fields().get(field::CIPHERS)?;
        offered.iter().filter_map(|&number| Cipher::from_wire(number)).find(|&cipher| allowed(cipher))
    }

    /// Lets the client in. `own` is this end's index on the link, `psk` the named client's pre-shared key (ignored for a
    /// shared secret), `fields` what else the client is to know.
    ///
    /// # Errors
    /// The fields are too long, or the client's key is a point of low order.
    pub fn accept(
        mut self,
        own: ReceiverIndex,
        cipher: Cipher,
        psk: &Secret32,
        fields: &FieldWriter,
    ) -> Result<(Answer, Established), HandshakeError> {
        let mut payload = FieldWriter::default();
        payload.put(field::RECEIVER, &own.0.to_be_bytes()).put(field::CIPHERS, &[cipher.to_wire()]);
        let payload = [payload.as_slice(), fields.as_slice()].concat();
        let answer = self.respond(psk, &payload)?;
        let established = Established {
            master: Master::first(&self.noise.finish()?),
            cipher,
            peer: self.client_index,
            own,
            fields: self.fields,
        };
        Ok((answer, established))
    }

    /// Says no, in words that only the client can read. `code`s stand in docs/wire.md.
    ///
    /// # Errors
    /// The client's key is a point of low order.
    pub fn refuse(mut self, psk: &Secret32, code: u8, reason: &str) -> Result<Answer, HandshakeError> {
        let mut end = reason.len().min(MAX_REASON_LEN);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        let mut payload = FieldWriter::default();
        payload.put(field::REFUSED, &[&[code], &reason.as_bytes()[..end]].concat());
        self.respond(psk, payload.as_slice())
    }

    fn respond(&mut self, psk: &Secret32, payload: &[u8]) -> Result<Answer, HandshakeError> {
        if matches!(self.client, ClientId::Named(_)) {
            self.noise.set_psk(psk)?;
        }
        let mut datagram = Vec::new();
        message::write_common(Kind::Response, self.client_index, &mut datagram);
        self.noise.write(payload, &mut datagram)?;
        Ok(Answer { datagram, init_mac: self.init_mac })
    }
}
