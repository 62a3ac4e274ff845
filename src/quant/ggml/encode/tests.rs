//! Blocks against those of ggml's C code, and what decoding them gives back.

use super::*;
use crate::quant::ggml::Ggml;
use crate::quant::testing::Literal;

/// Reads a file that ggml's C code made, or made blocks of; see the README beside it.
fn golden(name: &str) -> Vec<u8> {
    std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ggml").join(name)).unwrap()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

/// Encodes rows of 256 values.
fn encoded(name: &str, values: &[f32]) -> Result<Vec<u8>, String> {
    let made = encoding(kind(name).unwrap(), &[values.len() as u64 / 256, 256])?;
    let strands = made.encoder.rows(values, Around::default())?;
    let mut tensors = made.encoder.finish(strands, 0.0);
    assert_eq!((tensors.len(), tensors[0].len() as u64), (1, made.tensors[0].bytes));
    Ok(tensors.remove(0))
}

fn decoded(name: &str, blocks: Vec<u8>) -> Vec<f32> {
    let kind = kind(name).unwrap();
    let count = blocks.len() as u64 / u64::from(kind.block_bytes()) * u64::from(kind.block_elements());
    let layer = Literal::new("x").part("weight", Dtype::Ggml(kind), &[1, count], blocks);
    layer.shape_and_values(&Ggml).unwrap().1
}

/// Values of a bell, from a fixed sequence.
fn bell(count: usize) -> Vec<f32> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..count).map(|_| (0..12).map(|_| uniform()).sum::<f32>() * 0.05).collect()
}

#[test]
fn blocks_are_those_of_the_c_code() {
    let rows = floats(&golden("rows.f32"));
    assert_eq!(rows.len(), 44 * 256);
    for row in &TYPES {
        let should = golden(&format!("{}.bin", row.name.to_lowercase()));
        let is = encoded(row.name, &rows).unwrap();
        let bytes = kind(row.name).unwrap().block_bytes() as usize;
        assert_eq!(is.len(), should.len(), "{}", row.name);
        for (at, (is, should)) in is.chunks(bytes).zip(should.chunks(bytes)).enumerate() {
            assert_eq!(is, should, "block {at} of {}", row.name);
        }
    }
}

#[test]
fn blocks_hang_on_no_other_rows() {
    let rows = floats(&golden("rows.f32"));
    for row in &TYPES {
        let apart: Vec<u8> = rows.chunks(256).flat_map(|row_of| encoded(row.name, row_of).unwrap()).collect();
        assert_eq!(apart, encoded(row.name, &rows).unwrap(), "{}", row.name);
    }
}

/// What a block of a simple type loses at most: half a step, and what the rounding of its F16 numbers moves the
/// outermost code by. Where codes are not symmetric the outermost value is a whole step away.
#[test]
fn simple_types_lose_at_most_a_step() {
    /// Half of the last place of F16.
    const HALF: f32 = 1.0 / 2048.0;
    let values = bell(256 * 64);
    // Name, steps between 0 and the outermost code, steps that a value may be off.
    for (name, outermost, steps, has_minimum) in [
        ("Q8_0", 127.0, 0.5, false),
        ("Q4_0", 8.0, 1.0, false),
        ("Q5_0", 16.0, 1.0, false),
        ("Q4_1", 15.0, 0.5, true),
        ("Q5_1", 31.0, 0.5, true),
    ] {
        let back = decoded(name, encoded(name, &values).unwrap());
        for (values, back) in values.chunks(32).zip(back.chunks(32)) {
            let largest = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
            let min = values.iter().fold(f32::MAX, |min, &value| min.min(value));
            let max = values.iter().fold(f32::MIN, |max, &value| max.max(value));
            let step = if has_minimum { (max - min) / outermost } else { largest / outermost };
            let moved = step * outermost * HALF + if has_minimum { min.abs() * HALF } else { 0.0 };
            let bound = (step * steps + moved) * 1.0001;
            let worst = values.iter().zip(back).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
            assert!(worst <= bound, "{name}: {worst} over {bound}");
            assert!(worst > bound / 20.0, "{name}: the bound says nothing");
        }
    }
}

#[test]
fn more_bits_lose_less() {
    let values = bell(256 * 64);
    let error = |name: &str| {
        let back = decoded(name, encoded(name, &values).unwrap());
        let square = |(a, b): (&f32, &f32)| f64::from(a - b).powi(2);
        let lost: f64 = values.iter().zip(&back).map(square).sum();
        let all: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
        (lost / all).sqrt()
    };
    let order = ["Q8_0", "Q6_K", "Q5_K", "Q5_0", "IQ4_NL", "Q4_0", "Q3_K", "Q2_K", "TQ2_0"];
    let errors: Vec<f64> = order.iter().map(|name| error(name)).collect();
    assert!(errors.is_sorted(), "{errors:?}");
    assert!(error("Q4_K") < error("Q4_1") && error("Q5_K") < error("Q5_1"));
    // 1 / (2 · 127 / 3) steps, spread evenly over a block's largest value of about 2.2 deviations.
    assert!(errors[0] < 0.007 && errors[0] > 0.003, "{errors:?}");
    assert!(errors[7] < 0.4, "{errors:?}");
}

/// Simple types find the same blocks again, because their outermost value is a code times the stored scale. `Q4_1` and
/// `Q5_1` do unless the minimum is thousands of steps away; the types that search find others.
#[test]
fn simple_types_are_stable() {
    let values = bell(256 * 16);
    for name in ["Q8_0", "Q4_0", "Q5_0", "Q4_1", "Q5_1", "TQ1_0", "TQ2_0", "MXFP4"] {
        let once = encoded(name, &values).unwrap();
        assert!(once == encoded(name, &decoded(name, once.clone())).unwrap(), "{name}");
    }
    for name in ["Q3_K", "Q6_K", "IQ4_XS"] {
        let once = encoded(name, &values).unwrap();
        assert!(once != encoded(name, &decoded(name, once.clone())).unwrap(), "{name}");
    }
}

#[test]
fn scales_beyond_f16_and_rows_of_other_sizes_are_refused() {
    let mut values = vec![0.5f32; 512];
    values[300] = 1e9;
    for row in TYPES.iter().filter(|row| !row.halves.is_empty()) {
        let why = encoded(row.name, &values).unwrap_err();
        assert!(why.starts_with("1 block of a piece of it have a scale beyond F16"), "{why}");
    }
    assert!(encoded("MXFP4", &values).is_ok());
    let refused = |name: &str, shape: &[u64]| {
        let kind = (0..255).filter_map(GgmlType::from_id).find(|kind| kind.name() == name).unwrap();
        encoding(kind, shape).map(|_| ()).unwrap_err()
    };
    assert_eq!(refused("Q4_K", &[4, 96]), "rows of 96 are not whole blocks of 256 Q4_K");
    assert_eq!(refused("Q8_0", &[4, 0]), "it has no values");
    assert!(refused("Q8_0", &[u64::MAX, 32]).contains("overflows"));
    for name in ["IQ2_XXS", "IQ1_S", "Q8_K", "Q8_1", "I2_S", "NVFP4"] {
        assert!(refused(name, &[4, 256]).contains("importance matrix"), "{name}");
    }
}
