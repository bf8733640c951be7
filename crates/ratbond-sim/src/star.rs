//! Many named clients on one server, each over one WAN of 10 ms, in virtual time.
//!
//! ```text
//!  client 0 ═ 10.1.0.2 ═╗
//!  client 1 ═ 10.1.1.2 ═╬═ server
//!  client n ═ 10.1.n.2 ═╝
//! ```

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use ratbond_proto::addressing::{Assignment, Ends, Network};
use ratbond_proto::bond::endpoint::{BondClient, BondEndpointConfig, NamedClient, RateCaps};
use ratbond_proto::bond::handshake::{Credentials, ServerKeys, public_key};
use ratbond_proto::bond::keys::Cipher;
use ratbond_proto::bond::secret::Secret32;
use ratbond_proto::endpoint::{Endpoint, EndpointEvent, SessionId};
use ratbond_proto::link::{Route, SocketId, WanId};
use ratbond_proto::scheduler::SchedulerKind;
use ratbond_proto::{Event, Time};

use crate::workers::Workers;

const DELAY: Duration = Duration::from_millis(10);
const SERVER_SOCKET: SocketId = SocketId(0);
/// The port of a client's first WAN, those of the others follow.
const FIRST_PORT: u16 = 40_000;

/// A datagram on its way: to the server, or to a client; with the client that it came from or goes to.
struct Flight {
    arrival: Time,
    to_server: bool,
    client: usize,
    wan: WanId,
    bytes: Vec<u8>,
}

/// See the module.
pub struct Star {
    /// Virtual time.
    pub now: Time,
    /// The one server, of one to three workers.
    pub server: Workers,
    /// Clients, by their position.
    pub clients: Vec<BondClient>,
    /// What the server told its driver.
    pub server_events: Vec<EndpointEvent>,
    /// What each client told its driver.
    pub client_events: Vec<Vec<Event>>,
    /// What came out at the server, with its session.
    pub at_server: Vec<(Time, SessionId, Vec<u8>)>,
    /// The same at the clients, with the client's position.
    pub at_clients: Vec<(Time, usize, Vec<u8>)>,
    /// Fraction of datagrams that are lost.
    pub loss: f64,
    flights: VecDeque<Flight>,
    dice: u64,
}

/// The private key of a number, of the server's for 0.
#[must_use]
pub fn private_key(number: u16) -> Secret32 {
    let mut key = Secret32([7; 32]);
    key.0[..2].copy_from_slice(&number.to_be_bytes());
    key
}

fn psk(number: u16) -> Secret32 {
    let mut psk = Secret32([9; 32]);
    psk.0[..2].copy_from_slice(&number.to_be_bytes());
    psk
}

/// Client `number`, from 1: 10.66.n.2/30 and 192.168.n.0/24.
///
/// # Panics
/// Never: the network is one.
#[must_use]
pub fn named(number: u16) -> NamedClient {
    let [.., low] = number.to_be_bytes();
    let v4 = Ends { client: [10, 66, low, 2].into(), server: [10, 66, low, 1].into(), prefix_len: 30 };
    NamedClient {
        name: format!("client-{number}"),
        tunnel_id: number,
        public_key: public_key(&private_key(number)),
        psk: psk(number),
        addresses: Assignment { v4: Some(v4), v6: None },
        lan: vec![Network::new([192, 168, low, 0].into(), 24).expect("a network that can be")],
        caps: RateCaps::default(),
        reaches_clients: false,
        revoked: false,
    }
}

/// What client `number` connects with.
#[must_use]
pub fn credentials(number: u16) -> Credentials {
    Credentials::Named { own: private_key(number), server: public_key(&private_key(0)), psk: psk(number) }
}

fn config(seed: u64) -> BondEndpointConfig {
    let mut entropy = Secret32([0; 32]);
    entropy.0[..8].copy_from_slice(&seed.to_be_bytes());
    let ciphers = vec![Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305];
    BondEndpointConfig { tunnel_id: 660, scheduler: SchedulerKind::Consistent, ciphers, seed: entropy }
}

impl Star {
    /// A server that knows `known`, and no client yet. The seed says how many workers it has.
    #[must_use]
    pub fn new(known: Vec<NamedClient>, seed: u64) -> Self {
        let workers = 1 + (seed % 3) as u8;
        let mut server = Workers::new(&ServerKeys::Named { own: private_key(0) }, config(seed), workers);
        server.set_clients(Time::from_millis(1_000), known);
        Self {
            now: Time::from_millis(1_000),
            server,
            clients: Vec::new(),
            server_events: Vec::new(),
            client_events: Vec::new(),
            at_server: Vec::new(),
            at_clients: Vec::new(),
            loss: 0.0,
            flights: VecDeque::new(),
            dice: seed,
        }
    }

    /// A server with clients 1 to `count`, all up.
    ///
    /// # Panics
    /// They are not within a second.
    #[must_use]
    pub fn up(count: u16, seed: u64) -> Self {
        let mut star = Self::new((1..=count).map(named).collect(), seed);
        for number in 1..=count {
            star.join(credentials(number));
        }
        star.run_for(Duration::from_secs(1));
        assert_eq!(star.server.reports().len(), usize::from(count));
        star
    }

    /// A client process starts; returns its position.
    pub fn join(&mut self, credentials: Credentials) -> usize {
        let position = self.clients.len();
        let client = BondClient::new(credentials, config(1_000 + position as u64));
        self.clients.push(client);
        self.client_events.push(Vec::new());
        self.connect(position, WanId(0));
        position
    }

    /// A client opens a link; its WANs have one address and a port each.
    pub fn connect(&mut self, position: usize, wan: WanId) {
        self.clients[position].connect(self.now, wan, route_of(wan));
        self.flush();
    }

