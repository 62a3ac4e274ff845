//! E008 vllm-embedding-rows: a delta on embeddings of another vocabulary than the base's.

use super::engines;
use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "E008", name: "vllm-embedding-rows", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Vllm],
    looks_for: "A lora_embedding_A with another number of columns than the base has rows of embeddings.",
    why: "vLLM once reserved rows for tokens that adapters add (lora_extra_vocab_size) and took that out. An adapter for a \
          larger vocabulary no longer fits the embeddings of the base.",
    messages: &[
        message(
            "The embedding LoRA size({n}) must be consistent with the base model's vocabulary size({n}).",
            "vLLM since 0.12",
        ),
        message("LoRA added vocab size {n} is greater than lora_extra_vocab_size {n}.", "vLLM up to 0.11"),
    ],
    outside: "",
    remedy: "Merge the adapter into a base that was resized to its vocabulary, and serve the result.",
    sources: "vLLM `lora/lora_model.py`",
    look,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let modules = &view.alignment()?.modules;
    modules.iter().find_map(|module| {
        let tensor = module.part("lora_embedding_A")?;
        let files = &view.checkpoint.files;
        let columns = *files.shape(&files.tensors[tensor as usize]).get(1)?;
        let rows = *module.base_shape.as_ref()?.first()?;
        if columns == rows {
            return None;
        }
        let name = engines::shown(&module.name);
        let title = format!("{name} is for {columns} tokens, and the base's embeddings have {rows} rows.");
        let seen = Seen::tensors(Some(files.tensor_name(tensor)), format!("{columns} columns"));
        Some(Finding::new(rule, title).about(view.about).fill("n", columns.to_string()).seen(seen))
    })
}
