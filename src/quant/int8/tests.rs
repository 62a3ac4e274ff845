//! Layers of EETQ and BitNet from literals: whole, and with parts missing or of the wrong size.

use serde_json::json;

use super::*;
use crate::quant::testing::{Literal, codes};

fn eetq(scales: &[u64]) -> Literal {
    Literal::new("x").shape("weight", Dtype::I8, &[256, 128]).shape("weight_scales", Dtype::F16, scales)
}

#[test]
fn eetq_is_stored_transposed() {
    let found = eetq(&[128]).recognize(&Eetq).unwrap();
    assert_eq!((found.spec.shape, found.spec.millibits, found.faults.len()), (vec![128, 256], 8000, 0));
    let old = eetq(&[128]).without("weight").shape("qweight", Dtype::I8, &[256, 128]);
    assert_eq!(old.recognize(&Eetq).unwrap().spec.shape, [128, 256]);
}

#[test]
fn eetq_with_a_part_missing_or_of_the_wrong_size_is_broken() {
    assert_eq!(codes(&eetq(&[256]).recognize(&Eetq).unwrap()), ["Q002"]);
    assert_eq!(codes(&eetq(&[u64::MAX, 3]).recognize(&Eetq).unwrap()), ["Q002"]);
    assert_eq!(codes(&eetq(&[128]).without("weight").recognize(&Eetq).unwrap()), ["Q001"]);
    assert!(eetq(&[128]).without("weight_scales").recognize(&Eetq).is_none());
}

fn bitnet() -> Literal {
    Literal::new("x").shape("weight", Dtype::U8, &[32, 256]).shape("weight_scale", Dtype::BF16, &[1])
}

#[test]
fn bitnet_says_whether_its_scale_multiplies() {
    for (config, variant) in
        [(json!({"linear_class": "autobitlinear"}), "autobitlinear"), (json!({}), "bitlinear")]
    {
        let found = bitnet().block(Some("bitnet"), config).recognize(&BitNet).unwrap();
        assert_eq!((found.spec.shape, found.spec.millibits), (vec![128, 256], 2000));
        assert_eq!((found.spec.variant.as_str(), found.faults.len()), (variant, 0));
    }
    assert_eq!(codes(&bitnet().recognize(&BitNet).unwrap()), ["Q007"]);
}

#[test]
fn bitnet_is_not_taken_for_formats_with_more_scales() {
    for scale in [&[32, 2][..], &[u64::MAX, 3], &[0]] {
        let other = bitnet().without("weight_scale").shape("weight_scale", Dtype::BF16, scale);
        assert!(other.recognize(&BitNet).is_none(), "{scale:?}");
    }
}
