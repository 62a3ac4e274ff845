//! Stacks: where an architecture keeps its layers, and which value of the config counts them.
//!
//! Only architectures whose files were measured are listed; of others nothing is claimed. Files may have more layers
//! than the config says (heads that predict further tokens are numbered behind the last layer), never fewer.

use super::files::Files;
use crate::name::escape;
use crate::problem::{Problem, kind};

/// The layers of an architecture.
pub(crate) struct Stack {
    /// The name that stands before their numbers: `model.layers`.
    pub(crate) node: &'static str,
    /// The key of `config.json` that counts them.
    pub(crate) key: &'static str,
    architectures: &'static [&'static str],
}

/// Source: files that transformers 5.23 writes of tiny models; the same names in its versions 4.
const STACKS: [Stack; 7] = [
    Stack {
        node: "model.layers",
        key: "num_hidden_layers",
        architectures: &[
            "ApertusForCausalLM",
            "ArceeForCausalLM",
            "Cohere2ForCausalLM",
            "CohereForCausalLM",
            "DeepseekV2ForCausalLM",
            "DeepseekV3ForCausalLM",
            "Ernie4_5ForCausalLM",
            "Exaone4ForCausalLM",
            "Gemma2ForCausalLM",
            "Gemma3ForCausalLM",
            "GemmaForCausalLM",
            "Glm4ForCausalLM",
            "Glm4MoeForCausalLM",
            "GlmForCausalLM",
            "GptOssForCausalLM",
            "GraniteForCausalLM",
            "GraniteMoeForCausalLM",
            "LlamaForCausalLM",
            "MistralForCausalLM",
            "MixtralForCausalLM",
            "Olmo2ForCausalLM",
            "Olmo3ForCausalLM",
            "OlmoForCausalLM",
            "OlmoeForCausalLM",
            "PersimmonForCausalLM",
            "Phi3ForCausalLM",
            "PhiForCausalLM",
            "Qwen2ForCausalLM",
            "Qwen2MoeForCausalLM",
            "Qwen3ForCausalLM",
            "Qwen3MoeForCausalLM",
            "SeedOssForCausalLM",
            "SmolLM3ForCausalLM",
            "StableLmForCausalLM",
            "Starcoder2ForCausalLM",
        ],
    },
    Stack {
        node: "transformer.h",
        key: "n_layer",
        architectures: &[
            "BloomForCausalLM",
            "CodeGenForCausalLM",
            "GPT2LMHeadModel",
            "GPTBigCodeForCausalLM",
            "GPTJForCausalLM",
        ],
    },
    Stack { node: "transformer.h", key: "num_hidden_layers", architectures: &["FalconForCausalLM"] },
    Stack { node: "transformer.h", key: "num_layers", architectures: &["GPTNeoForCausalLM"] },
    Stack { node: "transformer.blocks", key: "n_layers", architectures: &["MptForCausalLM"] },
    Stack { node: "gpt_neox.layers", key: "num_hidden_layers", architectures: &["GPTNeoXForCausalLM"] },
    Stack { node: "model.decoder.layers", key: "num_hidden_layers", architectures: &["OPTForCausalLM"] },
];

/// Returns where the architecture of these files keeps its layers, if it is known and its code is that of
/// transformers.
pub(crate) fn stack_of(files: &Files) -> Option<&'static Stack> {
    let architecture = files.configs.architecture()?;
    let is_own_code = files.configs.get("config.json")?.get("auto_map").is_some();
    STACKS.iter().filter(|_| !is_own_code).find(|stack| stack.architectures.contains(&architecture))
}

/// Returns the last part of the name of an architecture's embeddings, the key that gives their columns, and both keys
/// of their shape in words.
pub(super) fn embeddings_of(architecture: &str) -> Option<(&'static str, &'static str, &'static str)> {
    let stack = STACKS.iter().find(|stack| stack.architectures.contains(&architecture))?;
    match (stack.node, architecture) {
        ("model.layers", _) => Some(("embed_tokens", "hidden_size", "vocab_size, hidden_size")),
        ("gpt_neox.layers", _) => Some(("embed_in", "hidden_size", "vocab_size, hidden_size")),
        (_, "BloomForCausalLM" | "FalconForCausalLM") => {
            Some(("word_embeddings", "hidden_size", "vocab_size, hidden_size"))
        }
        (_, "GPT2LMHeadModel" | "GPTBigCodeForCausalLM" | "GPTJForCausalLM" | "CodeGenForCausalLM") => {
            Some(("wte", "n_embd", "vocab_size, n_embd"))
        }
        _ => None,
    }
}

/// Returns what the config counts, how many layers are in the files, and the highest number.
pub(crate) fn counts(files: &Files, stack: &Stack) -> Option<(u64, u64, u64)> {
    let said = files.configs.model_int(stack.key)?;
    let names = &files.names;
    let node = names.find(stack.node)?;
    let numbers = names.children(node).filter_map(|child| names.label(child).parse::<u64>().ok());
    let (count, highest) = numbers.fold((0u64, 0), |(count, highest), n| (count + 1, n.max(highest)));
    (count > 0).then_some((said, count, highest))
}

/// Returns where the layers are if it is where the architecture of the config has none: the config is another
/// model's.
pub(crate) fn foreign_stack(files: &Files) -> Option<(&'static Stack, &'static str)> {
    let own = stack_of(files)?;
    let bare = own.node.split_once('.').map_or("", |(_, rest)| rest);
    let has = |node: &str| files.names.find(&format!("{node}.0")).is_some();
    if has(own.node) || has(bare) {
        return None;
    }
    STACKS.iter().map(|stack| stack.node).find(|node| has(node)).map(|node| (own, node))
}

/// The config of another architecture: none of the layers is found.
pub(super) fn other_architecture(files: &Files) -> Option<Problem> {
    let (own, node) = foreign_stack(files)?;
    let architecture = escape(files.configs.architecture()?).into_owned();
    let message = format!(
        "config.json is of another architecture: {architecture} has its layers under {}, and those of the tensors are \
         under {node}",
        own.node
    );
    let first = files.names.find(node).and_then(|node| files.within(node, files.names.end(node)).next());
    let problem = Problem::new(&kind::ARCHITECTURE_GAPS, message).file("config.json");
    Some(match first {
        Some(tensor) => problem.tensor(files.tensor_name(tensor)),
        None => problem,
    })
}
