//! `tokenizer.json` and `tokenizer_config.json` of a GGUF file's model.
//!
//! A GGUF file lists the vocabulary, how each token is to be taken, and merges or scores. What splits text
//! before merging it only names (`tokenizer.ggml.pre`): a name that is not known here gives no
//! `tokenizer.json`, because a wrong split gives wrong tokens in silence. What is not written is said.
//! Sources: transformers' `integrations/gguf/gguf_tokenizer_mapping.py`, the file format of the tokenizers
//! library, llama.cpp's `llama-vocab.cpp` (defaults of `add_bos_token`, `ignore_merges`).

use serde_json::{Map, Value, json};

use super::{Made, Naming, bytelevel, config, sentencepiece};
use crate::container::Value as Meta;
use crate::container::gguf::Whole;
use crate::name::escape;

const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";
const MERGES: &str = "tokenizer.ggml.merges";
const TEMPLATE: &str = "tokenizer.chat_template";
/// A whole `tokenizer.json`, which few files carry.
const WHOLE: &str = "tokenizer.huggingface.json";
const MODEL: &str = "tokenizer.ggml.model";
/// The tokens that have a role, and the key-values of their ids.
const ROLES: [(&str, &str); 4] = [
    ("bos_token", "tokenizer.ggml.bos_token_id"),
    ("eos_token", "tokenizer.ggml.eos_token_id"),
    ("unk_token", "tokenizer.ggml.unknown_token_id"),
    ("pad_token", "tokenizer.ggml.padding_token_id"),
];

pub(super) const UNKNOWN: i64 = 2;
pub(super) const CONTROL: i64 = 3;
pub(super) const USER_DEFINED: i64 = 4;
const UNUSED: i64 = 5;
pub(super) const BYTE: i64 = 6;

/// What a GGUF file says of its tokenizer.
#[derive(Default)]
pub(super) struct Vocabulary {
    /// Tokens by their ids.
    pub(super) tokens: Vec<String>,
    /// How each is to be taken; empty if the file does not say.
    pub(super) types: Vec<i64>,
    pub(super) scores: Vec<f64>,
    /// Pairs with a space between.
    pub(super) merges: Option<Vec<String>>,
    /// Name of what splits text.
    pub(super) pre: String,
    /// True if text gets a space in front.
    pub(super) has_prefix: bool,
    /// The unknown token.
    pub(super) unknown: Option<String>,
    template: Option<String>,
    json: Option<String>,
}

impl Vocabulary {
    pub(super) fn kind(&self, id: usize) -> i64 {
        self.types.get(id).copied().unwrap_or(1)
    }

    /// Returns true for a place that the converter filled because the model has a row for it: no token.
    pub(super) fn is_filler(&self, id: usize) -> bool {
        self.kind(id) == UNUSED && self.tokens[id] == format!("[PAD{id}]")
    }

    fn read(naming: &Naming<'_>) -> Result<Self, String> {
        let mut vocabulary = Self {
            pre: naming.meta.text("tokenizer.ggml.pre").unwrap_or("").to_owned(),
            has_prefix: flag(naming, "add_space_prefix").unwrap_or(true),
            ..Self::default()
        };
        for (key, value) in naming.meta.whole(&[TOKENS, TYPES, SCORES, MERGES, TEMPLATE, WHOLE])? {
            match (key.as_str(), value) {
                (TOKENS, Whole::Texts(list)) => vocabulary.tokens = list,
                (TYPES, Whole::Ints(list)) => vocabulary.types = list,
                (SCORES, Whole::Floats(list)) => vocabulary.scores = list,
                (MERGES, Whole::Texts(list)) => vocabulary.merges = Some(list),
                (TEMPLATE, Whole::One(Meta::Text(text))) => vocabulary.template = Some(text),
                (WHOLE, Whole::One(Meta::Text(text))) => vocabulary.json = Some(text),
                // An empty array of another type is no list.
                (key, _) if key == MERGES || key == SCORES || key == TYPES => {}
                (key, _) => return Err(format!("{key} is not of the type that it has in other files")),
            }
        }
        vocabulary.unknown = vocabulary.role(naming, "tokenizer.ggml.unknown_token_id").map(|(_, t)| t);
        Ok(vocabulary)
    }

    /// Returns id and text of the token that a key-value names.
    fn role(&self, naming: &Naming<'_>, key: &str) -> Option<(u64, String)> {
        let id = naming.meta.get(key)?.as_u64()?;
        Some((id, self.tokens.get(usize::try_from(id).ok()?)?.clone()))
    }
}

