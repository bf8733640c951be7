//! Where the headers of an IP packet lie, and the fields in them that change with its length.

use ratbond_proto::flow::ipv6_transport;
use ratbond_proto::inner::checksum::Sum;

use super::sum::add_payload;

const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const IPV6_HEADER_LEN: usize = 40;
const UDP_HEADER_LEN: usize = 8;
/// More fragments, and the offset (RFC 791).
const FRAGMENT_BITS: u16 = 0x3fff;
const DONT_FRAGMENT: u8 = 0x40;

/// TCP flags (RFC 9293, RFC 3168).
pub(super) mod tcp_flag {
    pub const FIN: u8 = 0x01;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
    pub const ECE: u8 = 0x40;
    pub const CWR: u8 = 0x80;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V4,
    V6,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

/// A whole TCP or UDP packet's parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub version: Version,
    pub transport: Transport,
    /// Where the TCP or UDP header begins.
    pub transport_at: usize,
    /// Where it ends.
    pub payload_at: usize,
}

impl Layout {
    /// Reads a packet's headers; `None` unless it is TCP or UDP, no fragment, and has them whole.
    pub fn of(packet: &[u8]) -> Option<Self> {
        let (version, transport_at, protocol) = match packet.first()? >> 4 {
            4 => {
                let header_len = usize::from(packet[0] & 0x0f) * 4;
                let fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & FRAGMENT_BITS != 0;
                if fragment || header_len < 20 {
                    return None;
                }
                (Version::V4, header_len, *packet.get(9)?)
            }
            6 => {
                let (protocol, rest) = ipv6_transport(*packet.get(6)?, packet.get(IPV6_HEADER_LEN..)?);
                (Version::V6, packet.len() - rest.len(), protocol)
            }
            _ => return None,
        };
        let (transport, header_len) = match protocol {
            IPPROTO_TCP => (Transport::Tcp, usize::from(packet.get(transport_at + 12)? >> 4) * 4),
            IPPROTO_UDP => (Transport::Udp, UDP_HEADER_LEN),
            _ => return None,
        };
        let payload_at = transport_at + header_len;
        let shortest = if transport == Transport::Tcp { 20 } else { UDP_HEADER_LEN };
        let whole = header_len >= shortest && payload_at <= packet.len();
        whole.then_some(Self { version, transport, transport_at, payload_at })
    }

    /// Whether there is nothing between the plain IP header and the transport's.
    pub const fn is_plain(&self) -> bool {
        let plain_len = match self.version {
            Version::V4 => 20,
            Version::V6 => IPV6_HEADER_LEN,
        };
        self.transport_at == plain_len
    }

    /// Where the transport's checksum is, from the beginning of its header.
    pub const fn checksum_offset(&self) -> usize {
        match self.transport {
            Transport::Tcp => 16,
            Transport::Udp => 6,
        }
    }

    /// Where the transport's checksum is in the packet.
    pub const fn checksum_at(&self) -> usize {
        self.transport_at + self.checksum_offset()
    }

    /// Where TCP's flags are in the packet.
    pub const fn tcp_flags_at(&self) -> usize {
        self.transport_at + 13
    }

    /// The pseudo-header's sum (RFC 9293 section 3.1, RFC 8200 section 8.1) for a transport part of `len` bytes.
    pub fn pseudo_header(&self, packet: &[u8], len: u16) -> Sum {
        let (addresses, protocol) = match self.version {
            Version::V4 => (12..20, packet[9]),
            Version::V6 => (8..IPV6_HEADER_LEN, transport_protocol(self.transport)),
        };
        Sum::default().bytes(&packet[addresses]).number(u16::from(protocol)).number(len)
    }

    /// Whether the lengths in the headers are those of the packet.
    pub fn lengths_fit(&self, packet: &[u8]) -> bool {
        let ip = match self.version {
            Version::V4 => usize::from(number_at(packet, 2)),
            Version::V6 => IPV6_HEADER_LEN + usize::from(number_at(packet, 4)),
        };
        let transport = match self.transport {
            Transport::Tcp => ip - self.transport_at.min(ip),
            Transport::Udp => usize::from(number_at(packet, self.transport_at + 4)),
        };
        ip == packet.len() && transport == packet.len() - self.transport_at
    }

    /// Whether an IPv4 header's checksum is right; IPv6 has none.
    pub fn ip_checksum_is_right(&self, packet: &[u8]) -> bool {
        match self.version {
            Version::V4 => Sum::default().bytes(&packet[..self.transport_at]).is_right(),
            Version::V6 => true,
        }
    }

    /// Whether the transport's checksum is right. UDP's may be missing, which does not count as right.
    pub fn checksum_is_right(&self, packet: &[u8]) -> bool {
        let Ok(len) = u16::try_from(packet.len() - self.transport_at) else { return false };
        let missing = self.transport == Transport::Udp && number_at(packet, self.checksum_at()) == 0;
        !missing && add_payload(self.pseudo_header(packet, len), &packet[self.transport_at..]).is_right()
    }

    /// Makes the lengths in the headers those of a packet of `len` bytes, and an IPv4 header's checksum anew.
    pub fn set_lengths(&self, packet: &mut [u8], len: u16) {
        match self.version {
            Version::V4 => {
                set_number(packet, 2, len);
                set_number(packet, 10, 0);
                let checksum = Sum::default().bytes(&packet[..self.transport_at]).checksum();
                packet[10..12].copy_from_slice(&checksum);
            }
            Version::V6 => set_number(packet, 4, len - IPV6_HEADER_LEN as u16),
        }
        if self.transport == Transport::Udp {
            set_number(packet, self.transport_at + 4, len - self.transport_at as u16);
        }
    }

    /// An IPv4 packet's identification; IPv6 has none.
    pub fn ip_id(&self, packet: &[u8]) -> Option<u16> {
        (self.version == Version::V4).then(|| number_at(packet, 4))
    }

    /// Whether the identification means nothing, since the packet will never be a fragment (RFC 6864 section 4.1).
    pub fn is_atomic(&self, packet: &[u8]) -> bool {
        self.version == Version::V6 || packet[6] & DONT_FRAGMENT != 0
    }
}

const fn transport_protocol(transport: Transport) -> u8 {
    match transport {
        Transport::Tcp => IPPROTO_TCP,
        Transport::Udp => IPPROTO_UDP,
    }
}

pub(super) fn number_at(packet: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([packet[at], packet[at + 1]])
}

pub(super) fn set_number(packet: &mut [u8], at: usize, value: u16) {
    packet[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// TCP's sequence number.
pub(super) fn sequence_at(packet: &[u8], layout: &Layout) -> u32 {
    let at = layout.transport_at + 4;
    u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
}
