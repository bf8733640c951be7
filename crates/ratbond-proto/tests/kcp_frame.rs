//! Stock's frames inside KCP messages.

#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use ratbond_proto::kcp::frame::{self, HelloOrigin};
use ratbond_proto::kcp::{Frame, FrameReader};
use ratbond_proto::{Packet, PacketPool};

/// An IPv4 packet of 20 bytes and `payload`, its checksum right.
fn ipv4(payload: &[u8]) -> Vec<u8> {
    let len = (20 + payload.len()) as u16;
    let mut packet = vec![0x45, 0, 0, 0, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    let sum: u32 = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

fn ipv6(payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 40];
    packet[0] = 0x60;
    packet[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

fn ip(bytes: &[u8]) -> Frame {
    Frame::Ip(Packet::from(bytes))
}

/// The frames of messages, and how many were malformed.
fn read(messages: &[&[u8]]) -> (Vec<Frame>, u64) {
    let (mut reader, mut pool, mut frames) = (FrameReader::new(), PacketPool::new(4), Vec::new());
    for message in messages {
        reader.read(Packet::from(*message), &mut pool, &mut frames);
    }
    (frames, reader.malformed())
}

#[test]
fn a_message_of_forty_bytes_that_begins_with_two_zeros_is_a_hello() {
    assert_eq!(read(&[&[0; 40]]), (vec![Frame::Hello(HelloOrigin::Stock)], 0));
    let mut noisy = [0xff; 40];
    noisy[..2].fill(0);
    assert_eq!(read(&[&noisy]), (vec![Frame::Hello(HelloOrigin::Stock)], 0));
    assert_eq!([[0; 40], noisy].map(|hello| frame::hello_tunnel_id(&hello)), [None, None]);
    assert_eq!([[0; 40], noisy].map(|hello| frame::hello_instance(&hello)), [None, None]);
}

#[test]
fn our_hello_is_one_for_stock_and_known_to_us() {
    let hello = frame::hello(660, 0x0102_0304_0506_0708);
    assert_eq!((hello.len(), hello[0], hello[1]), (40, 0, 0));
    assert_eq!(read(&[&hello]), (vec![Frame::Hello(HelloOrigin::Ours)], 0));
    assert_eq!(frame::hello_tunnel_id(&hello), Some(660));
    assert_eq!(frame::hello_instance(&hello), Some(0x0102_0304_0506_0708));
    assert_eq!(hello[18..26], [8, 7, 6, 5, 4, 3, 2, 1]);
}

#[test]
fn link_down_carries_its_conv_little_endian() {
    assert_eq!(frame::link_down(0x1234), [0, 0x34, 0x12]);
    for conv in [1, 10, 256, 512, 0x1234, u16::MAX] {
        assert_eq!(read(&[&frame::link_down(conv)]), (vec![Frame::LinkDown { conv }], 0));
    }
}

#[test]
fn a_packet_is_a_message_of_its_own() {
    for packet in [ipv4(b""), ipv4(&[7; 1_316]), ipv6(b""), ipv6(b"payload")] {
        assert_eq!(read(&[&packet]), (vec![ip(&packet)], 0));
    }
}

#[test]
fn packets_that_share_a_message_are_split_by_their_lengths() {
    let (four, six) = (ipv4(b"one"), ipv6(b"two"));
    let message = [&four[..], &six, &[0; 40], &frame::link_down(11), &four].concat();
    let expected =
        vec![ip(&four), ip(&six), Frame::Hello(HelloOrigin::Stock), Frame::LinkDown { conv: 11 }, ip(&four)];
    assert_eq!(read(&[&message]), (expected, 0));
}

#[test]
fn what_is_no_frame_is_dropped_and_counted() {
    let bad_header_len = {
        let mut packet = ipv4(b"");
        packet[0] = 0x44;
        packet
    };
    let bad_total_len = {
        let mut packet = ipv4(b"");
        packet[2..4].copy_from_slice(&19_u16.to_be_bytes());
        packet
    };
    for junk in [&[0x50, 1, 2, 3][..], &[0xff], &bad_header_len, &bad_total_len, &[1; 40]] {
        assert_eq!(read(&[junk]), (vec![], 1), "{junk:?}");
        let good = ipv4(b"good");
        assert_eq!(read(&[&[&good[..], junk].concat(), &good]), (vec![ip(&good), ip(&good)], 1));
    }
}

#[test]
fn an_empty_message_changes_nothing() {
    let packet = ipv4(b"goes on");
    assert_eq!(read(&[b"", &packet[..9], b"", &packet[9..]]), (vec![ip(&packet)], 0));
}

#[test]
fn a_beginning_in_a_segment_that_was_not_full_has_no_end() {
    let packet = ipv4(b"whole");
    let messages = [&packet[..], &ipv4(b"cut off")[..22], &packet, &packet];
    assert_eq!(read(&messages), (vec![ip(&packet), ip(&packet), ip(&packet)], 1));
}

#[test]
fn a_length_that_no_packet_has_is_not_waited_for() {
    let mut endless = ipv4(b"");
    endless[2..4].copy_from_slice(&u16::MAX.to_be_bytes());
    let packet = ipv4(b"next");
    assert_eq!(read(&[&endless, &packet]), (vec![ip(&packet)], 1));
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let payload = proptest::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        payload.clone().prop_map(|payload| ipv4(&payload)),
        payload.prop_map(|payload| ipv6(&payload)),
        Just(frame::hello(660, 7).to_vec()),
    ]
}

proptest! {
    #[test]
    fn a_stream_cut_into_full_segments_is_read_whole(frames in proptest::collection::vec(any_frame(), 1..40), mss in 41_usize..300) {
        let stream = frames.concat();
        let messages: Vec<_> = stream.chunks(mss).collect();
        let expected: Vec<_> = frames
            .iter()
            .map(|frame| if frame[0] == 0 { Frame::Hello(HelloOrigin::Ours) } else { ip(frame) })
            .collect();
        prop_assert_eq!(read(&messages), (expected, 0));
    }
}
