//! The model's own random numbers: xorshift64* after Vigna, "An experimental exploration of Marsaglia's xorshift
//! generators, scrambled" (2016), seeded through `SplitMix64`. Small, fast, the same everywhere; not for secrets.

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Rng {
    state: u64,
}

impl Rng {
    /// The stream number `stream` of `seed`. Each impairment has a stream of its own, so that a change of one leaves the
    /// draws of the others as they were.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mixed = split_mix(split_mix(seed) ^ stream);
        Self { state: if mixed == 0 { 1 } else { mixed } } // xorshift cannot leave zero
    }

    fn next_u64(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Evenly within 0 (included) and 1 (excluded).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// `true` with the given probability. Draws nothing when the answer is certain.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && (probability >= 1.0 || self.unit() < probability)
    }
}

fn split_mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
