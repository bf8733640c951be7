//! An endpoint that tells what goes through it: one line for a datagram or packet, so many a second at most.
//!
//! It stands around another endpoint, so that nothing is asked per packet where no trace is wanted. It tells headers and
//! lengths, never contents.

use std::collections::VecDeque;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::bond::datagram::{Header, Kind, ReceiverIndex};
use crate::bond::endpoint::NamedClient;
use crate::endpoint::{Endpoint, EndpointEvent, Handover, SessionId, SessionReport};
use crate::event::Event;
use crate::kcp::segment::{Cmd, Segments};
use crate::kcp::{Crypt, crypt, fec};
use crate::link::{Route, SocketId, WanId};
use crate::packet::Packet;
use crate::preference::Preference;
use crate::scheduler::SchedulerKind;
use crate::time::Time;

/// Lines a second, of all workers of an end together; what goes beyond is counted and told in one.
const LINES_PER_S: u32 = 200;
const SECOND: Duration = Duration::from_secs(1);
/// Segments of one datagram that are told.
const MAX_SEGMENTS: usize = 4;

/// What the datagrams are, so that they can be read.
#[derive(Debug)]
pub enum Wire {
    /// KCP behind its crypt header.
    Kcp(Crypt),
    /// bond/1: what stands in the clear.
    Bond,
}

impl Wire {
    fn describe(&self, datagram: &[u8]) -> String {
        match self {
            Self::Kcp(crypt) => describe_kcp(crypt, datagram),
            Self::Bond => describe_bond(datagram),
        }
    }
}

/// See the module.
pub struct Traced {
    inner: Box<dyn Endpoint>,
    wire: Wire,
    lines: VecDeque<String>,
    lines_per_s: u32,
    second: Time,
    told: u32,
    untold: u32,
}

impl Traced {
    /// Tells what goes through `inner`, one of so many `workers`.
    #[must_use]
    pub fn new(inner: Box<dyn Endpoint>, wire: Wire, workers: u8) -> Self {
        let lines_per_s = LINES_PER_S / u32::from(workers.max(1));
        Self { inner, wire, lines: VecDeque::new(), lines_per_s, second: Time::ZERO, told: 0, untold: 0 }
    }

    fn tell(&mut self, now: Time, line: impl FnOnce(&Wire) -> String) {
        if now.saturating_since(self.second) >= SECOND {
            if self.untold > 0 {
                self.lines.push_back(format!("{} more were not told", self.untold));
            }
            (self.second, self.told, self.untold) = (now, 0, 0);
        }
        if self.told < self.lines_per_s {
            self.told += 1;
            self.lines.push_back(line(&self.wire));
        } else {
            self.untold += 1;
        }
    }
}

impl Endpoint for Traced {
    fn connect(&mut self, now: Time, wan: WanId, route: Route) -> bool {
        self.inner.connect(now, wan, route)
    }

    fn remove_wan(&mut self, now: Time, wan: WanId, reason: &str) {
        self.inner.remove_wan(now, wan, reason);
    }

    fn close(&mut self, now: Time) {
        self.inner.close(now);
    }

    fn uses_socket(&self, socket: SocketId) -> bool {
        self.inner.uses_socket(socket)
    }

    fn set_clients(&mut self, now: Time, clients: Vec<NamedClient>) {
        self.inner.set_clients(now, clients);
    }

    fn prefer(&mut self, now: Time, wan: WanId, preference: Preference) {
        self.inner.prefer(now, wan, preference);
    }

    fn set_scheduler(&mut self, scheduler: SchedulerKind) {
        self.inner.set_scheduler(scheduler);
    }

    fn handle_datagram(&mut self, now: Time, route: Route, datagram: &mut [u8]) {
        self.tell(now, |wire| format!("from {} {}", route.remote, wire.describe(datagram)));
        self.inner.handle_datagram(now, route, datagram);
    }

    fn handle_handover(&mut self, now: Time, route: Route, datagram: &mut [u8]) {
        self.tell(now, |wire| format!("handed over from {} {}", route.remote, wire.describe(datagram)));
        self.inner.handle_handover(now, route, datagram);
    }

