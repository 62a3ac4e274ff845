//! Expected: the tensors that an architecture needs, where their names follow from the config by one rule.
//!
//! Only families whose modules are the same in every layer are known here; of others nothing is claimed. A
//! layer that is packed has its module all the same, so that quantized checkpoints are held against the same
//! names.

use super::files::Files;
use super::names::NONE;
use crate::name::escape;
use crate::problem::{Problem, kind};
use crate::units;

/// Architectures whose layers have the same modules under `model.layers.N`.
struct Family {
    architectures: &'static [&'static str],
    modules: &'static [&'static str],
}

/// The families. Sources: transformers' `modeling_llama.py`, `modeling_mistral.py`, `modeling_qwen2.py`,
/// `modeling_qwen3.py`, `modeling_phi3.py`, `modeling_gemma.py`, `modeling_gemma2.py`.
const FAMILIES: [Family; 5] = [
    Family {
        architectures: &["LlamaForCausalLM", "MistralForCausalLM", "GemmaForCausalLM"],
        modules: &[
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.o_proj",
            "mlp.gate_proj",
            "mlp.up_proj",
            "mlp.down_proj",
            "input_layernorm",
            "post_attention_layernorm",
        ],
    },
    Family {
        architectures: &["Qwen2ForCausalLM"],
        modules: &[
            "self_attn.q_proj",
            "self_attn.q_proj.bias",
            "self_attn.k_proj",
            "self_attn.k_proj.bias",
            "self_attn.v_proj",
            "self_attn.v_proj.bias",
            "self_attn.o_proj",
            "mlp.gate_proj",
            "mlp.up_proj",
            "mlp.down_proj",
            "input_layernorm",
            "post_attention_layernorm",
        ],
    },
    Family {
        architectures: &["Qwen3ForCausalLM"],
        modules: &[
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.o_proj",
            "self_attn.q_norm",
            "self_attn.k_norm",
            "mlp.gate_proj",
            "mlp.up_proj",
            "mlp.down_proj",
            "input_layernorm",
            "post_attention_layernorm",
        ],
    },
    Family {
        architectures: &["Phi3ForCausalLM"],
        modules: &[
            "self_attn.qkv_proj",
            "self_attn.o_proj",
            "mlp.gate_up_proj",
            "mlp.down_proj",
            "input_layernorm",
            "post_attention_layernorm",
        ],
    },
    Family {
        architectures: &["Gemma2ForCausalLM"],
        modules: &[
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.o_proj",
            "mlp.gate_proj",
            "mlp.up_proj",
            "mlp.down_proj",
            "input_layernorm",
            "post_attention_layernorm",
            "pre_feedforward_layernorm",
            "post_feedforward_layernorm",
        ],
    },
];

/// Types of text models that tie the head to the embeddings where `tie_word_embeddings` is absent. Source:
/// the default configs of transformers 5.23.
pub const TIED_TYPES: [&str; 22] = [
    "bloom",
    "cohere",
    "cohere2",
    "falcon",
    "falcon_mamba",
    "gemma",
    "gemma2",
    "gemma3",
    "gemma3_text",
    "gemma3n",
    "gemma3n_text",
    "gpt2",
    "gpt_bigcode",
    "gpt_neo",
    "jetmoe",
    "lfm2",
    "mamba",
    "mpt",
    "opt",
    "recurrent_gemma",
    "smollm3",
    "starcoder2",
];

/// Architectures whose class ties nothing, whatever `tie_word_embeddings` says. Source: the classes of text models
/// in transformers 5.23 that have no `_tied_weights_keys`.
pub const NEVER_TIED: [&str; 9] = [
    "BailingHybridForCausalLM",
    "BigBirdPegasusForCausalLM",
    "CpmAntForCausalLM",
    "KimiLinearForCausalLM",
    "Kosmos2_5ForConditionalGeneration",
    "MllamaForCausalLM",
    "MoshiForCausalLM",
    "NemotronHForCausalLM",
    "xLSTMForCausalLM",
];

