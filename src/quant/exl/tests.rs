//! Layers of EXL2 and EXL3 from literals: whole, and with parts missing or of the wrong size.

use super::*;
use crate::quant::testing::{Literal, codes, f16s, packed, some_codes, words};
use crate::tensor::values::round;

/// Two groups of 32 inputs: 5 bits from word row 0, 3 bits from word row 5.
fn exl2(groups: &[i16]) -> Literal {
    let data = groups.iter().flat_map(|n| n.to_le_bytes()).collect();
    Literal::new("x")
        .shape("q_weight", Dtype::I32, &[8, 64])
        .shape("q_scale", Dtype::I32, &[2, 8])
        .shape("q_scale_max", Dtype::F16, &[2])
        .part("q_groups", Dtype::I16, &[groups.len() as u64], data)
        .shape("q_invperm", Dtype::I32, &[64])
}

#[test]
fn exl2_has_the_mean_of_its_groups_bits() {
    let found = exl2(&[5, 0, 3, 5]).recognize(&Exl2).unwrap();
    assert_eq!((found.spec.shape.clone(), found.spec.millibits), (vec![64, 64], 4000));
    assert!(found.faults.is_empty() && !found.spec.pending, "{found:?}");
    // The order of the inputs may be missing: the groups tell how many there are.
    let unordered = exl2(&[5, 0, 3, 5]).without("q_invperm").recognize(&Exl2).unwrap();
    assert_eq!(unordered.spec.shape, [64, 64]);
    assert!(exl2(&[5, 0, 3, 5]).headers_only().recognize(&Exl2).unwrap().spec.pending);
}

#[test]
fn exl2_without_a_part_is_broken() {
    for part in ["q_scale", "q_scale_max", "q_groups"] {
        let found = exl2(&[5, 0, 3, 5]).without(part).recognize(&Exl2).unwrap();
        assert_eq!(found.spec.broken, [format!("missing {part}")]);
        assert_eq!(codes(&found), ["Q020"]);
    }
}

#[test]
fn exl2_groups_that_do_not_cover_the_codes_are_named() {
    // A width of 9 bits, rows that run backwards, a negative row, too many inputs.
    for groups in [[9, 0, 3, 5], [5, 6, 3, 5], [5, 0, 3, -1], [2, 0, 3, 5]] {
        assert_eq!(codes(&exl2(&groups).recognize(&Exl2).unwrap()), ["Q002"], "{groups:?}");
    }
    assert_eq!(codes(&exl2(&[5, 0, 3, 5, 2, 8]).recognize(&Exl2).unwrap()), ["Q002"]);
    let scales = exl2(&[5, 0, 3, 5]).without("q_scale").shape("q_scale", Dtype::I32, &[3, 8]);
    assert_eq!(codes(&scales.recognize(&Exl2).unwrap()), ["Q002"]);
    let flat = exl2(&[5, 0, 3, 5]).without("q_weight").shape("q_weight", Dtype::I32, &[512]);
    assert!(!flat.recognize(&Exl2).unwrap().spec.shape_known);
}

fn exl3(trellis: &[u64]) -> Literal {
    let layer = Literal::new("x").shape("trellis", Dtype::I16, trellis);
    layer.shape("suh", Dtype::F16, &[256]).shape("svh", Dtype::F16, &[128])
}

#[test]
fn exl3_tells_all_by_its_trellis() {
    let found = exl3(&[16, 8, 48]).shape("mcg", Dtype::I32, &[]).recognize(&Exl3).unwrap();
    assert_eq!((found.spec.shape, found.spec.millibits), (vec![128, 256], 3000));
    assert_eq!((found.spec.variant.as_str(), found.faults.len()), ("mcg", 0));
}

#[test]
fn exl3_of_the_wrong_size_is_broken() {
    for trellis in [&[16, 8, 47][..], &[16, 8, 0], &[16, 8, 16 * 9], &[16, 8], &[u64::MAX, u64::MAX, 48]] {
        assert!(codes(&exl3(trellis).recognize(&Exl3).unwrap()).contains(&"Q002"), "{trellis:?}");
    }
    assert_eq!(codes(&exl3(&[8, 8, 48]).recognize(&Exl3).unwrap()), ["Q002"]);
    assert_eq!(codes(&exl3(&[16, 8, 48]).without("suh").recognize(&Exl3).unwrap()), ["Q020"]);
    // The packed signs of early files stand in for the scales.
    let old = exl3(&[16, 8, 48]).without("suh").shape("su", Dtype::I16, &[16]);
    assert!(old.recognize(&Exl3).unwrap().faults.is_empty());
}