    fn poll_handover(&mut self) -> Option<Handover> {
        self.inner.poll_handover()
    }

    fn handle_too_big(&mut self, now: Time, route: Route, len: usize) -> bool {
        self.tell(now, |_| format!("to {} {len} B, too long for the device", route.remote));
        self.inner.handle_too_big(now, route, len)
    }

    fn handle_packet(&mut self, now: Time, session: SessionId, packet: &[u8]) {
        self.tell(now, |_| format!("tun in {}", describe_packet(packet)));
        self.inner.handle_packet(now, session, packet);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.inner.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.inner.poll_timeout()
    }

    fn poll_transmit(&mut self, now: Time, out: &mut Vec<u8>) -> Option<Route> {
        let before = out.len();
        let route = self.inner.poll_transmit(now, out)?;
        self.tell(now, |wire| format!("to {} {}", route.remote, wire.describe(&out[before..])));
        Some(route)
    }

    fn poll_delivery(&mut self) -> Option<(SessionId, Packet)> {
        let (session, packet) = self.inner.poll_delivery()?;
        // Deliveries come of a datagram or a deadline of this very moment, which has opened the second.
        self.tell(self.second, |_| format!("tun out {}", describe_packet(packet.as_slice())));
        Some((session, packet))
    }

    fn recycle(&mut self, session: SessionId, packet: Packet) {
        self.inner.recycle(session, packet);
    }

    fn poll_event(&mut self) -> Option<EndpointEvent> {
        let line = |line| EndpointEvent {
            session: SessionId(0),
            event: Event::Trace(line),
            remote: None,
            wans_up: 0,
        };
        self.inner.poll_event().or_else(|| self.lines.pop_front().map(line))
    }

    fn reports(&self) -> Vec<SessionReport> {
        self.inner.reports()
    }
}

fn describe_kcp(crypt: &Crypt, datagram: &[u8]) -> String {
    let mut copy = datagram.to_vec();
    let mut line = format!("{} B", datagram.len());
    let Ok(range) = crypt.open(&mut copy).map(fec::segments) else {
        return line + ", not opened";
    };
    let Some(range) = range else { return line + ", parity" };
    let mut segments = Segments::new(&copy[crypt::HEADER_LEN..][range]);
    for segment in segments.by_ref().take(MAX_SEGMENTS) {
        // Writing to a string cannot fail.
        let _ = match segment {
            Ok(segment) => {
                let header = segment.header;
                let name = match header.cmd {
                    Cmd::Push => "push",
                    Cmd::Ack => "ack",
                    Cmd::WindowAsk => "wask",
                    Cmd::WindowTell => "wins",
                };
                let (conv, sn, una, wnd, len) =
                    (header.conv, header.sn, header.una, header.wnd, segment.payload.len());
                write!(line, ", {name} conv {conv} sn {sn} una {una} wnd {wnd} len {len}")
            }
            Err(error) => write!(line, ", {error}"),
        };
    }
    let more = segments.count();
    if more > 0 {
        let _ = write!(line, ", {more} more");
    }
    line
}

fn describe_bond(datagram: &[u8]) -> String {
    let len = datagram.len();
    match (Kind::of(datagram), Header::decode(datagram)) {
        (Ok(Kind::Sealed { phase }), Ok(header)) => {
            let (ReceiverIndex(receiver), number) = (header.receiver, header.counter_low);
            format!("{len} B, sealed receiver {receiver:08x} number {number} phase {phase}")
        }
        (Ok(kind), _) => format!("{len} B, {}", format!("{kind:?}").to_lowercase()),
        (Err(error), _) => format!("{len} B, {error}"),
    }
}

fn describe_packet(packet: &[u8]) -> String {
    let len = packet.len();
    let Some((protocol, from, to, header_len)) = ip_header(packet) else {
        return format!("{len} B, not IP");
    };
    let port = |at: usize| packet.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    let (name, has_ports) = match protocol {
        1 => ("icmp".into(), false),
        6 => ("tcp".into(), true),
        17 => ("udp".into(), true),
        58 => ("icmpv6".into(), false),
        other => (format!("protocol {other}"), false),
    };
    match (port(header_len), port(header_len + 2)) {
        (Some(source), Some(destination)) if has_ports => {
            format!("{len} B, {name} {from} port {source} to {to} port {destination}")
        }
        _ => format!("{len} B, {name} {from} to {to}"),
    }
}

