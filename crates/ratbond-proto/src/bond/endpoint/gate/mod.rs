//! What a named client may send and receive: inner addresses, other clients, rates.
//!
//! It stands between a session and the tun, in the packet path and not in the firewall: so it holds whatever other
//! rules the machine has, costs a lookup and no rule a client, and changes with the table of clients in one step.

mod shaper;

use std::collections::VecDeque;
use std::net::IpAddr;

use self::shaper::Shaper;
use crate::addressing::{NetworkTable, ends_of};
use crate::bond::link::SealedLink;
use crate::endpoint::{GateStats, SessionId};
use crate::packet::Packet;
use crate::session::Session;
use crate::time::Time;

/// Most bit/s of IP packets each way; `None`: no cap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateCaps {
    /// From the tun to the client.
    pub to_client_bps: Option<u64>,
    /// From the client to the tun.
    pub from_client_bps: Option<u64>,
}

/// Packets for tuns.
pub(super) type Deliveries = VecDeque<(SessionId, Packet)>;

/// One client's gate.
#[derive(Debug)]
pub(super) struct Gate {
    session: SessionId,
    reaches_clients: bool,
    to_client: Option<Shaper>,
    from_client: Option<Shaper>,
    stats: GateStats,
}

impl Gate {
    pub fn new(session: SessionId, reaches_clients: bool, caps: RateCaps) -> Self {
        Self {
            session,
            reaches_clients,
            to_client: caps.to_client_bps.map(Shaper::new),
            from_client: caps.from_client_bps.map(Shaper::new),
            stats: GateStats::default(),
        }
    }

    /// Other rules from now on. A cap that stays as it was keeps what waits for it.
    pub fn change(&mut self, reaches_clients: bool, caps: RateCaps) {
        self.reaches_clients = reaches_clients;
        let drops = [&mut self.stats.cap_drops_to_client, &mut self.stats.cap_drops_from_client];
        let shapers = [&mut self.to_client, &mut self.from_client];
        for ((shaper, drops), cap) in
            shapers.into_iter().zip(drops).zip([caps.to_client_bps, caps.from_client_bps])
        {
            if shaper.as_ref().map(Shaper::rate_bps) != cap {
                *drops += shaper.as_ref().map_or(0, Shaper::drops);
                *shaper = cap.map(Shaper::new);
            }
        }
    }

    /// What was dropped so far.
    pub fn stats(&self) -> GateStats {
        let drops = |shaper: &Option<Shaper>| shaper.as_ref().map_or(0, Shaper::drops);
        GateStats {
            cap_drops_to_client: self.stats.cap_drops_to_client + drops(&self.to_client),
            cap_drops_from_client: self.stats.cap_drops_from_client + drops(&self.from_client),
            ..self.stats
        }
    }

    /// A packet from the tun on its way to the client.
    pub fn pass_down(&mut self, now: Time, packet: &[u8], session: &mut Session<SealedLink>) {
        match must_wait(&mut self.to_client, now, packet.len()) {
            Some(shaper) => {
                let packet = shaper.copy_of(packet);
                shaper.push(now, packet);
            }
            None => session.handle_packet(now, packet),
        }
    }

    /// A packet of the client on its way to the tun. Gives it back when it may not go there.
    pub fn pass_up(
        &mut self,
        now: Time,
        packet: Packet,
        networks: &NetworkTable,
        deliveries: &mut Deliveries,
    ) -> Option<Packet> {
        if !self.admits(packet.as_slice(), networks) {
            return Some(packet);
        }
        match must_wait(&mut self.from_client, now, packet.len()) {
            Some(shaper) => shaper.push(now, packet),
            None => deliveries.push_back((self.session, packet)),
        }
        None
    }

    /// Lets go what has waited for a cap.
    pub fn release(&mut self, now: Time, session: &mut Session<SealedLink>, deliveries: &mut Deliveries) {
        if let Some(shaper) = &mut self.to_client {
            while let Some(packet) = shaper.pop(now) {
                session.handle_packet(now, packet.as_slice());
                shaper.recycle(packet);
            }
        }
        while let Some(packet) = self.from_client.as_mut().and_then(|shaper| shaper.pop(now)) {
            deliveries.push_back((self.session, packet));
        }
    }

    /// When [`release`](Self::release) has something to do.
    pub fn poll_timeout(&self) -> Option<Time> {
        [&self.to_client, &self.from_client].into_iter().flatten().filter_map(Shaper::poll_timeout).min()
    }