/// Types of text models that do not tie where `tie_word_embeddings` is absent, in transformers 4 and 5 alike.
const UNTIED_TYPES: [&str; 18] = [
    "deepseek_v2",
    "deepseek_v3",
    "glm",
    "glm4",
    "granite",
    "llama",
    "mistral",
    "mixtral",
    "olmo",
    "olmo2",
    "phi",
    "phi3",
    "qwen2",
    "qwen2_moe",
    "qwen3",
    "qwen3_moe",
    "seed_oss",
    "stablelm",
];

/// How many tensors a message names.
const NAMED_MAX: usize = 3;

/// Returns the modules that each layer of this architecture has, if its family is known.
#[must_use]
pub fn modules_of(architecture: &str) -> Option<&'static [&'static str]> {
    FAMILIES.iter().find(|family| family.architectures.contains(&architecture)).map(|family| family.modules)
}

/// Modules that the architecture has in every layer, and some layer on disk lacks; embeddings and the last
/// norm. Layers that are not here at all are the layer count's to report.
pub(super) fn architecture_gaps(files: &Files) -> Option<Problem> {
    let architecture = files.configs.architecture()?;
    let modules = modules_of(architecture)?;
    let layers = files.names.find("model.layers")?;
    let count = files.configs.model_int("num_hidden_layers")?;
    let mut expected = 0usize;
    let mut missing = Vec::new();
    let mut hold = |name: String, is_there: bool| {
        expected += 1;
        if !is_there {
            missing.push(name);
        }
    };
    for name in ["model.embed_tokens", "model.norm"] {
        hold(name.to_owned(), files.names.find(name).is_some());
    }
    for layer in files.names.children(layers) {
        let number = files.names.label(layer);
        if !number.parse::<u64>().is_ok_and(|number| number < count) {
            continue;
        }
        for module in modules {
            let name = format!("model.layers.{number}.{module}");
            let is_there = files.names.find(&name).is_some();
            hold(name, is_there);
        }
    }
    let first = missing.first()?.clone();
    if missing.len() == expected {
        return None;
    }
    let named: Vec<_> = missing.iter().take(NAMED_MAX).map(|name| escape(name)).collect();
    let more = if missing.len() > NAMED_MAX { ", …" } else { "" };
    let message = format!(
        "{} of {expected} modules of {} are not here: {}{more}",
        missing.len(),
        escape(architecture),
        named.join(", ")
    );
    Some(Problem::new(&kind::ARCHITECTURE_GAPS, message).tensor(first))
}

/// A causal language model without a head, whose config does not tie the head to the embeddings.
pub(super) fn head_missing(files: &Files) -> Option<Problem> {
    let configs = &files.configs;
    let architecture = configs.architecture().filter(|name| name.ends_with("ForCausalLM"))?;
    let is_own_code = configs.get("config.json")?.get("auto_map").is_some();
    let said = configs.model("tie_word_embeddings").and_then(serde_json::Value::as_bool);
    let is_untied = match said {
        Some(tied) => !tied,
        None => configs.model_type().is_some_and(|kind| UNTIED_TYPES.contains(&kind)),
    };
    let embedding = files.names.find("model.embed_tokens")?;
    let has_head = ["lm_head", "embed_out"].iter().any(|label| files.names.find_label(label).is_some())
        || files.names.children(NONE).any(|node| matches!(files.names.label(node), "output" | "head"));
    if is_own_code || !is_untied || has_head {
        return None;
    }
    let why = if said.is_some() {
        "tie_word_embeddings is false"
    } else {
        "tie_word_embeddings is absent, which means false"
    };
    let message = format!(
        "lm_head.weight is not here and {why}: loaders give {} a head of random values ({} in all)",
        escape(architecture),
        units::plural(files.tensors.len(), "tensor"),
    );
    let name = files.names.name(embedding);
    Some(Problem::new(&kind::HEAD_MISSING, message).file("config.json").tensor(name))
}
