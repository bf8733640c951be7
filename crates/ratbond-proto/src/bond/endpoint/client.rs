//! The client's end: one session with one server.
//!
//! ```text
//!            ┌──────────────── every WAN ────────────────┐
//!  no session: handshake ──RESPONSE on one WAN──► session: the others join
//!      ▲                                                │
//!      └── all links suspect for 200 ms (the old session goes on being probed; what answers first wins)
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;

use super::BondEndpointConfig;
use super::assignment;
use super::refusal::Refusal;
use super::sealed::{Outbox, Sealed, Word};
use crate::addressing::Assignment;
use crate::bond::datagram::{Kind, ReceiverIndex};
use crate::bond::entropy::Entropy;
use crate::bond::frame::RekeyStep;
use crate::bond::frame::tlv::{FieldWriter, Fields, field};
use crate::bond::handshake::client::{ClientHandshake, Established, RETRY_FIRST, RETRY_MAX};
use crate::bond::handshake::join::{Join, JoinVerdict};
use crate::bond::handshake::rekey::RekeyOffer;
use crate::bond::handshake::{Credentials, HandshakeError};
use crate::bond::kdf::MacKey;
use crate::bond::link::Control;
use crate::endpoint::{Endpoint, EndpointEvent, SessionId, SessionReport};
use crate::event::{DownReason, Event};
use crate::link::{Route, SocketId, WanId};
use crate::packet::Packet;
use crate::preference::Preference;
use crate::scheduler::SchedulerKind;
use crate::session::Role;
use crate::time::Time;

const SESSION: SessionId = SessionId(0);
/// A handshake goes on over its socket this long before a new socket is worth a try.
const PERSISTENCE: Duration = Duration::from_secs(5);
/// Tries of a JOIN before it goes by way of another link: the one that it names may be gone at the server.
const TRIES_PER_JOIN: u32 = 3;
/// After a refusal, and after a session that somebody else with the same secret has taken.
const REST_AFTER_REFUSAL: Duration = Duration::from_secs(5);
const REST_AFTER_REPLACEMENT: Duration = Duration::from_secs(10);
const REST_WHILE_SUPERSEDED: Duration = Duration::from_secs(30);
const REST_AFTER_REVOCATION: Duration = Duration::from_secs(60);
/// CLOSE: a newer session of the same client.
const REPLACED: u8 = 1;
/// CLOSE, and refusal of a handshake: the operator has revoked the client's key.
const REVOKED: u8 = 2;
/// Refusal of a handshake: a newer process of the same client is connected.
const SUPERSEDED: u8 = 6;
/// CLOSE: this end stops.
const DONE: u8 = 0;
/// Keys are renewed after this long in use (docs/wire.md, rekeying).
pub const REKEY_AFTER: Duration = Duration::from_secs(120);
/// A rekeying that nobody answers is begun anew.
const REKEY_RETRY: Duration = Duration::from_secs(5);

/// What a WAN without a link does to get one.
#[derive(Debug)]
enum Attempt {
    Handshake { since: Time, handshake: Box<ClientHandshake> },
    Join { datagram: Vec<u8>, key: Box<MacKey>, own: ReceiverIndex, link: u16, next: Time, tries: u32 },
    Rest { until: Time },
}

#[derive(Debug)]
struct Approach {
    route: Route,
    attempt: Attempt,
}

/// See the module.
#[derive(Debug)]
pub struct BondClient {
    credentials: Credentials,
    config: BondEndpointConfig,
    entropy: Entropy,
    /// For what is no secret: indexes.
    rng: ChaCha20Rng,
    steer: ReceiverIndex,
    sealed: Sealed,
    approaches: BTreeMap<WanId, Approach>,
    rest_until: Time,
    rekey_at: Option<Time>,
    offer: Option<RekeyOffer>,
    /// What the server calls both ends inside the tunnel.
    assigned: Assignment,
    outbox: Outbox,
    refusal: Refusal,
    events: VecDeque<EndpointEvent>,
}

impl BondClient {
    /// An end without links.
    #[must_use]
    pub fn new(credentials: Credentials, mut config: BondEndpointConfig) -> Self {
        let (entropy, mut rng) = config.take_entropy();
        Self {
            credentials,
            steer: ReceiverIndex(rng.next_u32()),
            sealed: Sealed::new(Role::Client, config.scheduler),
            config,
            entropy,
            rng,
            approaches: BTreeMap::new(),
            rest_until: Time::ZERO,
            rekey_at: None,
            offer: None,
            assigned: Assignment::default(),
            outbox: Outbox::new(),
            refusal: Refusal::default(),
            events: VecDeque::new(),
        }
    }

