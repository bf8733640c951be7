use std::time::Duration;

use proptest::prelude::*;

use super::*;

const NUMBERING: Numbering = Numbering { bucket: 7, seq: 0x00ab_cdef, ordered: true };

fn parse(bytes: &[u8]) -> Result<Vec<Frame<'_>>, FrameError> {
    Frames::new(bytes).collect()
}

#[test]
fn a_full_packet_costs_five_bytes() {
    let mut out = [0; 1447];
    let mut writer = Writer::new(&mut out);
    assert!(writer.data(NUMBERING, &[0x45; 1442], true));
    assert_eq!(writer.len(), 1447);
    assert_eq!(out[..5], [0xc0, 7, 0xab, 0xcd, 0xef]);
    assert_eq!(parse(&out), Ok(vec![Frame::Data { numbering: NUMBERING, packet: &[0x45; 1442] }]));
}

#[test]
fn a_frame_that_does_not_fit_leaves_no_trace() {
    let mut out = [0; 10];
    let mut writer = Writer::new(&mut out);
    assert!(!writer.data(NUMBERING, &[1; 6], true));
    assert!(!writer.rekey(RekeyStep::Offer, 1, &[1; 9]));
    assert!(!writer.path_challenge([0; 8]) || writer.len() == 9);
    let content = AckContent { ranges: &[(3, 9)], received_at_us: 1, delay: Duration::ZERO };
    let before = writer.len();
    assert!(!writer.ack(None, &content));
    assert_eq!(writer.len(), before);
}

#[test]
fn every_kind_of_frame_survives_the_wire_side_by_side() {
    let ranges = [(1_000, 1_009), (990, 990), (5, 17)];
    let content =
        AckContent { ranges: &ranges, received_at_us: 0xfedc_ba98, delay: Duration::from_micros(4_000) };
    let mut fields = tlv::FieldWriter::default();
    fields.put(tlv::field::TIER, &[2]);
    let mut out = [0; 600];
    let mut writer = Writer::new(&mut out);
    assert!(writer.ping() && writer.ack(None, &content) && writer.ack(Some(300), &content));
    assert!(writer.skip(9, 0xff_ffff, 2) && writer.hello(fields.as_slice()));
    assert!(writer.link_down(4, LinkDownReason::InterfaceDown, Some(&content)));
    assert!(writer.link_down(5, LinkDownReason::Other(77), None));
    assert!(writer.path_challenge([1; 8]) && writer.path_response([2; 8]));
    assert!(writer.rekey(RekeyStep::Answer, 255, b"noise") && writer.close(1, "gone"));
    let mark = writer.len();
    writer.pad_to(mark + 20);
    assert!(writer.data(NUMBERING, b"first", false) && writer.data(NUMBERING, b"last", true));
    let len = writer.len();

    let frames = parse(&out[..len]).unwrap();
    let check = |block: &AckBlock<'_>| {
        assert_eq!(block.largest(1_010), Some(1_009));
        assert_eq!(block.to_pairs(1_009), ranges);
        assert_eq!((block.received_at_us, block.delay), (0xfedc_ba98, Duration::from_micros(4_000)));
    };
    let mut blocks = 0;
    for frame in &frames {
        match frame {
            Frame::Ack { link, block } => {
                assert_eq!(*link, if blocks == 0 { None } else { Some(300) });
                check(block);
                blocks += 1;
            }
            Frame::LinkDown { link: 4, reason: LinkDownReason::InterfaceDown, received: Some(block) } => {
                check(block)
            }
            Frame::LinkDown { link, reason, received } => {
                assert_eq!((*link, *reason, *received), (5, LinkDownReason::Other(77), None));
            }
            _ => {}
        }
    }
    assert_eq!(frames.len(), 13);
    assert_eq!(frames[0], Frame::Ping);
    assert_eq!(frames[3], Frame::Skip { bucket: 9, first: 0xff_ffff, count: 2 });
    assert_eq!(frames[7], Frame::PathChallenge([1; 8]));
    assert_eq!(frames[9], Frame::Rekey { step: RekeyStep::Answer, epoch: 255, message: b"noise" });
    assert_eq!(frames[10], Frame::Close { code: 1, reason: "gone" });
    assert_eq!(frames[12], Frame::Data { numbering: NUMBERING, packet: b"last" });
}

