//! Changes of a case's adapter: what the cases about adapters and engines are made of.

use serde_json::{Value, json};

use super::Tensor;
use super::folder::{Folder, HIDDEN, INNER, LAYERS, VOCAB};

/// Sets a value of the adapter's config.
pub(super) fn set(folder: &mut Folder, key: &str, value: Value) {
    folder.adapter_config().insert(key.into(), value);
}

/// Gives every tensor of the adapter another name.
pub(super) fn rename(folder: &mut Folder, name: impl Fn(&str) -> String) {
    let tensors = std::mem::take(folder.adapter_tensors());
    *folder.adapter_tensors() = tensors.into_iter().map(|(old, tensor)| (name(&old), tensor)).collect();
}

/// Adds a tensor to the adapter.
pub(super) fn add(folder: &mut Folder, name: &str, shape: &[u64]) {
    folder.adapter_tensors().insert(name.into(), Tensor::new("F32", shape));
}

/// Adds the factors of a module, rank 4.
pub(super) fn factors(folder: &mut Folder, module: &str, rows: u64, columns: u64) {
    add(folder, &format!("base_model.model.{module}.lora_A.weight"), &[4, columns]);
    add(folder, &format!("base_model.model.{module}.lora_B.weight"), &[rows, 4]);
}

/// Adds the factors of embeddings, rank 4.
pub(super) fn embedding_factors(folder: &mut Folder) {
    add(folder, "base_model.model.model.embed_tokens.lora_embedding_A", &[4, VOCAB]);
    add(folder, "base_model.model.model.embed_tokens.lora_embedding_B", &[HIDDEN, 4]);
    set(folder, "target_modules", json!(["q_proj", "v_proj", "embed_tokens"]));
}

/// Returns the modules of the adapter.
pub(super) fn modules(folder: &mut Folder) -> Vec<String> {
    let keys = folder.adapter_tensors().keys();
    keys.filter_map(|key| key.strip_suffix(".lora_A.weight")).map(str::to_owned).collect()
}

/// Adds magnitudes of DoRA to all modules, or to the first alone.
pub(super) fn magnitudes(folder: &mut Folder, count: usize) {
    for module in modules(folder).into_iter().take(count) {
        let rows = folder.adapter_tensors()[&format!("{module}.lora_B.weight")].shape[0];
        add(folder, &format!("{module}.lora_magnitude_vector"), &[rows]);
    }
}

/// Makes the folder of the model an adapter that is opened alone.
pub(super) fn alone(folder: &mut Folder) {
    folder.attach_lora();
    let (json, shard) = folder.adapter.take().unwrap();
    folder.json = json;
    folder.shards = [("adapter_model.safetensors".to_owned(), shard)].into();
}

/// Makes the base one of experts, and attaches an adapter that has these projections of the experts.
pub(super) fn experts(folder: &mut Folder, targets: &[&str]) {
    folder.config().insert("model_type".into(), json!("qwen3_moe"));
    folder.config().insert("architectures".into(), json!(["Qwen3MoeForCausalLM"]));
    folder.rename(|name| name.replace(".mlp.", ".mlp.experts.0."));
    folder.adapter_tensors().clear();
    for layer in 0..LAYERS {
        for target in targets {
            factors(folder, &format!("model.layers.{layer}.mlp.experts.0.{target}"), INNER, HIDDEN);
        }
    }
    set(folder, "target_modules", json!(targets));
}

/// Makes the base one with query, key and value in one tensor.
pub(super) fn fused(folder: &mut Folder) {
    for layer in 0..LAYERS {
        let part = |name: &str| format!("model.layers.{layer}.self_attn.{name}_proj.weight");
        for name in ["q", "k", "v"] {
            folder.tensors().remove(&part(name));
        }
        folder.tensors().insert(part("qkv"), Tensor::new("BF16", &[2 * HIDDEN, HIDDEN]));
    }
    folder.config().insert("model_type".into(), json!("phi3"));
    folder.config().insert("architectures".into(), json!(["Phi3ForCausalLM"]));
}

/// Makes the adapter one of `VeRA` without its projections.
pub(super) fn vera(folder: &mut Folder) {
    let names = modules(folder);
    folder.adapter_tensors().clear();
    for module in names {
        let rows = if module.ends_with("q_proj") { HIDDEN } else { 16 };
        add(folder, &format!("{module}.vera_lambda_b"), &[rows]);
        add(folder, &format!("{module}.vera_lambda_d"), &[4]);
    }
    let config = json!({"peft_type": "VERA", "r": 4, "target_modules": ["q_proj", "v_proj"],
        "save_projection": true, "projection_prng_key": 0});
    folder.adapter_config().clone_from(config.as_object().unwrap());
}

/// Makes the adapter one of OFT, with parts of this name.
pub(super) fn oft(folder: &mut Folder, part: &str, shape: &[u64]) {
    folder.adapter_tensors().clear();
    for layer in 0..LAYERS {
        let module = format!("base_model.model.model.layers.{layer}.self_attn.q_proj");
        add(folder, &format!("{module}.{part}"), shape);
    }
    let config = json!({"peft_type": "OFT", "r": 4, "target_modules": ["q_proj"], "oft_block_size": 8});
    folder.adapter_config().clone_from(config.as_object().unwrap());
}

/// Makes all norms before attention and MLP ones, of this size, and attaches an adapter.
pub(super) fn ones(folder: &mut Folder, size: u64) {
    if folder.adapter.is_none() {
        folder.attach_lora();
    }
    for layer in 0..LAYERS {
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            let mut tensor = Tensor::new("BF16", &[size]);
            tensor.bytes = [0x80, 0x3f].repeat(size as usize);
            folder.tensors().insert(format!("model.layers.{layer}.{norm}.weight"), tensor);
        }
    }
}
