//! Cases of the rules in `diagnose/values`.

use super::folder::{Folder, HIDDEN};
use super::{Case, Tensor};

/// Writes a value of two bytes into the last norm, and reads the data.
fn value(folder: &mut Folder, bits: u16) {
    let norm = folder.tensors().get_mut("model.norm.weight").unwrap();
    norm.bytes[6..8].copy_from_slice(&bits.to_le_bytes());
    folder.is_deep = true;
}

/// Adds a tensor of this name.
fn name(folder: &mut Folder, name: &str) {
    folder.tensors().insert(name.into(), Tensor::new("BF16", &[HIDDEN]));
}

/// Puts a pickle in the place of the weights, and reads the data.
fn pickle(folder: &mut Folder, file: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/rules/data").join(file);
    folder.shards.clear();
    folder.raw.insert("pytorch_model.bin".into(), std::fs::read(path).unwrap());
    folder.is_deep = true;
}

pub(super) const CASES: &[Case] = &[
    Case { code: "V001", hit: |folder| value(folder, 0x7fc0), miss: |folder| value(folder, 0x7f80) },
    Case { code: "V002", hit: |folder| value(folder, 0xff80), miss: |folder| value(folder, 0x7f7f) },
    Case {
        code: "V003",
        hit: |folder| pickle(folder, "deflated.bin"),
        miss: |folder| pickle(folder, "plain.bin"),
    },
    Case {
        code: "N001",
        hit: |folder| name(folder, "model.red\u{1b}[31m.weight"),
        miss: |folder| name(folder, "model.größe.weight"),
    },
    Case {
        code: "N002",
        hit: |folder| name(folder, &"n".repeat(600)),
        miss: |folder| name(folder, &"n".repeat(500)),
    },
    Case {
        code: "N003",
        hit: |folder| name(folder, &"a.".repeat(70)),
        miss: |folder| name(folder, &format!("{}weight", "a.".repeat(40))),
    },
];
