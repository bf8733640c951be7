//! Which flow an IP packet belongs to, and whether it asks for low latency.
//!
//! Two hashes leave this module. [`Flow::pin`] says which packets must share a link: stock ratbond's rule, TCP by
//! addresses and ports, everything else by addresses, the same for both directions. [`Flow::queue`] says which
//! packets share a queue: addresses, protocol and ports, wherever ports can be read.

const MAX_EXTENSION_HEADERS: usize = 8;
const FRAGMENT_OFFSET: u16 = 0x1fff;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const IPPROTO_DCCP: u8 = 33;
const IPPROTO_SCTP: u8 = 132;
const IPPROTO_UDPLITE: u8 = 136;

/// What the bond wants to know of a packet before it queues it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Equal for all packets that must travel on one link, in both directions.
    pub pin: u64,
    /// Equal for all packets of one transport flow, in one direction or both.
    pub queue: u64,
    /// Whether it is TCP, whose segments gain from arriving in order.
    pub tcp: bool,
    /// Differentiated services code point, 0 to 63 (RFC 2474).
    pub dscp: u8,
}

impl Flow {
    /// Reads the flow of an IPv4 or IPv6 packet; `None` when the bytes are neither.
    ///
    /// Fragments are told by addresses alone, since only the first of them has ports.
    #[must_use]
    pub fn of(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Self::of_ipv4(packet),
            6 => Self::of_ipv6(packet),
            _ => None,
        }
    }

    /// Whether it is marked as real-time: EF (RFC 3246), voice-admit (RFC 5865) or AF4x (RFC 2597, for video calls RFC 4594).
    #[must_use]
    pub const fn wants_low_delay(&self) -> bool {
        matches!(self.dscp, 34 | 36 | 38 | 44 | 46)
    }

    fn of_ipv4(packet: &[u8]) -> Option<Self> {
        let header_len = usize::from(packet[0] & 0x0f) * 4;
        if header_len < 20 || packet.len() < header_len {
            return None;
        }
        let fragment = u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff != 0;
        let transport = if fragment { &[][..] } else { &packet[header_len..] };
        let addresses = symmetric(hash_bytes(&packet[12..16]), hash_bytes(&packet[16..20]));
        Some(Self::new(addresses, packet[9], transport, packet[1] >> 2))
    }

    fn of_ipv6(packet: &[u8]) -> Option<Self> {
        if packet.len() < 40 {
            return None;
        }
        let dscp = ((packet[0] & 0x0f) << 2) | (packet[1] >> 6);
        let addresses = symmetric(hash_bytes(&packet[8..24]), hash_bytes(&packet[24..40]));
        let (protocol, transport) = ipv6_transport(packet[6], &packet[40..]);
        Some(Self::new(addresses, protocol, transport, dscp))
    }

    fn new(addresses: u64, protocol: u8, transport: &[u8], dscp: u8) -> Self {
        let tcp = protocol == IPPROTO_TCP;
        let queue = match ports(protocol, transport) {
            Some(ports) => mix(addresses ^ ports ^ u64::from(protocol)),
            None => mix(addresses ^ u64::from(protocol)),
        };
        Self { pin: if tcp { queue } else { mix(addresses) }, queue, tcp, dscp }
    }
}

/// The protocol of an IP packet's payload and where that begins; `None` for later fragments, and where there is no payload.
/// Of IPv6, fragments are not looked into.
#[must_use]
pub fn transport_of(packet: &[u8]) -> Option<(u8, usize)> {
    match packet.first()? >> 4 {
        4 => {
            let header_len = usize::from(packet[0] & 0x0f) * 4;
            let is_later = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & FRAGMENT_OFFSET != 0;
            let is_there = header_len >= 20 && packet.len() > header_len && !is_later;
            is_there.then(|| (packet[9], header_len))
        }
        6 => {
            let (protocol, payload) = ipv6_transport(*packet.get(6)?, packet.get(40..)?);
            (!payload.is_empty()).then(|| (protocol, packet.len() - payload.len()))
        }
        _ => None,
    }
}

