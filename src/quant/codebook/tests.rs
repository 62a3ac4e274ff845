//! Layers of AQLM, VPTQ, `SpQR` and HIGGS from literals: whole, and with parts missing or of the wrong size.

use serde_json::json;

use super::*;
use crate::quant::testing::{Literal, codes, f16s, some_codes, some_values};
use crate::tensor::values::round;

fn aqlm() -> Literal {
    Literal::new("model.layers.0.mlp.down_proj")
        .shape("codes", Dtype::I8, &[128, 32, 2])
        .shape("codebooks", Dtype::F16, &[2, 256, 1, 8])
        .shape("scales", Dtype::F16, &[128, 1, 1, 1])
}

#[test]
fn aqlm_tells_its_shape_and_bits_without_a_config() {
    let spec = aqlm().recognize(&Aqlm).unwrap().spec;
    assert_eq!((spec.shape, spec.millibits, spec.variant.as_str()), (vec![128, 256], 2000, "2x8"));
    // One codebook of 65536 entries: 16 bits for 8 weights.
    let one = Literal::new("x").shape("codes", Dtype::I16, &[128, 32, 1]);
    let one =
        one.shape("codebooks", Dtype::F16, &[1, 65536, 1, 8]).shape("scales", Dtype::F16, &[128, 1, 1, 1]);
    assert_eq!(one.recognize(&Aqlm).unwrap().spec.variant, "1x16");
}

#[test]
fn aqlm_without_a_part_is_broken() {
    for part in ["codes", "codebooks", "scales"] {
        let found = aqlm().without(part).recognize(&Aqlm).unwrap();
        assert_eq!(found.spec.broken, [format!("missing {part}")]);
        assert_eq!(codes(&found), ["Q020"]);
    }
    let flat = aqlm().without("codes").shape("codes", Dtype::I8, &[128, 64]).recognize(&Aqlm).unwrap();
    assert!(!flat.spec.shape_known && codes(&flat) == ["Q002"], "{flat:?}");
}

#[test]
fn aqlm_codebooks_must_be_as_many_as_the_indices() {
    let found = aqlm().without("codebooks").shape("codebooks", Dtype::F16, &[3, 256, 1, 8]);
    assert_eq!(codes(&found.recognize(&Aqlm).unwrap()), ["Q002"]);
    let few = aqlm().without("scales").shape("scales", Dtype::F16, &[64, 1, 1, 1]);
    assert_eq!(codes(&few.recognize(&Aqlm).unwrap()), ["Q002"]);
}

fn vptq(indices: &[u64]) -> Literal {
    Literal::new("model.layers.0.mlp.down_proj")
        .shape("indices", Dtype::I32, indices)
        .shape("centroids.weight", Dtype::F16, &[1, 2048])
        .shape("perm", Dtype::I16, &[256])
}

#[test]
fn vptq_takes_shape_and_bits_from_its_config() {
    let config = json!({"config_for_layers": {"model.layers.0.mlp.down_proj": {
        "in_features": 256, "out_features": 128, "vector_lens": [-1, 8],
        "num_centroids": [-1, 256], "num_res_centroids": [-1, -1]}}});
    let found = vptq(&[1, 16, 64]).block(Some("vptq"), config.clone()).recognize(&Vptq).unwrap();
    assert_eq!((found.spec.shape, found.spec.millibits, found.faults), (vec![128, 256], 1000, vec![]));
    let short = vptq(&[1, 16, 64]).without("perm").shape("perm", Dtype::I16, &[128]);
    assert_eq!(codes(&short.block(Some("vptq"), config).recognize(&Vptq).unwrap()), ["Q002"]);
}

