//! The KCP segment: a 24-byte header, little endian, and its payload; several are packed into a datagram.

/// Bytes of a segment's header.
pub const HEADER_LEN: usize = 24;

/// What a segment is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cmd {
    /// Carries data.
    Push = 81,
    /// Acknowledges one PUSH: echoes its sn and ts.
    Ack = 82,
    /// Asks for the receive window (WASK).
    WindowAsk = 83,
    /// Tells the receive window (WINS).
    WindowTell = 84,
}

impl Cmd {
    /// The command of a wire byte, if there is such a command.
    #[must_use]
    pub const fn from_wire(byte: u8) -> Option<Self> {
        match byte {
            81 => Some(Self::Push),
            82 => Some(Self::Ack),
            83 => Some(Self::WindowAsk),
            84 => Some(Self::WindowTell),
            _ => None,
        }
    }
}

/// A segment's header, without the payload's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Conversation the segment belongs to.
    pub conv: u32,
    /// What it is for.
    pub cmd: Cmd,
    /// Fragments of the same message that follow this one.
    pub frg: u8,
    /// Segments the sender of this one has room for.
    pub wnd: u16,
    /// The sender's clock in ms; in an ACK the echo of the PUSH's.
    pub ts: u32,
    /// Sequence number.
    pub sn: u32,
    /// Every sn before this one has arrived at the sender of this segment.
    pub una: u32,
}

impl Header {
    /// Appends the segment to a datagram.
    pub fn write(&self, payload: &[u8], datagram: &mut Vec<u8>) {
        // A payload never exceeds a datagram, far below 2^32.
        let len = payload.len() as u32;
        let mut header = [0; HEADER_LEN];
        header[0..4].copy_from_slice(&self.conv.to_le_bytes());
        header[4] = self.cmd as u8;
        header[5] = self.frg;
        header[6..8].copy_from_slice(&self.wnd.to_le_bytes());
        header[8..12].copy_from_slice(&self.ts.to_le_bytes());
        header[12..16].copy_from_slice(&self.sn.to_le_bytes());
        header[16..20].copy_from_slice(&self.una.to_le_bytes());
        header[20..24].copy_from_slice(&len.to_le_bytes());
        datagram.extend_from_slice(&header);
        datagram.extend_from_slice(payload);
    }
}

/// One segment of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Its header.
    pub header: Header,
    /// Its data; as long as the header said.
    pub payload: &'a [u8],
}

/// Why the rest of a datagram is no segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// Fewer bytes than a header has.
    #[error("{left} bytes are no segment: its header alone has {HEADER_LEN}")]
    Truncated {
        /// Bytes that were left.
        left: usize,
    },
    /// No such command.
    #[error("unknown command {0}")]
    UnknownCmd(u8),
    /// The header promises more payload than the datagram holds.
    #[error("a payload of {len} bytes where {left} are left")]
    Length {
        /// What the header says.
        len: u32,
        /// Bytes after the header.
        left: usize,
    },
}

/// The segments of a datagram, first to last; ends after the first error.
///
/// Each step is O(1): the length is checked against what is left before anything is done with it.
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    rest: &'a [u8],
}

impl<'a> Segments<'a> {
    /// Walks over the segments in `datagram` (the crypt header taken off).
    #[must_use]
    pub const fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = Result<Segment<'a>, SegmentError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match parse(self.rest) {
            Ok((segment, rest)) => {
                self.rest = rest;
                Some(Ok(segment))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

fn parse(bytes: &[u8]) -> Result<(Segment<'_>, &[u8]), SegmentError> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_LEN>() else {
        return Err(SegmentError::Truncated { left: bytes.len() });
    };
    let cmd = Cmd::from_wire(header[4]).ok_or(SegmentError::UnknownCmd(header[4]))?;
    let len = u32_at(header, 20);
    let split = usize::try_from(len).ok().and_then(|len| rest.split_at_checked(len));
    let (payload, rest) = split.ok_or(SegmentError::Length { len, left: rest.len() })?;
    let header = Header {
        conv: u32_at(header, 0),
        cmd,
        frg: header[5],
        wnd: u16::from_le_bytes([header[6], header[7]]),
        ts: u32_at(header, 8),
        sn: u32_at(header, 12),
        una: u32_at(header, 16),
    };
    Ok((Segment { header, payload }, rest))
}

fn u32_at(header: &[u8; HEADER_LEN], at: usize) -> u32 {
    u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(sn: u32) -> Header {
        Header {
            conv: 0x0102_0304,
            cmd: Cmd::Push,
            frg: 2,
            wnd: 0x0506,
            ts: 0x0708_090a,
            sn,
            una: 0x0b0c_0d0e,
        }
    }

    #[test]
    fn a_segment_is_laid_out_as_kcp_go_does() {
        let mut datagram = Vec::new();
        push(0x1122_3344).write(b"abc", &mut datagram);
        let expected = [
            4, 3, 2, 1, 81, 2, 6, 5, 0x0a, 9, 8, 7, 0x44, 0x33, 0x22, 0x11, 0x0e, 0x0d, 0x0c, 0x0b, 3, 0, 0,
            0, b'a', b'b', b'c',
        ];
        assert_eq!(datagram, expected);
    }

    #[test]
    fn segments_come_out_as_they_went_in() {
        let mut datagram = Vec::new();
        push(1).write(b"one", &mut datagram);
        push(2).write(b"", &mut datagram);
        push(3).write(b"three", &mut datagram);
        let read: Vec<_> = Segments::new(&datagram).map(Result::unwrap).collect();
        assert_eq!(read.iter().map(|s| s.header).collect::<Vec<_>>(), [push(1), push(2), push(3)]);
        assert_eq!(read.iter().map(|s| s.payload).collect::<Vec<_>>(), [&b"one"[..], b"", b"three"]);
    }

    #[test]
    fn a_length_beyond_the_datagram_is_refused() {
        for len in [4_u32, 1 << 31, u32::MAX] {
            let mut datagram = Vec::new();
            push(1).write(b"abc", &mut datagram);
            datagram[20..24].copy_from_slice(&len.to_le_bytes());
            let mut segments = Segments::new(&datagram);
            assert_eq!(segments.next(), Some(Err(SegmentError::Length { len, left: 3 })));
            assert_eq!(segments.next(), None);
        }
    }

    #[test]
    fn an_unknown_command_ends_the_walk() {
        let mut datagram = Vec::new();
        push(1).write(b"", &mut datagram);
        push(2).write(b"", &mut datagram);
        datagram[HEADER_LEN + 4] = 85;
        let read: Vec<_> = Segments::new(&datagram).collect();
        assert_eq!(read.len(), 2);
        assert_eq!(read[1], Err(SegmentError::UnknownCmd(85)));
    }

    #[test]
    fn a_truncated_header_is_refused() {
        let mut datagram = Vec::new();
        push(1).write(b"", &mut datagram);
        for left in 1..HEADER_LEN {
            assert_eq!(Segments::new(&datagram[..left]).next(), Some(Err(SegmentError::Truncated { left })));
        }
    }
}
