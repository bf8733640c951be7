//! Random numbers for keys, from a generator that forgets.

use super::kdf::expand_secret;
use super::secret::Secret32;

/// Draws secrets from a seed, and replaces the seed by what cannot lead back to it with each draw ("fast key erasure").
///
/// An ordinary generator holds its seed for as long as it lives: whoever reads the memory of a running process could
/// draw every ephemeral key of the past anew, and with them open what was recorded, however well the keys were wiped.
#[derive(Debug)]
pub struct Entropy(Secret32);

impl Entropy {
    /// From 32 bytes that are used for nothing else.
    #[must_use]
    pub const fn new(seed: Secret32) -> Self {
        Self(seed)
    }

    /// 32 bytes that no other draw gives.
    pub fn draw(&mut self) -> Secret32 {
        let drawn = expand_secret(&self.0, "draw", &[]);
        self.0 = expand_secret(&self.0, "forget", &[]);
        drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_differ_and_repeat_only_from_the_same_seed() {
        let mut entropy = Entropy::new(Secret32([1; 32]));
        let (first, second) = (entropy.draw().0, entropy.draw().0);
        assert_ne!(first, second);
        let mut again = Entropy::new(Secret32([1; 32]));
        assert_eq!((again.draw().0, again.draw().0), (first, second));
    }

    #[test]
    fn what_is_left_after_a_draw_gives_only_later_draws() {
        let mut entropy = Entropy::new(Secret32([2; 32]));
        let drawn = entropy.draw().0;
        let mut stolen = Entropy::new(entropy.0.clone());
        assert!((0..100).all(|_| stolen.draw().0 != drawn));
    }
}
