//! Who gets in: handshakes, joins, and when a new session takes the place of an older one.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::{
    BondServer, CONFIRM_TIMEOUT, DONE, MAX_LINKS, MAX_PENDING, Member, NO_COMMON_CIPHER, REPLACED, REVOKED,
    SUPERSEDED, WRONG_TUNNEL_ID,
};
use crate::bond::datagram::ReceiverIndex;
use crate::bond::endpoint::agenda::Number;
use crate::bond::endpoint::assignment;
use crate::bond::endpoint::roster::{Departure, NamedClient};
use crate::bond::endpoint::sealed::Sealed;
use crate::bond::frame::tlv::{FieldWriter, field};
use crate::bond::handshake::HandshakeError;
use crate::bond::handshake::join::{Join, JoinVerdict};
use crate::bond::handshake::server::{ClientId, Offer, Verdict};
use crate::bond::keys::Cipher;
use crate::bond::secret::Secret32;
use crate::endpoint::{EndpointEvent, Handover, SessionId};
use crate::event::{DownReason, Event};
use crate::link::{Route, WanId};
use crate::session::Role;
use crate::time::Time;

/// Why a client that proved who it is does not get in: the code of docs/wire.md, and the words.
type Refused = (u8, String);

impl BondServer {
    /// `may_hand_over`: whether another worker may be told of a client that is its own.
    pub(super) fn handle_handshake(&mut self, now: Time, route: Route, datagram: &[u8], may_hand_over: bool) {
        match self.handshakes.handle(now, route.remote, datagram) {
            Ok(Verdict::Reply(reply)) => self.outbox.push_back((route, reply)),
            Ok(Verdict::Refuse(reply, error)) => {
                self.outbox.push_back((route, reply));
                self.refusal.tell(now, route.remote, error);
            }
            Ok(Verdict::Offer(offer)) => match self.roster.find(offer.client()) {
                Some(session) if self.share.has(session) => self.answer(now, route, session, *offer),
                Some(session) if may_hand_over => {
                    let (worker, datagram) = (self.share.owner(session), datagram.to_vec());
                    self.handovers.push_back(Handover { worker, route, datagram });
                }
                // The tables of two workers differ for a moment, while a new one comes in: the client tries again.
                Some(_) => {}
                None => {
                    let words = format!("no client has the key {}; was it removed?", offer.client());
                    self.refusal.tell(now, route.remote, words);
                }
            },
            Err(error) => self.refuse(now, route.remote, &error),
        }
    }

    /// What an operator can do something about is told; the rest is noise of the network.
    fn refuse(&mut self, now: Time, remote: SocketAddr, error: &HandshakeError) {
        match error {
            HandshakeError::WrongMac => {
                let remedy = self.keys.mode().remedy();
                self.refusal.tell(now, remote, format_args!("{error}; {remedy}"));
            }
            HandshakeError::WrongVersion { .. }
            | HandshakeError::WrongMode { .. }
            | HandshakeError::TooMany => {
                self.refusal.tell(now, remote, error);
            }
            _ => {}
        }
    }

    /// Lets a client that proved who it is in, or tells it why not.
    fn answer(&mut self, now: Time, route: Route, session: SessionId, offer: Offer) {
        let psk = self.roster.get(session).map_or(Secret32([0; 32]), |client| client.psk.clone());
        let answer = match self.judge(session, &offer) {
            Err((code, words)) => {
                self.refusal.tell(now, route.remote, &words);
                offer.refuse(&psk, code, &words)
            }
            Ok(cipher) => {
                let (own, steer) = (self.new_index(), offer.steer());
                offer.accept(own, cipher, &psk, &self.facts_for(session)).map(|(answer, made)| {
                    let sealed =
                        Sealed::with_keys(Role::Server, self.config.scheduler, made.master, made.cipher);
                    let member = Member { client: session, steer, sealed, joined: VecDeque::new() };
                    self.add_member(now, (route, own, made.peer), member);
                    answer
                })
            }
        };
        // A client whose key is a point of low order gets no answer.
        if let Ok(answer) = answer {
            self.handshakes.answered(now, &answer);
            self.outbox.push_back((route, answer.datagram));
        }
    }

