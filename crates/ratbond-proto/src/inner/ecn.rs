//! Explicit congestion notification (RFC 3168): a full queue says so in the packet instead of dropping it.

use super::checksum;

const ECN: u8 = 0b11;
const NOT_ECT: u8 = 0b00;
const CE: u8 = 0b11;

/// Marks a packet whose sender says that it listens to marks; returns whether it did, so that the mark is there now.
pub fn mark(packet: &mut [u8]) -> bool {
    match packet.first().map(|first| first >> 4) {
        Some(4) if packet.len() >= 20 && packet[1] & ECN != NOT_ECT => {
            let word = |packet: &[u8], at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
            let before = word(packet, 0);
            packet[1] |= CE;
            let checksum = checksum::update(word(packet, 10), before, word(packet, 0));
            packet[10..12].copy_from_slice(&checksum);
            true
        }
        // The traffic class is the second and third half of the first two bytes (RFC 8200, section 3).
        Some(6) if packet.len() >= 40 && packet[1] >> 4 & ECN != NOT_ECT => {
            packet[1] |= CE << 4;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::inner::checksum::Sum;

    fn v4(traffic_class: u8) -> Vec<u8> {
        let mut packet = vec![0x45, traffic_class, 0, 24, 0xab, 0xcd, 0x40, 0, 64, 6, 0, 0];
        packet.extend([10, 0, 0, 1, 10, 0, 0, 2, 1, 2, 3, 4]);
        let checksum = Sum::default().bytes(&packet[..20]).checksum();
        packet[10..12].copy_from_slice(&checksum);
        packet
    }

    fn v6(traffic_class: u8) -> Vec<u8> {
        let mut packet = vec![0; 44];
        packet[0] = 0x60 | traffic_class >> 4;
        packet[1] = traffic_class << 4 | 0x0a;
        packet
    }

    #[test]
    fn who_listens_is_told_and_nothing_else_changes() {
        for (ect, dscp) in [(1, 0), (2, 0), (3, 0), (2, 46), (1, 0x3f)] {
            let mut packet = v4(dscp << 2 | ect);
            assert!(mark(&mut packet));
            assert_eq!(packet, v4(dscp << 2 | CE), "with a right checksum");
            let mut packet = v6(dscp << 2 | ect);
            assert!(mark(&mut packet));
            assert_eq!(packet, v6(dscp << 2 | CE));
        }
    }

    #[test]
    fn who_does_not_is_left_alone() {
        for mut packet in [v4(0), v4(46 << 2), v6(0), v6(46 << 2), vec![], vec![0x45, 2], vec![0x60, 0x20]] {
            let before = packet.clone();
            assert!(!mark(&mut packet));
            assert_eq!(packet, before);
        }
    }

    proptest! {
        #[test]
        fn a_header_whose_checksum_was_right_stays_right(mut packet in prop::collection::vec(any::<u8>(), 20..60)) {
            packet[0] = 0x45;
            packet[10..12].fill(0);
            let checksum = Sum::default().bytes(&packet[..20]).checksum();
            packet[10..12].copy_from_slice(&checksum);
            mark(&mut packet);
            prop_assert!(Sum::default().bytes(&packet[..20]).is_right());
        }
    }
}
