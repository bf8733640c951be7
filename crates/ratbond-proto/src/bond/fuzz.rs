//! Entry points for fuzzing: each takes any bytes, must neither panic nor hang, and asserts what must always hold.

use super::datagram::{Header, Kind, ReceiverIndex};
use super::frame::{Frame, Frames};

/// The clear header.
pub fn header(data: &[u8]) {
    let kind = Kind::of(data);
    let header = Header::decode(data);
    if let Ok(header) = header {
        assert_eq!(kind, Ok(Kind::Sealed { phase: header.phase }));
        assert_eq!(ReceiverIndex::of(data), Ok(header.receiver));
        assert_eq!(header.encode(), data[..9]);
    }
}

/// The frames of an opened datagram.
pub fn frames(data: &[u8]) {
    for frame in Frames::new(data) {
        match frame {
            Ok(Frame::Ack { block, .. } | Frame::LinkDown { received: Some(block), .. }) => {
                for next in [0, 1, 1 << 20, 1 << 33] {
                    if let Some(largest) = block.largest(next) {
                        assert!(block.ranges(largest).count() <= super::frame::ack::MAX_RANGES);
                    }
                }
            }
            Ok(Frame::Hello(fields)) => assert!(fields.iter().count() <= data.len() / 2),
            Ok(_) | Err(_) => {}
        }
    }
}
