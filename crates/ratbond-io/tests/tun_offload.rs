//! Super-packets: what is cut and what is joined, against a second, plain implementation of the headers' rules.

#![allow(clippy::unwrap_used, reason = "tests")]

mod packets;

use packets::{Spec, checksums_are_right, ipv4_checksum, super_packet};
use proptest::prelude::*;
use ratbond_io::tun::{Malformed, Segmentation, Segmenter, VnetHeader, fuzz};

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const ECE: u8 = 0x40;
const CWR: u8 = 0x80;

fn cut(header: &VnetHeader, mut packet: Vec<u8>) -> Result<Vec<Vec<u8>>, Malformed> {
    let mut cut = Vec::new();
    Segmenter::default().cut(header, &mut packet, |packet| cut.push(packet.to_vec())).map(|()| cut)
}

/// How many packets each write has.
fn joined(packets: &[Vec<u8>]) -> Vec<usize> {
    fuzz::join(packets).iter().map(|(header, bytes)| cut(header, bytes.clone()).unwrap().len()).collect()
}

fn spec() -> impl Strategy<Value = Spec> {
    (any::<bool>(), any::<bool>(), any::<u32>(), any::<u16>(), 0..3usize, any::<bool>()).prop_map(
        |(ipv6, udp, sequence, id, options, dont_fragment)| Spec {
            ipv6,
            udp,
            sequence,
            id,
            options: if udp { 0 } else { options * 12 },
            dont_fragment,
            ..Spec::default()
        },
    )
}

proptest! {
    #[test]
    fn what_is_cut_is_whole_and_right(spec in spec(), segment in 1..1400usize, len in 1..20_000usize, flags in 0..4u8) {
        let len = len.min(segment * 60);
        let flags = ACK | if flags & 1 != 0 { PSH | FIN } else { 0 } | if flags & 2 != 0 { CWR } else { 0 };
        let spec = Spec { flags, ..spec };
        let (header, packet) = super_packet(&spec, segment, len);
        let cut = cut(&header, packet).unwrap();
        prop_assert_eq!(cut.len(), len.div_ceil(segment));
        let mut payload = Vec::new();
        for (index, packet) in cut.iter().enumerate() {
            let last = index + 1 == cut.len();
            prop_assert!(checksums_are_right(packet));
            let expected = Spec {
                sequence: spec.sequence.wrapping_add((index * segment) as u32),
                id: spec.id.wrapping_add(index as u16),
                flags: flags & !(if last { 0 } else { PSH | FIN }) & !(if index > 0 { CWR } else { 0 }),
                ..spec
            };
            let body = packet[spec.headers_len()..].to_vec();
            prop_assert_eq!(packet, &expected.packet(&body));
            payload.extend(body);
        }
        prop_assert_eq!(payload, packets::payload(len));
    }

    #[test]
    fn what_was_cut_is_joined_to_the_same(spec in spec(), segment in 1..1400usize, count in 2..40usize, push in any::<bool>()) {
        let spec = Spec { flags: if push { ACK | PSH } else { ACK }, ..spec };
        let (header, packet) = super_packet(&spec, segment, segment * count - segment / 2);
        let packets = cut(&header, packet.clone()).unwrap();
        let joined = fuzz::join(&packets);
        prop_assert_eq!(joined.len(), 1);
        prop_assert_eq!(&joined[0].0, &header);
        prop_assert_eq!(&joined[0].1, &packet);
    }

    #[test]
    fn flows_in_any_mix_come_out_as_they_went_in(
        order in prop::collection::vec((0..6u16, 0..8u8, 1..3usize), 1..150),
        damage in prop::option::of((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1..=255u8)),
    ) {
        let mut sequences = [7_u32; 6];
        let mut sent: Vec<Vec<u8>> = order.iter().map(|&(flow, kind, size)| {
            let sequence = &mut sequences[usize::from(flow)];
            let size = size * 100;
            let flags = match kind { 0 => ACK | PSH, 1 => ACK | FIN, 2 => ACK | CWR, 3 => ACK | ECE, _ => ACK };
            let spec = Spec {
                ipv6: flow % 2 == 1, udp: flow >= 4, port: 1000 + flow, sequence: *sequence, id: *sequence as u16, flags,
                dont_fragment: flow < 3, ..Spec::default()
            };
            *sequence = sequence.wrapping_add(if kind == 7 { 1 } else { size as u32 });
            spec.packet(&packets::payload(size))
        }).collect();
        if let Some((which, at, bits)) = damage {
            let packet = which.get(&sent).len();
            let index = which.index(sent.len());
            sent[index][at.index(packet)] ^= bits;
        }
        let mut received = fuzz::join_and_cut(&sent);
        prop_assert_eq!(received.len(), sent.len());
        if let Some((which, ..)) = damage {
            // It may be of another flow now, or of none.
            let damaged = sent.remove(which.index(sent.len()));
            let found = received.iter().position(|packet| *packet == damaged);
            prop_assert!(found.is_some(), "the damaged packet comes as it is");
            received.remove(found.unwrap());
        }
        for flow in 0..6u16 {
            let of_flow = |packets: &[Vec<u8>]| -> Vec<Vec<u8>> {
                packets.iter().filter(|packet| packets::port_of(packet) == Some(1000 + flow)).cloned().collect()
            };
            prop_assert_eq!(normal(of_flow(&received)), normal(of_flow(&sent)));
        }
    }

    #[test]
    fn nonsense_does_no_harm(data in prop::collection::vec(any::<u8>(), 0..400)) {
        fuzz::read(&data);
        fuzz::write(&data);
    }

    #[test]
    fn a_damaged_super_packet_does_no_harm(
        spec in spec(), segment in 1..600usize, len in 1..2_000usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let (header, packet) = super_packet(&spec, segment, len);
        let mut data = [&header.to_bytes()[..], &packet].concat();
        let front = data.len().min(80);
        for (at, value) in damage {
            data[at.index(front)] = value;
        }
        fuzz::read(&data);
    }
}

