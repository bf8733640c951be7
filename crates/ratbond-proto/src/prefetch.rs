//! Memory that is soon needed, fetched into the cache while other work goes on.
//!
//! With megabytes in flight a packet's memory was last used long ago, and that of what is kept of it until it is acknowledged
//! too: whoever touches it waits for the cache of the next level, or for memory, and on a small processor for each line.

/// The whole of a full packet.
const PACKET_BYTES: usize = 1536;
const LINE_BYTES: usize = 64;

/// A packet that is to be copied, or that is to be copied to.
pub fn packet(start: *const u8) {
    for line in (0..PACKET_BYTES).step_by(LINE_BYTES) {
        fetch(start.wrapping_add(line));
    }
}

/// The beginning of something.
pub fn first_line<T>(start: *const T) {
    fetch(start.cast());
}

#[cfg(target_arch = "x86_64")]
fn fetch(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch reads nothing, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
}

#[cfg(not(target_arch = "x86_64"))]
fn fetch(_address: *const u8) {}