    /// How a WAN begins now: with a JOIN while the session lives, else with a handshake.
    fn begin(&mut self, now: Time) -> Attempt {
        if now < self.rest_until {
            return Attempt::Rest { until: self.rest_until };
        }
        if self.sealed.session.has_hope(now)
            && let Some(number) = self.sealed.numbers.allot()
        {
            let own = ReceiverIndex(self.rng.next_u32());
            if let Some(join) = self.join(now, number, own, 0) {
                return join;
            }
        }
        let mut payload = FieldWriter::default();
        let ciphers: Vec<_> = self.config.ciphers.iter().map(|cipher| cipher.to_wire()).collect();
        payload.put(field::CIPHERS, &ciphers).put(field::TUNNEL_ID, &self.config.tunnel_id.to_be_bytes());
        let (payload, seed) = (payload.as_slice().to_vec(), self.entropy.draw());
        let handshake = ClientHandshake::new(now, self.credentials.clone(), payload, self.steer, &seed);
        Attempt::Handshake { since: now, handshake: Box::new(handshake) }
    }

    /// A JOIN for a link's number, by way of a link that lives.
    fn join(&mut self, now: Time, link: u16, own: ReceiverIndex, tries: u32) -> Option<Attempt> {
        let session = self.sealed.any_peer_index()?;
        let keys = self.sealed.keys.as_ref()?;
        let key = Box::new(keys.master.join_key());
        let join = Join { session, epoch: keys.master.epoch(), link, sender: own };
        Some(Attempt::Join { datagram: join.encode(&key), key, own, link, next: now, tries })
    }

    /// Brings what WANs attempt in line with whether the session lives.
    fn settle(&mut self, now: Time) {
        if self.approaches.is_empty() {
            return;
        }
        let alive = self.sealed.session.has_hope(now);
        let linked: Vec<_> = self.sealed.session.links().map(|(_, _, wan, _)| wan).collect();
        let wans: Vec<_> = self.approaches.keys().copied().collect();
        for wan in wans {
            let Some(approach) = self.approaches.get(&wan) else { continue };
            let outdated = match &approach.attempt {
                Attempt::Handshake { .. } => alive,
                Attempt::Join { tries, next, .. } => !alive || (*tries >= TRIES_PER_JOIN && *next <= now),
                Attempt::Rest { until } => *until <= now,
            };
            if !outdated {
                continue;
            }
            if alive && linked.contains(&wan) {
                self.approaches.remove(&wan);
                continue;
            }
            let again = match approach.attempt {
                Attempt::Join { own, link, tries, .. } if alive => self.join(now, link, own, tries),
                _ => None,
            };
            let attempt = again.unwrap_or_else(|| self.begin(now));
            if let Some(approach) = self.approaches.get_mut(&wan) {
                approach.attempt = attempt;
            }
        }
    }

    fn handle_handshake(&mut self, now: Time, route: Route, datagram: &[u8]) {
        let own = ReceiverIndex::of(datagram).ok();
        for (&wan, approach) in &mut self.approaches {
            let Attempt::Handshake { handshake, .. } = &mut approach.attempt else { continue };
            if Some(handshake.own_index()) != own || approach.route.socket != route.socket {
                continue;
            }
            match handshake.handle(now, datagram) {
                Ok(None) => {}
                Ok(Some(established)) => return self.establish(now, wan, established),
                Err(error @ (HandshakeError::Refused { .. } | HandshakeError::WrongVersion { .. })) => {
                    let rest = match error {
                        HandshakeError::Refused { code: REVOKED, .. } => REST_AFTER_REVOCATION,
                        HandshakeError::Refused { code: SUPERSEDED, .. } => REST_WHILE_SUPERSEDED,
                        _ => REST_AFTER_REFUSAL,
                    };
                    approach.attempt = Attempt::Rest { until: now + rest };
                    self.refusal.tell(now, route.remote, error);
                }
                // Forged, late or garbage: nothing has changed.
                Err(_) => {}
            }
            return;
        }
    }

    /// A new session takes over; the other WANs join it.
    fn establish(&mut self, now: Time, wan: WanId, established: Established) {
        let Some(approach) = self.approaches.remove(&wan) else { return };
        let Established { master, cipher, peer, own, fields } = established;
        self.learn_addresses(&fields);
        let fresh = Sealed::with_keys(Role::Client, self.config.scheduler, master, cipher);
        let older = std::mem::replace(&mut self.sealed, fresh);
        self.sealed.session.adopt(now, older.session);
        self.sealed.add_link(now, wan, approach.route, (0, own, peer));
        self.rekey_at = Some(now + REKEY_AFTER);
        self.offer = None;
        let others: Vec<_> = self.approaches.keys().copied().collect();
        for wan in others {
            let attempt = self.begin(now);
            if let Some(approach) = self.approaches.get_mut(&wan) {
                approach.attempt = attempt;
            }
        }
    }