#[test]
fn vptq_without_a_config_has_no_shape() {
    let found = vptq(&[1, 16, 64]).recognize(&Vptq).unwrap();
    assert!(!found.spec.shape_known && found.spec.millibits == 0);
    let hostile = json!({"config_for_layers": {"model.layers.0.mlp.down_proj": {
        "in_features": 0, "out_features": -5, "vector_lens": [1, 0], "num_centroids": 7}}});
    let found = vptq(&[1, 16, 64]).block(Some("vptq"), hostile).recognize(&Vptq).unwrap();
    assert!(!found.spec.shape_known);
}

#[test]
fn spqr_counts_its_tiles_where_the_architecture_tells_the_shape() {
    let layer = |words: u64| {
        let layer = Literal::new("model.layers.0.mlp.down_proj").shape("dense_weights", Dtype::I64, &[words]);
        let layer = layer.shape("row_offsets", Dtype::I32, &[129]).shape("col_vals", Dtype::I32, &[7]);
        let layer = layer.block(Some("spqr"), json!({"bits": 3, "beta1": 16, "beta2": 16}));
        layer.config_shape("down_proj", &[128, 256])
    };
    let whole = layer(2048).recognize(&Spqr).unwrap();
    assert_eq!((whole.spec.millibits, whole.spec.group_size, whole.faults.len()), (3000, Some(16), 0));
    assert_eq!(codes(&layer(1024).recognize(&Spqr).unwrap()), ["Q002"]);
    assert_eq!(codes(&layer(2048).without("col_vals").recognize(&Spqr).unwrap()), ["Q020"]);
}

#[test]
fn higgs_tells_its_bits_by_the_table() {
    let layer = |scales: &[u64]| {
        let layer =
            Literal::new("x").shape("weight", Dtype::I16, &[32, 256]).shape("scales", Dtype::F16, scales);
        layer.shape("tables", Dtype::F16, &[16]).shape("tables2", Dtype::F16, &[16, 16, 2])
    };
    let found = layer(&[128, 4]).recognize(&Higgs).unwrap();
    assert_eq!(
        (found.spec.shape, found.spec.millibits, found.spec.group_size),
        (vec![128, 256], 4000, Some(64))
    );
    assert_eq!(codes(&layer(&[64, 4]).recognize(&Higgs).unwrap()), ["Q002"]);
    assert_eq!(codes(&layer(&[128, 4]).without("scales").recognize(&Higgs).unwrap()), ["Q020"]);
    assert!(layer(&[128, 4]).without("tables").without("tables2").recognize(&Higgs).is_none());
}

#[test]
fn aqlm_sums_a_vector_of_each_codebook() {
    // 4 × 12 weights in groups of 2 × 3, three codebooks of 16 vectors; upper bits of codes do not count.
    let numbers = some_codes(2 * 4 * 3, 256);
    let books = some_values(3 * 16 * 6, 1.0, Dtype::F16);
    let scales = [0.5, -0.013].map(|scale| round(Dtype::F16, scale));
    let wide = |code: &u8| [*code, 0xff];
    for (dtype, data) in [(Dtype::I8, numbers.clone()), (Dtype::I16, numbers.iter().flat_map(wide).collect())]
    {
        let layer = Literal::new("x")
            .part("codes", dtype, &[2, 4, 3], data)
            .part("codebooks", Dtype::F16, &[3, 16, 2, 3], f16s(&books))
            .part("scales", Dtype::F16, &[2, 1, 1, 1], f16s(&scales));
        let value = |at: usize| {
            let (row, column) = (at / 12, at % 12);
            let vector = |book: usize| usize::from(numbers[(row / 2 * 4 + column / 3) * 3 + book] % 16);
            let part = |book| books[((book * 16 + vector(book)) * 2 + row % 2) * 3 + column % 3];
            let sum = round(Dtype::F16, part(0) + part(1) + part(2));
            round(Dtype::F16, sum * scales[row / 2])
        };
        assert_eq!(layer.decode(&Aqlm).unwrap(), ((0..48).map(value).collect(), Some(Dtype::F16)), "{dtype}");
    }
}