#[test]
fn an_unknown_extension_is_skipped_and_an_unknown_frame_is_not() {
    assert_eq!(parse(&[0x7f, 0, 2, 9, 9, kind::PING]), Ok(vec![Frame::Ping]));
    assert_eq!(parse(&[0x3f]), Err(FrameError::UnknownType(0x3f)));
    assert_eq!(parse(&[0x81, 0, 0, 0, 0, 1]), Err(FrameError::UnknownType(0x81)));
}

#[test]
fn an_ack_of_what_was_never_sent_has_no_largest() {
    let content = AckContent { ranges: &[(0, 9)], received_at_us: 0, delay: Duration::ZERO };
    let mut out = [0; 64];
    let mut writer = Writer::new(&mut out);
    assert!(writer.ack(None, &content));
    let len = writer.len();
    let Ok(Frame::Ack { block, .. }) = Frames::new(&out[..len]).next().unwrap() else { panic!("an ack") };
    assert_eq!(block.largest(9), None, "9 was not sent yet");
    assert_eq!(block.largest(10), Some(9));
}

#[test]
fn a_long_reason_is_cut_between_characters() {
    let mut out = [0; 200];
    let mut writer = Writer::new(&mut out);
    assert!(writer.close(0, &"ü".repeat(100)));
    let len = writer.len();
    let Ok(Frame::Close { reason, .. }) = Frames::new(&out[..len]).next().unwrap() else { panic!("a close") };
    assert_eq!(reason, "ü".repeat(60));
}

/// Received numbers as disjoint, non-adjacent ranges, newest first.
fn ranges() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let steps = prop::collection::vec((2u64..70_000, 0u64..70_000), 1..=ack::MAX_RANGES);
    (0u64..1 << 40, steps).prop_map(|(start, steps)| {
        let mut at = start;
        let mut ranges = Vec::new();
        for (gap, len) in steps {
            ranges.push((at + gap, at + gap + len));
            at += gap + len;
        }
        ranges.reverse();
        ranges
    })
}

proptest! {
    #[test]
    fn ranges_survive_the_wire(ranges in ranges()) {
        let content = AckContent { ranges: &ranges, received_at_us: 5, delay: Duration::from_millis(2) };
        let mut out = [0; 400];
        let mut writer = Writer::new(&mut out);
        prop_assert!(writer.ack(None, &content));
        let len = writer.len();
        let frames = parse(&out[..len]).unwrap();
        let Frame::Ack { block, .. } = &frames[0] else { panic!("an ack") };
        let next = ranges[0].1 + 1;
        prop_assert_eq!(block.largest(next + 1000), Some(ranges[0].1));
        prop_assert_eq!(block.to_pairs(ranges[0].1), ranges);
    }

    #[test]
    fn ranges_that_do_not_fit_are_left_off_at_the_old_end(ranges in ranges(), room in 12usize..60) {
        let content = AckContent { ranges: &ranges, received_at_us: 5, delay: Duration::ZERO };
        let mut out = [0; 60];
        let mut writer = Writer::new(&mut out[..room]);
        if writer.ack(None, &content) {
            let len = writer.len();
            let frames = parse(&out[..len]).unwrap();
            let Frame::Ack { block, .. } = &frames[0] else { panic!("an ack") };
            let pairs = block.to_pairs(ranges[0].1);
            prop_assert!(!pairs.is_empty());
            prop_assert_eq!(&pairs[..], &ranges[..pairs.len()]);
        }
    }

    #[test]
    fn garbage_never_panics_and_ends(bytes in prop::collection::vec(any::<u8>(), 0..200), next in any::<u64>()) {
        crate::bond::fuzz::frames(&bytes);
        for frame in Frames::new(&bytes).flatten() {
            if let Frame::Ack { block, .. } = frame
                && let Some(largest) = block.largest(next) {
                    let mut below = largest + 1;
                    for range in block.ranges(largest) {
                        prop_assert!(range.start() <= range.end() && *range.end() < below);
                        below = *range.start();
                    }
                }
        }
    }
}
