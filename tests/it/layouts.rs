//! Formats that no library here can write: each layer of the `layout-*` samples has the format, the bits and
//! the shape that its `case.json` gives. Their codes mean nothing; the layouts are those of the formats' sources.

use std::fs;

use ckpt::checkpoint::Checkpoint;
use serde_json::Value;

use crate::sample;

/// Opens a sample and compares its layers. Returns how many.
fn check(id: &str) -> usize {
    let case: Value = serde_json::from_slice(&fs::read(sample(id).join("case.json")).unwrap()).unwrap();
    let path = sample(id).join("model");
    let checkpoint = Checkpoint::open_examined(&path.display().to_string()).unwrap();
    let names = &checkpoint.files.names;
    let shapes = case["shapes"].as_object().unwrap();
    let mut found = 0;
    for layer in 0..checkpoint.layers.len() as u32 {
        let name = checkpoint.layers.name(names, layer);
        let spec = checkpoint.layers.spec(layer);
        let Some(shape) = shapes.get(&name) else {
            assert_eq!(spec.format.get().name(), "dense", "{id}: {name} is not in the case");
            continue;
        };
        let seen = serde_json::json!({
            "format": spec.format.get().name(), "variant": spec.variant, "bits": spec.bits(),
            "group_size": spec.group_size, "shape": spec.shape, "broken": spec.broken,
        });
        let wanted = serde_json::json!({
            "format": case["format"], "variant": case["variant"], "bits": case["bits"].as_f64(),
            "group_size": case["group_size"], "shape": shape, "broken": [],
        });
        assert_eq!(seen, wanted, "{id}: {name}");
        assert!(spec.shape_known && !spec.pending, "{id}: {name}");
        found += 1;
    }
    assert_eq!(found, shapes.len(), "{id}: not every layer was found");
    found
}

fn layouts() -> Vec<String> {
    let entries = fs::read_dir(sample("")).unwrap();
    let mut ids: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    ids.retain(|id| id.starts_with("layout-"));
    ids.sort();
    ids
}

#[test]
fn each_layer_is_read_by_the_layout_of_its_format() {
    let ids = layouts();
    let layers: usize = ids.iter().map(|id| check(id)).sum();
    println!("{layers} layers of {} layouts are as their case says", ids.len());
    assert_eq!((ids.len(), layers), (23, 67));
}
