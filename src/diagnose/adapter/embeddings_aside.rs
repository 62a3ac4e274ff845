//! A043 adapter-embeddings-aside: `new_embeddings.safetensors`: rows of new tokens that PEFT does not read.

use super::views;
use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::Rule;
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind =
    ProblemKind { code: "A043", name: "adapter-embeddings-aside", severity: Severity::Warning };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    is_silent: true,
    looks_for: "A file new_embeddings.safetensors (or .bin) beside the adapter.",
    why: "It holds the embeddings of tokens that were added (input_embeddings, output_embeddings), as old vLLM wanted them. \
          PEFT does not read it and says nothing: the new tokens have no trained embeddings. vLLM dropped it too.",
    messages: &[],
    remedy: "Resize the base to the new vocabulary and copy the rows into embed_tokens and lm_head, before the adapter is \
             loaded or merged.",
    sources: "mergekit#328; vLLM up to 0.8 `lora/models.py`",
    look,
    ..Rule::new(&KIND)
};

const FILES: [&str; 2] = ["new_embeddings.safetensors", "new_embeddings.bin"];

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let files = &view.checkpoint.files;
    let aside = files.others.iter().map(|(name, bytes)| (name, *bytes));
    let read = files.shards.iter().map(|shard| (&shard.name, shard.bytes));
    let (name, bytes) = aside.chain(read).find(|(name, _)| FILES.contains(&name.as_str()))?;
    let size = units::bytes(bytes);
    let title = format!("{name} ({size}) holds embeddings of new tokens, and PEFT does not read it.");
    Some(Finding::new(rule, title).about(view.about).seen(Seen::file(name.clone(), size)))
}
