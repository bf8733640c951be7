//! The answer to a packet that is too long for the way: ICMP "fragmentation needed and DF set" (RFC 792, RFC 1191) and
//! ICMPv6 "packet too big" (RFC 4443, section 3.2).
//!
//! It comes from the packet's own destination, as Linux has it of tunnels under a bridge (`iptunnel_pmtud_build_icmp`): the
//! packet path does not know what its host is called, and that address is one that reverse path filters, translation and
//! a server's rule for its clients' sources let through.

use super::checksum::Sum;
use crate::flow::transport_of;

const IPPROTO_ICMP: u8 = 1;
const IPPROTO_ICMPV6: u8 = 58;
const FRAGMENTATION_NEEDED: [u8; 2] = [3, 4];
const PACKET_TOO_BIG: [u8; 2] = [2, 0];
/// ICMP errors are at most so long: what every host takes (RFC 1812, section 4.3.2.3), and what every IPv6 path carries
/// (RFC 4443, section 2.4 c).
const MAX_V4: usize = 576;
const MAX_V6: usize = 1_280;
const HOP_LIMIT: u8 = 64;

/// The answer that tells the sender of `packet` that `mtu` bytes would fit; `None` where none may be given (RFC 1122,
/// section 3.2.2; RFC 4443, section 2.4 e): of errors, of later fragments, and where the sender is nobody in particular.
#[must_use]
pub fn answer(packet: &[u8], mtu: usize) -> Option<Vec<u8>> {
    let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
    match packet.first()? >> 4 {
        4 => answer_v4(packet, mtu),
        6 => answer_v6(packet, mtu),
        _ => None,
    }
}

fn answer_v4(packet: &[u8], mtu: u16) -> Option<Vec<u8>> {
    let (protocol, at) = transport_of(packet)?;
    let is_error = protocol == IPPROTO_ICMP && !matches!(packet.get(at)?, 0 | 8 | 13..=18);
    let [first, .., last]: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    let is_somebody = !matches!(first, 0 | 127 | 224..) && last != 255;
    let is_to_somebody = !matches!(packet.get(16)?, 224..);
    if is_error || !is_somebody || !is_to_somebody {
        return None;
    }
    let quoted = &packet[..packet.len().min(MAX_V4 - 28)];
    let mut answer = vec![0; 28];
    answer[0] = 0x45;
    // Internetwork control (RFC 1812, section 4.3.2.5).
    answer[1] = 0xc0;
    answer[2..4].copy_from_slice(&((28 + quoted.len()) as u16).to_be_bytes());
    answer[8..10].copy_from_slice(&[HOP_LIMIT, IPPROTO_ICMP]);
    answer[12..16].copy_from_slice(&packet[16..20]);
    answer[16..20].copy_from_slice(&packet[12..16]);
    let checksum = Sum::default().bytes(&answer[..20]).checksum();
    answer[10..12].copy_from_slice(&checksum);
    answer[20..22].copy_from_slice(&FRAGMENTATION_NEEDED);
    answer[26..28].copy_from_slice(&mtu.to_be_bytes());
    answer.extend_from_slice(quoted);
    let checksum = Sum::default().bytes(&answer[20..]).checksum();
    answer[22..24].copy_from_slice(&checksum);
    Some(answer)
}

