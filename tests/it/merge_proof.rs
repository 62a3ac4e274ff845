//! The proof of a merge, with the real binary: what rounding takes is no fault of the result.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::convert::{Scratch, put, tensors};

/// Writes tensors of f32.
fn write(file: &Path, list: &[(&str, &[usize], &[f32])]) {
    let data: Vec<Vec<u8>> = list
        .iter()
        .map(|(.., values)| values.iter().flat_map(|value| value.to_le_bytes()).collect())
        .collect();
    let views = list.iter().zip(&data).map(|((name, shape, _), bytes)| {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.to_vec(), bytes);
        ((*name).to_owned(), view.unwrap())
    });
    put(file, &safetensors::serialize(views, None).unwrap());
}

#[test]
fn products_that_cancel_on_a_base_of_zeros_are_no_fault() {
    let scratch = Scratch::new("merge-cancel");
    let (base, adapter) = (scratch.join("base"), scratch.join("adapter"));
    for folder in [&base, &adapter] {
        fs::create_dir_all(folder).unwrap();
    }
    write(&base.join("model.safetensors"), &[("model.layers.0.q_proj.weight", &[2, 2], &[0.0; 4])]);
    put(&base.join("config.json"), br#"{"architectures": ["X"], "torch_dtype": "float32"}"#);
    // The first column of the delta is 1 + 1e-9 - 1: an f32 keeps nothing of it, an f64 the billionth.
    let p = "base_model.model.model.layers.0.q_proj";
    let (a, b) = (format!("{p}.lora_A.weight"), format!("{p}.lora_B.weight"));
    write(
        &adapter.join("adapter_model.safetensors"),
        &[(&a, &[3, 2], &[1.0, 0.5, 1e-9, 0.25, -1.0, 0.125]), (&b, &[2, 3], &[1.0; 6])],
    );
    let config = br#"{"peft_type": "LORA", "r": 3, "lora_alpha": 3, "target_modules": ["q_proj"]}"#;
    put(&adapter.join("adapter_config.json"), config);
    for dtype in ["f32", "bf16"] {
        let out = scratch.join(dtype);
        let run = Command::new(env!("CARGO_BIN_EXE_ckpt"))
            .args(["merge", base.to_str().unwrap(), "-a", adapter.to_str().unwrap(), "--dtype", dtype, "-o"])
            .arg(&out)
            .output()
            .unwrap();
        assert_eq!(run.status.code(), Some(0), "{}", String::from_utf8_lossy(&run.stderr));
        let written = tensors(&out);
        let (_, _, bytes) = &written["model.layers.0.q_proj.weight"];
        assert_eq!(bytes[..bytes.len() / 4], vec![0; bytes.len() / 4]);
        assert!(bytes[bytes.len() / 4..].iter().any(|&byte| byte != 0));
    }
}
