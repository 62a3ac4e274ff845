//! Layers too small for a sample, written inline: their bytes and results are those of the reference libraries.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::convert::{Scratch, convert, done, put, tensors};

/// Name, shape, dtype and bytes of a tensor.
pub(crate) type Tensor = (String, Vec<usize>, &'static str, Vec<u8>);

/// What bitsandbytes makes of the weight of `nf4`, turned to `[4, 6]`.
const TURNED: &str = concat!(
    "fda5adac0c2c3b25fda5adac8e2d4a2913aa8e2d3f2fa030",
    "51b01c3413aa4a29b9b113aa13aa13aa7eae3f2ffda58e2d"
);

pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
    text.as_bytes().as_chunks::<2>().0.iter().map(|[high, low]| digit(*high) << 4 | digit(*low)).collect()
}

/// Writes a folder of one safetensors file and a config.
pub(crate) fn folder(path: &Path, config: &Value, metadata: Value, list: &[Tensor]) {
    fs::create_dir(path).unwrap();
    let mut header = Map::from_iter([("__metadata__".to_owned(), metadata)]);
    let mut data = Vec::new();
    for (name, shape, dtype, bytes) in list {
        let at = data.len();
        data.extend_from_slice(bytes);
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [at, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    put(&path.join("model.safetensors"), &file);
    put(&path.join("config.json"), config.to_string().as_bytes());
}

/// A weight of `[6, 4]`, or of another shape of as many, packed by bitsandbytes 0.50.2 (`quantize_4bit`, nf4).
fn nf4(name: &str, shape: &str) -> Vec<Tensor> {
    let map = hex(concat!(
        "000080bfb13932bf306b06bfa032cabe4da291be3f353dbe7178babd00000000",
        "fffaa23de3ca243edd047c3e3a03ad3eb8a4e13eab07103fb313393f0000803f"
    ));
    let state = format!(r#"{{"quant_type": "nf4", "blocksize": 64, "dtype": "float16", "shape": {shape}}}"#);
    vec![
        (name.to_owned(), vec![12, 1], "U8", hex("6b2549f5a5538b9c6c164d5b")),
        (format!("{name}.absmax"), vec![1], "F32", hex("0080833e")),
        (format!("{name}.quant_map"), vec![16], "F32", map),
        (format!("{name}.quant_state.bitsandbytes__nf4"), vec![state.len()], "U8", state.into_bytes()),
    ]
}

/// GPT-2's class keeps weights as `[in, out]`; a layer of [4, 6] packed by bitsandbytes 0.50.2 as transformers
/// 5.23 does it (the weight turned, then `quantize_4bit`), and `dequantize_4bit` turned back.
#[test]
fn layers_of_gpt2_come_as_its_class_has_them() {
    let scratch = Scratch::new("gpt2");
    let list = [nf4("transformer.h.0.attn.c_attn.weight", "[6, 4]"), nf4("score.weight", "[6, 4]")].concat();
    let turned = hex(TURNED);
    let quantized = json!({"quant_method": "bitsandbytes", "load_in_4bit": true});
    let config = json!({"model_type": "gpt2", "dtype": "float16", "quantization_config": quantized});
    folder(&scratch.join("gpt2"), &config, json!({"format": "pt"}), &list);
    for slot in ["1", "24", "8MiB"] {
        let out = scratch.join(&format!("out-{slot}"));
        done(&convert(&scratch.join("gpt2"), &out, &["--slot-size", slot, "--verify", "full"]));
        let mut result = tensors(&out);
        let (dtype, shape, bytes) = result.remove("transformer.h.0.attn.c_attn.weight").unwrap();
        assert_eq!((&*dtype, shape, &bytes), ("F16", vec![4, 6], &turned), "slots of {slot}");
        // A linear layer of the same model is none of those.
        let (_, shape, bytes) = result.remove("score.weight").unwrap();
        let rows = turned.as_chunks::<2>().0;
        let as_packed: Vec<u8> = (0..24).flat_map(|at| rows[at % 4 * 6 + at / 4]).collect();
        assert_eq!((shape, bytes), (vec![6, 4], as_packed), "slots of {slot}");
    }
    // Other models have these names too, of linear layers.
    let config = json!({"model_type": "gpt_bigcode", "dtype": "float16", "quantization_config": quantized});
    folder(&scratch.join("bigcode"), &config, json!({"format": "pt"}), &list);
    done(&convert(&scratch.join("bigcode"), &scratch.join("other"), &[]));
    assert_eq!(tensors(&scratch.join("other"))["transformer.h.0.attn.c_attn.weight"].1, [6, 4]);
}

/// Experts are parameters without a `weight`: `replace_parameter_4bit` of bitsandbytes 0.50.2 keeps their names.
#[test]
fn parameters_of_other_names_are_decoded_under_them() {
    let scratch = Scratch::new("experts");
    let name = "model.layers.0.mlp.experts.gate_up_proj";
    let bias = (format!("{name}_bias"), vec![2], "F16", vec![1, 2, 3, 4]);
    let list = [nf4(name, "[2, 3, 4]"), vec![bias]].concat();
    let quantized = json!({"quant_method": "bitsandbytes", "load_in_4bit": true});
    let config = json!({"model_type": "x", "dtype": "float16", "quantization_config": quantized});
    folder(&scratch.join("in"), &config, json!({"format": "pt"}), &list);
    done(&convert(&scratch.join("in"), &scratch.join("out"), &["--verify", "full"]));
    let result = tensors(&scratch.join("out"));
    assert_eq!(result.len(), 2);
    let (dtype, shape, bytes) = &result[name];
    assert_eq!((&**dtype, &shape[..]), ("F16", &[2, 3, 4][..]));
    let all = hex(TURNED);
    let columns = all.as_chunks::<2>().0;
    let as_packed: Vec<u8> = (0..24).flat_map(|at| columns[at % 4 * 6 + at / 4]).collect();
    assert_eq!(bytes, &as_packed);
}

/// `torch.save({"n": torch.imag(x.conj())}, f, _use_new_zipfile_serialization=False)` of torch 2.15: the
/// storage holds the numbers before they are negated.
#[test]
fn values_that_are_stored_negated_are_refused() {
    let scratch = Scratch::new("negated");
    let input = scratch.join("input");
    fs::create_dir(&input).unwrap();
    let file = concat!(
        "80028a0a6cfc9c46f9206aa850192e80024de9032e80027d710028581000000070726f746f636f6c5f76657273696f6e71",
        "014de903580d0000006c6974746c655f656e6469616e710288580a000000747970655f73697a657371037d710428580500",
        "000073686f727471054b025803000000696e7471064b0458040000006c6f6e6771074b0475752e80027d71005801000000",
        "6e710163746f7263682e5f7574696c730a5f72656275696c645f74656e736f725f76320a71022828580700000073746f72",
        "616765710363746f7263680a466c6f617453746f726167650a7104580e0000003934313430393130303931323830710558",
        "0300000063707571064b044e747107514b014b028571084b028571098963636f6c6c656374696f6e730a4f726465726564",
        "446963740a710a2952710b7d710c58030000006e6567710d887374710e52710f732e80025d7100580e0000003934313430",
        "3931303039313238307101612e04000000000000000000803f0000004000004040000080c0",
    );
    put(&input.join("pytorch_model.bin"), &hex(file));
    let ran = convert(&input, &scratch.join("out"), &[]);
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(2), "{told}");
    assert!(told.contains("tensor n is stored conjugated or negated"), "{told}");
    assert!(!scratch.join("out").exists());
}
