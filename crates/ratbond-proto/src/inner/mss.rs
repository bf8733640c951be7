//! TCP's maximum segment size, lowered in SYN and SYN-ACK to what the tunnel carries.
//!
//! Each end of a connection says how long the segments may be that it is sent (RFC 9293, section 3.7.1). Both know only
//! the links that they are at. Where ICMP is filtered on the way, as it often is, a segment that is too long for the
//! tunnel would be lost again and again (RFC 2923, section 2.1).

use super::checksum;
use crate::flow::transport_of;

const IPPROTO_TCP: u8 = 6;
const SYN: u8 = 0x02;
const TCP_HEADER_LEN: usize = 20;
const CHECKSUM_AT: usize = 16;
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;

/// Lowers the maximum segment size of a SYN, so that the answers fit into packets of `mtu` bytes; returns whether it did.
///
/// A SYN without the option is left alone: its sender takes 536 or 1,220 bytes (RFC 9293, section 3.7.1), which fit.
pub fn clamp(packet: &mut [u8], mtu: usize) -> bool {
    let Some((IPPROTO_TCP, at)) = transport_of(packet) else { return false };
    // Both headers without options, whatever the SYN itself has (RFC 6691, section 2).
    let ip_header_len = if packet[0] >> 4 == 4 { 20 } else { 40 };
    let Some(most) = mtu.checked_sub(ip_header_len + TCP_HEADER_LEN) else { return false };
    let tcp = &mut packet[at..];
    if tcp.len() < TCP_HEADER_LEN || tcp[13] & SYN == 0 {
        return false;
    }
    let header_len = usize::from(tcp[12] >> 4) * 4;
    let Some(at) = tcp.get(..header_len).and_then(find_mss) else { return false };
    let told = u16::from_be_bytes([tcp[at], tcp[at + 1]]);
    let most = u16::try_from(most).unwrap_or(u16::MAX);
    if told <= most {
        return false;
    }
    let mut change = |at: usize, after: u8| {
        // The checksum's words begin at even places, the option at any.
        let word = at & !1;
        let before = u16::from_be_bytes([tcp[word], tcp[word + 1]]);
        tcp[at] = after;
        let after = u16::from_be_bytes([tcp[word], tcp[word + 1]]);
        let sum = u16::from_be_bytes([tcp[CHECKSUM_AT], tcp[CHECKSUM_AT + 1]]);
        tcp[CHECKSUM_AT..CHECKSUM_AT + 2].copy_from_slice(&checksum::update(sum, before, after));
    };
    let [high, low] = most.to_be_bytes();
    change(at, high);
    change(at + 1, low);
    true
}

/// Whether an IP packet begins a TCP connection, in either direction.
pub fn is_syn(packet: &[u8]) -> bool {
    let Some((IPPROTO_TCP, at)) = transport_of(packet) else { return false };
    packet.get(at + 13).is_some_and(|flags| flags & SYN != 0)
}

