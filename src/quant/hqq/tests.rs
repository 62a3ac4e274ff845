//! Layers of HQQ from literals: every width, and with parts missing or of the wrong size.

use super::*;
use crate::quant::testing::{Literal, bytes_as, codes, some_codes, some_values};
use crate::tensor::Dtype;
use crate::tensor::values::round;

fn words(numbers: &[i32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

/// 128 × 256 codes in groups of 64: 512 groups.
fn layer(bits: i32, packed: (Dtype, &[u64]), shape: &[i32]) -> Literal {
    Literal::new("x")
        .shape("W_q", packed.0, packed.1)
        .shape("scale", Dtype::F16, &[512, 1])
        .shape("zero", Dtype::F16, &[512, 1])
        .part("shape", Dtype::I32, &[shape.len() as u64], words(shape))
        .part("nbits", Dtype::I32, &[], words(&[bits]))
        .part("axis", Dtype::I32, &[], words(&[1]))
}

#[test]
fn each_width_has_its_shape_group_and_axis() {
    // Three-bit codes go ten to a 32-bit word, in rows padded to whole words.
    for (bits, packed) in [
        (8, (Dtype::U8, [512, 64])),
        (4, (Dtype::U8, [256, 64])),
        (3, (Dtype::I32, [52, 64])),
        (2, (Dtype::U8, [128, 64])),
        (1, (Dtype::U8, [64, 64])),
    ] {
        let found = layer(bits, (packed.0, &packed.1), &[128, 256]).recognize(&Hqq).unwrap();
        assert_eq!((found.spec.shape, found.faults.len()), (vec![128, 256], 0), "{bits} bits");
        assert_eq!((found.spec.millibits, found.spec.group_size), (bits as u32 * 1000, Some(64)));
        assert_eq!(found.spec.variant, "axis 1");
    }
}

#[test]
fn a_part_missing_is_named() {
    for part in ["scale", "zero", "shape"] {
        let found = layer(4, (Dtype::U8, &[256, 64]), &[128, 256]).without(part).recognize(&Hqq).unwrap();
        assert_eq!(found.spec.broken, [format!("missing {part}")]);
        assert_eq!(codes(&found), ["Q020"]);
    }
    assert!(layer(4, (Dtype::U8, &[256, 64]), &[128, 256]).without("W_q").recognize(&Hqq).is_none());
}

#[test]
fn codes_that_cannot_hold_the_shape_are_named() {
    let short = layer(4, (Dtype::U8, &[255, 64]), &[128, 256]).recognize(&Hqq).unwrap();
    assert_eq!(codes(&short), ["Q002"]);
    assert!(!short.spec.broken.is_empty());
    for shape in [&[128, 0][..], &[128], &[128, 256, 1], &[-128, 256]] {
        let found = layer(4, (Dtype::U8, &[256, 64]), shape).recognize(&Hqq).unwrap();
        assert!(!found.spec.shape_known && codes(&found) == ["Q002"], "{shape:?}");
    }
    // No stored width: it follows from the bytes, however absurd they are.
    let huge = layer(4, (Dtype::U8, &[1 << 40, 64]), &[1, 1]).without("nbits").recognize(&Hqq).unwrap();
    assert_eq!(huge.spec.millibits, 64_000);
}

#[test]
fn headers_alone_leave_the_shape_open() {
    let found = layer(4, (Dtype::U8, &[256, 64]), &[128, 256]).headers_only().recognize(&Hqq).unwrap();
    assert!(found.spec.pending && !found.spec.shape_known && found.faults.is_empty());
}

/// Packs a matrix of `columns` columns as hqq does: `parts` of its rows, the first in the high bits.
fn planes(matrix: &[u8], columns: usize, bits: usize) -> Vec<u8> {
    let (parts, unit) = if bits == 3 { (10, 4) } else { (8 / bits, 1) };
    let step = (matrix.len() / columns).div_ceil(parts);
    let mut packed = vec![0u32; step * columns];
    for (at, &code) in matrix.iter().enumerate() {
        let (row, column) = (at / columns, at % columns);
        packed[row % step * columns + column] |= u32::from(code) << (bits * (parts - 1 - row / step));
    }
    packed.iter().flat_map(|word| word.to_le_bytes()[..unit].to_vec()).collect()
}

#[test]
fn each_width_axis_and_dtype_decodes() {
    for (bits, axis, dtype, viewed) in [1, 2, 3, 4, 8]
        .into_iter()
        .flat_map(|bits| [0, 1].map(|axis| (bits, axis)))
        .flat_map(|(bits, axis)| [Dtype::F16, Dtype::BF16].map(|dtype| (bits, axis, dtype)))
        .flat_map(|(bits, axis, dtype)| [false, true].map(|viewed| (bits, axis, dtype, viewed)))
    {
        // 24 × 32 codes in groups of 16, so that groups are half a row, or 48 columns of 16.
        let (groups, group) = (48, 16);
        let matrix = some_codes(24 * 32, 1 << bits);
        let (rows, columns) = if axis == 1 { (groups, group) } else { (group, groups) };
        let scales = some_values(groups, 0.02, dtype);
        let zeros = some_values(groups, 9.0, dtype);
        let shape = if axis == 1 { [groups as u64, 1] } else { [1, groups as u64] };
        let bytes = planes(&matrix, columns, bits);
        let of_row = bytes.len() / rows.div_ceil(if bits == 3 { 10 } else { 8 / bits });
        let step = (bytes.len() / of_row) as u64;
        let (stored, unit) = match (viewed, bits) {
            (true, _) => (dtype, 2),
            (false, 3) => (Dtype::I32, 4),
            _ => (Dtype::U8, 1),
        };
        let name = if bits == 3 { "3bit_32".to_owned() } else { format!("{bits}bit_u8") };
        let layer = Literal::new("x")
            .part("W_q", stored, &[step, of_row as u64 / unit], bytes)
            .part("scale", dtype, &shape, bytes_as(dtype, &scales))
            .part("zero", dtype, &shape, bytes_as(dtype, &zeros))
            .part("shape", Dtype::I32, &[2], words(&[24, 32]))
            .part("packing", Dtype::U8, &[name.len() as u64], name.into_bytes())
            .part("view_as_float", Dtype::U8, &[], vec![u8::from(viewed)]);
        let want: Vec<f32> = matrix
            .iter()
            .enumerate()
            .map(|(at, &code)| {
                let group = if axis == 1 { at / columns } else { at % columns };
                round(dtype, round(dtype, f32::from(code) - zeros[group]) * scales[group])
            })
            .collect();
        let (found, of) = layer.decode(&Hqq).unwrap();
        assert_eq!((of, found), (Some(dtype), want), "{bits} bits, axis {axis}, {dtype}, viewed {viewed}");
    }
}

#[test]
fn without_groups_scales_are_one_an_output_or_one_in_all() {
    let layer = |shape: &[u64], scales: &[f32]| {
        Literal::new("x")
            .part("W_q", Dtype::U8, &[2, 3], vec![0x15, 0x26, 0x37, 0x48, 0x59, 0x6a])
            .part("scale", Dtype::F16, shape, bytes_as(Dtype::F16, scales))
            .part("zero", Dtype::F16, &[], bytes_as(Dtype::F16, &[1.0]))
            .part("shape", Dtype::I64, &[2], [4i64, 3].iter().flat_map(|n| n.to_le_bytes()).collect())
            .part("nbits", Dtype::I32, &[], words(&[4]))
    };
    let rows = layer(&[4, 1], &[1.0, 2.0, 3.0, 4.0]).decode(&Hqq).unwrap().0;
    assert_eq!(rows, [0., 1., 2., 6., 8., 10., 12., 15., 18., 28., 32., 36.]);
    let all = layer(&[], &[0.5]).decode(&Hqq).unwrap().0;
    assert_eq!(all, [0., 0.5, 1., 1.5, 2., 2.5, 2., 2.5, 3., 3.5, 4., 4.5]);
    let odd = layer(&[3, 1], &[1.0; 3]).decode(&Hqq).unwrap_err();
    assert_eq!(odd, "scale is [3, 1], the codes are [4, 3]");
    let nested = layer(&[4, 1], &[1.0; 4]).without("scale").shape("scale_q", Dtype::U8, &[4, 1]);
    assert!(nested.decode(&Hqq).unwrap_err().contains("nested"));
}
