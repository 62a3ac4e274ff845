//! Layers of EXL2 and EXL3 from literals: whole, and with parts missing or of the wrong size.

use super::*;
use crate::quant::testing::{Literal, codes};

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
        assert_eq!(codes(&found), ["Q001"]);
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
    assert_eq!(codes(&exl3(&[16, 8, 48]).without("suh").recognize(&Exl3).unwrap()), ["Q001"]);
    // The packed signs of early files stand in for the scales.
    let old = exl3(&[16, 8, 48]).without("suh").shape("su", Dtype::I16, &[16]);
    assert!(old.recognize(&Exl3).unwrap().faults.is_empty());
}
