//! Arithmetic on numbers that wrap at 2^32 (after RFC 1982): sn, una and ts.

use crate::Time;

/// How far `later` lies after `earlier`; negative when it lies before it.
pub(super) const fn distance(later: u32, earlier: u32) -> i32 {
    later.wrapping_sub(earlier) as i32
}

/// Whether `a` comes before `b`.
pub(super) const fn precedes(a: u32, b: u32) -> bool {
    distance(a, b) < 0
}

/// The ts on the wire: the sender's clock in milliseconds.
pub(super) const fn wire_clock(now: Time) -> u32 {
    now.as_millis() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_across_the_wrap_around() {
        assert!(precedes(u32::MAX, 0));
        assert!(precedes(u32::MAX - 5, 7));
        assert!(!precedes(7, u32::MAX - 5));
        assert!(!precedes(3, 3));
        assert_eq!(distance(2, u32::MAX), 3);
    }
}