    /// Whether a client that proved who it is may come in, and with which cipher.
    fn judge(&self, session: SessionId, offer: &Offer) -> Result<Cipher, Refused> {
        let named = self.roster.get(session).and_then(|client| client.named.as_ref());
        if let Some(named) = named
            && named.revoked
        {
            return Err((REVOKED, format!("the key of client {} was revoked", named.name)));
        }
        if self.is_superseded(session, offer) {
            let words = "another process with the same key has connected since: give each machine a client of its own";
            return Err((SUPERSEDED, words.to_owned()));
        }
        let theirs = offer.fields().array(field::TUNNEL_ID).map(u16::from_be_bytes);
        // A named client is told apart by its key; its tunnel-id is a name of its own.
        if named.is_none() && theirs != Some(self.config.tunnel_id) {
            let words = format!(
                "the client's tunnel-id is {}, the server's is {}: give both ends the same --tunnel-id",
                theirs.map_or("missing".into(), |id| id.to_string()),
                self.config.tunnel_id
            );
            return Err((WRONG_TUNNEL_ID, words));
        }
        let words = "no cipher in common: give both ends the same --cipher, or none";
        offer
            .cipher(|cipher| self.config.ciphers.contains(&cipher))
            .ok_or_else(|| (NO_COMMON_CIPHER, words.to_owned()))
    }

    /// Whether a newer process of the client has taken the offering one's place, and still has it. Without this, two
    /// machines with one key would take turns for ever.
    fn is_superseded(&self, session: SessionId, offer: &Offer) -> bool {
        let Some(client) = self.roster.get(session) else { return false };
        let running = client.running.and_then(|number| self.members.get(&number));
        client.superseded.contains(&offer.steer())
            && running.is_some_and(|member| member.sealed.session.wans_up() > 0)
    }

    /// What a client is told with the handshake.
    fn facts_for(&self, session: SessionId) -> FieldWriter {
        let mut fields = FieldWriter::default();
        let named = self.roster.get(session).and_then(|client| client.named.as_ref());
        let tunnel_id = named.map_or(self.config.tunnel_id, |named| named.tunnel_id);
        fields.put(field::TUNNEL_ID, &tunnel_id.to_be_bytes());
        if let Some(named) = named {
            assignment::write(&named.addresses, &mut fields);
        }
        fields
    }

    fn add_member(
        &mut self,
        now: Time,
        (route, own, peer): (Route, ReceiverIndex, ReceiverIndex),
        mut member: Member,
    ) {
        self.drop_unconfirmed(now, MAX_PENDING - 1);
        let number = self.next_number;
        self.next_number += 1;
        member.sealed.add_link(now, WanId(0), route, (0, own, peer));
        self.indexes.insert(own, number);
        self.members.insert(number, member);
        self.pending.push_back((now + CONFIRM_TIMEOUT, number));
        self.agenda.wake(number);
    }

    pub(super) fn handle_join(&mut self, now: Time, route: Route, datagram: &[u8]) {
        let Ok(join) = Join::decode(datagram) else { return };
        let Some(&number) = self.indexes.get(&join.session) else { return };
        let own = self.new_index();
        let Some(member) = self.members.get_mut(&number) else { return };
        let Some(key) = member.join_key(now, join.epoch, datagram) else { return };
        let before =
            member.joined.iter().find(|(link, sender, _)| (*link, *sender) == (join.link, join.sender));
        let verdict = if let Some(&(_, _, own)) = before {
            JoinVerdict::Joined(own)
        } else if member.sealed.link_count() >= MAX_LINKS {
            JoinVerdict::TooManyLinks
        } else if member.sealed.numbers.take(join.link) {
            member.remember(join, own);
            member.sealed.add_link(now, WanId(u32::from(join.link)), route, (join.link, own, join.sender));
            self.indexes.insert(own, number);
            JoinVerdict::Joined(own)
        } else {
            JoinVerdict::NumberUsed
        };
        self.outbox.push_back((route, verdict.encode(datagram, &key)));
        self.agenda.wake(number);
    }

