//! Whether an IP packet may become part of a super-packet, and of which.

use super::headers::{Layout, Transport, Version, sequence_at, tcp_flag};

/// What must be equal for packets to be of one flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlowKey {
    transport: Transport,
    ports: [u8; 4],
    /// Source and destination; IPv4's fill the front.
    addresses: [u8; 32],
}

/// What a packet is to [`super::coalesce`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// Of no flow that is ever joined.
    Other,
    /// It may be of any flow: its ports cannot be seen, or are not looked for.
    Hidden,
    /// Of this flow, but one that stays alone.
    Alone(FlowKey),
    /// Of this flow, and may be joined if its checksums are right.
    Joinable(FlowKey, Layout),
}

/// Looks at a packet. Only plain packets are joined: no fragments, IPv4 options, IPv6 extension headers; of TCP none that
/// says more than "acknowledged, and here is data".
pub(super) fn look(packet: &[u8]) -> Sight {
    let Some(layout) = Layout::of(packet) else {
        return if may_be_transport(packet) { Sight::Hidden } else { Sight::Other };
    };
    if !layout.is_plain() {
        return Sight::Hidden;
    }
    let key = flow_key(packet, &layout);
    let has_data = packet.len() > layout.payload_at && layout.lengths_fit(packet);
    let pure = match layout.transport {
        Transport::Udp => true,
        Transport::Tcp => {
            let said = packet[layout.tcp_flags_at()] & !(tcp_flag::PSH | tcp_flag::ECE | tcp_flag::CWR);
            said == tcp_flag::ACK
        }
    };
    if has_data && pure { Sight::Joinable(key, layout) } else { Sight::Alone(key) }
}

/// Of a packet whose layout cannot be read: whether it is IP of a kind that may carry TCP or UDP all the same.
fn may_be_transport(packet: &[u8]) -> bool {
    match packet.first().map(|first| first >> 4) {
        Some(4) => matches!(packet.get(9), Some(6 | 17)),
        // Behind extension headers (RFC 8200 section 4) there may be anything.
        Some(6) => matches!(packet.get(6), Some(0 | 6 | 17 | 43 | 44 | 51 | 60)),
        _ => false,
    }
}

fn flow_key(packet: &[u8], layout: &Layout) -> FlowKey {
    let mut key = FlowKey { transport: layout.transport, ports: [0; 4], addresses: [0; 32] };
    key.ports.copy_from_slice(&packet[layout.transport_at..][..4]);
    let addresses = match layout.version {
        Version::V4 => &packet[12..20],
        Version::V6 => &packet[8..40],
    };
    key.addresses[..addresses.len()].copy_from_slice(addresses);
    key
}

/// Whether the checksums that would be made anew were right in the first place.
pub(super) fn is_intact(packet: &[u8], layout: &Layout) -> bool {
    layout.ip_checksum_is_right(packet) && layout.checksum_is_right(packet)
}

/// Whether `next`, of the same flow, may follow in a super-packet that begins with `head` and has `count` packets and
/// `payload_len` bytes so far: cut again, it must be what it is now.
pub(super) fn continues(
    head: &[u8],
    layout: &Layout,
    (count, payload_len): (usize, usize),
    next: &[u8],
) -> bool {
    let same = |from: usize, to: usize| head[from..to] == next[from..to];
    let ip = match layout.version {
        Version::V4 => {
            let follows = layout
                .ip_id(head)
                .is_some_and(|id| layout.ip_id(next) == Some(id.wrapping_add(count as u16)));
            same(0, 2) && same(6, 10) && (follows || layout.is_atomic(next))
        }
        Version::V6 => same(0, 4) && same(6, 8),
    };
    ip && match layout.transport {
        Transport::Udp => true,
        Transport::Tcp => {
            let (at, flags_at) = (layout.transport_at, layout.tcp_flags_at());
            let first_only = tcp_flag::PSH | tcp_flag::CWR;
            same(at + 8, flags_at)
                && head[flags_at] & !first_only == next[flags_at] & !tcp_flag::PSH
                && same(flags_at + 1, at + 16)
                && same(at + 18, layout.payload_at)
                && sequence_at(next, layout) == sequence_at(head, layout).wrapping_add(payload_len as u32)
        }
    }
}

/// Whether nothing may follow it: it pushes (RFC 9293 section 3.9.1.2), which is said of a super-packet's last packet.
pub(super) fn pushes(packet: &[u8], layout: &Layout) -> bool {
    layout.transport == Transport::Tcp && packet[layout.tcp_flags_at()] & tcp_flag::PSH != 0
}

/// Whether TCP says that the congestion window was reduced.
pub(super) fn says_cwr(packet: &[u8], layout: &Layout) -> bool {
    layout.transport == Transport::Tcp && packet[layout.tcp_flags_at()] & tcp_flag::CWR != 0
}