/// An atomic packet's identification means nothing (RFC 6864), and the kernel counts it on.
fn normal(mut packets: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    for packet in &mut packets {
        if packet[0] == 0x45 && packet[6] & 0x40 != 0 && checksums_are_right(packet) {
            packet[4..6].fill(0);
            packet[10..12].fill(0);
            let checksum = ipv4_checksum(&packet[..20]);
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
    }
    packets
}

fn in_sequence(count: u32, change: impl Fn(u32, Spec) -> Spec) -> Vec<Vec<u8>> {
    let spec = |index: u32| Spec { sequence: index * 100, id: index as u16, ..Spec::default() };
    (0..count).map(|index| change(index, spec(index)).packet(&packets::payload(100))).collect()
}

#[test]
fn packets_of_a_flow_in_sequence_are_one_write() {
    assert_eq!(joined(&in_sequence(10, |_, spec| spec)), [10]);
}

#[test]
fn udp_of_equal_length_is_one_write_and_a_shorter_one_ends_it() {
    let udp = Spec { udp: true, ..Spec::default() };
    let packets: Vec<_> =
        [100, 100, 40, 40, 100].iter().map(|&len| udp.packet(&packets::payload(len))).collect();
    assert_eq!(joined(&packets), [3, 1, 1]);
}

#[test]
fn what_says_more_than_data_stays_alone() {
    for flags in [ACK | SYN, ACK | FIN, ACK | 0x04, ACK | 0x20] {
        let special = |index, spec| Spec { flags: if index == 2 { flags } else { ACK }, ..spec };
        assert_eq!(joined(&in_sequence(5, special)), [2, 1, 2], "flags {flags:#x}");
    }
}

#[test]
fn a_push_is_the_last_of_its_super_packet() {
    let pushing = |index, spec| Spec { flags: if index == 2 { ACK | PSH } else { ACK }, ..spec };
    assert_eq!(joined(&in_sequence(5, pushing)), [3, 2]);
}

#[test]
fn a_reduced_window_is_told_by_the_first_alone() {
    let reduced = |index, spec| Spec { flags: if index == 2 { ACK | CWR } else { ACK }, ..spec };
    let written = fuzz::join(&in_sequence(5, reduced));
    assert_eq!(written.len(), 2);
    assert_eq!(written[1].0.to_bytes()[1], 0x81, "VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN");
}

#[test]
fn congestion_marks_options_windows_and_gaps_are_not_mixed() {
    type Change = fn(Spec) -> Spec;
    let changes: [(&str, Change); 7] = [
        ("CE", |spec| Spec { ecn: 3, ..spec }),
        ("ECE", |spec| Spec { flags: ACK | ECE, ..spec }),
        ("timestamps", |spec| Spec { options: 12, ..spec }),
        ("window", |spec| Spec { window: 1, ..spec }),
        ("acknowledgement", |spec| Spec { acknowledged: 1, ..spec }),
        ("hop limit", |spec| Spec { hops: 3, ..spec }),
        ("a gap", |spec| Spec { sequence: spec.sequence + 100, ..spec }),
    ];
    for (what, change) in changes {
        let packets = in_sequence(4, |index, spec| if index >= 2 { change(spec) } else { spec });
        assert_eq!(joined(&packets), [2, 2], "{what}");
    }
}

#[test]
fn identifications_that_mean_something_must_count_on() {
    let fragmentable = |id: fn(u32) -> u16| {
        in_sequence(4, |index, spec| Spec { dont_fragment: false, id: id(index), ..spec })
    };
    assert_eq!(joined(&fragmentable(|index| index as u16)), [4]);
    assert_eq!(joined(&fragmentable(|_| 9)), [1, 1, 1, 1]);
}

#[test]
fn a_wrong_checksum_is_passed_on_as_it_is() {
    for (at, what) in [(10, "of the IP header"), (36, "of TCP")] {
        for wrong in 0..3 {
            let mut packets = in_sequence(3, |_, spec| spec);
            packets[wrong][at] ^= 1;
            let written = fuzz::join(&packets);
            let found = written.iter().find(|(_, bytes)| *bytes == packets[wrong]);
            assert_eq!(found.unwrap().0, VnetHeader::default(), "{what}, packet {wrong}");
        }
    }
}

#[test]
fn a_udp_packet_without_checksum_gets_none() {
    let mut packets = vec![Spec { udp: true, ..Spec::default() }.packet(&packets::payload(100)); 2];
    for packet in &mut packets {
        packet[26..28].fill(0);
    }
    assert_eq!(fuzz::join(&packets).iter().map(|(_, bytes)| bytes.clone()).collect::<Vec<_>>(), packets);
}

#[test]
fn nothing_overtakes_a_fragment_of_its_flow() {
    let mut packets = in_sequence(4, |_, spec| Spec { udp: true, ..spec });
    packets[1][6] = 0x20;
    let written = fuzz::join(&packets);
    assert_eq!(written.len(), 3);
    assert_eq!(written[1].1, packets[1]);
}

#[test]
fn other_protocols_pass_without_ending_a_flow() {
    let mut packets = in_sequence(4, |_, spec| spec);
    packets[1][9] = 1;
    packets.push(Spec { sequence: 400, id: 4, ..Spec::default() }.packet(&packets::payload(100)));
    let echo = packets.remove(1);
    packets.insert(2, echo.clone());
    packets[0] = Spec { sequence: 100, id: 1, ..Spec::default() }.packet(&packets::payload(100));
    let written = fuzz::join(&packets);
    assert_eq!(written.len(), 2);
    assert_eq!(written[1], (VnetHeader::default(), echo));
}

#[test]
fn ipv6_extension_headers_are_repeated_and_never_joined() {
    let spec = Spec { ipv6: true, extension: true, ..Spec::default() };
    let (header, packet) = super_packet(&spec, 100, 250);
    let packets = cut(&header, packet).unwrap();
    assert_eq!(packets.len(), 3);
    assert!(
        packets
            .iter()
            .all(|packet| checksums_are_right(packet) && packet[40..48] == [6, 0, 1, 4, 0, 0, 0, 0])
    );
    assert_eq!(joined(&packets), [1, 1, 1]);
}

#[test]
fn a_partial_checksum_is_completed() {
    for udp in [false, true] {
        let spec = Spec { udp, ..Spec::default() };
        let (mut header, packet) = super_packet(&spec, 500, 500);
        let mut bytes = header.to_bytes();
        bytes[1] = 0;
        header = VnetHeader::read(&bytes);
        assert_eq!(cut(&header, packet).unwrap(), [spec.packet(&packets::payload(500))]);
    }
}

#[test]
fn a_super_packet_that_is_not_what_its_header_says_is_refused_whole() {
    let (header, packet) = super_packet(&Spec::default(), 100, 250);
    let with = |at: usize, value: u8| {
        let mut bytes = header.to_bytes();
        bytes[at] = value;
        cut(&VnetHeader::read(&bytes), packet.clone())
    };
    assert_eq!(with(1, 3), Err(Malformed::Kind(3)), "UFO was never asked for");
    assert_eq!(with(1, 4), Err(Malformed::Headers), "it is no IPv6");
    assert_eq!(with(1, 5), Err(Malformed::Headers), "it is no UDP");
    assert_eq!(with(4, 0), Err(Malformed::Headers), "segments of nothing");
    assert_eq!(with(6, 24), Err(Malformed::Headers), "its checksum is elsewhere");
    assert_eq!(cut(&header, packet[..30].to_vec()), Err(Malformed::Headers), "cut off");
    assert_eq!(header.segmentation(), Ok(Some(Segmentation::TcpV4)));
}