    /// The first sealed datagram makes a session the client's own, in place of the one before.
    pub(super) fn confirm(&mut self, now: Time, number: Number) {
        let Some(member) = self.members.get(&number) else { return };
        let (session, steer) = (member.client, member.steer);
        let Some(client) = self.roster.get_mut(session) else { return };
        if client.running == Some(number) || member.sealed.session.wans_up() == 0 {
            return;
        }
        let older = client.running.replace(number);
        self.pending.retain(|&(_, other)| other != number);
        let Some(mut older) = older.and_then(|older| self.take_member(older)) else { return };
        older.sealed.close(now, REPLACED, "a newer session has taken its place", &mut self.outbox);
        // Another process of the client: a restart after a crash, or a second machine with the same key.
        if older.steer != steer {
            if let Some(client) = self.roster.get_mut(session) {
                client.supersede(older.steer, steer);
            }
            // Unless the one before had said farewell, or its links were dead.
            if older.sealed.session.wans_up() > 0 {
                let remote = self.members.get(&number).and_then(|member| member.sealed.any_remote());
                let wans_up = older.sealed.session.wans_up();
                self.events.push_back(EndpointEvent { session, event: Event::Replaced, remote, wans_up });
            }
        }
        if let Some(member) = self.members.get_mut(&number) {
            member.sealed.session.adopt(now, older.sealed.session);
        }
    }

    /// Forgets a session and the ways to it.
    pub(super) fn take_member(&mut self, number: Number) -> Option<Member> {
        self.agenda.remove(number);
        let mut member = self.members.remove(&number)?;
        for index in member.sealed.take_indexes() {
            self.indexes.remove(&index);
        }
        Some(member)
    }

    /// Drops pending sessions that are too old, and the oldest while there are more than `keep`.
    pub(super) fn drop_unconfirmed(&mut self, now: Time, keep: usize) {
        while let Some(&(expiry, number)) = self.pending.front()
            && (expiry <= now || self.pending.len() > keep)
        {
            self.pending.pop_front();
            self.take_member(number);
        }
    }

    /// Takes a new table of clients: who is in it as before notices nothing.
    pub(super) fn replace_clients(&mut self, now: Time, clients: Vec<NamedClient>) {
        for (session, departure) in self.roster.replace(clients) {
            self.end_client(now, session, departure);
            self.roster.forget(session);
        }
    }

    /// Ends all sessions of a client, the unconfirmed ones as well.
    fn end_client(&mut self, now: Time, session: SessionId, departure: Departure) {
        let (code, words) = match departure {
            Departure::Revoked => (REVOKED, "the server's operator has revoked this client's key"),
            Departure::Changed => (DONE, "the server's operator has changed this client's settings"),
        };
        let numbers: Vec<_> =
            self.members.iter().filter(|(_, member)| member.client == session).map(|(&n, _)| n).collect();
        for number in numbers {
            if let Some(member) = self.members.get_mut(&number) {
                member.sealed.close(now, code, words, &mut self.outbox);
                member.sealed.end(now, &DownReason::Local(words.to_owned()));
            }
            self.collect(now, number);
            self.pending.retain(|&(_, other)| other != number);
            self.take_member(number);
        }
        if let Some(client) = self.roster.get_mut(session) {
            client.running = None;
        }
    }
}

impl std::fmt::Display for ClientId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Named(key) => key.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}")),
            Self::Shared => f.write_str("the shared secret"),
        }
    }
}
