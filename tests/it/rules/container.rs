//! Cases of the rules in `diagnose/container`.

use serde_json::json;

use super::folder::{Folder, HIDDEN};
use super::{Case, Tensor};

const MODEL: &str = "model.safetensors";

/// Puts bytes in the place of the weights.
fn only(folder: &mut Folder, name: &str, bytes: Vec<u8>) {
    folder.shards.clear();
    folder.raw.insert(name.into(), bytes);
}

/// Puts a file of the repository in the place of the weights.
fn from_file(folder: &mut Folder, path: &str, name: &str) {
    let bytes = std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    only(folder, name, bytes);
}

/// Puts a damaged safetensors file in the place of the weights.
fn damaged(folder: &mut Folder, name: &str) {
    from_file(folder, &format!("samples/bad-safetensors/files/{name}.safetensors"), MODEL);
}

/// Puts a damaged GGUF file in the place of the weights.
fn damaged_gguf(folder: &mut Folder, name: &str) {
    from_file(folder, &format!("samples/bad-gguf/{name}.gguf"), "model.gguf");
}

/// Puts a pickle in the place of the weights.
fn pickle(folder: &mut Folder, path: &str) {
    from_file(folder, path, "pytorch_model.bin");
}

/// Writes the weight file of the folder with another header or end.
fn rewritten(folder: &mut Folder, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = folder.shards[MODEL].bytes();
    change(&mut bytes);
    only(folder, MODEL, bytes);
}

/// Returns a GGUF file of version 3 with one tensor of 32 floats.
fn gguf(name: &str) -> Vec<u8> {
    let mut file = b"GGUF".to_vec();
    file.extend(3u32.to_le_bytes());
    for count in [1, 0, name.len() as u64] {
        file.extend(count.to_le_bytes());
    }
    file.extend(name.as_bytes());
    file.extend(1u32.to_le_bytes());
    file.extend(32u64.to_le_bytes());
    file.extend(0u32.to_le_bytes());
    file.extend(0u64.to_le_bytes());
    file.resize(file.len().next_multiple_of(32), 0);
    file.extend([0; 128]);
    file
}

fn good(_: &mut Folder) {}

