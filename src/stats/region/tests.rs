//! Tests: regions of layers of several formats against reading everything.

use super::*;
use crate::checkpoint::Checkpoint;
use crate::stats::{Of, Part};

struct Quiet;

impl Watch for Quiet {}

fn open(sample: &str) -> Checkpoint {
    let path = format!("{}/samples/{sample}", env!("CARGO_MANIFEST_DIR"));
    Checkpoint::open_examined(&path).expect("a sample")
}

/// All values of a layer, by one read.
fn all(source: &Source<'_>) -> Vec<f64> {
    let mut buffers = Buffers::default();
    let bytes = source.read(0..source.count(), &mut buffers).expect("it is small").to_vec();
    let mut values = vec![0f32; source.count() as usize];
    assert!(crate::tensor::values::to_f32(source.dtype, &bytes, &mut values));
    values.into_iter().map(f64::from).collect()
}

#[test]
fn numbers_and_cells_are_those_of_reading_everything() {
    let mut looked = 0;
    for sample in
        ["gptq-w4-g128-sym-v1-A/model", "bnb-nf4-A/model", "base-A-bf16/model", "gguf-q4_k_m-K/model.gguf"]
    {
        let checkpoint = open(sample);
        for layer in 0..checkpoint.layers.len() as u32 {
            let Ok(source) = Source::open(&checkpoint, Of::Layer(layer), Part::Weights) else { continue };
            let (rows, columns) = (source.row_count(), source.row_len());
            let values = all(&source);
            let at = |row: u64, column: u64| values[(row * columns + column) as usize];
            let (top, left) = (rows / 3, columns / 3);
            let (bottom, right) = (rows.min(top + 5), columns.min(left + 7));
            let seen = numbers(&source, top..bottom, left..right).expect("it lies inside");
            let wanted: Vec<f64> = (top..bottom)
                .flat_map(|row| (left..right).map(move |column| (row, column)))
                .map(|(r, c)| at(r, c))
                .collect();
            assert_eq!(seen, wanted, "{sample} {}", source.name);
            let [row_ends, column_ends] = [(top, rows), (left, columns)]
                .map(|(a, b)| if b - a > 2 { vec![a, a + 1, b] } else { vec![a, b] });
            let map = pooled(&source, &row_ends, &column_ends, &Quiet).expect("it lies inside");
            for (line, r) in row_ends.windows(2).enumerate() {
                for (cell, c) in column_ends.windows(2).enumerate() {
                    let most = (r[0]..r[1]).flat_map(|row| (c[0]..c[1]).map(move |column| (row, column)));
                    let most = most.map(|(row, column)| at(row, column).abs()).fold(0.0, f64::max);
                    assert_eq!(
                        f64::from(map.cells[line * map.columns + cell]),
                        most,
                        "{sample} {}",
                        source.name
                    );
                }
            }
            looked += 1;
        }
    }
    println!("{looked} layers");
    assert!(looked > 40, "{looked}");
}

#[test]
fn what_lies_outside_is_refused() {
    let checkpoint = open("base-A-bf16/model");
    let source = Source::open(&checkpoint, Of::Tensor(0), Part::Weights).expect("plain values");
    let (rows, columns) = (source.row_count(), source.row_len());
    assert!(numbers(&source, 0..rows + 1, 0..1).is_err());
    assert!(numbers(&source, 0..1, columns..columns + 1).is_err());
    assert!(numbers(&source, 0..u64::MAX, 0..u64::MAX).is_err());
    assert!(pooled(&source, &[0, rows + 1], &[0, 1], &Quiet).is_err());
    assert!(pooled(&source, &[1, 0], &[0, 1], &Quiet).is_err());
    assert!(numbers(&source, 0..0, 0..0).expect("nothing is inside").is_empty());
}
