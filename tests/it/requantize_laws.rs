//! Laws of bitsandbytes' formats, for weights of every kind: what is packed and read again is as near as the tables allow.

use ckpt::quant::encode::Around;
use ckpt::quant::target::{Aim, Candidate, Wishes};
use ckpt::quant::trial;
use ckpt::tensor::{Dtype, values};

use crate::weights;

/// The widest gap of nf4's table is from -1 to -0.6962, of fp4's from 2/3 to 1: half of it is lost at most, of an absmax.
const NF4_HALF: f64 = 0.151_9;
const FP4_HALF: f64 = 1.0 / 6.0 + 1e-4;
/// The widest gap of the table of nested absmax is 0.9 / 64; half of it, and a step of the 65,536 that find the code.
const NESTED_HALF: f64 = 0.9 / 128.0 + 4.0 / 65_536.0;

/// Weights of many kinds, of any size, in a dtype.
fn kinds(count: usize, dtype: Dtype) -> Vec<(&'static str, Vec<f32>)> {
    let mut kinds = weights::kinds(count);
    for (_, values) in &mut kinds {
        values::round_all(dtype, values);
    }
    kinds
}

/// Packs values and reads them again, as a loader does.
fn again(aim: &Aim, shape: [u64; 2], dtype: Dtype, meant: &[f32]) -> Vec<f32> {
    let target = aim.target(false).unwrap();
    let encoding = target.encoding(&Candidate { shape: &shape, dtype }).unwrap();
    let encoder = &encoding.encoder;
    let rows = encoder.rows_apart().min(shape[0]) as usize * shape[1] as usize;
    let mut joined: Vec<Vec<u8>> = Vec::new();
    for (at, cut) in meant.chunks(rows).enumerate() {
        let around = Around { first_row: at as u64 * encoder.rows_apart(), largest: 0.0 };
        let strands = encoder.rows(cut, around).unwrap();
        joined.resize_with(strands.len(), Vec::new);
        joined.iter_mut().zip(strands).for_each(|(all, strand)| all.extend(strand));
    }
    let mut codes = joined.first().cloned().unwrap_or_default();
    let mut tensors = encoder.finish(joined, 0.0);
    if encoder.piece_bytes().is_some() && tensors[0].is_empty() {
        std::mem::swap(&mut tensors[0], &mut codes);
    }
    let result =
        trial::decoding(&*target, ("model.layers.0.mlp.up_proj", dtype), &encoding, &tensors).unwrap();
    let range = result.rows.codes(0..shape[0]);
    let codes = &tensors[result.codes as usize][range.start as usize..range.end as usize];
    let mut is = vec![f32::NAN; meant.len()];
    result.rows.decode(0..shape[0], codes, &mut is);
    is
}

fn largest(values: &[f32]) -> f64 {
    values.iter().fold(0.0, |largest, value| largest.max(f64::from(value.abs())))
}

#[test]
fn four_bits_lose_half_a_gap_of_their_block_at_most() {
    let mut seen = 0;
    for (name, half) in [("bnb-nf4", NF4_HALF), ("bnb-fp4", FP4_HALF)] {
        for (block, double_quant) in [(64, false), (64, true), (128, true), (32, false), (4096, true)] {
            let aim = Aim {
                name: name.into(),
                wishes: Wishes { block_size: Some(block), double_quant, ..Wishes::default() },
            };
            for shape in [[1, 64], [3, 128], [5, 96], [7, 11], [33, 256], [1, 1], [64, 1]] {
                for dtype in [Dtype::F32, Dtype::BF16, Dtype::F16] {
                    let count = (shape[0] * shape[1]) as usize;
                    for (kind, meant) in kinds(count, dtype) {
                        let is = again(&aim, shape, dtype, &meant);
                        let absmax: Vec<f32> =
                            meant.chunks(block as usize).map(|block| largest(block) as f32).collect();
                        let mean = absmax.iter().map(|&a| f64::from(a)).sum::<f64>() / absmax.len() as f64;
                        for (at, (&meant, &is)) in meant.iter().zip(&is).enumerate() {
                            let block = at / block as usize;
                            // Those of 256 blocks share an absmax of what they are beside the mean.
                            let near = &absmax[block / 256 * 256..absmax.len().min((block / 256 + 1) * 256)];
                            let spread =
                                near.iter().map(|&a| (f64::from(a) - mean).abs()).fold(0.0, f64::max);
                            let nested = if double_quant { NESTED_HALF * spread + 1e-6 * mean } else { 0.0 };
                            let bound = half * f64::from(absmax[block]) * (1.0 + 1e-5) + nested + 1e-37;
                            let lost = (f64::from(meant) - f64::from(is)).abs();
                            assert!(
                                lost <= bound,
                                "{name} {block} {double_quant} {shape:?} {dtype} {kind}: {meant} is {is}, {bound}"
                            );
                            seen += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(seen > 1_000_000, "{seen}");
}

#[test]
fn int8_loses_half_a_step_of_its_row_and_what_f16_does() {
    let aim = Aim::of("bnb-int8");
    for shape in [[1, 64], [3, 128], [7, 11], [33, 256], [1, 1], [64, 1]] {
        for dtype in [Dtype::F32, Dtype::BF16, Dtype::F16] {
            for (kind, meant) in kinds((shape[0] * shape[1]) as usize, dtype) {
                let is = again(&aim, shape, dtype, &meant);
                for (row, (meant, is)) in
                    meant.chunks(shape[1] as usize).zip(is.chunks(shape[1] as usize)).enumerate()
                {
                    let largest = largest(meant);
                    for (&meant, &is) in meant.iter().zip(is) {
                        // F16 has 11 bits, and steps of 2^-24 below 2^-14.
                        let f16 = f64::from(meant.abs()) / 2048.0 + 2f64.powi(-25);
                        let bound = largest / 254.0 * (1.0 + 1e-3) + f16 + 2f64.powi(-25);
                        let lost = (f64::from(meant) - f64::from(is)).abs();
                        assert!(
                            lost <= bound,
                            "{shape:?} {dtype} {kind} row {row}: {meant} is {is}, {bound}"
                        );
                    }
                }
            }
        }
    }
}
