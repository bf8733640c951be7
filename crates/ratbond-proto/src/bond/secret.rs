//! Memory that is wiped when it is let go.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

use zeroize::{Zeroize, ZeroizeOnDrop};

/// 32 secret bytes: wiped on drop, never printed, compared only in constant time (by an AEAD or a MAC).
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret32(pub [u8; 32]);

impl fmt::Debug for Secret32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret32(..)")
    }
}

/// Runs `derive`, which gives a secret on the heap, and then overwrites the stack that it used: moving a value leaves its
/// bytes where it was, and nobody wipes those.
pub fn off_the_stack<T>(derive: impl FnOnce() -> T) -> T {
    #[inline(never)]
    fn apart<T>(derive: impl FnOnce() -> T) -> T {
        derive()
    }
    /// Deeper than any derivation of keys goes.
    #[inline(never)]
    fn overwrite() {
        let mut depth = [0u8; 16 << 10];
        depth.zeroize();
        std::hint::black_box(&mut depth);
    }
    let derived = apart(derive);
    overwrite();
    derived
}

/// A value on the heap whose own bytes are wiped after it was dropped.
///
/// For types of libraries that hold key material inline but do not wipe it themselves. What such a type keeps on the
/// heap is not reached; what was left on the stack while the value was made, [`off_the_stack`] reaches.
pub struct Erased<T>(ManuallyDrop<Box<T>>);

impl<T> Erased<T> {
    /// Moves `value` to the heap.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(ManuallyDrop::new(Box::new(value)))
    }
}

impl<T: Clone> Clone for Erased<T> {
    fn clone(&self) -> Self {
        Self::new(T::clone(self))
    }
}

impl<T> Deref for Erased<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Erased<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> Drop for Erased<T> {
    fn drop(&mut self) {
        // SAFETY: `self.0` is not used again: `drop` runs once, and ManuallyDrop keeps the field from being dropped.
        let memory = Box::into_raw(unsafe { ManuallyDrop::take(&mut self.0) });
        // SAFETY: `memory` came from a Box, so it is valid, aligned and owned here; it is dropped once, then treated
        // as plain bytes of T's size (MaybeUninit has T's layout and no drop glue), wiped, and freed with T's layout.
        unsafe {
            memory.drop_in_place();
            let bytes = memory.cast::<std::mem::MaybeUninit<u8>>();
            for offset in 0..size_of::<T>() {
                bytes.add(offset).write_volatile(std::mem::MaybeUninit::new(0));
            }
            drop(Box::from_raw(memory.cast::<std::mem::MaybeUninit<T>>()));
        }
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
    }
}

impl<T> fmt::Debug for Erased<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Erased(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    #[test]
    fn what_is_erased_is_dropped_once() {
        struct Counts(Rc<Cell<u32>>);
        impl Drop for Counts {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let drops = Rc::new(Cell::new(0));
        drop(Erased::new(Counts(drops.clone())));
        assert_eq!(drops.get(), 1);
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret32([7; 32])), "Secret32(..)");
        assert_eq!(format!("{:?}", Erased::new([7; 32])), "Erased(..)");
    }
}
