//! IPv4 fragmentation (RFC 791, section 3.2), of packets that do not forbid it.

use super::checksum::Sum;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;
/// Set in the type of an option that goes into every fragment.
const COPIED: u8 = 0x80;

/// Whether a router may cut this packet.
#[must_use]
pub fn may_cut(packet: &[u8]) -> bool {
    header_of(packet).is_some() && flags_of(packet) & DONT_FRAGMENT == 0
}

/// Calls `each` for every fragment of at most `mtu` bytes; for none when the packet may not or cannot be cut.
pub fn cut(packet: &[u8], mtu: usize, mut each: impl FnMut(&[u8])) {
    let Some(header) = header_of(packet).filter(|_| may_cut(packet)) else { return };
    let total_len = usize::from(u16::from_be_bytes([packet[2], packet[3]])).min(packet.len());
    let Some(mut rest) = packet.get(header.len()..total_len) else { return };
    let flags = flags_of(packet);
    let (mut offset, mut first) = (flags & OFFSET, true);
    let later = later_header(header);
    let mut fragment = Vec::with_capacity(mtu);
    while !rest.is_empty() {
        let header = if first { header } else { &later[..] };
        // Offsets count eight bytes.
        let room = mtu.saturating_sub(header.len()) & !7;
        if room == 0 {
            return;
        }
        let (payload, tail) = rest.split_at(room.min(rest.len()));
        let more = if tail.is_empty() { flags & MORE_FRAGMENTS } else { MORE_FRAGMENTS };
        fragment.clear();
        fragment.extend_from_slice(header);
        fragment.extend_from_slice(payload);
        let len = fragment.len() as u16;
        fragment[2..4].copy_from_slice(&len.to_be_bytes());
        fragment[6..8].copy_from_slice(&(more | offset).to_be_bytes());
        fragment[10..12].fill(0);
        let checksum = Sum::default().bytes(&fragment[..header.len()]).checksum();
        fragment[10..12].copy_from_slice(&checksum);
        each(&fragment);
        offset += (payload.len() / 8) as u16;
        (rest, first) = (tail, false);
    }
}

fn header_of(packet: &[u8]) -> Option<&[u8]> {
    let first = packet.first().filter(|&&first| first >> 4 == 4)?;
    let len = usize::from(first & 0x0f) * 4;
    packet.get(..len).filter(|header| header.len() >= 20)
}

fn flags_of(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[6], packet[7]])
}

/// The header of all fragments but the first: without the options that are not copied.
fn later_header(header: &[u8]) -> Vec<u8> {
    let mut later = header[..20].to_vec();
    let mut options = &header[20..];
    while let Some(&kind) = options.first() {
        let len = match kind {
            0 => break,
            1 => 1,
            _ => options.get(1).map_or(0, |&len| usize::from(len)),
        };
        let Some((option, tail)) = options.split_at_checked(len).filter(|_| len > 0) else { break };
        if kind & COPIED != 0 {
            later.extend_from_slice(option);
        }
        options = tail;
    }
    later.resize(later.len().next_multiple_of(4), 0);
    later[0] = 0x40 | (later.len() / 4) as u8;
    later
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(flags: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 20];
        packet.extend(options);
        packet[0] = 0x40 | (packet.len() / 4) as u8;
        packet[4..6].copy_from_slice(&[0xab, 0xcd]);
        packet[6..8].copy_from_slice(&flags.to_be_bytes());
        packet[8..20].copy_from_slice(&[64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        packet.extend(payload);
        let len = packet.len() as u16;
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        packet
    }

    fn fragments(packet: &[u8], mtu: usize) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        cut(packet, mtu, |fragment| all.push(fragment.to_vec()));
        all
    }

    /// The payload as a receiver puts it together, and whether more is to come.
    fn reassemble(fragments: &[Vec<u8>], first_offset: u16) -> (Vec<u8>, bool) {
        let (mut payload, mut more) = (Vec::new(), true);
        for fragment in fragments {
            let header_len = usize::from(fragment[0] & 0x0f) * 4;
            assert!(Sum::default().bytes(&fragment[..header_len]).is_right());
            assert_eq!(usize::from(u16::from_be_bytes([fragment[2], fragment[3]])), fragment.len());
            assert_eq!(fragment[4..6], [0xab, 0xcd]);
            assert_eq!(
                usize::from(flags_of(fragment) & OFFSET),
                usize::from(first_offset) + payload.len() / 8
            );
            payload.extend(&fragment[header_len..]);
            more = flags_of(fragment) & MORE_FRAGMENTS != 0;
        }
        (payload, more)
    }

    #[test]
    fn what_forbids_it_or_is_no_ipv4_is_not_cut() {
        assert_eq!(fragments(&packet(DONT_FRAGMENT, &[], &[7; 1_400]), 1_000), Vec::<Vec<u8>>::new());
        assert_eq!(fragments(&[0x60; 1_400], 1_000), Vec::<Vec<u8>>::new());
        assert!(!may_cut(&[]));
    }

    #[test]
    fn only_options_that_are_to_be_copied_are_in_later_fragments() {
        // Record route (7) is not copied, router alert (148) is: RFC 791, section 3.1; RFC 2113.
        let options = [7, 3, 4, 1, 148, 4, 0, 0];
        let all = fragments(&packet(0, &options, &[7; 100]), 84);
        assert_eq!(all.iter().map(|one| one[0]).collect::<Vec<_>>(), [0x47, 0x46]);
        assert_eq!(all[1][20..24], [148, 4, 0, 0]);
    }

    proptest! {
        #[test]
        fn fragments_fit_and_make_the_packet_again(
            len in 1usize..4_000, mtu in 68usize..1_500, offset in 0u16..1_000, more in any::<bool>(),
        ) {
            let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let flags = offset | if more { MORE_FRAGMENTS } else { 0 };
            let all = fragments(&packet(flags, &[], &payload), mtu);
            prop_assert!(all.iter().all(|fragment| fragment.len() <= mtu));
            prop_assert_eq!(reassemble(&all, offset), (payload, more));
        }

        #[test]
        fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), mtu in 0usize..200) {
            if let Some(first) = bytes.first_mut() {
                *first = 0x40 | (*first & 0x0f);
            }
            cut(&bytes, mtu, |_| {});
        }
    }
}
