//! kcp-go's forward error correction, as far as a peer that does not use it must know: which datagrams carry data.

use std::ops::Range;

const DATA: u16 = 0x00f1;
const PARITY: u16 = 0x00f2;
const HEADER_LEN: usize = 8;

/// Where in a datagram (crypt header taken off) its segments are: all of it from a peer without FEC, what the FEC header wraps from
/// one with FEC. `None` for parity, which only a decoder needs, and for a size that does not fit.
///
/// A KCP segment cannot be taken for FEC: its bytes 4 and 5 are cmd (81 to 84) and frg, not 0xf1 or 0xf2.
#[must_use]
pub fn segments(datagram: &[u8]) -> Option<Range<usize>> {
    let kind = datagram.get(4..6).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]))?;
    match kind {
        DATA => {
            let size = usize::from(u16::from_le_bytes([*datagram.get(6)?, *datagram.get(7)?]));
            // The size counts its own two bytes.
            let end = HEADER_LEN + size.checked_sub(2)?;
            (end <= datagram.len()).then_some(HEADER_LEN..end)
        }
        PARITY => None,
        _ => Some(0..datagram.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::segments;

    #[test]
    fn plain_segments_pass_and_fec_data_is_unwrapped() {
        let plain = [1, 0, 0, 0, 81, 0, 9, 9];
        assert_eq!(segments(&plain), Some(0..8));
        let data = [7, 0, 0, 0, 0xf1, 0, 5, 0, 0xa, 0xb, 0xc, 0xd];
        assert_eq!(segments(&data), Some(8..11));
    }

    #[test]
    fn parity_and_sizes_that_lie_yield_nothing() {
        assert_eq!(segments(&[7, 0, 0, 0, 0xf2, 0, 5, 0, 1, 2, 3]), None);
        assert_eq!(segments(&[7, 0, 0, 0, 0xf1, 0, 9, 0, 1, 2, 3]), None);
        assert_eq!(segments(&[7, 0, 0, 0, 0xf1, 0, 1, 0, 1, 2, 3]), None);
        assert_eq!(segments(&[7, 0, 0, 0, 0xf1, 0, 1]), None);
        assert_eq!(segments(&[7]), None);
    }
}
