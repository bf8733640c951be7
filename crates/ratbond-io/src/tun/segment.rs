//! Cuts what the kernel hands over as one super-packet (TSO, USO) into the packets that it stands for.

use ratbond_proto::inner::checksum::Sum;

use super::headers::{Layout, Transport, Version, number_at, sequence_at, set_number, tcp_flag};
use super::sum::add_payload;
use super::vnet::{Segmentation, VnetHeader};

/// What was read cannot be what its offload header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A kind of super-packet that was never asked for.
    #[error("a super-packet of unknown kind {0}")]
    Kind(u8),
    /// The packet is not of the kind that the header says, or not whole.
    #[error("a super-packet whose headers do not fit its kind")]
    Headers,
    /// The checksum would lie beyond the packet.
    #[error("a partial checksum beyond the packet")]
    Checksum,
}

/// Cuts super-packets in place; the memory for one packet's headers is all that it needs.
#[derive(Debug, Default)]
pub struct Segmenter {
    headers: Vec<u8>,
}

impl Segmenter {
    /// Calls `each` with every packet that `packet` stands for, checksums complete. What `packet` holds afterwards is of
    /// no use.
    ///
    /// # Errors
    /// See [`Malformed`]; `each` was not called then.
    pub fn cut(
        &mut self,
        header: &VnetHeader,
        packet: &mut [u8],
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), Malformed> {
        match header.segmentation().map_err(Malformed::Kind)? {
            None if header.needs_checksum() => complete(header, packet).map(|()| each(packet)),
            None => {
                each(packet);
                Ok(())
            }
            Some(segmentation) => self.segment(header, segmentation, packet, each),
        }
    }

    fn segment(
        &mut self,
        header: &VnetHeader,
        segmentation: Segmentation,
        packet: &mut [u8],
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), Malformed> {
        let layout =
            Layout::of(packet).filter(|layout| fits(layout, segmentation)).ok_or(Malformed::Headers)?;
        let segment_len = usize::from(header.segment_len);
        if segment_len == 0 || layout.payload_at + segment_len > usize::from(u16::MAX) {
            return Err(Malformed::Headers);
        }
        let pseudo_header = pseudo_header(header, packet, &layout)?;
        self.headers.clear();
        self.headers.extend_from_slice(&packet[..layout.payload_at]);
        let count = (packet.len() - layout.payload_at).div_ceil(segment_len).max(1);
        for index in 0..count {
            // Each packet's headers overwrite the end of the one before, which is already handed over.
            let start = index * segment_len;
            let end = (start + layout.payload_at + segment_len).min(packet.len());
            let cut = &mut packet[start..end];
            cut[..layout.payload_at].copy_from_slice(&self.headers);
            adapt(cut, &layout, index, segment_len, index + 1 == count);
            // At most 65,535: checked above for the longest.
            let len = (cut.len() - layout.transport_at) as u16;
            set_number(cut, layout.checksum_at(), 0);
            let sum = add_payload(pseudo_header.number(len), &cut[layout.transport_at..]);
            write_checksum(cut, layout.checksum_at(), sum, layout.transport);
            each(cut);
        }
        Ok(())
    }
}

fn fits(layout: &Layout, segmentation: Segmentation) -> bool {
    match segmentation {
        Segmentation::TcpV4 => layout.version == Version::V4 && layout.transport == Transport::Tcp,
        Segmentation::TcpV6 => layout.version == Version::V6 && layout.transport == Transport::Tcp,
        Segmentation::Udp => layout.transport == Transport::Udp,
    }
}

/// The pseudo-header's sum without the length. Taken from the partial checksum, which knows the final destination where a
/// routing header has another (RFC 8200 section 8.1).
fn pseudo_header(header: &VnetHeader, packet: &[u8], layout: &Layout) -> Result<Sum, Malformed> {
    if !header.needs_checksum() {
        return Ok(layout.pseudo_header(packet, 0));
    }
    let here = (usize::from(header.checksum_start), usize::from(header.checksum_offset));
    if here != (layout.transport_at, layout.checksum_offset()) {
        return Err(Malformed::Headers);
    }
    // Modulo 2^16, as the kernel counts for super-packets beyond 64 KiB.
    let len = (packet.len() - layout.transport_at) as u16;
    Ok(Sum::default().number(number_at(packet, layout.checksum_at())).without(len))
}

/// Makes the headers of a super-packet those of its packet number `index`.
fn adapt(packet: &mut [u8], layout: &Layout, index: usize, segment_len: usize, last: bool) {
    if let Some(id) = layout.ip_id(packet) {
        set_number(packet, 4, id.wrapping_add(index as u16));
    }
    // At most 65,535: checked for the longest.
    let len = packet.len() as u16;
    layout.set_lengths(packet, len);
    if layout.transport == Transport::Tcp {
        let sequence = sequence_at(packet, layout).wrapping_add((index * segment_len) as u32);
        packet[layout.transport_at + 4..][..4].copy_from_slice(&sequence.to_be_bytes());
        let flags = &mut packet[layout.tcp_flags_at()];
        if index > 0 {
            *flags &= !tcp_flag::CWR;
        }
        if !last {
            *flags &= !(tcp_flag::FIN | tcp_flag::PSH);
        }
    }
}

/// Completes a checksum that has the pseudo-header's sum in its field.
fn complete(header: &VnetHeader, packet: &mut [u8]) -> Result<(), Malformed> {
    let start = usize::from(header.checksum_start);
    let at = start + usize::from(header.checksum_offset);
    if at + 2 > packet.len() {
        return Err(Malformed::Checksum);
    }
    let sum = Sum::default().bytes(&packet[start..]);
    // Which of the two it is shows only where the field lies; zero is no checksum of UDP's.
    let udp = usize::from(header.checksum_offset) == 6;
    write_checksum(packet, at, sum, if udp { Transport::Udp } else { Transport::Tcp });
    Ok(())
}

/// A UDP checksum of zero would mean that there is none (RFC 768); its complement says the same sum.
fn write_checksum(packet: &mut [u8], at: usize, sum: Sum, transport: Transport) {
    let checksum = sum.checksum();
    let zero = transport == Transport::Udp && checksum == [0, 0];
    packet[at..at + 2].copy_from_slice(if zero { &[0xff, 0xff] } else { &checksum });
}
