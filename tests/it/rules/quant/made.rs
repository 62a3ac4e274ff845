//! Packed layers for the cases: the `q_proj` of both layers, in the layouts of the libraries.

use serde_json::{Value, json};

use crate::rules::Tensor;
use crate::rules::folder::{Folder, HIDDEN, INNER};

/// The module of a layer that is packed.
pub(super) fn module(layer: u64) -> String {
    format!("model.layers.{layer}.self_attn.q_proj")
}

/// A part of the first packed layer.
pub(super) fn part<'f>(folder: &'f mut Folder, suffix: &str) -> &'f mut Tensor {
    let name = format!("{}.{suffix}", module(0));
    folder.tensors().get_mut(&name).unwrap()
}

/// Takes a key of the quantization block, or puts one in.
pub(super) fn block(folder: &mut Folder, key: &str, value: Value) {
    let block = folder.config().get_mut("quantization_config").unwrap().as_object_mut().unwrap();
    if value.is_null() {
        block.remove(key);
    } else {
        block.insert(key.to_owned(), value);
    }
}

fn put(folder: &mut Folder, name: &str, suffix: &str, tensor: Tensor) {
    folder.tensors().insert(format!("{name}.{suffix}"), tensor);
}

/// A tensor whose bytes are all alike.
pub(super) fn filled(dtype: &'static str, shape: &[u64], byte: u8) -> Tensor {
    let mut tensor = Tensor::new(dtype, shape);
    tensor.bytes.fill(byte);
    tensor
}

/// GPTQ v1, symmetric, of 4 bits: one module.
fn gptq_module(folder: &mut Folder, name: &str, [outputs, inputs]: [u64; 2], group: u64) {
    let groups = inputs.div_ceil(group);
    folder.tensors().remove(&format!("{name}.weight"));
    put(folder, name, "qweight", Tensor::new("I32", &[inputs / 8, outputs]));
    put(folder, name, "qzeros", filled("I32", &[groups, outputs / 8], 0x77));
    put(folder, name, "scales", Tensor::new("F16", &[groups, outputs]));
}

/// Makes all `q_proj` GPTQ of 4 bits in groups of 16.
pub(in crate::rules) fn gptq(folder: &mut Folder) {
    for layer in 0..2 {
        gptq_module(folder, &module(layer), [HIDDEN, HIDDEN], 16);
    }
    let block = json!({"quant_method": "gptq", "bits": 4, "group_size": 16, "sym": true, "desc_act": false});
    folder.config().insert("quantization_config".into(), block);
}

/// Makes all `down_proj` GPTQ of 4 bits in groups of this size.
pub(super) fn gptq_down(folder: &mut Folder, group: u64) {
    for layer in 0..2 {
        gptq_module(folder, &format!("model.layers.{layer}.mlp.down_proj"), [HIDDEN, INNER], group);
    }
    let block =
        json!({"quant_method": "gptq", "bits": 4, "group_size": group, "sym": true, "desc_act": false});
    folder.config().insert("quantization_config".into(), block);
}

/// Gives the first GPTQ layer a `g_idx` in order, with this number in the last place.
pub(super) fn g_idx(folder: &mut Folder, last: i32) {
    let mut tensor = Tensor::new("I32", &[HIDDEN]);
    let numbers = (0..HIDDEN as i32).map(|at| if at + 1 == HIDDEN as i32 { last } else { at / 16 });
    tensor.bytes = numbers.flat_map(i32::to_le_bytes).collect();
    put(folder, &module(0), "g_idx", tensor);
}

/// Makes all `q_proj` AWQ (gemm) of 4 bits in groups of 16.
pub(super) fn awq(folder: &mut Folder) {
    for layer in 0..2 {
        let name = module(layer);
        folder.tensors().remove(&format!("{name}.weight"));
        put(folder, &name, "qweight", Tensor::new("I32", &[HIDDEN, HIDDEN / 8]));
        put(folder, &name, "qzeros", Tensor::new("I32", &[HIDDEN / 16, HIDDEN / 8]));
        put(folder, &name, "scales", Tensor::new("F16", &[HIDDEN / 16, HIDDEN]));
    }
    let block =
        json!({"quant_method": "awq", "bits": 4, "group_size": 16, "zero_point": true, "version": "gemm"});
    folder.config().insert("quantization_config".into(), block);
}

