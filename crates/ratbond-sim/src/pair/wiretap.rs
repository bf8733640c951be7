//! Somebody on the path of a [`Pair`]: he records, repeats, bends and injects.

use std::time::Duration;

use ratbond_proto::endpoint::Endpoint;
use ratbond_proto::link::{Route, SocketId, WanId};

use super::address::{attacker_address, client_address, server_address};
use super::{Pair, SERVER_SOCKET};

/// Somebody who watches the client's WANs, and sends what he likes from an address of his own.
#[derive(Default)]
pub struct Wiretap {
    pub(super) records: bool,
    /// WAN index, socket, bytes, of datagrams to the server.
    pub(super) recorded: Vec<(usize, SocketId, Vec<u8>)>,
    /// Repeats each datagram from his address, before the true one arrives.
    pub(super) hijacks: bool,
    pub(super) hijacked_bytes: usize,
    pub(super) attracted_bytes: usize,
}

impl Pair {
    /// From now on every datagram of the client is noted.
    pub fn record(&mut self) {
        self.wiretap.records = true;
    }

    /// Ends the recording: WAN index, socket and bytes of each datagram to the server.
    pub fn recorded(&mut self) -> Vec<(usize, SocketId, Vec<u8>)> {
        self.wiretap.records = false;
        std::mem::take(&mut self.wiretap.recorded)
    }

    /// Repeats each datagram from an address of his own, before the true one arrives; or stops that.
    pub fn hijack(&mut self, on: bool) {
        self.wiretap.hijacks = on;
    }

    /// Bytes that he repeated.
    #[must_use]
    pub fn hijacked_bytes(&self) -> usize {
        self.wiretap.hijacked_bytes
    }

    /// Bytes that the server sent to somebody who is not the client.
    #[must_use]
    pub fn attracted_bytes(&self) -> usize {
        self.wiretap.attracted_bytes
    }

    /// Whether a sealed datagram of this key phase arrived at the server.
    #[must_use]
    pub fn saw_key_phase(&self, phase: u8) -> bool {
        self.phases & 1 << phase != 0
    }

    /// Sends the server what `bend` makes of recorded datagrams, from the client's addresses (true) and from others.
    pub fn attack(
        &mut self,
        datagrams: &[(usize, SocketId, Vec<u8>)],
        bend: impl Fn(&[u8], bool) -> Vec<Vec<u8>>,
    ) {
        for (index, socket, bytes) in datagrams {
            for (from_home, remote) in
                [(true, client_address(*index, *socket, self.port_offset)), (false, attacker_address())]
            {
                for mut bent in bend(bytes, from_home) {
                    let route = Route { socket: SERVER_SOCKET, remote, local: None };
                    self.server.endpoint.handle_datagram(self.now, route, &mut bent);
                }
            }
            self.flush();
        }
    }

    /// Lets another client talk to the server over a perfect network.
    pub fn meet(&mut self, stranger: &mut dyn Endpoint, duration: Duration) {
        let (end, socket) = (self.now + duration, SocketId(900));
        let route = Route { socket, remote: server_address(), local: None };
        stranger.connect(self.now, WanId(0), route);
        let mut bytes = Vec::new();
        while self.now < end {
            while stranger.poll_transmit(self.now, &mut bytes).is_some() {
                let route = Route { socket: SERVER_SOCKET, remote: attacker_address(), local: None };
                self.server.endpoint.handle_datagram(self.now, route, &mut bytes);
                bytes.clear();
            }
            self.run_for(Duration::from_millis(50));
            stranger.handle_timeout(self.now);
        }
    }
}
