//! Layers of EETQ and BitNet from literals: whole, and with parts missing or of the wrong size.

use serde_json::json;

use super::*;
use crate::quant::testing::{Literal, bf16s, codes, f16s, some_codes, some_values};
use crate::tensor::values::round;

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
    assert_eq!(codes(&eetq(&[128]).without("weight").recognize(&Eetq).unwrap()), ["Q020"]);
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

/// Shuffles `[inputs, outputs]` codes step by step as EETQ's preprocessor does.
fn shuffled(codes: &[i8], inputs: usize, outputs: usize) -> Vec<u8> {
    const ROWS: [usize; 16] = [0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15];
    let permuted = |row: usize, column: usize| codes[(row / 16 * 16 + ROWS[row % 16]) * outputs + column];
    let mut out = vec![0; codes.len()];
    for column in 0..outputs {
        for row in 0..inputs {
            let vec = row / 4;
            let word = column / 2 * (inputs / 4) * 2 + 2 * (vec / 16 * 16) + 16 * (column % 2) + vec % 16;
            out[4 * word + row % 4] = (i16::from(permuted(row, column)) + 128) as u8;
        }
    }
    out.as_chunks_mut::<4>().0.iter_mut().for_each(|four| four.swap(1, 2));
    out
}

#[test]
fn eetq_is_put_back_in_rows() {
    let (inputs, outputs) = (128, 6);
    let codes: Vec<i8> = some_codes(inputs * outputs, 256).into_iter().map(|code| code as i8).collect();
    let scales = some_values(outputs, 0.01, Dtype::F16);
    let layer = Literal::new("x")
        .part("weight", Dtype::I8, &[128, 6], shuffled(&codes, inputs, outputs))
        .part("weight_scales", Dtype::F16, &[6], f16s(&scales));
    let value = |at: usize| f32::from(codes[at % inputs * outputs + at / inputs]) * scales[at / inputs];
    let want = (0..inputs * outputs).map(|at| round(Dtype::F16, value(at))).collect();
    assert_eq!(layer.decode(&Eetq).unwrap(), (want, Some(Dtype::F16)));
    let code = |at: usize| u16::from(codes[at % inputs * outputs + at / inputs] as u8 ^ 0x80);
    let stored = layer.stored(&Eetq);
    assert!(stored.codes.into_iter().eq((0..inputs * outputs).map(code)));
    assert_eq!((stored.scales, stored.zeros, stored.terms), (Some(scales.clone()), None, None));
    let odd = Literal::new("x").part("weight", Dtype::I8, &[96, 6], vec![0; 96 * 6]).part(
        "weight_scales",
        Dtype::F16,
        &[6],
        f16s(&scales),
    );
    assert!(odd.decode(&Eetq).unwrap_err().contains("whole tiles"));
}

#[test]
fn bitnet_multiplies_or_divides_as_its_config_says() {
    let codes = some_codes(8 * 3, 3);
    let packed: Vec<u8> = (0..6).map(|at| (0..4).map(|k| codes[at + 6 * k] << (2 * k)).sum()).collect();
    let layer = || {
        Literal::new("x").part("weight", Dtype::U8, &[2, 3], packed.clone()).part(
            "weight_scale",
            Dtype::BF16,
            &[1],
            bf16s(&[2.59375]),
        )
    };
    for (class, rule) in [("bitlinear", 1.0 / 2.59375f32), ("autobitlinear", 2.59375)] {
        let found = layer().block(Some("bitnet"), json!({"linear_class": class}));
        let stored = found.stored(&BitNet);
        assert!(stored.codes.into_iter().eq(codes.iter().map(|&code| u16::from(code))));
        // That code 1 is 0 stands nowhere.
        assert_eq!((stored.scales, stored.zeros, stored.terms), (Some(vec![2.59375]), None, None));
        let found = found.decode(&BitNet).unwrap();
        let value = |code: &u8| round(Dtype::BF16, (f32::from(*code) - 1.0) * rule);
        assert_eq!(found, (codes.iter().map(value).collect(), Some(Dtype::BF16)), "{class}");
    }
    assert!(layer().decode(&BitNet).unwrap_err().contains("multiplies or divides"));
}