/// The sixteen values of NF4. Source: bitsandbytes `functional.py` (`get_4bit_type`).
const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// Makes all `q_proj` NF4 of bitsandbytes in blocks of 64, stored in this dtype.
pub(super) fn nf4(folder: &mut Folder, storage: &'static str) {
    let bytes = HIDDEN * HIDDEN / 2;
    let state = format!(
        r#"{{"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [{HIDDEN}, {HIDDEN}]}}"#
    );
    for layer in 0..2 {
        let name = module(layer);
        let stored = if storage == "U8" { bytes } else { bytes / 2 };
        put(folder, &name, "weight", Tensor::new(storage, &[stored, 1]));
        put(folder, &name, "weight.absmax", Tensor::new("F32", &[HIDDEN * HIDDEN / 64]));
        let mut map = Tensor::new("F32", &[16]);
        map.bytes = NF4.iter().flat_map(|value| value.to_le_bytes()).collect();
        put(folder, &name, "weight.quant_map", map);
        let mut text = Tensor::new("U8", &[state.len() as u64]);
        text.bytes = state.clone().into_bytes();
        put(folder, &name, "weight.quant_state.bitsandbytes__nf4", text);
    }
    let skipped = ["k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"];
    let block = json!({
        "quant_method": "bitsandbytes", "load_in_4bit": true, "load_in_8bit": false, "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": false, "bnb_4bit_compute_dtype": "bfloat16",
        "bnb_4bit_quant_storage": if storage == "U8" { "uint8" } else { "bfloat16" },
        "llm_int8_skip_modules": skipped,
    });
    folder.config().insert("quantization_config".into(), block);
}

/// Makes all `q_proj` FP8 with a scale for each block of 16 by 16.
pub(super) fn fp8(folder: &mut Folder) {
    for layer in 0..2 {
        let name = module(layer);
        put(folder, &name, "weight", Tensor::new("F8_E4M3", &[HIDDEN, HIDDEN]));
        put(folder, &name, "weight_scale_inv", Tensor::new("F32", &[HIDDEN / 16, HIDDEN / 16]));
    }
    let block = json!({"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
        "weight_block_size": [16, 16]});
    folder.config().insert("quantization_config".into(), block);
}

/// Adds experts packed as MXFP4.
pub(super) fn mxfp4(folder: &mut Folder) {
    for layer in 0..2 {
        let name = format!("model.layers.{layer}.mlp.experts");
        put(folder, &name, "gate_up_proj_blocks", Tensor::new("U8", &[4, 2 * INNER, HIDDEN / 32, 16]));
        put(folder, &name, "gate_up_proj_scales", Tensor::new("U8", &[4, 2 * INNER, HIDDEN / 32]));
    }
    folder.config().insert("quantization_config".into(), json!({"quant_method": "mxfp4"}));
}

/// Makes all `q_proj` HQQ of 4 bits in groups of 64.
pub(super) fn hqq(folder: &mut Folder) {
    for layer in 0..2 {
        let name = module(layer);
        folder.tensors().remove(&format!("{name}.weight"));
        put(folder, &name, "W_q", Tensor::new("U8", &[32, 16]));
        put(folder, &name, "scale", Tensor::new("F16", &[1, 16]));
        put(folder, &name, "zero", Tensor::new("F16", &[1, 16]));
        let mut shape = Tensor::new("I64", &[2]);
        shape.bytes = [HIDDEN, HIDDEN].iter().flat_map(|size| size.to_le_bytes()).collect();
        put(folder, &name, "shape", shape);
    }
    folder.config().insert("quantization_config".into(), json!({"quant_method": "hqq"}));
}

/// Makes all `q_proj` MLX of 4 bits in groups of 32.
pub(super) fn mlx(folder: &mut Folder) {
    for layer in 0..2 {
        let name = module(layer);
        put(folder, &name, "weight", Tensor::new("U32", &[HIDDEN, HIDDEN / 8]));
        put(folder, &name, "scales", Tensor::new("F16", &[HIDDEN, HIDDEN / 32]));
        put(folder, &name, "biases", Tensor::new("F16", &[HIDDEN, HIDDEN / 32]));
    }
    folder.config().insert("quantization".into(), json!({"group_size": 32, "bits": 4}));
}

/// Puts the tensors of which `goes` is true into a second shard, with an index.
pub(super) fn two_shards(folder: &mut Folder, goes: fn(&str) -> bool) {
    let mut first = folder.shards.remove("model.safetensors").unwrap();
    let mut second = first.clone();
    first.tensors.retain(|name, _| !goes(name));
    second.tensors.retain(|name, _| goes(name));
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let mut map = serde_json::Map::new();
    let mut total = 0;
    for (file, shard) in names.into_iter().zip([first, second]) {
        map.extend(shard.tensors.keys().map(|name| (name.clone(), json!(file))));
        total += shard.tensors.values().map(|tensor| tensor.bytes.len()).sum::<usize>();
        folder.shards.insert(file.into(), shard);
    }
    let index = json!({"metadata": {"total_size": total}, "weight_map": map});
    folder.json.insert("model.safetensors.index.json".into(), index);
}