/// What one kind of tokenizer gives for `tokenizer.json`.
pub(super) struct Parts {
    pub(super) normalizer: Value,
    pub(super) pre_tokenizer: Value,
    pub(super) decoder: Value,
    pub(super) model: Value,
    /// Tokens that are not added, though their type says so.
    pub(super) plain: Vec<usize>,
    /// Whether the beginning is marked where the file does not say.
    pub(super) adds_bos: bool,
    /// Processor before the template.
    pub(super) processor: Option<Value>,
}

fn flag(naming: &Naming<'_>, key: &str) -> Option<bool> {
    match naming.meta.get(&format!("tokenizer.ggml.{key}"))? {
        Meta::Bool(flag) => Some(*flag),
        _ => None,
    }
}

/// Returns the files of the tokenizer, as far as the file gives them.
pub(super) fn texts(naming: &Naming<'_>, warnings: &mut Vec<String>) -> Vec<Made> {
    const FILE: &str = "tokenizer.json";
    let missing =
        |why: &str| format!("{FILE} is not written: {why}; take it from the model's own repository");
    let vocabulary = match Vocabulary::read(naming) {
        Ok(vocabulary) => vocabulary,
        Err(why) => {
            warnings.push(missing(&why));
            return Vec::new();
        }
    };
    let mut made = Vec::new();
    let mut adds_bos = flag(naming, "add_bos_token").unwrap_or(false);
    match tokenizer(naming, &vocabulary) {
        Ok((content, adds)) => {
            adds_bos = adds;
            made.push(Made { file: FILE, content });
        }
        Err(why) => warnings.push(missing(&why)),
    }
    if naming.meta.get("tokenizer.chat_templates").is_some() {
        warnings.push("of the chat templates only the unnamed one is written".into());
    }
    if !vocabulary.tokens.is_empty() {
        made.push(Made { file: "tokenizer_config.json", content: settings(naming, &vocabulary, adds_bos) });
    }
    made
}

/// Returns `tokenizer_config.json`.
fn settings(naming: &Naming<'_>, vocabulary: &Vocabulary, adds_bos: bool) -> Value {
    let mut settings = Map::new();
    settings.insert("tokenizer_class".into(), json!("PreTrainedTokenizerFast"));
    settings.insert("add_bos_token".into(), json!(adds_bos));
    settings.insert("add_eos_token".into(), json!(flag(naming, "add_eos_token").unwrap_or(false)));
    for (role, key) in ROLES {
        let token = vocabulary.role(naming, key).map_or(Value::Null, |(_, token)| json!(token));
        settings.insert(role.into(), token);
    }
    if let Ok(Some(length)) = naming.meta.int("context_length") {
        settings.insert("model_max_length".into(), json!(length));
    }
    settings.insert("clean_up_tokenization_spaces".into(), json!(false));
    if let Some(template) = &vocabulary.template {
        settings.insert("chat_template".into(), json!(template));
    }
    Value::Object(settings)
}

/// Returns `tokenizer.json`, and whether it marks the beginning.
fn tokenizer(naming: &Naming<'_>, vocabulary: &Vocabulary) -> Result<(Value, bool), String> {
    if let Some(text) = &vocabulary.json {
        let whole = serde_json::from_str(text).map_err(|error| format!("{WHOLE} is not JSON: {error}"))?;
        return Ok((whole, flag(naming, "add_bos_token").unwrap_or(false)));
    }
    let model = naming.meta.text(MODEL).ok_or_else(|| format!("the file has no {MODEL}"))?;
    if vocabulary.tokens.is_empty() {
        return Err(format!("the file has no {TOKENS}"));
    }
    if !vocabulary.types.is_empty() && vocabulary.types.len() != vocabulary.tokens.len() {
        let (types, tokens) = (vocabulary.types.len(), vocabulary.tokens.len());
        return Err(format!("{tokens} tokens, but {types} types of them"));
    }
    let parts = match model {
        "gpt2" => bytelevel::parts(vocabulary)?,
        "llama" if naming.names.arch.gguf.starts_with("gemma") => sentencepiece::gemma(vocabulary)?,
        "llama" => sentencepiece::llama(vocabulary)?,
        other => return Err(format!("{MODEL} is {}, which is not written here", escape(other))),
    };
    let adds_bos = flag(naming, "add_bos_token").unwrap_or(parts.adds_bos);
    let bos = vocabulary.role(naming, config::IDS[0].1).filter(|_| adds_bos);
    let adds_eos = flag(naming, "add_eos_token").unwrap_or(false);
    let eos = vocabulary.role(naming, config::IDS[1].1).filter(|_| adds_eos);
    let added = added(vocabulary, &parts.plain);
    let whole = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": parts.normalizer,
        "pre_tokenizer": parts.pre_tokenizer,
        "post_processor": processor(parts.processor, bos.as_ref(), eos.as_ref()),
        "decoder": parts.decoder,
        "model": parts.model,
    });
    Ok((whole, bos.is_some()))
}