    /// A client's link leaves: its interface is down.
    pub fn disconnect(&mut self, position: usize, wan: WanId) {
        self.clients[position].remove_wan(self.now, wan, "interface down");
        self.flush();
    }

    /// A client process says farewell and ends.
    pub fn stop(&mut self, position: usize) {
        self.clients[position].close(self.now);
        self.flush();
        self.clients[position] = BondClient::new(credentials(0), config(0));
    }

    /// A client's tun gives a packet.
    pub fn client_sends(&mut self, position: usize, packet: &[u8]) {
        self.clients[position].handle_packet(self.now, SessionId(0), packet);
        self.flush();
    }

    /// The server's tun gives a packet for a session.
    pub fn server_sends(&mut self, session: u32, packet: &[u8]) {
        self.server.handle_packet(self.now, SessionId(session), packet);
        self.flush();
    }

    /// The server has a new table of clients.
    pub fn set_clients(&mut self, clients: Vec<NamedClient>) {
        self.server.set_clients(self.now, clients);
        self.flush();
    }

    /// Lets time pass.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let timeouts = self.clients.iter().filter_map(Endpoint::poll_timeout);
            let wire = self.flights.front().map(|flight| flight.arrival);
            let next = timeouts.chain(self.server.poll_timeout()).chain(wire).min().filter(|&at| at <= end);
            self.now = next.unwrap_or(end).max(self.now);
            self.step();
            if next.is_none() {
                return;
            }
        }
    }

    /// Whether a packet of the client with this source and destination comes out at the server.
    pub fn passes(&mut self, position: usize, source: [u8; 4], destination: [u8; 4]) -> bool {
        let before = self.at_server.len();
        self.client_sends(position, &packet(source, destination, 100));
        self.run_for(Duration::from_millis(100));
        self.at_server.len() > before
    }

    /// How many events of the server are such.
    pub fn server_said(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.server_events.iter().filter(|event| wanted(&event.event)).count()
    }

    fn step(&mut self) {
        while self.flights.front().is_some_and(|flight| flight.arrival <= self.now) {
            let Some(mut flight) = self.flights.pop_front() else { break };
            if flight.to_server {
                let remote = address_of(flight.client, flight.wan);
                let route = Route { socket: SERVER_SOCKET, remote, local: None };
                self.server.handle_datagram(self.now, route, &mut flight.bytes);
            } else {
                let route = route_of(flight.wan);
                self.clients[flight.client].handle_datagram(self.now, route, &mut flight.bytes);
            }
        }
        if self.server.poll_timeout().is_some_and(|at| at <= self.now) {
            self.server.handle_timeout(self.now);
        }
        for client in &mut self.clients {
            if client.poll_timeout().is_some_and(|at| at <= self.now) {
                client.handle_timeout(self.now);
            }
        }
        self.flush();
    }

    fn flush(&mut self) {
        for position in 0..self.clients.len() {
            self.flush_client(position);
        }
        let mut bytes = Vec::new();
        while let Some(route) = self.server.poll_transmit(self.now, &mut bytes) {
            let (client, wan) = client_at(route.remote);
            self.send(false, client, wan, std::mem::take(&mut bytes));
        }
        while let Some((session, packet)) = self.server.poll_delivery() {
            self.at_server.push((self.now, session, packet.as_slice().to_vec()));
            self.server.recycle(session, packet);
        }
        self.server_events.extend(std::iter::from_fn(|| self.server.poll_event()));
    }

    fn flush_client(&mut self, position: usize) {
        let mut bytes = Vec::new();
        while let Some(route) = self.clients[position].poll_transmit(self.now, &mut bytes) {
            self.send(true, position, WanId(route.socket.0), std::mem::take(&mut bytes));
        }
        let client = &mut self.clients[position];
        while let Some((session, packet)) = client.poll_delivery() {
            self.at_clients.push((self.now, position, packet.as_slice().to_vec()));
            client.recycle(session, packet);
        }
        while let Some(event) = client.poll_event() {
            if let Event::Reconnect(wan) = event.event {
                client.connect(self.now, wan, route_of(wan));
            }
            self.client_events[position].push(event.event);
        }
    }

    fn send(&mut self, to_server: bool, client: usize, wan: WanId, bytes: Vec<u8>) {
        // Knuth's MMIX generator: good enough to lose datagrams by.
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if (self.dice >> 11) as f64 / (1u64 << 53) as f64 >= self.loss {
            self.flights.push_back(Flight { arrival: self.now + DELAY, to_server, client, wan, bytes });
        }
    }
}

fn route_of(wan: WanId) -> Route {
    Route { socket: SocketId(wan.0), remote: server_address(), local: None }
}

fn server_address() -> SocketAddr {
    ([203, 0, 113, 1], 12345).into()
}

/// Where the first WAN of the client at a position is.
#[must_use]
pub fn client_address(position: usize) -> SocketAddr {
    address_of(position, WanId(0))
}

fn address_of(position: usize, wan: WanId) -> SocketAddr {
    ([10, 1, position as u8, 2], FIRST_PORT + wan.0 as u16).into()
}

fn client_at(address: SocketAddr) -> (usize, WanId) {
    match address {
        SocketAddr::V4(v4) => {
            (usize::from(v4.ip().octets()[2]), WanId(u32::from(address.port() - FIRST_PORT)))
        }
        SocketAddr::V6(_) => unreachable!("clients have IPv4 addresses here"),
    }
}

/// A UDP packet over IPv4.
#[must_use]
pub fn packet(source: [u8; 4], destination: [u8; 4], len: usize) -> Vec<u8> {
    let mut packet = vec![0; len];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    packet[9] = 17;
    packet[12..16].copy_from_slice(&source);
    packet[16..20].copy_from_slice(&destination);
    packet
}