/// Walks IPv6 extension headers (RFC 8200 section 4) to the transport header: its protocol and the bytes from there on.
/// Fragments and unknown chains have none.
#[must_use]
pub fn ipv6_transport(mut next: u8, mut rest: &[u8]) -> (u8, &[u8]) {
    for _ in 0..MAX_EXTENSION_HEADERS {
        let header_len = match next {
            0 | 43 | 60 => rest.get(1).map(|&units| (usize::from(units) + 1) * 8),
            51 => rest.get(1).map(|&units| (usize::from(units) + 2) * 4),
            44 => return (rest.first().copied().unwrap_or(next), &[]),
            _ => return (next, rest),
        };
        let Some(body) = header_len.and_then(|len| rest.get(len..)) else { return (next, &[]) };
        next = rest[0];
        rest = body;
    }
    (next, &[])
}

fn ports(protocol: u8, transport: &[u8]) -> Option<u64> {
    if !matches!(protocol, IPPROTO_TCP | IPPROTO_UDP | IPPROTO_DCCP | IPPROTO_SCTP | IPPROTO_UDPLITE) {
        return None;
    }
    let bytes = transport.get(..4)?;
    let (source, destination) =
        (u16::from_be_bytes([bytes[0], bytes[1]]), u16::from_be_bytes([bytes[2], bytes[3]]));
    Some(symmetric(mix(u64::from(source)), mix(u64::from(destination))))
}

/// The same for (a, b) and (b, a), so that both directions of a flow agree.
fn symmetric(a: u64, b: u64) -> u64 {
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    mix(low).wrapping_add(high)
}

fn hash_bytes(bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(bytes.len() as u64, |hash, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        mix(hash ^ u64::from_be_bytes(word))
    })
}

/// The finaliser of splitmix64: a bijection whose every output bit depends on every input bit.
#[must_use]
pub fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(protocol: u8, source: [u8; 4], destination: [u8; 4], ports: [u16; 2]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x45;
        packet[9] = protocol;
        packet[12..16].copy_from_slice(&source);
        packet[16..20].copy_from_slice(&destination);
        packet[20..22].copy_from_slice(&ports[0].to_be_bytes());
        packet[22..24].copy_from_slice(&ports[1].to_be_bytes());
        packet
    }

    fn ipv6(next: u8, body: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x60;
        packet[6] = next;
        packet[23] = 1;
        packet[39] = 2;
        packet.extend_from_slice(body);
        packet
    }

    #[test]
    fn both_directions_of_a_tcp_flow_share_a_pin() {
        let there = Flow::of(&ipv4(6, [10, 0, 0, 1], [10, 0, 0, 2], [1000, 80])).unwrap();
        let back = Flow::of(&ipv4(6, [10, 0, 0, 2], [10, 0, 0, 1], [80, 1000])).unwrap();
        assert_eq!(there, back);
    }

    #[test]
    fn tcp_is_pinned_by_ports_and_udp_is_not() {
        let pin =
            |protocol, port| Flow::of(&ipv4(protocol, [10, 0, 0, 1], [10, 0, 0, 2], [port, 80])).unwrap();
        assert_ne!(pin(6, 1000).pin, pin(6, 1001).pin);
        assert_eq!(pin(17, 1000).pin, pin(17, 1001).pin);
        assert_ne!(pin(17, 1000).queue, pin(17, 1001).queue);
    }

    #[test]
    fn all_fragments_of_a_packet_share_a_flow() {
        let mut first = ipv4(17, [10, 0, 0, 1], [10, 0, 0, 2], [1000, 80]);
        first[6] = 0x20;
        let mut second = ipv4(17, [10, 0, 0, 1], [10, 0, 0, 2], [4711, 4712]);
        second[7] = 0x10;
        assert_eq!(Flow::of(&first), Flow::of(&second));
    }

    #[test]
    fn ipv6_extension_headers_are_walked_to_the_ports() {
        let plain = Flow::of(&ipv6(6, &[3, 232, 0, 80])).unwrap();
        let mut chained = vec![6, 0, 0, 0, 0, 0, 0, 0];
        chained.extend_from_slice(&[3, 232, 0, 80]);
        assert_eq!(plain, Flow::of(&ipv6(60, &chained)).unwrap());
        assert!(plain.tcp);
    }

    #[test]
    fn truncated_and_foreign_bytes_have_no_flow_or_no_ports() {
        assert_eq!(Flow::of(&[]), None);
        assert_eq!(Flow::of(&[0x45; 19]), None);
        assert_eq!(Flow::of(&[0x60; 39]), None);
        assert_eq!(Flow::of(&[0xff; 60]), None);
        assert!(Flow::of(&ipv6(60, &[6, 255])).is_some());
    }
}