/// Returns the tokens that are matched whole in text: control tokens, and those that a user added.
fn added(vocabulary: &Vocabulary, plain: &[usize]) -> Vec<Value> {
    let mut added = Vec::new();
    for (id, token) in vocabulary.tokens.iter().enumerate() {
        let kind = vocabulary.kind(id);
        if token.is_empty()
            || !matches!(kind, UNKNOWN | CONTROL | USER_DEFINED)
            || plain.binary_search(&id).is_ok()
        {
            continue;
        }
        added.push(json!({
            "id": id,
            "content": token,
            "single_word": false,
            "lstrip": false,
            "rstrip": false,
            "normalized": false,
            "special": kind != USER_DEFINED,
        }));
    }
    added
}

/// Returns what marks beginning and end.
fn processor(first: Option<Value>, bos: Option<&(u64, String)>, eos: Option<&(u64, String)>) -> Value {
    let template = (bos.is_some() || eos.is_some()).then(|| {
        let mark = |token: Option<&(u64, String)>, side: u8| {
            token.map(|(_, token)| json!({"SpecialToken": {"id": token, "type_id": side}}))
        };
        let around = |name: &str, side: u8| {
            let text = json!({"Sequence": {"id": name, "type_id": side}});
            [mark(bos, side), Some(text), mark(eos, side)].into_iter().flatten()
        };
        let single: Vec<Value> = around("A", 0).collect();
        let pair: Vec<Value> = around("A", 0).chain(around("B", 1)).collect();
        let mut tokens = Map::new();
        for (id, token) in [bos, eos].into_iter().flatten() {
            tokens.insert(token.clone(), json!({"id": token, "ids": [id], "tokens": [token]}));
        }
        json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens})
    });
    match (first, template) {
        (None, None) => Value::Null,
        (Some(one), None) | (None, Some(one)) => one,
        (Some(first), Some(template)) => json!({"type": "Sequence", "processors": [first, template]}),
    }
}

/// Returns the vocabulary of a BPE model: token to id. Of a text that stands there twice the first id.
///
/// # Errors
/// A text stands there twice among tokens of text.
pub(super) fn ids<'a>(
    vocabulary: &Vocabulary,
    spell: impl Fn(&'a str) -> String,
    tokens: &'a [String],
) -> Result<Map<String, Value>, String> {
    let mut ids = Map::new();
    for (id, token) in tokens.iter().enumerate() {
        if vocabulary.is_filler(id) {
            continue;
        }
        let spelled = spell(token);
        if ids.contains_key(&spelled) {
            return Err(format!("token {} stands there twice, the second time as {id}", escape(token)));
        }
        ids.insert(spelled, json!(id));
    }
    Ok(ids)
}

/// Returns merges as the tokenizers library reads them.
///
/// # Errors
/// A merge is no pair, or its parts or its result are no tokens: the library would refuse the file.
pub(super) fn pairs<'a>(
    merges: impl Iterator<Item = (&'a str, &'a str)>,
    ids: &Map<String, Value>,
) -> Result<Vec<Value>, String> {
    let merges: Vec<(&str, &str)> = merges.collect();
    // Older libraries read pairs as one text only, which a space inside would part wrongly.
    let is_plain = merges.iter().all(|(left, right)| !left.contains(' ') && !right.contains(' '));
    merges
        .into_iter()
        .map(|(left, right)| {
            let whole = format!("{left}{right}");
            match [left, right, &whole].into_iter().find(|part| !ids.contains_key(*part)) {
                None if is_plain => Ok(json!(format!("{left} {right}"))),
                None => Ok(json!([left, right])),
                Some(part) => Err(format!(
                    "the merge of {} and {} needs a token {}, which is not there",
                    escape(left),
                    escape(right),
                    escape(part)
                )),
            }
        })
        .collect()
}

/// Returns the BPE model of `tokenizer.json`.
pub(super) fn bpe(ids: Map<String, Value>, merges: Vec<Value>, more: Value) -> Value {
    let mut model = json!({
        "type": "BPE",
        "dropout": null,
        "unk_token": null,
        "continuing_subword_prefix": null,
        "end_of_word_suffix": null,
        "fuse_unk": false,
        "byte_fallback": false,
        "ignore_merges": false,
    });
    if let (Some(model), Value::Object(more)) = (model.as_object_mut(), more) {
        model.extend(more);
        model.insert("vocab".into(), Value::Object(ids));
        model.insert("merges".into(), Value::Array(merges));
    }
    model
}
