//! Formats that no library here can write: each layer of the `layout-*` samples has the format, the bits and
//! the shape that its `case.json` gives. Their codes mean nothing; the layouts are those of the formats' sources.

use std::fs;

use ckpt::checkpoint::Checkpoint;
use serde_json::{Value, json};

use crate::sample;

/// Opens a sample and compares its layers. Returns how many there are, and what differs.
fn check(id: &str) -> (usize, Vec<String>) {
    let case: Value = serde_json::from_slice(&fs::read(sample(id).join("case.json")).unwrap()).unwrap();
    let path = sample(id).join("model");
    let checkpoint = Checkpoint::open_examined(&path.display().to_string()).unwrap();
    let shapes = case["shapes"].as_object().unwrap();
    let (mut found, mut differ) = (0, Vec::new());
    for layer in 0..checkpoint.layers.len() as u32 {
        let name = checkpoint.layers.name(&checkpoint.files.names, layer);
        let spec = checkpoint.layers.spec(layer);
        let Some(shape) = shapes.get(&name) else {
            if spec.is_quantized() {
                differ.push(format!("{id}: {name} is {}, the case lacks it", spec.format.get().name()));
            }
            continue;
        };
        found += 1;
        let seen = json!({
            "format": spec.format.get().name(), "variant": spec.variant, "bits": spec.bits(),
            "group_size": spec.group_size, "shape": spec.shape, "known": spec.shape_known,
            "broken": spec.broken, "pending": spec.pending,
        });
        let wanted = json!({
            "format": case["format"], "variant": case["variant"], "bits": case["bits"].as_f64(),
            "group_size": case["group_size"], "shape": shape, "known": true, "broken": [], "pending": false,
        });
        if seen != wanted {
            differ.push(format!("{id}: {name} is {seen}, the case says {wanted}"));
        }
    }
    if found != shapes.len() {
        differ.push(format!("{id}: {found} of {} layers found", shapes.len()));
    }
    differ.extend(checkpoint.problems.iter().filter(|p| p.is_error()).map(|p| format!("{id}: {p:?}")));
    (found, differ)
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
    let checked: Vec<_> = ids.iter().map(|id| check(id)).collect();
    let differ: Vec<_> = checked.iter().flat_map(|(_, differ)| differ.iter().map(String::as_str)).collect();
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    let layers: usize = checked.iter().map(|(found, _)| found).sum();
    println!("{layers} layers of {} layouts are as their case says", ids.len());
    assert_eq!((ids.len(), layers), (23, 67));
}