    fn learn_addresses(&mut self, fields: &[u8]) {
        let assigned = assignment::read(Fields::parse(fields).unwrap_or(Fields::EMPTY));
        if assigned != self.assigned {
            self.assigned = assigned;
            let event = Event::Assigned(assigned);
            self.events.push_back(EndpointEvent { session: SESSION, event, remote: None, wans_up: 0 });
        }
    }

    fn handle_joined(&mut self, now: Time, route: Route, datagram: &[u8]) {
        let index = ReceiverIndex::of(datagram).ok();
        let mine = |approach: &Approach| {
            matches!(&approach.attempt, Attempt::Join { own, .. } if Some(*own) == index)
                && approach.route.socket == route.socket
        };
        let Some(wan) = self.approaches.iter().find(|(_, approach)| mine(approach)).map(|(&wan, _)| wan)
        else {
            return;
        };
        let Some(approach) = self.approaches.get_mut(&wan) else { return };
        let Attempt::Join { datagram: join, key, own, link, .. } = &approach.attempt else { return };
        match JoinVerdict::decode(datagram, join, key) {
            Ok(JoinVerdict::Joined(peer)) => {
                let (number, own, route) = (*link, *own, approach.route);
                self.approaches.remove(&wan);
                self.sealed.add_link(now, wan, route, (number, own, peer));
            }
            Ok(JoinVerdict::NumberUsed) => approach.attempt = Attempt::Rest { until: now + RETRY_FIRST },
            Ok(JoinVerdict::TooManyLinks | JoinVerdict::Other(_)) => {
                approach.attempt = Attempt::Rest { until: now + REST_AFTER_REFUSAL };
                self.refusal.tell(now, route.remote, "the server takes no more links of this client");
            }
            // Not the server's.
            Err(_) => {}
        }
    }

    fn handle_word(&mut self, now: Time, route: Route, word: Word) {
        match word {
            Word::Rekey { step: RekeyStep::Answer, epoch, message, .. } => {
                self.finish_rekey(now, epoch, &message);
            }
            // Only a client offers.
            Word::Rekey { .. } => {}
            Word::Close { code, reason } => {
                match code {
                    REPLACED => self.rest_until = now + REST_AFTER_REPLACEMENT,
                    REVOKED => self.rest_until = now + REST_AFTER_REVOCATION,
                    _ => {}
                }
                if code != DONE {
                    self.refusal.tell(
                        now,
                        route.remote,
                        format_args!("the server ended the session: {reason}"),
                    );
                }
                self.sealed.end(now, &DownReason::Peer);
            }
        }
    }

    /// Begins a rekeying when it is time and there is a link to do it over.
    fn rekey(&mut self, now: Time) {
        if self.rekey_at.is_none_or(|at| at > now) {
            return;
        }
        self.rekey_at = Some(now + REKEY_RETRY);
        let seed = self.entropy.draw();
        let Some(keys) = &self.sealed.keys else { return };
        // Credentials that began a session are keys.
        let Ok(offer) = RekeyOffer::new(&keys.master, &self.credentials, &seed) else { return };
        let (epoch, message) = offer.frame();
        let frame = Control::Rekey { step: RekeyStep::Offer, epoch, message: message.to_vec() };
        let best = self.sealed.session.best_link();
        if let Some(link) = best.and_then(|id| self.sealed.session.link_mut(id)) {
            link.bond_mut().send_control(frame);
            self.offer = Some(offer);
        }
    }

    fn finish_rekey(&mut self, now: Time, epoch: u8, answer: &[u8]) {
        let (Some(offer), Some(keys)) = (self.offer.take(), &self.sealed.keys) else { return };
        // An answer to an offer that was given up: the next one is on its way.
        let Ok(next) = offer.finish(&keys.master, epoch, answer) else { return };
        self.sealed.expect(next);
        self.sealed.switch(now);
        self.rekey_at = Some(now + REKEY_AFTER);
    }

    fn collect(&mut self, now: Time) {
        while let Some(event) = self.sealed.session.poll_event() {
            let wans_up = self.sealed.session.wans_up();
            self.events.push_back(EndpointEvent { session: SESSION, event, remote: None, wans_up });
        }
        self.sealed.prune();
        self.settle(now);
    }
}

