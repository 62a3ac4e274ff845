//! Tests of `marlin`.

use serde_json::json;

use crate::quant::awq::Awq;
use crate::quant::gptq::Gptq;
use crate::quant::testing::{Literal, decode, f16s, words};
use crate::tensor::Dtype;

const INPUTS: usize = 32;
const OUTPUTS: usize = 128;

/// The permutation of 1024 codes, as the writers build it.
fn permutation() -> Vec<usize> {
    let mut list = Vec::new();
    for i in 0..32 {
        let mut eight = Vec::new();
        for block in [0, 1] {
            for row in [2 * (i % 4), 2 * (i % 4) + 1, 2 * (i % 4 + 4), 2 * (i % 4 + 4) + 1] {
                eight.push(16 * row + i / 4 + 8 * block);
            }
        }
        for j in 0..4 {
            list.extend(eight.iter().map(|place| place + 256 * j));
        }
    }
    list.chunks(8).flat_map(|eight| [0, 2, 4, 6, 1, 3, 5, 7].map(|k| eight[k])).collect()
}

fn code(output: usize, input: usize) -> u32 {
    ((output * 7 + input * 5 + output / 16) % 16) as u32
}

fn scale(group: usize, output: usize) -> f32 {
    (1 + group) as f32 * (1 + output) as f32 / 256.0
}

/// Packs as `WQLinear_Marlin.from_linear` does.
fn packed() -> Vec<u8> {
    let permutation = permutation();
    let mut list = Vec::new();
    for tile in 0..INPUTS / 16 {
        // [out / 16, 16 inputs, 16 outputs]
        let flat: Vec<u32> =
            (0..OUTPUTS * 16).map(|at| code(at / 256 * 16 + at % 16, tile * 16 + at / 16 % 16)).collect();
        for chunk in flat.chunks(1024) {
            let codes: Vec<u32> = permutation.iter().map(|&place| chunk[place]).collect();
            list.extend(codes.chunks(8).map(|c| c.iter().rev().fold(0, |word, code| word << 4 | code)));
        }
    }
    words(&list)
}

fn scales(groups: usize) -> Vec<u8> {
    let grouped: Vec<usize> = (0..8).flat_map(|i| (0..8).map(move |j| i + 8 * j)).collect();
    let single = (0..4).flat_map(|i| [0, 1, 8, 9, 16, 17, 24, 25].map(|j| 2 * i + j));
    let permutation = if groups == 1 { single.collect() } else { grouped };
    let chunk = permutation.len();
    let stored = |at: usize| {
        let (group, column) = (at / OUTPUTS, at % OUTPUTS);
        scale(group, column / chunk * chunk + permutation[column % chunk])
    };
    f16s(&(0..groups * OUTPUTS).map(stored).collect::<Vec<_>>())
}

fn layer(codes: &str, name: &str, groups: usize, method: &str) -> Literal {
    Literal::new("m")
        .part(codes, Dtype::I32, &[INPUTS as u64 / 16, OUTPUTS as u64 * 2], packed())
        .part(name, Dtype::F16, &[groups as u64, OUTPUTS as u64], scales(groups))
        .block(Some(method), json!({"bits": 4, "group_size": INPUTS / groups}))
}

#[test]
fn tiles_as_the_writers_permute_them_give_back_each_code() {
    for groups in [1, 2] {
        let gptq = decode(&layer("B", "s", groups, "gptq"), &Gptq, 0..128).unwrap();
        for (at, value) in gptq.iter().enumerate() {
            let (o, i) = (at / INPUTS, at % INPUTS);
            let want = (code(o, i) as f32 - 8.0) * scale(i * groups / INPUTS, o);
            assert_eq!(*value, want, "{groups} {o} {i}");
        }
        let awq = layer("qweight", "scales", groups, "awq");
        assert_eq!(decode(&awq, &Awq, 0..128).unwrap(), gptq);
        assert_eq!(decode(&awq, &Awq, 60..67).unwrap(), gptq[60 * INPUTS..67 * INPUTS]);
    }
}

#[test]
fn what_is_not_in_tiles_is_refused() {
    let odd = Literal::new("m").part("B", Dtype::I32, &[2, 48], vec![0; 384]).part(
        "s",
        Dtype::F16,
        &[1, 24],
        f16s(&[1.0; 24]),
    );
    let why = decode(&odd, &Gptq, 0..1).unwrap_err();
    assert_eq!(why, "24 outputs and 32 inputs are not tiles of 64 and 16");
    let three = layer("B", "s", 1, "gptq").without("s");
    let three = three.part("s", Dtype::F16, &[3, 128], f16s(&[1.0; 384]));
    assert_eq!(decode(&three, &Gptq, 0..1).unwrap_err(), "3 groups do not divide 32 inputs");
}
