//! Sums of whole packets, with the widest registers that the CPU has: each packet that is cut or joined is summed once.

use ratbond_proto::inner::checksum::Sum;

/// [`Sum::bytes`], for many bytes.
pub(super) fn add_payload(sum: Sum, bytes: &[u8]) -> Sum {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has AVX2, as was just asked.
        return unsafe { add_with_avx2(sum, bytes) };
    }
    sum.bytes(bytes)
}

/// The same code, compiled for AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn add_with_avx2(sum: Sum, bytes: &[u8]) -> Sum {
    sum.bytes(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_sum_is_the_same_with_any_registers(
            bytes in proptest::collection::vec(any::<u8>(), 0..2_000),
            before in any::<u16>(),
        ) {
            let sum = Sum::default().number(before);
            prop_assert_eq!(add_payload(sum, &bytes).checksum(), sum.bytes(&bytes).checksum());
        }
    }
}
