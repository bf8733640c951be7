//! Variable-length integers of RFC 9000, section 16: two bits of length, then 6, 14, 30 or 62 bits, big endian.

/// The largest value that can be written.
pub const MAX: u64 = (1 << 62) - 1;

/// Bytes that `value` takes: 1, 2, 4 or 8.
#[must_use]
pub const fn encoded_len(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// Writes `value` (at most [`MAX`]) at the start of `out`; the bytes used, or `None` when there is no room.
pub fn write(value: u64, out: &mut [u8]) -> Option<usize> {
    let len = encoded_len(value);
    let prefix = match len {
        1 => 0u8,
        2 => 0x40,
        4 => 0x80,
        _ => 0xc0,
    };
    let bytes = value.min(MAX).to_be_bytes();
    let out = out.get_mut(..len)?;
    out.copy_from_slice(&bytes[8 - len..]);
    out[0] |= prefix;
    Some(len)
}

/// Reads one value; it and the rest of the input, or `None` when the input is cut short.
#[must_use]
pub fn read(input: &[u8]) -> Option<(u64, &[u8])> {
    let &first = input.first()?;
    let len = 1usize << (first >> 6);
    let (head, rest) = input.split_at_checked(len)?;
    let value = head[1..].iter().fold(u64::from(first & 0x3f), |value, &byte| value << 8 | u64::from(byte));
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_rfc_9000_appendix_a_1_read_as_printed_there() {
        for (bytes, value) in [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d][..], 494_878_333),
            (&[0x7b, 0xbd][..], 15_293),
            (&[0x25][..], 37),
            (&[0x40, 0x25][..], 37),
        ] {
            assert_eq!(read(bytes), Some((value, &[][..])));
        }
    }

    #[test]
    fn a_cut_value_is_none() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[0xc0, 1, 2]), None);
        assert_eq!(write(64, &mut [0; 1]), None);
    }

    proptest! {
        #[test]
        fn a_value_survives_the_wire(value in 0..=MAX) {
            let mut out = [0; 8];
            let len = write(value, &mut out).unwrap();
            prop_assert_eq!(read(&out[..len]), Some((value, &[][..])));
        }
    }
}
