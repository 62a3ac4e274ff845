//! D002 tensor-parallel-parts: several files that each hold a slice of every weight.

use crate::checkpoint::files::Shard;
use crate::diagnose::finding::{Finding, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "D002", name: "tensor-parallel-parts", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "Two or more weight files named `mp_rank_00`, `consolidated.00` or `rank0…`, with no index.",
    why: "Each file is the share of one rank: the same names, with rows or columns of each weight. A loader \
          of single models takes one share for the whole, and its shapes do not fit.",
    messages: &[
        message(
            "size mismatch for {key}: copying a param with shape {any} from checkpoint, the shape in current \
             model is {any}.",
            "transformers, Megatron-LM",
        ),
        message("Loading a checkpoint for MP={n} but world size is {n}", "Meta's llama code"),
    ],
    remedy: "Join the parts with the converter of the program that wrote them (Megatron, Meta's \
             convert_llama_weights_to_hf), then open the result.",
    sources: "Megatron-LM#3240, ColossalAI#6167, Megatron-Bridge#5353 #1331",
    look,
    ..Rule::new(&KIND)
};

/// Returns the weight files whose names are those of ranks.
pub(super) fn parts<'a>(subject: &Subject<'a>) -> Vec<&'a Shard> {
    let files = subject.files();
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_part = |shard: &&Shard| {
        let Some((stem, _)) = shard.name.rsplit_once('.') else { return false };
        let of = |prefix: &str| stem.strip_prefix(prefix).is_some_and(is_number);
        stem.starts_with("mp_rank_") || of("consolidated.") || of("rank") || of("model_rank_")
    };
    if files.index.is_some() { Vec::new() } else { files.shards.iter().filter(is_part).collect() }
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let parts = parts(subject);
    let (true, Some(_)) = (parts.len() > 1, subject.model()) else { return Vec::new() };
    let (first, last) = (&parts[0].name, &parts[parts.len() - 1].name);
    let count = parts.len();
    let title = format!("{count} files are the shares of {count} ranks ({first} to {last}), not one model.");
    let mut finding = Finding::new(rule, title);
    for part in parts.iter().take(crate::diagnose::finding::SEEN_MAX) {
        finding = finding.seen(Seen::file(&part.name, format!("{} tensors", part.tensors)));
    }
    vec![finding]
}