    /// Whether the client may send this: from its own networks, and to no other client's unless both may reach clients.
    fn admits(&mut self, packet: &[u8], networks: &NetworkTable) -> bool {
        let Some((source, destination)) = ends_of(packet) else {
            self.stats.spoofed_drops += 1;
            return false;
        };
        let own = networks.owner(source).is_some_and(|owner| owner.session == self.session);
        if !own && !stays_on_link(source) {
            self.stats.spoofed_drops += 1;
            return false;
        }
        let barred = networks.owner(destination).is_some_and(|owner| {
            owner.session != self.session && !(self.reaches_clients && owner.reaches_clients)
        });
        self.stats.other_client_drops += u64::from(barred);
        !barred
    }
}

/// The shaper that a packet of `bytes` has to wait in, if it may not pass now.
fn must_wait(shaper: &mut Option<Shaper>, now: Time, bytes: usize) -> Option<&mut Shaper> {
    shaper.as_mut().and_then(|shaper| (!shaper.passes(now, bytes)).then_some(shaper))
}

/// Sources that no router forwards (RFC 4291, 2.5.2 and 2.5.6), so that nobody can be deceived by them: what IPv6 needs to
/// find out about its link.
fn stays_on_link(source: IpAddr) -> bool {
    matches!(source, IpAddr::V6(v6) if v6.is_unicast_link_local() || v6.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addressing::{Network, Owner};

    fn networks(reaching: &[u32]) -> NetworkTable {
        let mut table = NetworkTable::default();
        for session in 1..=3u32 {
            let owner = Owner { session: SessionId(session), reaches_clients: reaching.contains(&session) };
            for (address, len) in
                [(format!("10.0.0.{}", session * 4), 30), (format!("192.168.{session}.0"), 24)]
            {
                assert!(table.insert(Network::new(address.parse().unwrap(), len).unwrap(), owner));
            }
        }
        table
    }

    fn packet(source: &str, destination: &str) -> Packet {
        let mut bytes = vec![0; 40];
        match (source.parse().unwrap(), destination.parse().unwrap()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                bytes[0] = 0x45;
                bytes[12..16].copy_from_slice(&source.octets());
                bytes[16..20].copy_from_slice(&destination.octets());
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                bytes[0] = 0x60;
                bytes[8..24].copy_from_slice(&source.octets());
                bytes[24..40].copy_from_slice(&destination.octets());
            }
            _ => panic!("one family"),
        }
        bytes.into()
    }

    fn passes(gate: &mut Gate, table: &NetworkTable, (source, destination): (&str, &str)) -> bool {
        let mut out = Deliveries::new();
        gate.pass_up(Time::ZERO, packet(source, destination), table, &mut out).is_none() && out.len() == 1
    }

    #[test]
    fn a_client_sends_from_its_own_networks_only() {
        let table = networks(&[]);
        let mut gate = Gate::new(SessionId(1), false, RateCaps::default());
        for source in ["10.0.0.6", "192.168.1.77", "fe80::1", "::"] {
            let destination = if source.contains(':') { "ff02::2" } else { "1.1.1.1" };
            assert!(passes(&mut gate, &table, (source, destination)), "{source}");
        }
        for source in ["10.0.0.10", "192.168.2.1", "8.8.8.8", "fd00::1", "::ffff:10.0.0.6"] {
            let destination = if source.contains(':') { "2001:db8::1" } else { "1.1.1.1" };
            assert!(!passes(&mut gate, &table, (source, destination)), "{source}");
        }
        assert!(gate.pass_up(Time::ZERO, vec![0x45, 0].into(), &table, &mut Deliveries::new()).is_some());
        assert_eq!(gate.stats().spoofed_drops, 6);
    }

    #[test]
    fn clients_reach_each_other_only_when_both_may() {
        let to_the_other = ("10.0.0.6", "192.168.2.1");
        for (mine, theirs, wanted) in
            [(false, false, false), (true, false, false), (false, true, false), (true, true, true)]
        {
            let table = networks(if theirs { &[2] } else { &[] });
            let mut gate = Gate::new(SessionId(1), mine, RateCaps::default());
            assert_eq!(passes(&mut gate, &table, to_the_other), wanted);
            assert_eq!(gate.stats().other_client_drops, u64::from(!wanted));
            assert!(passes(&mut gate, &table, ("10.0.0.6", "10.0.0.5")), "its own network");
        }
    }

    #[test]
    fn a_cap_that_is_lifted_lets_everything_pass_and_forgets_no_count() {
        let table = networks(&[]);
        let capped = RateCaps { from_client_bps: Some(8_000), ..RateCaps::default() };
        let mut gate = Gate::new(SessionId(1), false, capped);
        for _ in 0..2_000 {
            passes(&mut gate, &table, ("10.0.0.6", "1.1.1.1"));
        }
        let dropped = gate.stats().cap_drops_from_client;
        assert!(dropped > 0);
        gate.change(false, RateCaps::default());
        assert_eq!(gate.stats().cap_drops_from_client, dropped);
        assert!(passes(&mut gate, &table, ("10.0.0.6", "1.1.1.1")));
        assert_eq!(gate.poll_timeout(), None);
    }
}