pub(super) const CASES: &[Case] = &[
    Case {
        code: "K001",
        hit: |folder| only(folder, MODEL, Vec::new()),
        miss: |folder| {
            folder.raw.insert("README.md".into(), Vec::new());
        },
    },
    Case {
        code: "K002",
        hit: |folder| {
            let text = "version https://git-lfs.github.com/spec/v1\noid sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\nsize 4976698672\n";
            only(folder, MODEL, text.into());
        },
        miss: |folder| {
            folder.raw.insert("README.md".into(), "version https://git-lfs.github.com/spec/v1\n".into());
        },
    },
    Case {
        code: "K003",
        hit: |folder| only(folder, MODEL, "<!DOCTYPE html><html><body>Access denied</body></html>".into()),
        miss: |folder| {
            folder.raw.insert("index.html".into(), "<!DOCTYPE html><html></html>".into());
        },
    },
    Case {
        code: "K004",
        hit: |folder| damaged_gguf(folder, "bad-magic"),
        miss: |folder| damaged_gguf(folder, "good"),
    },
    Case {
        code: "K005",
        hit: |folder| rewritten(folder, |bytes| bytes[..8].copy_from_slice(&5_000_000u64.to_le_bytes())),
        miss: |folder| rewritten(folder, |bytes| bytes.truncate(bytes.len() - 1)),
    },
    Case {
        code: "K006",
        hit: |folder| damaged(folder, "header-not-json"),
        miss: |folder| damaged(folder, "header-leading-space"),
    },
    Case {
        code: "K007",
        hit: |folder| rewritten(folder, |bytes| bytes.truncate(bytes.len() - 1)),
        miss: |folder| rewritten(folder, |bytes| bytes.push(0)),
    },
    Case { code: "K008", hit: |folder| rewritten(folder, |bytes| bytes.extend([0; 24])), miss: good },
    Case { code: "K009", hit: |folder| damaged(folder, "hole"), miss: |folder| damaged(folder, "overlap") },
    Case { code: "K010", hit: |folder| damaged(folder, "overlap"), miss: |folder| damaged(folder, "hole") },
    Case {
        code: "K011",
        hit: |folder| damaged(folder, "offsets-reversed"),
        miss: |folder| damaged(folder, "truncated-data"),
    },
    Case {
        code: "K012",
        hit: |folder| damaged(folder, "shape-size-mismatch"),
        miss: |folder| damaged(folder, "f4-subbyte-ok"),
    },
    Case {
        code: "K013",
        hit: |folder| damaged(folder, "unknown-dtype"),
        miss: |folder| damaged(folder, "f4-subbyte-ok"),
    },
    Case {
        code: "K014",
        hit: |folder| damaged(folder, "duplicate-key"),
        miss: |folder| damaged(folder, "scalar-and-empty-ok"),
    },
    Case {
        // llama.cpp refuses a name of 64 bytes; nothing else is wrong with the file.
        code: "K015",
        hit: |folder| only(folder, "model.gguf", gguf(&"n".repeat(64))),
        miss: |folder| only(folder, "model.gguf", gguf(&"n".repeat(63))),
    },
    Case {
        code: "K016",
        hit: |folder| damaged_gguf(folder, "version-99"),
        miss: |folder| damaged_gguf(folder, "good"),
    },
    Case {
        code: "K017",
        hit: |folder| pickle(folder, "samples/bin-malicious/os-system.bin"),
        miss: |folder| pickle(folder, "tests/it/rules/data/plain.bin"),
    },
    Case {
        code: "K018",
        hit: |folder| pickle(folder, "samples/bin-malicious/huge-len.bin"),
        miss: |folder| pickle(folder, "tests/it/rules/data/plain.bin"),
    },
    Case {
        code: "K019",
        hit: |folder| pickle(folder, "samples/bin-malicious/deep-nesting.bin"),
        miss: |folder| pickle(folder, "tests/it/rules/data/plain.bin"),
    },
    Case {
        code: "K020",
        hit: |folder| damaged(folder, "header-leading-space"),
        miss: |folder| folder.shards.get_mut(MODEL).unwrap().metadata = None,
    },
    Case { code: "K021", hit: |folder| pickle(folder, "tests/it/rules/data/plain.bin"), miss: good },
    Case {
        code: "K022",
        hit: |folder| {
            folder.shards.get_mut(MODEL).unwrap().metadata = Some(json!({"format": "pt", "step": 3}));
        },
        miss: |folder| {
            folder.shards.get_mut(MODEL).unwrap().metadata = Some(json!({"format": "pt", "step": "3"}));
        },
    },
    Case {
        code: "K023",
        hit: |folder| {
            folder.shards.clear();
            std::fs::create_dir_all(folder.path()).unwrap();
            std::os::unix::fs::symlink("../blobs/0123", folder.path().join(MODEL)).unwrap();
        },
        miss: |folder| {
            std::fs::create_dir_all(folder.path()).unwrap();
            std::os::unix::fs::symlink("../blobs/0123", folder.path().join("README.md")).unwrap();
        },
    },
    Case {
        code: "K024",
        hit: |folder| damaged_gguf(folder, "big-endian"),
        miss: |folder| damaged_gguf(folder, "good"),
    },
    Case {
        code: "K025",
        hit: |folder| {
            let tar = [vec![0; 257], b"ustar".to_vec(), vec![0; 250]].concat();
            only(folder, "pytorch_model.bin", tar);
        },
        miss: |folder| pickle(folder, "tests/it/rules/data/plain.bin"),
    },
    Case {
        code: "K026",
        hit: |folder| folder.shards.get_mut(MODEL).unwrap().metadata = None,
        miss: |folder| folder.shards.get_mut(MODEL).unwrap().metadata = Some(json!({"format": "mlx"})),
    },
    Case {
        code: "K028",
        hit: |folder| {
            folder.tensors().insert("extra.scale".into(), Tensor::new("F8_E8M0", &[HIDDEN]));
        },
        miss: |folder| {
            folder.tensors().insert("extra.scale".into(), Tensor::new("F8_E4M3", &[HIDDEN]));
        },
    },
];