/// Of what is sent to many nothing is told, although RFC 4443 (section 2.4 e.3) allows it: there is no address to say it from.
fn answer_v6(packet: &[u8], mtu: u16) -> Option<Vec<u8>> {
    let (protocol, at) = transport_of(packet)?;
    let is_error = protocol == IPPROTO_ICMPV6 && *packet.get(at)? < 128;
    let (source, destination) = (packet.get(8..24)?, packet.get(24..40)?);
    let is_nobody = |address: &[u8]| address[0] == 0xff || address.iter().all(|&byte| byte == 0);
    if is_error || is_nobody(source) || is_nobody(destination) {
        return None;
    }
    let quoted = &packet[..packet.len().min(MAX_V6 - 48)];
    let icmp_len = 8 + quoted.len();
    let mut answer = vec![0; 48];
    answer[0] = 0x60;
    answer[4..6].copy_from_slice(&(icmp_len as u16).to_be_bytes());
    answer[6..8].copy_from_slice(&[IPPROTO_ICMPV6, HOP_LIMIT]);
    answer[8..24].copy_from_slice(destination);
    answer[24..40].copy_from_slice(source);
    answer[40..42].copy_from_slice(&PACKET_TOO_BIG);
    answer[46..48].copy_from_slice(&mtu.to_be_bytes());
    answer.extend_from_slice(quoted);
    // Over the pseudo header as well (RFC 4443, section 2.3).
    let pseudo =
        Sum::default().number(icmp_len as u16).number(u16::from(IPPROTO_ICMPV6)).bytes(&answer[8..40]);
    let checksum = pseudo.bytes(&answer[40..]).checksum();
    answer[42..44].copy_from_slice(&checksum);
    Some(answer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v4(protocol: u8, source: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 20];
        packet[0] = 0x45;
        packet[9] = protocol;
        packet[12..16].copy_from_slice(&source);
        packet[16..20].copy_from_slice(&[192, 0, 2, 1]);
        packet.extend(payload);
        packet
    }

    fn v6(next: u8, source_end: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x60;
        packet[6] = next;
        packet[23] = source_end;
        packet[24..26].copy_from_slice(&[0x20, 0x01]);
        packet[39] = 2;
        packet.extend(payload);
        packet
    }

    #[test]
    fn the_sender_is_told_how_much_fits_and_of_which_packet() {
        let packet = v4(17, [10, 0, 0, 1], &[7; 1_400]);
        let answer = answer(&packet, 1_362).unwrap();
        assert_eq!(answer.len(), 576);
        assert_eq!((&answer[12..16], &answer[16..20]), (&packet[16..20], &packet[12..16]));
        assert_eq!(answer[20..22], [3, 4]);
        assert_eq!(answer[26..28], 1_362u16.to_be_bytes());
        assert_eq!(answer[28..], packet[..548]);
        for part in [&answer[..20], &answer[20..]] {
            assert!(Sum::default().bytes(part).is_right());
        }
    }

    #[test]
    fn ipv6_is_told_with_a_packet_that_every_path_carries() {
        let packet = v6(17, 1, &[7; 1_400]);
        let answer = answer(&packet, 1_362).unwrap();
        assert_eq!(answer.len(), 1_280);
        assert_eq!((&answer[8..24], &answer[24..40]), (&packet[24..40], &packet[8..24]));
        assert_eq!(answer[40..42], [2, 0]);
        assert_eq!(answer[44..48], 1_362u32.to_be_bytes());
        assert_eq!(answer[48..], packet[..1_232]);
        let pseudo = Sum::default().number((answer.len() - 40) as u16).number(58).bytes(&answer[8..40]);
        assert!(pseudo.bytes(&answer[40..]).is_right());
    }

    #[test]
    fn nobody_is_told_of_errors_of_later_fragments_or_at_an_address_of_many() {
        let mut fragment = v4(17, [10, 0, 0, 1], &[7; 1_400]);
        fragment[7] = 1;
        let mut multicast = v6(17, 1, &[7; 1_400]);
        multicast[24] = 0xff;
        for packet in [
            fragment,
            multicast,
            v4(1, [10, 0, 0, 1], &[3; 1_400]),
            v4(17, [0, 0, 0, 0], &[7; 1_400]),
            v4(17, [224, 0, 0, 1], &[7; 1_400]),
            v4(17, [10, 0, 0, 255], &[7; 1_400]),
            v6(58, 1, &[1; 1_400]),
            v6(17, 0, &[7; 1_400]),
        ] {
            assert_eq!(answer(&packet, 1_300), None, "{:?}", &packet[..24]);
        }
        assert!(answer(&v4(1, [10, 0, 0, 1], &[8; 1_400]), 1_300).is_some(), "a ping is told");
        assert!(answer(&v6(58, 1, &[128; 1_400]), 1_300).is_some(), "a ping is told");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..100), mtu in any::<usize>()) {
            if let Some(first) = bytes.first_mut() {
                *first = if *first & 1 == 0 { 0x45 } else { 0x60 };
            }
            let _ = answer(&bytes, mtu);
        }
    }
}
