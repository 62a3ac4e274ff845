//! Tests of where errors lie: values with faults put in.

use super::*;
use crate::checkpoint::Checkpoint;
use crate::stats::{Of, Options, Part, Source, Watch, compare};

struct Quiet;

impl Watch for Quiet {}

/// Values of `[40, 60]` that are nearly as large as each other.
fn values(seed: u32) -> Vec<f32> {
    let hash =
        |at: u32| (at.wrapping_mul(2_654_435_761) ^ seed.wrapping_mul(40_503)).wrapping_mul(2_246_822_519);
    (0..2400).map(|at| 0.5 + (hash(at) >> 20) as f32 / 8192.0).collect()
}

fn write(name: &str, values: &[f32]) -> Checkpoint {
    let folder = std::env::temp_dir().join(format!("ckpt-causes-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let header = format!(
        "{{\"x.weight\":{{\"dtype\":\"F32\",\"shape\":[40,60],\"data_offsets\":[0,{}]}}}}",
        4 * values.len()
    );
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    #[expect(clippy::disallowed_methods, reason = "a checkpoint of a test")]
    std::fs::write(folder.join("model.safetensors"), bytes).expect("a file");
    Checkpoint::open_examined(folder.to_str().expect("a name")).expect("a checkpoint")
}

/// Returns what is said of B with an error of so much at each place.
fn said(name: &str, b: &[f32], error: impl Fn(usize, usize) -> f32) -> Vec<String> {
    let a: Vec<f32> = b.iter().enumerate().map(|(at, value)| value + error(at / 60, at % 60)).collect();
    let both = [write(&format!("{name}-a"), &a), write(&format!("{name}-b"), b)];
    let [a, b] =
        both.each_ref().map(|of| Source::open(of, Of::Layer(0), Part::Weights).expect("plain values"));
    causes(&compare(&a, &b, &Options::default(), &Quiet).expect("nobody cancels"))
}

#[test]
fn what_holds_the_error_is_named_with_its_share() {
    let plain = values(1);
    let noise = |row: usize, column: usize| if (row * 7 + column).is_multiple_of(2) { 0.125 } else { -0.125 };
    assert_eq!(said("equal", &plain, |_, _| 0.0), Vec::<String>::new());
    assert_eq!(said("spread", &plain, noise), ["The error is spread: no row, column or value stands out."]);
    // Columns 5 and 50 have eight times the error: 2 · 64 of 58 + 2 · 64 parts of the squares.
    let in_two = |row, column| noise(row, column) * if column % 45 == 5 { 8.0 } else { 1.0 };
    assert_eq!(said("columns", &plain, in_two), ["2 of 60 columns hold 69% of the error: 5, 50."]);
    let in_many = |row, column| noise(row, column) * if column % 6 == 5 { 8.0 } else { 1.0 };
    assert_eq!(
        said("many", &plain, in_many),
        ["10 of 60 columns hold 93% of the error: 5, 11, 17 and 7 more."]
    );
    let in_row = |row, column| noise(row, column) * if row == 3 { 8.0 } else { 1.0 };
    assert_eq!(said("row", &plain, in_row), ["1 of 40 rows holds 62% of the error: 3."]);
    let alone = |_, column| if column == 7 { 0.5 } else { 0.0 };
    assert_eq!(said("alone", &plain, alone), ["1 of 60 columns holds all of the error: column 7."]);
    let one = |row, column| noise(row, column) * if (row, column) == (3, 9) { 64.0 } else { 1.0 };
    let words = said("one", &plain, one);
    assert_eq!(words[0], "One value, at [3, 9], holds 63% of the error.");
}

#[test]
fn columns_that_stand_out_in_b_are_said_to() {
    let mut b = values(2);
    b.iter_mut().skip(5).step_by(60).for_each(|value| *value *= 10.0);
    let noise = |_: usize, column: usize| if column == 5 { 2.0 } else { 0.125 };
    let words = said("outlier", &b, noise);
    let times = words[0]
        .strip_prefix("1 of 60 columns holds 81% of the error: 5. It stands out in B too: its values have ");
    let times = times.and_then(|rest| rest.strip_suffix(" times the norm of the middle column."));
    let times: f64 = times.expect("the sentence").parse().expect("a number");
    assert!((9.0..11.0).contains(&times), "{words:?}");
    assert_eq!(words.len(), 1);
}
