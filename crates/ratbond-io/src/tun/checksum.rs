//! The Internet checksum (RFC 1071).

/// A ones' complement sum under way, in the machine's byte order, which the sum is indifferent to (RFC 1071 section 2).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum(u64);

impl Sum {
    /// Adds bytes. Only the last addition may have an odd number of them.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks();
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        let sum: u64 = words.iter().map(|&word| u64::from(u32::from_ne_bytes(word))).sum();
        Self(self.0 + sum + u64::from(u32::from_ne_bytes(last)))
    }

    /// Adds a number.
    #[must_use]
    pub fn number(self, value: u16) -> Self {
        Self(self.0 + u64::from(value.to_be()))
    }

    /// Takes a number away that is part of the sum.
    #[must_use]
    pub fn without(self, value: u16) -> Self {
        self.number(!value)
    }

    /// The sum as a field holds it: what a checksum that is to be completed begins with.
    #[must_use]
    pub fn partial(self) -> [u8; 2] {
        self.folded().to_ne_bytes()
    }

    /// The checksum of what was summed.
    #[must_use]
    pub fn checksum(self) -> [u8; 2] {
        (!self.folded()).to_ne_bytes()
    }

    /// Whether what was summed had its checksum in it, and that was right.
    #[must_use]
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
