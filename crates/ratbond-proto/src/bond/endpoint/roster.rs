//! Who may connect to a server, and what each of them may do there.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::agenda::Number;
use super::gate::{Gate, RateCaps};
use crate::addressing::{Assignment, Network, NetworkTable, Owner};
use crate::bond::datagram::ReceiverIndex;
use crate::bond::handshake::server::ClientId;
use crate::bond::secret::Secret32;
use crate::endpoint::SessionId;

/// Processes of a client that are remembered as superseded: a crash each, or a machine too many.
const MAX_SUPERSEDED: usize = 16;

/// A client with a key of its own, as the operator has set it up.
#[derive(Clone, Debug)]
pub struct NamedClient {
    /// For people.
    pub name: String,
    /// Names its session, and nobody else's.
    pub tunnel_id: u16,
    /// Its X25519 public key.
    pub public_key: [u8; 32],
    /// The pre-shared key of IKpsk2.
    pub psk: Secret32,
    /// What both ends are called inside the tunnel.
    pub addresses: Assignment,
    /// Networks behind it that it may send from.
    pub lan: Vec<Network>,
    /// Its rate caps.
    pub caps: RateCaps,
    /// Whether it may reach other clients that may as well.
    pub reaches_clients: bool,
    /// Whether it is refused, in words.
    pub revoked: bool,
}

impl NamedClient {
    fn session(&self) -> SessionId {
        SessionId(u32::from(self.tunnel_id))
    }
}

/// A client and its session.
#[derive(Debug)]
pub(super) struct Client {
    pub id: ClientId,
    /// Named clients: what the handshake is mixed with. A shared secret has it in the server's keys.
    pub psk: Secret32,
    /// Named clients: as set up.
    pub named: Option<NamedClient>,
    pub running: Option<Number>,
    /// Processes of the client that a newer one has taken the place of, the latest last.
    pub superseded: VecDeque<ReceiverIndex>,
    pub gate: Option<Gate>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Roster {
    clients: BTreeMap<SessionId, Client>,
    by_id: HashMap<ClientId, SessionId>,
    pub networks: NetworkTable,
}

/// What a new table of clients means for a session that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Departure {
    /// The client is not welcome any more.
    Revoked,
    /// Its keys or addresses are others now: it has to connect anew.
    Changed,
}

impl Roster {
    /// The holder of one shared secret.
    pub fn shared() -> Self {
        let psk = Secret32([0; 32]);
        let (id, superseded) = (ClientId::Shared, VecDeque::new());
        let client = Client { id, psk, named: None, running: None, superseded, gate: None };
        Self {
            clients: BTreeMap::from([(SessionId(0), client)]),
            by_id: HashMap::from([(ClientId::Shared, SessionId(0))]),
            networks: NetworkTable::default(),
        }
    }

    pub fn find(&self, id: ClientId) -> Option<SessionId> {
        self.by_id.get(&id).copied()
    }

    pub fn get(&self, session: SessionId) -> Option<&Client> {
        self.clients.get(&session)
    }

    pub fn get_mut(&mut self, session: SessionId) -> Option<&mut Client> {
        self.clients.get_mut(&session)
    }

    /// A client together with whose networks there are.
    pub fn client_and_networks(&mut self, session: SessionId) -> Option<(&mut Client, &NetworkTable)> {
        Some((self.clients.get_mut(&session)?, &self.networks))
    }

    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &Client)> {
        self.clients.iter().map(|(&session, client)| (session, client))
    }

    /// Replaces the table of named clients; the sessions that must end, and why. Of two clients with one key or one tunnel-id,
    /// the first counts.
    pub fn replace(&mut self, wanted: Vec<NamedClient>) -> Vec<(SessionId, Departure)> {
        let mut departures = Vec::new();
        let mut before = std::mem::take(&mut self.clients);
        self.by_id.clear();
        self.networks = NetworkTable::default();
        for named in wanted {
            let (session, id) = (named.session(), ClientId::Named(named.public_key));
            if self.clients.contains_key(&session) || self.by_id.contains_key(&id) {
                continue;
            }
            let older = before.remove(&session);
            let departure = older.as_ref().and_then(|older| older.departure(&named));
            departures.extend(departure.map(|departure| (session, departure)));
            self.add_networks(&named);
            self.by_id.insert(id, session);
            self.clients.insert(session, Client::renewed(older, named));
        }
        departures.extend(before.iter().map(|(&session, _)| (session, Departure::Revoked)));
        for (session, mut gone) in before {
            if gone.running.is_some() {
                // It stays, unknown to handshakes, until its session has been ended.
                gone.named = None;
                self.clients.insert(session, gone);
            }
        }
        departures
    }

    /// Forgets a client whose session has ended and whom the operator has removed.
    pub fn forget(&mut self, session: SessionId) {
        let gone = |client: &Client| client.named.is_none() && client.id != ClientId::Shared;
        if self.clients.get(&session).is_some_and(gone) {
            self.clients.remove(&session);
        }
    }

    fn add_networks(&mut self, named: &NamedClient) {
        let owner = Owner { session: named.session(), reaches_clients: named.reaches_clients };
        for network in named.addresses.networks().chain(named.lan.iter().copied()) {
            self.networks.insert(network, owner);
        }
    }
}

