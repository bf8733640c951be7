//! `struct virtio_net_hdr`, which goes before each packet between a tun with `IFF_VNET_HDR` and its program: what of
//! checksum and segmentation is left to whoever gets the packet (virtio 1.2 section 5.1.6). In the machine's byte order.

const NEEDS_CSUM: u8 = 1;

/// A super-packet's kind; the kernel cuts it, or leaves that to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segmentation {
    /// TCP over IPv4.
    TcpV4,
    /// TCP over IPv6.
    TcpV6,
    /// UDP over either.
    Udp,
}

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHeader {
    flags: u8,
    gso_type: u8,
    /// All headers together; a hint.
    pub header_len: u16,
    /// Payload of each packet but the last.
    pub segment_len: u16,
    /// Where the checksummed part begins.
    pub checksum_start: u16,
    /// Where in it the checksum is.
    pub checksum_offset: u16,
}

impl VnetHeader {
    /// Its length in bytes.
    pub const LEN: usize = 10;

    const GSO_NONE: u8 = 0;
    const GSO_TCPV4: u8 = 1;
    const GSO_TCPV6: u8 = 4;
    const GSO_UDP_L4: u8 = 5;
    const GSO_ECN: u8 = 0x80;

    /// The header of a super-packet whose checksum is partial. `cwr`: its first packet says "congestion window reduced",
    /// and the others must not (RFC 3168 section 6.1.2).
    #[must_use]
    pub fn of_super_packet(segmentation: Segmentation, cwr: bool) -> Self {
        let gso_type = match segmentation {
            Segmentation::TcpV4 => Self::GSO_TCPV4,
            Segmentation::TcpV6 => Self::GSO_TCPV6,
            Segmentation::Udp => Self::GSO_UDP_L4,
        };
        let ecn = if cwr { Self::GSO_ECN } else { 0 };
        Self { flags: NEEDS_CSUM, gso_type: gso_type | ecn, ..Self::default() }
    }

    /// Reads it from the first [`VnetHeader::LEN`] bytes.
    #[must_use]
    pub fn read(bytes: &[u8; Self::LEN]) -> Self {
        let number = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        Self {
            flags: bytes[0],
            gso_type: bytes[1],
            header_len: number(2),
            segment_len: number(4),
            checksum_start: number(6),
            checksum_offset: number(8),
        }
    }

    /// The bytes that the kernel reads.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [self.flags, self.gso_type, 0, 0, 0, 0, 0, 0, 0, 0];
        let numbers = [self.header_len, self.segment_len, self.checksum_start, self.checksum_offset];
        for (slot, number) in bytes[2..].chunks_exact_mut(2).zip(numbers) {
            slot.copy_from_slice(&number.to_ne_bytes());
        }
        bytes
    }

    /// Whether the packet's checksum is partial: its field has the sum of the pseudo-header alone.
    #[must_use]
    pub const fn needs_checksum(&self) -> bool {
        self.flags & NEEDS_CSUM != 0
    }

    /// What kind of super-packet follows; `Ok(None)` for a packet.
    ///
    /// # Errors
    /// The kind, when it is one that was never asked for.
    pub const fn segmentation(&self) -> Result<Option<Segmentation>, u8> {
        Ok(Some(match self.gso_type & !Self::GSO_ECN {
            Self::GSO_NONE => return Ok(None),
            Self::GSO_TCPV4 => Segmentation::TcpV4,
            Self::GSO_TCPV6 => Segmentation::TcpV6,
            Self::GSO_UDP_L4 => Segmentation::Udp,
            _ => return Err(self.gso_type),
        }))
    }
}
