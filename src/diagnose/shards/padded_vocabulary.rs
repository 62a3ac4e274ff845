//! D005 padded-vocabulary: embeddings have rows that pad them for tensor parallelism.

use serde_json::json;

use crate::checkpoint::checks::misfits;
use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::plan::edit::Edit;
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind = ProblemKind { code: "D005", name: "padded-vocabulary", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "Embeddings and head with the same rows, a multiple of 64 above vocab_size, while all other \
                shapes fit.",
    why: "Megatron and other trainers pad the vocabulary so that it divides among the ranks, and the \
          converter kept the rows. The shapes are not those of the config. Which rows are padding the files \
          do not say; by custom the last.",
    messages: &[
        message(
            "size mismatch for {key}: copying a param with shape {any} from checkpoint, the shape in current \
             model is {any}.",
            "transformers up to 4.57",
        ),
        message(
            "You set `ignore_mismatched_sizes` to `False`, thus raising an error. For details look at the \
             above report!",
            "transformers 5",
        ),
        message("shape mismatch, model vocab size {n} vs checkpoint {n}", "converters"),
    ],
    remedy: "Set vocab_size to the rows that are stored. The rows of padding belong to no token of the \
             tokenizer.",
    sources: "Megatron-LM#3240, Megatron-Bridge#5353 #1331",
    look,
    fixes,
    ..Rule::new(&KIND)
};

/// Rows are padded to a multiple of this times the ranks; Megatron's own number is 128.
const MULTIPLE: u64 = 64;

/// Returns the rows of the embeddings and `vocab_size` if padding explains all shapes that do not fit.
pub(in crate::diagnose) fn padding(subject: &Subject<'_>) -> Option<(u64, u64)> {
    let model = subject.model()?;
    let said = model.files.configs.model_int("vocab_size")?;
    let mut rows = None;
    for (layer, expected, _) in misfits(&model.files, &model.layers, &model.files.configs.quant.shapes) {
        let label = model.layers.label(&model.files.names, layer);
        let shape = &model.layers.spec(layer).shape;
        let [stored, columns] = shape.as_slice() else { return None };
        let fits = matches!(label, "embed_tokens" | "lm_head") && expected.get(1) == Some(columns);
        if !fits
            || *stored <= said
            || !stored.is_multiple_of(MULTIPLE)
            || rows.is_some_and(|rows| rows != *stored)
        {
            return None;
        }
        rows = Some(*stored);
    }
    Some((rows?, said))
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let Some((rows, said)) = padding(subject) else { return Vec::new() };
    let title = format!(
        "The embeddings have {rows} rows and config.json says vocab_size {said}: {} rows of padding.",
        rows - said
    );
    let seen = Seen::config("config.json", "vocab_size", said.to_string());
    vec![Finding::new(rule, title).fill("key", "model.embed_tokens.weight").seen(seen)]
}

fn fixes(subject: &Subject<'_>, _: &Finding) -> Vec<Fix> {
    let Some((rows, said)) = padding(subject) else { return Vec::new() };
    let edit =
        Edit::Json { file: "config.json".into(), path: vec!["vocab_size".into()], value: Some(json!(rows)) };
    vec![
        Fix::new(format!("set vocab_size to {rows}, the rows that are stored"), Act::Edit(vec![edit]))
            .loss("the padding stays in the model: sampling may choose a row that is no token"),
        Fix::advice(format!(
            "cut the embeddings and the head to {said} rows in the program that converted them"
        )),
    ]
}
