//! N015 original-names: the tensors have the names of Meta's or Mistral's own code.

use super::{tensors_with, top};
use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind = ProblemKind { code: "N015", name: "original-names", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    milder: &[Purpose::Vllm],
    looks_for: "`tok_embeddings` and `attention.wq`, as in `consolidated.00.pth` and \
                `consolidated.safetensors`.",
    why: "The weights are in the form of the code that they were published with (`params.json`). \
          transformers has other names, and another order of the rows of q and k: a rename alone gives a \
          model that loads and answers with noise.",
    messages: &[
        message("KeyError: 'layers.{n}.attention.wq.weight'", "loaders of Hugging Face models"),
        message("Unexpected key(s) in state_dict: {any}tok_embeddings.weight", "torch load_state_dict"),
        message("KeyError: 'tok_embeddings.weight'", "loaders of Hugging Face models"),
    ],
    remedy: "Use the repository in the form of transformers (its name ends in -hf or has \
             model-….safetensors), or convert it with convert_llama_weights_to_hf.py. vLLM reads Mistral's \
             form with --load-format mistral.",
    sources: "transformers source, convert_llama_weights_to_hf.py",
    look,
    ..Rule::new(&KIND)
};

/// Types whose classes in transformers have names of their own; a newer type may keep the original ones.
const RENAMED_TYPES: [&str; 9] = [
    "llama",
    "llama4",
    "llama4_text",
    "ministral",
    "ministral3",
    "mistral",
    "mistral3",
    "mixtral",
    "pixtral",
];

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let Some(model) = subject.model() else { return Vec::new() };
    if model.files.configs.model_type().is_some_and(|kind| !RENAMED_TYPES.contains(&kind)) {
        return Vec::new();
    }
    let (count, first) = tensors_with(&model.files, "wq");
    if count == 0 || top(&model.files, "tok_embeddings").is_none() {
        return Vec::new();
    }
    let title =
        format!("The names are those of the original code: tok_embeddings, and {count} tensors of wq.");
    vec![Finding::new(rule, title).seen(Seen::tensors(first, format!("{count} tensors")))]
}
