//! Reading frames. Nothing is copied, nothing is allocated, every length is checked against what is left.

use super::ack::AckBlock;
use super::tlv::Fields;
use super::{Frame, FrameError, LinkDownReason, MAX_REASON_LEN, RekeyStep, kind, varint};
use crate::numbering::Numbering;

/// A cursor over received bytes.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    input: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `input`.
    #[must_use]
    pub const fn new(input: &'a [u8]) -> Self {
        Self { input }
    }

    /// What has not been read.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.input
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// Fewer are left. The same holds for all the readers below.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], FrameError> {
        let (head, rest) = self.input.split_at_checked(len).ok_or(FrameError::Truncated)?;
        self.input = rest;
        Ok(head)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (head, rest) = self.input.split_first_chunk().ok_or(FrameError::Truncated)?;
        self.input = rest;
        Ok(*head)
    }

    /// One byte.
    ///
    /// # Errors
    /// None is left.
    pub fn u8(&mut self) -> Result<u8, FrameError> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes, big endian.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn u16(&mut self) -> Result<u16, FrameError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// Three bytes, big endian.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn u24(&mut self) -> Result<u32, FrameError> {
        let [a, b, c] = self.array()?;
        Ok(u32::from_be_bytes([0, a, b, c]))
    }

    /// Four bytes, big endian.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn u32(&mut self) -> Result<u32, FrameError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// A variable-length integer.
    ///
    /// # Errors
    /// It is cut short.
    pub fn varint(&mut self) -> Result<u64, FrameError> {
        let (value, rest) = varint::read(self.input).ok_or(FrameError::Truncated)?;
        self.input = rest;
        Ok(value)
    }
}

/// Iterates over the frames of an opened datagram, padding left out. Stops after the first error.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    reader: Reader<'a>,
}

impl<'a> Frames<'a> {
    /// The frames of `plaintext`, the opened inside of a datagram.
    #[must_use]
    pub const fn new(plaintext: &'a [u8]) -> Self {
        Self { reader: Reader::new(plaintext) }
    }

    /// Skips padding and unknown extensions; the type byte of the next frame.
    fn next_type(&mut self) -> Result<Option<u8>, FrameError> {
        loop {
            let rest = self.reader.input;
            let Some(&byte) = rest.first() else { return Ok(None) };
            match byte {
                kind::PADDING => {
                    let zeros = rest.iter().position(|&b| b != kind::PADDING).unwrap_or(rest.len());
                    self.reader.input = &rest[zeros..];
                }
                kind::EXTENSION..kind::DATA => {
                    self.reader.input = &rest[1..];
                    let len = self.reader.u16()?;
                    self.reader.bytes(usize::from(len))?;
                }
                _ => {
                    self.reader.input = &rest[1..];
                    return Ok(Some(byte));
                }
            }
        }
    }

    fn read(&mut self, byte: u8) -> Result<Frame<'a>, FrameError> {
        let reader = &mut self.reader;
        Ok(match byte {
            kind::DATA.. => return self.read_data(byte),
            kind::PING => Frame::Ping,
            kind::ACK => Frame::Ack { link: None, block: AckBlock::read(reader)? },
            kind::ACK_LINK => Frame::Ack { link: Some(reader.u16()?), block: AckBlock::read(reader)? },
            kind::SKIP => Self::read_skip(reader)?,
            kind::HELLO => {
                let len = reader.u16()?;
                Frame::Hello(Fields::parse(reader.bytes(usize::from(len))?)?)
            }
            kind::LINKDOWN => Self::read_link_down(reader)?,
            kind::PATH_CHALLENGE => Frame::PathChallenge(reader.array()?),
            kind::PATH_RESPONSE => Frame::PathResponse(reader.array()?),
            kind::REKEY => Self::read_rekey(reader)?,
            kind::CLOSE => Self::read_close(reader)?,
            _ => return Err(FrameError::UnknownType(byte)),
        })
    }

    fn read_data(&mut self, byte: u8) -> Result<Frame<'a>, FrameError> {
        if byte & !(kind::DATA | kind::DATA_ORDERED | kind::DATA_LENGTH) != 0 {
            return Err(FrameError::UnknownType(byte));
        }
        let reader = &mut self.reader;
        let (bucket, seq) = (reader.u8()?, reader.u24()?);
        let len =
            if byte & kind::DATA_LENGTH == 0 { reader.rest().len() } else { usize::from(reader.u16()?) };
        let packet = reader.bytes(len)?;
        if packet.is_empty() {
            return Err(FrameError::Invalid("empty packet"));
        }
        let ordered = byte & kind::DATA_ORDERED != 0;
        Ok(Frame::Data { numbering: Numbering { bucket, seq, ordered }, packet })
    }

    fn read_skip(reader: &mut Reader<'a>) -> Result<Frame<'a>, FrameError> {
        let (bucket, first, count) = (reader.u8()?, reader.u24()?, reader.u16()?);
        if count == 0 {
            return Err(FrameError::Invalid("empty skip"));
        }
        Ok(Frame::Skip { bucket, first, count })
    }

    fn read_link_down(reader: &mut Reader<'a>) -> Result<Frame<'a>, FrameError> {
        let (link, reason) = (reader.u16()?, LinkDownReason::from_wire(reader.u8()?));
        let received = match reader.u8()? {
            0 => None,
            1 => Some(AckBlock::read(reader)?),
            _ => return Err(FrameError::Invalid("linkdown flag")),
        };
        Ok(Frame::LinkDown { link, reason, received })
    }

    fn read_rekey(reader: &mut Reader<'a>) -> Result<Frame<'a>, FrameError> {
        let step = match reader.u8()? {
            1 => RekeyStep::Offer,
            2 => RekeyStep::Answer,
            _ => return Err(FrameError::Invalid("rekey step")),
        };
        let epoch = reader.u8()?;
        let len = reader.u16()?;
        Ok(Frame::Rekey { step, epoch, message: reader.bytes(usize::from(len))? })
    }

    fn read_close(reader: &mut Reader<'a>) -> Result<Frame<'a>, FrameError> {
        let (code, len) = (reader.u8()?, usize::from(reader.u8()?));
        if len > MAX_REASON_LEN {
            return Err(FrameError::Invalid("close reason"));
        }
        let reason =
            std::str::from_utf8(reader.bytes(len)?).map_err(|_| FrameError::Invalid("close reason"))?;
        Ok(Frame::Close { code, reason })
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        let frame = match self.next_type() {
            Ok(None) => return None,
            Ok(Some(byte)) => self.read(byte),
            Err(error) => Err(error),
        };
        if frame.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(frame)
    }
}
