//! Rounding between the steps of a search: as the dtypes round.

use super::{bf16_of_finite, f16_of_finite};
use crate::tensor::{Dtype, values};

/// Every sign and exponent, with last bits around all places where a 16-bit float ends.
fn numbers() -> impl Iterator<Item = f32> {
    let uppers = 0..1u32 << 16;
    let lowers =
        [0, 1, 0x0fff, 0x1000, 0x1001, 0x2fff, 0x3000, 0x7fff, 0x8000, 0x8001, 0xefff, 0xf000, 0xffff];
    let all = uppers.flat_map(move |upper| lowers.map(|lower| f32::from_bits(upper << 16 | lower)));
    all.filter(|number| number.is_finite()).chain([f32::INFINITY, f32::NEG_INFINITY])
}

#[test]
fn f16_is_rounded_as_the_dtype_rounds() {
    for number in numbers() {
        let (is, should) = (f16_of_finite(number), values::round(Dtype::F16, number));
        assert_eq!(is.to_bits(), should.to_bits(), "{number:e}: {is:e}, not {should:e}");
    }
    assert_eq!(f16_of_finite(65519.996), 65504.0);
    assert_eq!(f16_of_finite(65520.0), f32::INFINITY);
}

#[test]
fn bf16_is_rounded_as_the_dtype_rounds() {
    for number in numbers() {
        let (is, should) = (bf16_of_finite(number), values::round(Dtype::BF16, number));
        assert_eq!(is.to_bits(), should.to_bits(), "{number:e}: {is:e}, not {should:e}");
    }
}
