//! The Internet checksum (RFC 1071), and its change with a word of what it covers (RFC 1624).

/// A ones' complement sum under way, in the machine's byte order, which the sum is indifferent to (RFC 1071 section 2).
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds bytes. Only the last addition may have an odd number of them.
    #[must_use]
    #[inline]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks();
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        let sum: u64 = words.iter().map(|&word| u64::from(u32::from_ne_bytes(word))).sum();
        Self(self.0 + sum + u64::from(u32::from_ne_bytes(last)))
    }

    /// Adds a number.
    #[must_use]
    #[inline]
    pub fn number(self, value: u16) -> Self {
        Self(self.0 + u64::from(value.to_be()))
    }

    /// Takes a number away that is part of the sum.
    #[must_use]
    #[inline]
    pub fn without(self, value: u16) -> Self {
        self.number(!value)
    }

    /// The sum as a field holds it: what a checksum that is to be completed begins with.
    #[must_use]
    #[inline]
    pub fn partial(self) -> [u8; 2] {
        self.folded().to_ne_bytes()
    }

    /// The checksum of what was summed.
    #[must_use]
    #[inline]
    pub fn checksum(self) -> [u8; 2] {
        (!self.folded()).to_ne_bytes()
    }

    /// Whether what was summed had its checksum in it, and that was right.
    #[must_use]
    #[inline]
    pub fn is_right(self) -> bool {
        self.folded() == u16::MAX
    }

    fn folded(self) -> u16 {
        let mut sum = self.0;
        while sum > u64::from(u16::MAX) {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }
}

/// The checksum after a word that it covers has changed (RFC 1624, equation 3).
pub(super) fn update(checksum: u16, before: u16, after: u16) -> [u8; 2] {
    Sum::default().without(checksum).without(before).number(after).checksum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071, section 3.
    #[test]
    fn the_sum_of_the_rfc_is_right() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::default().bytes(&bytes).partial(), [0xdd, 0xf2]);
    }

    proptest! {
        #[test]
        fn an_update_is_as_good_as_a_new_sum(
            mut bytes in prop::collection::vec(any::<u8>(), 2..64), after in any::<u16>(),
        ) {
            // No packet is all zero, and of one's complement's two zeros only such a one sums to the positive.
            bytes.extend([0x45, 0]);
            let checksum = u16::from_be_bytes(Sum::default().bytes(&bytes).checksum());
            let before = u16::from_be_bytes([bytes[0], bytes[1]]);
            bytes[..2].copy_from_slice(&after.to_be_bytes());
            prop_assert_eq!(update(checksum, before, after), Sum::default().bytes(&bytes).checksum());
        }
    }
}
