//! Rules about `config.json` against the tensors, and about the other configs of a folder.

pub(super) mod adapter_as_model;
pub(super) mod adapter_tokenizer;
pub(super) mod architecture_gaps;
pub(super) mod bad_value;
pub(super) mod damaged;
pub(super) mod dtype;
pub(super) mod head_missing;
pub(super) mod heads;
pub(super) mod layer_count;
pub(super) mod missing;
pub(super) mod model_type_missing;
pub(super) mod model_type_unknown;
pub(super) mod pad_token;
pub(super) mod remote_code;
pub(super) mod rope_keys;
pub(super) mod rope_schema;
pub(super) mod shape_mismatch;
pub(super) mod stop_token;
pub(super) mod tied_differs;
pub(super) mod tied_stored;
pub(super) mod tokenizer_incomplete;
pub(super) mod tokenizer_schema;
pub(super) mod vocabulary;

use serde_json::{Map, Value};

use super::finding::{Act, Fix};
use super::subject::Subject;
use crate::checkpoint::files::Files;
use crate::plan::edit::Edit;

/// Returns `config.json` if the checkpoint is a model and the file a JSON object.
fn config_of<'a>(subject: &Subject<'a>) -> Option<&'a Map<String, Value>> {
    subject.model()?;
    subject.json("config.json")?.as_object()
}

/// Returns the edit of one value at the top of a JSON file; `None` takes it out.
fn set(file: &str, key: &str, value: Option<Value>) -> Edit {
    Edit::Json { file: file.into(), path: vec![key.into()], value }
}

/// Returns the fix that sets one value of `config.json`.
fn set_config(summary: impl Into<String>, key: &str, value: Value) -> Fix {
    Fix::new(summary, Act::Edit(vec![set("config.json", key, Some(value))]))
}

/// Returns the ids and texts of the tokens that were added to the vocabulary, as the two small files of a
/// folder say.
fn added_tokens(files: &Files) -> Vec<(u64, String)> {
    let decoder =
        files.configs.get("tokenizer_config.json").and_then(|config| config.get("added_tokens_decoder"));
    let decoder = decoder.and_then(Value::as_object).into_iter().flatten();
    let by_id = decoder.filter_map(|(id, token)| {
        let text = token.get("content").and_then(Value::as_str)?;
        Some((id.parse().ok()?, text.to_owned()))
    });
    let list = files.configs.get("added_tokens.json").and_then(Value::as_object).into_iter().flatten();
    let by_text = list.filter_map(|(text, id)| Some((id.as_u64()?, text.clone())));
    by_id.chain(by_text).collect()
}

/// Returns the text of the token that ends a text, by the tokenizer's config.
fn end_token(files: &Files) -> Option<&str> {
    let eos = files.configs.get("tokenizer_config.json")?.get("eos_token")?;
    eos.as_str().or_else(|| eos.get("content")?.as_str())
}

/// Returns the rows of the input embeddings and the full name of their tensor's layer.
fn embedding_rows(subject: &Subject<'_>) -> Option<(u64, String)> {
    let model = subject.model()?;
    let (files, layers) = (&model.files, &model.layers);
    let is_embedding = |layer: &u32| {
        let label = layers.label(&files.names, *layer);
        matches!(label, "embed_tokens" | "wte" | "word_embeddings" | "tok_embeddings" | "embed_in")
    };
    let layer = (0..layers.len() as u32).find(is_embedding)?;
    let spec = layers.spec(layer);
    let rows = spec.shape.first().copied().filter(|_| spec.shape_known && spec.shape.len() == 2)?;
    Some((rows, layers.name(&files.names, layer)))
}
