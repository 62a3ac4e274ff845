//! Layers of torchao from literals: each class that its metadata names, and broken ones.

use serde_json::{Value, json};

use super::*;
use crate::quant::testing::{Literal, codes};

/// Metadata, dtype and shape of the codes; and the bits in thousandths and the group that they mean.
type Case<'a> = (Value, Dtype, &'a [u64], u32, Option<u64>);

fn layer(meta: &Value, dtype: Dtype, shape: &[u64], scale: &[u64]) -> Literal {
    let layer =
        Literal::new("m").shape("_weight_qdata", dtype, shape).shape("_weight_scale", Dtype::F32, scale);
    layer.block_of("model.safetensors __metadata__", "", Some("torchao"), json!({ "m.weight": meta }))
}

#[test]
fn the_class_tells_how_codes_are_packed() {
    let block = |inputs: u64| json!({"block_size": [1, inputs], "dtype": {"_data": "bfloat16"}});
    let nested = |kind: &str, data: Value| json!({"_type": kind, "_data": data});
    let int4 = json!({"block_size": [1, 32], "target_dtype": {"_data": "int4"}});
    let cases: [Case<'_>; 4] = [
        (nested("Int8Tensor", block(256)), Dtype::I8, &[128, 256], 8000, None),
        (nested("Float8Tensor", block(256)), Dtype::F8E4M3, &[128, 256], 8000, None),
        (nested("IntxUnpackedToInt8Tensor", int4), Dtype::I8, &[128, 256], 4000, Some(32)),
        (nested("Int4Tensor", block(64)), Dtype::U8, &[128, 128], 4000, Some(64)),
    ];
    for (meta, dtype, shape, millibits, group) in cases {
        let found = layer(&meta, dtype, shape, &[128, 1]).recognize(&Torchao).unwrap();
        assert!(found.faults.is_empty(), "{meta}: {found:?}");
        assert_eq!((found.spec.shape, found.spec.millibits), (vec![128, 256], millibits), "{meta}");
        assert_eq!(found.spec.group_size, group, "{meta}");
    }
}

#[test]
fn what_the_metadata_lacks_is_named() {
    let bare = Literal::new("m").shape("_weight_qdata", Dtype::I8, &[128, 256]);
    let found = bare.shape("_weight_scale", Dtype::F32, &[128, 1]).recognize(&Torchao).unwrap();
    assert_eq!(codes(&found), ["Q007"]);
    let meta = json!({"_type": "Int8Tensor", "_data": {"block_size": [1, 256]}});
    let found = layer(&meta, Dtype::I8, &[128, 256], &[128, 1]).without("_weight_scale").recognize(&Torchao);
    assert_eq!(codes(&found.unwrap()), ["Q020"]);
}

#[test]
fn hostile_metadata_is_only_wrong() {
    for data in [
        json!(7),
        json!({"block_size": [0, 0]}),
        json!({"block_size": []}),
        json!({"target_dtype": {"_data": "int4000000000"}}),
        json!({"dtype": [1]}),
    ] {
        let meta = json!({"_type": "IntxUnpackedToInt8Tensor", "_data": data});
        let found = layer(&meta, Dtype::I8, &[128, 256], &[128, 1]).recognize(&Torchao).unwrap();
        assert_eq!((found.spec.millibits, found.spec.group_size), (8000, None), "{data}");
    }
    let tiles = json!({"_type": "Int4TilePackedTo4dTensor", "_data": {"block_size": [1, 128]}});
    let found = layer(&tiles, Dtype::I32, &[u64::MAX, 2, 32, 4], &[1, 1]).recognize(&Torchao).unwrap();
    assert_eq!(found.spec.millibits, 4000);
}