/// 64 inputs of 6, 3 and 5 bits, then 8, 4 and 2, for 8 outputs, in an order of their own; their values, and their
/// codes.
fn with_values() -> (Literal, Vec<f32>, Vec<u16>) {
    let (outputs, widths) = (8, [8usize, 6, 5, 4, 3, 2]);
    let inputs = 32 * widths.len();
    let scales = some_codes(widths.len() * outputs, 16);
    let largest: Vec<f32> = [0.3, 0.11, 0.7, 1.3, 0.02, 2.0].map(|v| round(Dtype::F16, v)).to_vec();
    // Input i is code 5 * i, a permutation for 192.
    let code_of = |input: usize| input * 5 % inputs;
    let mut want = vec![0.0; outputs * inputs];
    let mut stored = vec![0; outputs * inputs];
    let mut columns = vec![Vec::new(); outputs];
    for (group, bits) in widths.into_iter().enumerate() {
        for (output, column) in columns.iter_mut().enumerate() {
            let all = some_codes(outputs * 32, 1 << bits);
            let codes = &all[output * 32..][..32];
            column.extend(packed(codes, bits));
            let s = f32::from(scales[group * outputs + output]) + 1.0;
            let scale = round(Dtype::F16, s * s * round(Dtype::F16, largest[group] / 256.0));
            for input in (0..inputs).filter(|&input| code_of(input) / 32 == group) {
                stored[output * inputs + input] = codes[code_of(input) % 32].into();
                let code = f32::from(codes[code_of(input) % 32]) - f32::from(1u8 << (bits - 1));
                want[output * inputs + input] = round(Dtype::F16, code * scale);
            }
        }
    }
    let rows = columns[0].len() / 4;
    let word = |at: usize| columns[at % outputs][at / outputs * 4..][..4].to_vec();
    let mut first = 0;
    let groups: Vec<u8> = widths
        .iter()
        .flat_map(|&bits| {
            first += bits as i16;
            [bits as i16, first - bits as i16].map(i16::to_le_bytes).concat()
        })
        .collect();
    let order: Vec<u32> = (0..inputs).map(|input| code_of(input) as u32).collect();
    let layer = Literal::new("x")
        .part("q_weight", Dtype::I32, &[rows as u64, 8], (0..rows * outputs).flat_map(word).collect())
        .part("q_scale", Dtype::I32, &[6, 1], packed(&scales, 4))
        .part("q_scale_max", Dtype::F16, &[6], f16s(&largest))
        .part("q_groups", Dtype::I16, &[12], groups)
        .part("q_invperm", Dtype::I32, &[192], words(&order));
    (layer, want, stored)
}

#[test]
fn exl2_decodes_groups_of_every_width_in_the_order_of_the_inputs() {
    let (layer, want, codes) = with_values();
    assert_eq!(layer.decode(&Exl2).unwrap(), (want.clone(), Some(Dtype::F16)));
    let stored = layer.stored(&Exl2);
    assert_eq!((stored.codes, stored.zeros, stored.terms), (codes.clone(), None, None));
    // A scale an output and group, of which each value is a whole number of times one.
    let scales = stored.scales.unwrap();
    for (at, (&value, &code)) in want.iter().zip(&codes).enumerate() {
        let group = at % 192 * 5 % 192 / 32;
        let middle = [128.0, 32.0, 16.0, 8.0, 4.0, 2.0][group];
        let scale = scales[group * 8 + at / 192];
        assert_eq!(value, round(Dtype::F16, (f32::from(code) - middle) * scale), "{at}");
    }
    // Older files keep the inverse.
    let mut inverse = vec![0u32; 192];
    (0..192u32).for_each(|input| inverse[(input * 5 % 192) as usize] = input);
    let old = with_values().0.without("q_invperm").part("q_perm", Dtype::I32, &[192], words(&inverse));
    assert_eq!(old.decode(&Exl2).unwrap().0, want);
}

#[test]
fn exl2_that_contradicts_itself_is_refused() {
    let order = |order: &[u32]| {
        let layer = with_values().0.without("q_invperm");
        layer.part("q_invperm", Dtype::I32, &[order.len() as u64], words(order)).decode(&Exl2)
    };
    for bad in [[0; 192].as_slice(), &[u32::MAX; 192], &[1; 191], &[]] {
        assert!(order(bad).is_err());
    }
    let groups = |numbers: [i16; 12]| {
        let bytes = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        let layer = with_values().0.without("q_groups");
        layer.part("q_groups", Dtype::I16, &[12], bytes).decode(&Exl2)
    };
    assert!(groups([8, 0, 6, 8, 5, 14, 4, 19, 3, 23, 2, 26]).is_ok());
    for bad in [
        [8, 0, 6, 8, 5, 14, 4, 19, 3, 23, 2, 29],
        [8, 0, 6, 8, 5, 14, 4, 19, 3, 23, 7, 26],
        [8, 0, 6, 8, 5, -1, 4, 19, 3, 23, 2, 26],
        [0; 12],
    ] {
        assert!(groups(bad).is_err(), "{bad:?}");
    }
}