/// Where the value of the option stands in a TCP header.
fn find_mss(header: &[u8]) -> Option<usize> {
    let mut at = TCP_HEADER_LEN;
    loop {
        match *header.get(at)? {
            OPTION_END => return None,
            OPTION_NOP => at += 1,
            kind => {
                let len = usize::from(*header.get(at + 1)?);
                if kind == OPTION_MSS && len == 4 && at + 4 <= header.len() {
                    return Some(at + 2);
                }
                if len < 2 {
                    return None;
                }
                at += len;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::inner::checksum::Sum;

    /// A SYN with these options; its checksum is right.
    fn syn(ipv6: bool, flags: u8, options: &[u8]) -> Vec<u8> {
        let mut packet = if ipv6 { vec![0; 40] } else { vec![0; 20] };
        let at = packet.len();
        if ipv6 {
            packet[0] = 0x60;
            packet[6] = IPPROTO_TCP;
            packet[8..40].copy_from_slice(&[0x20; 32]);
        } else {
            packet[0] = 0x45;
            packet[9] = IPPROTO_TCP;
            packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        }
        packet.extend([0x04, 0, 0, 80, 1, 2, 3, 4, 5, 6, 7, 8, 0, flags, 0xff, 0xff, 0, 0, 0, 0]);
        packet.extend(options);
        packet.resize(packet.len().next_multiple_of(4), OPTION_END);
        packet[at + 12] = ((packet.len() - at) as u8 / 4) << 4;
        let sum = tcp_checksum(&packet, at);
        packet[at + CHECKSUM_AT..at + CHECKSUM_AT + 2].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    /// Over the pseudo header as well (RFC 9293, section 3.1): what is to stand in the field, if it is zero now; else zero.
    fn tcp_checksum(packet: &[u8], at: usize) -> u16 {
        let addresses = if at == 20 { &packet[12..20] } else { &packet[8..40] };
        let pseudo = Sum::default().number(u16::from(IPPROTO_TCP)).number((packet.len() - at) as u16);
        u16::from_be_bytes(pseudo.bytes(addresses).bytes(&packet[at..]).checksum())
    }

    fn mss_of(packet: &[u8], at: usize) -> Option<u16> {
        let header = &packet[at..];
        find_mss(header).map(|at| u16::from_be_bytes([header[at], header[at + 1]]))
    }

    #[test]
    fn a_syn_and_a_syn_ack_say_what_fits_in_both_families() {
        for flags in [SYN, SYN | 0x10] {
            let mut v4 = syn(false, flags, &[OPTION_MSS, 4, 0x05, 0xb4]);
            assert!(clamp(&mut v4, 1_362));
            assert_eq!((mss_of(&v4, 20), tcp_checksum(&v4, 20)), (Some(1_322), 0));
            let mut v6 = syn(true, flags, &[OPTION_MSS, 4, 0x05, 0xa0]);
            assert!(clamp(&mut v6, 1_362));
            assert_eq!((mss_of(&v6, 40), tcp_checksum(&v6, 40)), (Some(1_302), 0));
        }
    }

    #[test]
    fn what_fits_or_is_no_syn_or_says_nothing_stays_as_it_is() {
        for mut packet in [
            syn(false, SYN, &[OPTION_MSS, 4, 0x05, 0x2a]),
            syn(false, 0x10, &[OPTION_MSS, 4, 0x05, 0xb4]),
            syn(false, SYN, &[]),
            syn(false, SYN, &[OPTION_END, OPTION_MSS, 4, 0x05, 0xb4]),
            syn(false, SYN, &[8, 0, OPTION_MSS, 4, 0x05, 0xb4]),
        ] {
            let before = packet.clone();
            assert!(!clamp(&mut packet, 1_362));
            assert_eq!(packet, before);
        }
    }

    #[test]
    fn a_later_fragment_has_no_header_to_look_at() {
        let mut packet = syn(false, SYN, &[OPTION_MSS, 4, 0x05, 0xb4]);
        packet[7] = 1;
        assert!(!clamp(&mut packet, 1_362));
    }

    proptest! {
        #[test]
        fn the_checksum_stays_right_wherever_the_option_stands(
            ipv6 in any::<bool>(), nops in 0usize..8, told in any::<u16>(), mtu in 576usize..9_000,
        ) {
            let mut options = vec![OPTION_NOP; nops];
            options.extend([OPTION_MSS, 4]);
            options.extend(told.to_be_bytes());
            let mut packet = syn(ipv6, SYN, &options);
            let at = if ipv6 { 40 } else { 20 };
            clamp(&mut packet, mtu);
            prop_assert_eq!(mss_of(&packet, at), Some(told.min((mtu - at - 20) as u16)));
            prop_assert_eq!(tcp_checksum(&packet, at), 0);
        }

        #[test]
        fn no_bytes_make_it_panic_or_grow(mut bytes in prop::collection::vec(any::<u8>(), 0..120), mtu in 0usize..2_000) {
            if let Some(first) = bytes.first_mut() {
                *first = if *first & 1 == 0 { 0x45 } else { 0x60 };
            }
            for at in [6, 9] {
                if let Some(protocol) = bytes.get_mut(at) {
                    *protocol = IPPROTO_TCP;
                }
            }
            clamp(&mut bytes, mtu);
        }
    }
}
