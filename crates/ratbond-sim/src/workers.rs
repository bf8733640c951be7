//! A server of several workers as one endpoint: what its driver and the kernel's filter do between them.

use ratbond_proto::Time;
use ratbond_proto::bond::datagram::ReceiverIndex;
use ratbond_proto::bond::endpoint::{BondEndpointConfig, BondServer, NamedClient, worker_of};
use ratbond_proto::bond::handshake::ServerKeys;
use ratbond_proto::endpoint::{Endpoint, EndpointEvent, SessionId, SessionReport};
use ratbond_proto::link::{Route, SocketId, WanId};
use ratbond_proto::packet::Packet;
use ratbond_proto::scheduler::SchedulerKind;

/// See the module.
pub struct Workers {
    /// The workers' own ends.
    pub ends: Vec<BondServer>,
    /// Handshakes that one handed over to another.
    pub handovers: usize,
}

impl Workers {
    /// A server with so many.
    #[must_use]
    pub fn new(keys: &ServerKeys, config: BondEndpointConfig, workers: u8) -> Self {
        Self { ends: BondServer::of_workers(keys, config, workers), handovers: 0 }
    }

    fn count(&self) -> u8 {
        self.ends.len() as u8
    }

    fn owner(&mut self, session: SessionId) -> &mut BondServer {
        let worker = worker_of(session, self.count());
        &mut self.ends[usize::from(worker)]
    }
}

impl Endpoint for Workers {
    fn connect(&mut self, _now: Time, _wan: WanId, _route: Route) -> bool {
        false
    }

    fn remove_wan(&mut self, now: Time, wan: WanId, reason: &str) {
        self.ends.iter_mut().for_each(|end| end.remove_wan(now, wan, reason));
    }

    fn close(&mut self, now: Time) {
        self.ends.iter_mut().for_each(|end| end.close(now));
    }

    fn uses_socket(&self, socket: SocketId) -> bool {
        self.ends.iter().any(|end| end.uses_socket(socket))
    }

    fn set_clients(&mut self, now: Time, clients: Vec<NamedClient>) {
        self.ends.iter_mut().for_each(|end| end.set_clients(now, clients.clone()));
    }

    fn set_scheduler(&mut self, scheduler: SchedulerKind) {
        self.ends.iter_mut().for_each(|end| end.set_scheduler(scheduler));
    }

    fn handle_datagram(&mut self, now: Time, route: Route, datagram: &mut [u8]) {
        // The filter gives what is too short to name anybody to the first.
        let worker = ReceiverIndex::of(datagram).map_or(0, |index| index.steers_to(self.count()));
        let end = &mut self.ends[usize::from(worker)];
        end.handle_datagram(now, route, datagram);
        while let Some(mut handover) = self.ends[usize::from(worker)].poll_handover() {
            self.handovers += 1;
            let other = &mut self.ends[usize::from(handover.worker)];
            other.handle_handover(now, handover.route, &mut handover.datagram);
        }
    }

    fn handle_packet(&mut self, now: Time, session: SessionId, packet: &[u8]) {
        self.owner(session).handle_packet(now, session, packet);
    }

    fn handle_timeout(&mut self, now: Time) {
        for end in &mut self.ends {
            if end.poll_timeout().is_some_and(|at| at <= now) {
                end.handle_timeout(now);
            }
        }
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.ends.iter().filter_map(Endpoint::poll_timeout).min()
    }

    fn poll_transmit(&mut self, now: Time, out: &mut Vec<u8>) -> Option<Route> {
        self.ends.iter_mut().find_map(|end| end.poll_transmit(now, out))
    }

    fn poll_delivery(&mut self) -> Option<(SessionId, Packet)> {
        self.ends.iter_mut().find_map(Endpoint::poll_delivery)
    }

    fn recycle(&mut self, session: SessionId, packet: Packet) {
        self.owner(session).recycle(session, packet);
    }

    fn poll_event(&mut self) -> Option<EndpointEvent> {
        self.ends.iter_mut().find_map(Endpoint::poll_event)
    }

    fn reports(&self) -> Vec<SessionReport> {
        let mut reports: Vec<_> = self.ends.iter().flat_map(Endpoint::reports).collect();
        reports.sort_by_key(|report| report.id);
        reports
    }
}