/// Protocol, source, destination, and where the next header begins.
fn ip_header(packet: &[u8]) -> Option<(u8, IpAddr, IpAddr, usize)> {
    match packet.first()? >> 4 {
        4 => {
            let address = |at: usize| -> Option<[u8; 4]> { packet.get(at..at + 4)?.try_into().ok() };
            let (from, to) = (Ipv4Addr::from(address(12)?), Ipv4Addr::from(address(16)?));
            Some((packet[9], from.into(), to.into(), usize::from(packet[0] & 0x0f) * 4))
        }
        6 => {
            let address = |at: usize| -> Option<[u8; 16]> { packet.get(at..at + 16)?.try_into().ok() };
            let (from, to) = (Ipv6Addr::from(address(8)?), Ipv6Addr::from(address(24)?));
            Some((packet[6], from.into(), to.into(), 40))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kcp::{KcpEndpoint, KcpEndpointConfig};
    use crate::session::Role;

    fn traced() -> Traced {
        let config = KcpEndpointConfig {
            role: Role::Client,
            tunnel_id: 660,
            scheduler: SchedulerKind::Consistent,
            mux: 1,
            secret: Some("s".into()),
            seed: 1,
        };
        Traced::new(Box::new(KcpEndpoint::new(config)), Wire::Kcp(Crypt::aes("s")), 1)
    }

    fn lines(traced: &mut Traced) -> Vec<String> {
        std::iter::from_fn(|| traced.poll_event())
            .filter_map(|event| match event.event {
                Event::Trace(line) => Some(line),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn a_datagram_is_told_with_its_segments_also_under_stock_aes() {
        let mut traced = traced();
        let route = Route { socket: SocketId(0), remote: ([203, 0, 113, 1], 12345).into(), local: None };
        traced.connect(Time::ZERO, WanId(0), route);
        assert_eq!(traced.poll_transmit(Time::ZERO, &mut Vec::new()), Some(route));
        let told = lines(&mut traced);
        assert_eq!(told, ["to 203.0.113.1:12345 84 B, push conv 660 sn 0 una 0 wnd 1024 len 40"]);
    }

    #[test]
    fn a_packet_is_told_by_its_header() {
        let mut packet = vec![0; 60];
        packet[0] = 0x45;
        packet[9] = 6;
        packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        packet[20..24].copy_from_slice(&[0, 80, 1, 0]);
        let mut traced = traced();
        traced.handle_packet(Time::ZERO, SessionId(0), &packet);
        assert_eq!(lines(&mut traced), ["tun in 60 B, tcp 10.0.0.1 port 80 to 10.0.0.2 port 256"]);
    }

    #[test]
    fn no_more_is_told_than_a_reader_can_take_and_the_rest_is_counted() {
        let mut traced = traced();
        for _ in 0..1_000 {
            traced.handle_packet(Time::ZERO, SessionId(0), &[1, 2, 3]);
        }
        assert_eq!(lines(&mut traced).len(), 200);
        traced.handle_packet(Time::from_millis(1_000), SessionId(0), &[1, 2, 3]);
        assert_eq!(lines(&mut traced), ["800 more were not told", "tun in 3 B, not IP"]);
    }

    #[test]
    fn what_is_sealed_is_told_by_what_stands_in_the_clear() {
        let header = Header { phase: 1, receiver: ReceiverIndex(0xabcd), counter_low: 7 };
        let mut datagram = header.encode().to_vec();
        datagram.resize(100, 0);
        assert_eq!(Wire::Bond.describe(&datagram), "100 B, sealed receiver 0000abcd number 7 phase 1");
        assert_eq!(Wire::Bond.describe(&[0x03; 40]), "40 B, init");
        assert_eq!(Wire::Bond.describe(&[]), "0 B, datagram is too short");
    }
}
