//! Packets made and checked by the plainest means.

use ratbond_io::tun::VnetHeader;

/// What a packet's headers say.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    pub ipv6: bool,
    pub udp: bool,
    /// IPv6: an extension header before the transport's.
    pub extension: bool,
    pub port: u16,
    pub sequence: u32,
    pub acknowledged: u32,
    pub flags: u8,
    pub window: u16,
    /// Bytes of TCP options.
    pub options: usize,
    pub id: u16,
    pub dont_fragment: bool,
    pub ecn: u8,
    pub hops: u8,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            ipv6: false,
            udp: false,
            extension: false,
            port: 1000,
            sequence: 0,
            acknowledged: 77,
            flags: 0x10,
            window: 500,
            options: 0,
            id: 0,
            dont_fragment: true,
            ecn: 2,
            hops: 64,
        }
    }
}

impl Spec {
    fn network_len(&self) -> usize {
        if self.ipv6 { 40 + if self.extension { 8 } else { 0 } } else { 20 }
    }

    pub fn headers_len(&self) -> usize {
        self.network_len() + if self.udp { 8 } else { 20 + self.options }
    }

    /// The packet, complete.
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let mut packet = self.without_checksum(payload);
        let checksum = transport_checksum(&packet, self.network_len());
        let at = self.checksum_at();
        packet[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        packet
    }

    fn checksum_at(&self) -> usize {
        self.network_len() + if self.udp { 6 } else { 16 }
    }

    fn without_checksum(&self, payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        let len = (self.headers_len() + payload.len()) as u16;
        let protocol = if self.udp { 17 } else { 6 };
        if self.ipv6 {
            packet.extend([0x60, self.ecn << 4, 0, 9]);
            packet.extend((len - 40).to_be_bytes());
            packet.extend([if self.extension { 60 } else { protocol }, self.hops]);
            packet.extend((0..32).map(|byte| byte * 7));
            if self.extension {
                packet.extend([protocol, 0, 1, 4, 0, 0, 0, 0]);
            }
        } else {
            packet.extend([0x45, self.ecn]);
            packet.extend(len.to_be_bytes());
            packet.extend(self.id.to_be_bytes());
            packet.extend([if self.dont_fragment { 0x40 } else { 0 }, 0, self.hops, protocol, 0, 0]);
            packet.extend([10, 1, 2, 3, 10, 4, 5, 6]);
            let checksum = ipv4_checksum(&packet);
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        packet.extend(self.port.to_be_bytes());
        packet.extend(443_u16.to_be_bytes());
        if self.udp {
            packet.extend((8 + payload.len() as u16).to_be_bytes());
            packet.extend([0, 0]);
        } else {
            packet.extend(self.sequence.to_be_bytes());
            packet.extend(self.acknowledged.to_be_bytes());
            packet.extend([((20 + self.options) / 4 * 16) as u8, self.flags]);
            packet.extend(self.window.to_be_bytes());
            packet.extend([0, 0, 0, 0]);
            packet.extend(std::iter::repeat_n(1, self.options));
        }
        packet.extend(payload);
        packet
    }
}

pub fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 251) as u8).collect()
}

/// What a kernel hands over for `len` bytes in packets of `segment`: its checksum is the pseudo-header's sum.
pub fn super_packet(spec: &Spec, segment: usize, len: usize) -> (VnetHeader, Vec<u8>) {
    let mut packet = spec.without_checksum(&payload(len));
    let partial = fold(pseudo_header(&packet, spec.network_len()));
    let at = spec.checksum_at();
    packet[at..at + 2].copy_from_slice(&partial.to_be_bytes());
    let kind = match (spec.udp, spec.ipv6) {
        (true, _) => 5,
        (false, false) => 1,
        (false, true) => 4,
    };
    let cwr = if !spec.udp && spec.flags & 0x80 != 0 { 0x80 } else { 0 };
    let numbers = [spec.headers_len(), segment, spec.network_len(), at - spec.network_len()]
        .map(|number| number as u16);
    let mut header = vec![1, kind | cwr];
    header.extend(numbers.iter().flat_map(|number| number.to_ne_bytes()));
    (VnetHeader::read(&header.try_into().unwrap()), packet)
}

/// RFC 1071, as its section 1 says it.
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0))).sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

fn pseudo_header(packet: &[u8], transport_at: usize) -> u32 {
    let len = (packet.len() - transport_at) as u32;
    if packet[0] >> 4 == 4 {
        sum(&packet[12..20]) + u32::from(packet[9]) + len
    } else {
        let protocol = if transport_at > 40 { packet[40] } else { packet[6] };
        sum(&packet[8..40]) + u32::from(protocol) + len
    }
}

pub fn ipv4_checksum(header: &[u8]) -> u16 {
    !fold(sum(header))
}

fn transport_checksum(packet: &[u8], transport_at: usize) -> u16 {
    let checksum = !fold(pseudo_header(packet, transport_at) + sum(&packet[transport_at..]));
    let udp = [packet[if packet[0] >> 4 == 4 { 9 } else { 6 }]] == [17];
    if udp && checksum == 0 { 0xffff } else { checksum }
}

fn transport_at(packet: &[u8]) -> usize {
    match packet[0] >> 4 {
        4 => 20,
        _ if packet[6] == 60 => 48,
        _ => 40,
    }
}

/// Whether all of a packet's checksums are right.
pub fn checksums_are_right(packet: &[u8]) -> bool {
    let at = transport_at(packet);
    let transport = fold(pseudo_header(packet, at) + sum(&packet[at..])) == 0xffff;
    transport && (packet[0] >> 4 == 6 || fold(sum(&packet[..20])) == 0xffff)
}

/// The source port.
pub fn port_of(packet: &[u8]) -> Option<u16> {
    let bytes = packet.get(transport_at(packet)..)?.first_chunk()?;
    Some(u16::from_be_bytes(*bytes))
}
