//! Cases of the rules in `diagnose/keys`.

use serde_json::json;

use super::folder::{Folder, HIDDEN};
use super::{Case, Tensor};

/// Adds a tensor of the width of the model.
fn add(folder: &mut Folder, name: &str) {
    folder.tensors().insert(name.into(), Tensor::new("BF16", &[HIDDEN, HIDDEN]));
}

/// Makes the model one of another type.
fn become_type(folder: &mut Folder, kind: &str, architecture: &str) {
    folder.config().insert("model_type".into(), json!(kind));
    folder.config().insert("architectures".into(), json!([architecture]));
}

pub(super) const CASES: &[Case] = &[
    Case {
        code: "N004",
        hit: |folder| folder.rename(|name| format!("module._orig_mod.{name}")),
        miss: |folder| add(folder, "model.module_list.weight"),
    },
    Case {
        code: "N004",
        hit: |folder| folder.rename(|name| name.replace("layers.1.", "layers.1._orig_mod.")),
        miss: |folder| add(folder, "module.weight"),
    },
    Case {
        code: "D006",
        hit: |folder| folder.rename(|name| name.replace("layers.1.", "layers.1._fsdp_wrapped_module.")),
        miss: |folder| folder.rename(|name| name.replace("layers.1.", "layers.1._orig_mod.")),
    },
    Case {
        code: "N005",
        hit: |folder| folder.rename(|name| format!("base_model.model.{name}")),
        miss: |folder| add(folder, "base_model.weight"),
    },
    Case {
        code: "N005",
        hit: |folder| {
            folder.rename(|name| name.replace("q_proj.weight", "q_proj.base_layer.weight"));
            add(folder, "model.layers.0.self_attn.q_proj.lora_A.default.weight");
        },
        // An adapter that holds the embeddings it was trained with is no dump of a model.
        miss: |folder| {
            let key = "base_model.model.model.embed_tokens.base_layer.weight";
            folder.adapter_tensors().insert(key.into(), Tensor::new("BF16", &[48, HIDDEN]));
        },
    },
    Case {
        code: "N006",
        hit: |folder| folder.rename(|name| format!("model.{name}")),
        miss: |folder| {
            folder.rename(|name| format!("model.{name}"));
            become_type(folder, "other", "OtherForCausalLM");
        },
    },
    Case {
        code: "N007",
        hit: |folder| folder.rename(|name| name.strip_prefix("model.").unwrap_or(name).to_owned()),
        miss: |folder| {
            // The backbone alone, and the config says so.
            folder.rename(|name| name.strip_prefix("model.").unwrap_or(name).to_owned());
            become_type(folder, "llama", "LlamaModel");
        },
    },
    Case {
        code: "N008",
        hit: |folder| add(folder, "model.layers.0.self_attn.rotary_emb.inv_freq"),
        miss: |folder| add(folder, "model.layers.0.self_attn.rotary_emb.weight"),
    },
    Case {
        code: "N008",
        hit: |folder| add(folder, "model.embeddings.position_ids"),
        // MRA stores it to this day and misses it; the second is what BROS and CLVP store.
        miss: |folder| {
            add(folder, "model.embeddings.position_ids");
            add(folder, "speech_encoder_model.rotary_pos_emb.inv_freq");
            become_type(folder, "mra", "MraForMaskedLM");
        },
    },
    Case {
        code: "N009",
        hit: |folder| add(folder, "bert.encoder.layer.0.output.LayerNorm.gamma"),
        miss: |folder| add(folder, "vision.layers.0.ls_1.gamma"),
    },
    Case {
        code: "N010",
        hit: |folder| {
            for part in ["q_proj", "k_proj", "v_proj"] {
                folder.tensors().remove(&format!("model.layers.0.self_attn.{part}.weight"));
            }
            add(folder, "model.layers.0.self_attn.qkv_proj.weight");
        },
        miss: |folder| {
            add(folder, "model.layers.0.self_attn.qkv_proj.weight");
            become_type(folder, "other", "OtherForCausalLM");
        },
    },
    Case {
        code: "N010",
        hit: |folder| become_type(folder, "phi3", "Phi3ForCausalLM"),
        miss: |folder| become_type(folder, "phi", "PhiForCausalLM"),
    },
    Case {
        code: "N011",
        hit: |folder| {
            become_type(folder, "qwen3_moe", "Qwen3MoeForCausalLM");
            let shape = [4, 2 * HIDDEN, HIDDEN];
            folder
                .tensors()
                .insert("model.layers.0.mlp.experts.gate_up_proj".into(), Tensor::new("BF16", &shape));
        },
        // The files of gpt-oss hold their experts so.
        miss: |folder| {
            become_type(folder, "gpt_oss", "GptOssForCausalLM");
            let shape = [4, HIDDEN, 2 * HIDDEN];
            folder
                .tensors()
                .insert("model.layers.0.mlp.experts.gate_up_proj".into(), Tensor::new("BF16", &shape));
        },
    },
    Case {
        code: "N012",
        hit: |folder| folder.rename(|name| name.replace("lm_head", "embed_out")),
        miss: |folder| {
            folder.rename(|name| name.replace("lm_head", "embed_out"));
            become_type(folder, "gpt_neox", "GPTNeoXForCausalLM");
        },
    },
    Case {
        code: "N013",
        hit: |folder| {
            folder.rename(|name| name.replace("model.", "model.language_model."));
            become_type(folder, "llava", "LlavaForConditionalGeneration");
        },
        // Qwen3-VL has these names in its files.
        miss: |folder| {
            folder.rename(|name| name.replace("model.", "model.language_model."));
            become_type(folder, "qwen3_vl", "Qwen3VLForConditionalGeneration");
        },
    },
    Case {
        code: "N014",
        hit: |folder| add(folder, "decoder.layers.0.self_attention.linear_qkv.weight"),
        miss: |folder| add(folder, "decoder.layers.0.self_attention.qkv.weight"),
    },
    Case {
        code: "N015",
        hit: |folder| {
            add(folder, "tok_embeddings.weight");
            add(folder, "layers.0.attention.wq.weight");
        },
        // InternLM2 calls its embeddings so, under `model.`.
        miss: |folder| add(folder, "model.tok_embeddings.weight"),
    },
    Case {
        code: "N015",
        hit: |folder| {
            add(folder, "tok_embeddings.weight");
            add(folder, "layers.0.attention.wq.weight");
            folder.json.remove("config.json");
        },
        // Mistral Large 4 has these names in transformers as well.
        miss: |folder| {
            add(folder, "tok_embeddings.weight");
            add(folder, "layers.0.attention.wq.weight");
            become_type(folder, "mistral_large4", "MistralLarge4ForConditionalGeneration");
        },
    },
];
