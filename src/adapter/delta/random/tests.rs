//! The generator against the standard, and its projections against torch.

use super::*;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The first numbers of the generator, by the C++ standard: the 10000th of `mt19937` is 4123659995.
#[test]
fn the_ten_thousandth_draw_is_that_of_the_standard() {
    let mut generator = Mt19937::new(5489);
    assert_eq!((0..10_000).map(|_| generator.draw()).last(), Some(4_123_659_995));
}

/// Hashes of what PEFT 0.21.2 makes with torch 2.15, by the sample's script.
#[test]
fn projections_are_those_of_torch() {
    let text = include_str!("../../../../samples/peft-vera-nosave-A/case.json");
    let case: Value = serde_json::from_str(text).unwrap();
    let list = case["projections"].as_array().unwrap();
    assert_eq!(list.len(), 7);
    for made in list {
        let number = |key: &str| made[key].as_u64().unwrap();
        let key = made["key"].as_u64().unwrap_or_else(|| made["key"].as_i64().unwrap() as u64);
        let (rank, inputs, outputs) = (number("r"), number("inputs"), number("outputs"));
        let (down, up) = Projection { key, rank, inputs, outputs }.make(Dtype::F32);
        for (part, matrix) in [("vera_A", down), ("vera_B", up)] {
            let bytes: Vec<u8> = matrix.values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let hash = u64::from_be_bytes(*Sha256::digest(&bytes).first_chunk().unwrap());
            assert_eq!(format!("{hash:016x}"), made[part].as_str().unwrap(), "{part} of {made}");
        }
    }
}