impl Endpoint for BondClient {
    fn connect(&mut self, now: Time, wan: WanId, route: Route) -> bool {
        if let Some(Approach { attempt: Attempt::Handshake { since, .. }, .. }) = self.approaches.get(&wan)
            && now.saturating_since(*since) < PERSISTENCE
        {
            return false;
        }
        let attempt = self.begin(now);
        self.approaches.insert(wan, Approach { route, attempt });
        false
    }

    fn prefer(&mut self, _now: Time, wan: WanId, preference: Preference) {
        self.sealed.session.prefer(wan, preference);
    }

    fn remove_wan(&mut self, now: Time, wan: WanId, reason: &str) {
        self.approaches.remove(&wan);
        self.sealed.session.remove_wan(now, wan, &DownReason::Local(reason.to_owned()));
        self.collect(now);
    }

    fn close(&mut self, now: Time) {
        self.approaches.clear();
        self.sealed.close(now, DONE, "the client stopped", &mut self.outbox);
    }

    fn uses_socket(&self, socket: SocketId) -> bool {
        self.sealed.session.uses_socket(socket)
            || self.approaches.values().any(|approach| approach.route.socket == socket)
    }

    fn set_scheduler(&mut self, scheduler: SchedulerKind) {
        self.config.scheduler = scheduler;
        self.sealed.session.set_scheduler(scheduler);
    }

    fn handle_datagram(&mut self, now: Time, route: Route, datagram: &mut [u8]) {
        match Kind::of(datagram) {
            Ok(Kind::Sealed { .. }) => {
                for word in self.sealed.handle_datagram(now, route, datagram, [0; 8], &mut self.outbox) {
                    self.handle_word(now, route, word);
                }
            }
            Ok(Kind::Joined) => self.handle_joined(now, route, datagram),
            Ok(Kind::Challenge | Kind::Response | Kind::Version) => {
                self.handle_handshake(now, route, datagram);
            }
            Ok(Kind::Request | Kind::Init | Kind::Join) => {}
            Err(_) => {
                self.refusal.tell(now, route.remote, "it is no bond/1: give both ends the same --protocol")
            }
        }
        self.collect(now);
    }

    fn handle_too_big(&mut self, now: Time, route: Route, len: usize) -> bool {
        self.sealed.handle_too_big(now, route, len)
    }

    fn handle_packet(&mut self, now: Time, _session: SessionId, packet: &[u8]) {
        self.sealed.session.handle_packet(now, packet);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.sealed.session.handle_timeout(now);
        self.rekey(now);
        self.collect(now);
    }

    fn poll_timeout(&self) -> Option<Time> {
        let attempts = self.approaches.values().filter_map(|approach| match &approach.attempt {
            Attempt::Handshake { handshake, .. } => handshake.poll_timeout(),
            Attempt::Join { next, .. } => Some(*next),
            Attempt::Rest { until } => Some(*until),
        });
        attempts.chain(self.sealed.session.poll_timeout()).chain(self.rekey_at).min()
    }

    fn poll_transmit(&mut self, now: Time, out: &mut Vec<u8>) -> Option<Route> {
        if let Some((route, datagram)) = self.outbox.pop_front() {
            out.extend_from_slice(&datagram);
            return Some(route);
        }
        for approach in self.approaches.values_mut() {
            match &mut approach.attempt {
                Attempt::Handshake { handshake, .. } => {
                    if let Some(datagram) = handshake.poll_transmit(now) {
                        out.extend_from_slice(datagram);
                        return Some(approach.route);
                    }
                }
                Attempt::Join { datagram, next, tries, .. } if *next <= now => {
                    *next = now + (RETRY_FIRST * (1 << *tries)).min(RETRY_MAX);
                    *tries = (*tries + 1).min(TRIES_PER_JOIN);
                    out.extend_from_slice(datagram);
                    return Some(approach.route);
                }
                Attempt::Join { .. } | Attempt::Rest { .. } => {}
            }
        }
        self.sealed.session.poll_transmit(now, out)
    }

    fn poll_delivery(&mut self) -> Option<(SessionId, Packet)> {
        self.sealed.session.poll_delivery().map(|packet| (SESSION, packet))
    }

    fn recycle(&mut self, _session: SessionId, packet: Packet) {
        self.sealed.session.recycle(packet);
    }

    fn poll_event(&mut self) -> Option<EndpointEvent> {
        if let Some((words, remote)) = self.refusal.take() {
            let (event, wans_up) = (Event::Refused(words), self.sealed.session.wans_up());
            return Some(EndpointEvent { session: SESSION, event, remote: Some(remote), wans_up });
        }
        self.events.pop_front()
    }

    fn reports(&self) -> Vec<SessionReport> {
        vec![self.sealed.report(SESSION)]
    }
}