impl Client {
    fn renewed(older: Option<Self>, named: NamedClient) -> Self {
        let (running, superseded, mut gate) =
            older.map_or_else(Default::default, |older| (older.running, older.superseded, older.gate));
        match &mut gate {
            Some(gate) => gate.change(named.reaches_clients, named.caps),
            None => gate = Some(Gate::new(named.session(), named.reaches_clients, named.caps)),
        }
        let (id, psk) = (ClientId::Named(named.public_key), named.psk.clone());
        Self { id, psk, named: Some(named), running, superseded, gate }
    }

    /// `newer` has taken the place of `older`, another process of the client.
    pub fn supersede(&mut self, older: ReceiverIndex, newer: ReceiverIndex) {
        self.superseded.retain(|&process| process != older && process != newer);
        if self.superseded.len() == MAX_SUPERSEDED {
            self.superseded.pop_front();
        }
        self.superseded.push_back(older);
    }

    fn departure(&self, named: &NamedClient) -> Option<Departure> {
        if named.revoked {
            return Some(Departure::Revoked);
        }
        // Compared in no constant time: both come from the operator's own file.
        let same_keys = self.id == ClientId::Named(named.public_key) && self.psk.0 == named.psk.0;
        let same_addresses = self.named.as_ref().map(|older| older.addresses) == Some(named.addresses);
        (!same_keys || !same_addresses).then_some(Departure::Changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(tunnel_id: u16, key: u8) -> NamedClient {
        NamedClient {
            name: format!("client-{tunnel_id}"),
            tunnel_id,
            public_key: [key; 32],
            psk: Secret32([key; 32]),
            addresses: Assignment::default(),
            lan: Vec::new(),
            caps: RateCaps::default(),
            reaches_clients: false,
            revoked: false,
        }
    }

    fn roster(clients: Vec<NamedClient>) -> Roster {
        let mut roster = Roster::default();
        assert_eq!(roster.replace(clients), []);
        for session in roster.clients.values_mut() {
            session.running = Some(7);
        }
        roster
    }

    #[test]
    fn a_client_whose_entry_is_as_it_was_keeps_its_session() {
        let mut roster = roster(vec![named(1, 1), named(2, 2)]);
        let capped = NamedClient {
            caps: RateCaps { to_client_bps: Some(1_000), ..RateCaps::default() },
            ..named(2, 2)
        };
        assert_eq!(roster.replace(vec![named(1, 1), capped, named(3, 3)]), []);
        assert_eq!(roster.get(SessionId(2)).unwrap().running, Some(7));
        assert_eq!(roster.find(ClientId::Named([3; 32])), Some(SessionId(3)));
    }

    #[test]
    fn a_client_that_is_revoked_or_removed_must_go_and_one_with_new_keys_must_come_again() {
        let mut roster = roster(vec![named(1, 1), named(2, 2), named(3, 3), named(4, 4)]);
        let revoked = NamedClient { revoked: true, ..named(1, 1) };
        let departures = roster.replace(vec![revoked, named(2, 9), named(4, 4)]);
        let wanted = [
            (SessionId(1), Departure::Revoked),
            (SessionId(2), Departure::Changed),
            (SessionId(3), Departure::Revoked),
        ];
        assert_eq!(departures, wanted);
        assert_eq!(roster.find(ClientId::Named([2; 32])), None, "its old key is unknown");
        assert_eq!(roster.find(ClientId::Named([3; 32])), None);
        roster.forget(SessionId(3));
        roster.forget(SessionId(4));
        assert_eq!(roster.iter().map(|(session, _)| session.0).collect::<Vec<_>>(), [1, 2, 4]);
    }

    #[test]
    fn of_two_clients_with_one_key_the_first_counts() {
        let mut roster = roster(vec![named(1, 1)]);
        assert_eq!(roster.replace(vec![named(1, 1), named(2, 1)]), []);
        assert_eq!(roster.find(ClientId::Named([1; 32])), Some(SessionId(1)));
        assert!(roster.get(SessionId(2)).is_none());
    }
}
