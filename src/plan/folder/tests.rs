//! Tests of `folder`.

use super::*;
use crate::tensor::Dtype;

#[test]
fn files_are_filled_in_order_and_aligned() {
    let tensor = |name: &str, dtype: Dtype, count: u64| OutTensor {
        name: name.into(),
        dtype,
        shape: vec![count],
        bytes: dtype.bytes_of(count).unwrap(),
        source: super::super::Source::Copy(super::super::At::base(0)),
    };
    let tensors = vec![
        tensor("a", Dtype::U8, 3),
        tensor("b", Dtype::BF16, 8),
        tensor("c", Dtype::F32, 2),
        tensor("d", Dtype::BF16, 100),
        tensor("e", Dtype::BF16, 1),
    ];
    let names = |shards: &[OutShard]| -> Vec<(String, String)> {
        let text = |s: &OutShard| s.tensors.iter().map(|t| t.name.as_str()).collect::<String>();
        shards.iter().map(|shard| (shard.file.clone(), text(shard))).collect()
    };
    assert_eq!(names(&shards(tensors.clone(), 1000)), [("model.safetensors".into(), "bcdea".into())]);
    let three = names(&shards(tensors, 30));
    assert_eq!(three[0], ("model-00001-of-00003.safetensors".into(), "bca".into()));
    assert_eq!((three[1].1.as_str(), three[2].1.as_str()), ("d", "e"));
}
