//! Whether a packet from the tun is one of the tunnel's own datagrams.
//!
//! A route or a rule made by somebody else can lead what is sent to the peer's port into the tunnel. There it would be
//! sent as a packet, whose datagram is led into the tunnel again. The sockets are bound to their devices, so that ours
//! never take such a way; what does is dropped here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const IPPROTO_UDP: u8 = 17;
const IPPROTO_FRAGMENT: u8 = 44;
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// Whether it is worth asking [`is_to`]. Costs two loads, for it is asked of every packet.
#[must_use]
pub fn is_udp(packet: &[u8]) -> bool {
    match packet.first().map(|first| first >> 4) {
        Some(4) => packet.get(9) == Some(&IPPROTO_UDP),
        Some(6) => matches!(packet.get(6), Some(&(IPPROTO_UDP | IPPROTO_FRAGMENT))),
        _ => false,
    }
}

/// Whether it is UDP to `peer`. Later fragments have no port: those to the peer's address count.
#[must_use]
pub fn is_to(packet: &[u8], peer: SocketAddr) -> bool {
    let Some((address, port)) = udp_destination(packet) else { return false };
    address == peer.ip().to_canonical() && port.is_none_or(|port| port == peer.port())
}

fn udp_destination(packet: &[u8]) -> Option<(IpAddr, Option<u16>)> {
    match packet.first()? >> 4 {
        4 => {
            let header_len = usize::from(packet[0] & 0x0f) * 4;
            let later = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & FRAGMENT_OFFSET != 0;
            let address: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
            let is_udp = packet[9] == IPPROTO_UDP && header_len >= 20;
            is_udp.then(|| (Ipv4Addr::from(address).into(), port(packet, header_len, later)))
        }
        6 => {
            let address: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            let (is_udp, header_len, later) = match packet[6] {
                IPPROTO_FRAGMENT => {
                    let offset = u16::from_be_bytes([*packet.get(42)?, *packet.get(43)?]) >> 3;
                    (packet[40] == IPPROTO_UDP, 48, offset != 0)
                }
                protocol => (protocol == IPPROTO_UDP, 40, false),
            };
            is_udp.then(|| (Ipv6Addr::from(address).into(), port(packet, header_len, later)))
        }
        _ => None,
    }
}

fn port(packet: &[u8], header_len: usize, later_fragment: bool) -> Option<u16> {
    let bytes = packet.get(header_len + 2..header_len + 4).filter(|_| !later_fragment)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(protocol: u8, destination: [u8; 4], port: u16, fragment: u16) -> Vec<u8> {
        let mut packet = vec![0; 48];
        packet[0] = 0x45;
        packet[6..8].copy_from_slice(&fragment.to_be_bytes());
        packet[9] = protocol;
        packet[16..20].copy_from_slice(&destination);
        packet[22..24].copy_from_slice(&port.to_be_bytes());
        packet
    }

    fn ipv6(destination: Ipv6Addr, port: u16) -> Vec<u8> {
        let mut packet = vec![0; 68];
        packet[0] = 0x60;
        packet[6] = IPPROTO_UDP;
        packet[24..40].copy_from_slice(&destination.octets());
        packet[42..44].copy_from_slice(&port.to_be_bytes());
        packet
    }

    fn is_own(packet: &[u8], peer: &str) -> bool {
        is_udp(packet) && is_to(packet, peer.parse().expect("an address"))
    }

    #[test]
    fn udp_to_the_peers_port_is_the_tunnels_own() {
        assert!(is_own(&ipv4(17, [203, 0, 113, 1], 12345, 0), "203.0.113.1:12345"));
        assert!(is_own(&ipv6("2001:db8::1".parse().expect("an address"), 7), "[2001:db8::1]:7"));
    }

    #[test]
    fn a_peer_seen_through_a_dual_stack_socket_is_the_same_peer() {
        assert!(is_own(&ipv4(17, [203, 0, 113, 1], 12345, 0), "[::ffff:203.0.113.1]:12345"));
    }

    #[test]
    fn another_port_address_or_protocol_is_not() {
        assert!(!is_own(&ipv4(17, [203, 0, 113, 1], 53, 0), "203.0.113.1:12345"));
        assert!(!is_own(&ipv4(17, [203, 0, 113, 2], 12345, 0), "203.0.113.1:12345"));
        assert!(!is_own(&ipv4(6, [203, 0, 113, 1], 12345, 0), "203.0.113.1:12345"));
    }

    #[test]
    fn a_later_fragment_to_the_peer_is_taken_for_one() {
        let later = ipv4(17, [203, 0, 113, 1], 1, 100);
        assert!(is_own(&later, "203.0.113.1:12345"));
        let first = ipv4(17, [203, 0, 113, 1], 53, 0x2000);
        assert!(!is_own(&first, "203.0.113.1:12345"));
    }

    #[test]
    fn a_packet_cut_anywhere_is_read_without_harm() {
        for whole in [ipv4(17, [203, 0, 113, 1], 12345, 0), ipv6(Ipv6Addr::LOCALHOST, 7)] {
            for len in 0..whole.len() {
                is_own(&whole[..len], "203.0.113.1:12345");
            }
        }
    }
}
