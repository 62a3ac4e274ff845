//! `SentencePiece` BPE (`tokenizer.ggml.model` is `llama`): merges from the file, or recovered from it.
//!
//! The file has scores and no merges. Every way to put a token together of two others is a merge; the best
//! score comes first. Gemma's scores do not follow its merges, the order of its tokens does; and its tokens of
//! spaces, which the file spells as spaces, are looked up as `▁`.
//! The space in front of text is that of Llama 2's own `tokenizer.json` and of llama.cpp: also before a space,
//! where transformers' converter puts none.
//! Source: transformers' `gguf_tokenizer_mapping.py` (`sentencepiece_tokenizer`, `gemma_tokenizer`) and
//! `tokenization_utils_base.py` (`generate_merges`).

use rustc_hash::FxHashMap;
use serde_json::{Value, json};

use super::tokenizer::{BYTE, CONTROL, Parts, UNKNOWN, Vocabulary, bpe, ids, pairs};

/// What stands for a space.
const SPACE: &str = "\u{2581}";
/// Characters of a token beyond which its parts are not looked for: words are shorter.
const PARTED_MAX: usize = 256;

/// Returns the parts of `tokenizer.json` for Llama 1 and 2, Mistral and their like.
///
/// # Errors
/// There are neither merges nor scores, or they do not fit the tokens.
pub(super) fn llama(vocabulary: &Vocabulary) -> Result<Parts, String> {
    if vocabulary.merges.is_none() && vocabulary.scores.len() != vocabulary.tokens.len() {
        return Err("the file has neither merges nor a score for each token".into());
    }
    let model = model(vocabulary, &vocabulary.tokens, |id| vocabulary.scores[id])?;
    let mut normalizers = vec![json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE})];
    let mut decoders = decoders();
    if vocabulary.has_prefix {
        normalizers.insert(0, json!({"type": "Prepend", "prepend": SPACE}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    Ok(Parts {
        normalizer: json!({"type": "Sequence", "normalizers": normalizers}),
        pre_tokenizer: Value::Null,
        decoder: json!({"type": "Sequence", "decoders": decoders}),
        model,
        plain: Vec::new(),
        adds_bos: true,
        processor: None,
    })
}

/// Returns the parts of `tokenizer.json` for Gemma.
///
/// # Errors
/// A token stands there twice.
pub(super) fn gemma(vocabulary: &Vocabulary) -> Result<Parts, String> {
    let is_spaces = |token: &str| !token.is_empty() && token.bytes().all(|byte| byte == b' ');
    let mut tokens = vocabulary.tokens.clone();
    let mut plain = Vec::new();
    for (id, token) in tokens.iter_mut().enumerate() {
        if is_spaces(token) {
            *token = SPACE.repeat(token.len());
            plain.push(id);
        }
    }
    let model = model(vocabulary, &tokens, |id| -(id as f64))?;
    Ok(Parts {
        normalizer: json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE}),
        pre_tokenizer: json!({
            "type": "Split",
            "pattern": {"String": " "},
            "behavior": "MergedWithPrevious",
            "invert": false,
        }),
        decoder: json!({"type": "Sequence", "decoders": decoders()}),
        model,
        plain,
        adds_bos: true,
        processor: None,
    })
}

fn decoders() -> Vec<Value> {
    vec![
        json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ]
}

fn model(vocabulary: &Vocabulary, tokens: &[String], score: impl Fn(usize) -> f64) -> Result<Value, String> {
    let ids = ids(vocabulary, str::to_owned, tokens)?;
    let merges = match &vocabulary.merges {
        Some(merges) => {
            let parted = merges.iter().map(|merge| merge.split_once(' ').unwrap_or((merge, "")));
            pairs(parted, &ids)?
        }
        None => pairs(recovered(vocabulary, tokens, score).into_iter(), &ids)?,
    };
    let more = json!({
        "unk_token": vocabulary.unknown,
        "fuse_unk": true,
        "byte_fallback": ids.contains_key("<0x00>"),
    });
    Ok(bpe(ids, merges, more))
}

/// A way to put a token together.
struct Way<'a> {
    left: &'a str,
    right: &'a str,
    score: f64,
    /// Characters of both.
    lengths: (usize, usize),
}

/// Returns all merges that the tokens allow, the best first.
fn recovered<'a>(
    vocabulary: &Vocabulary,
    tokens: &'a [String],
    score: impl Fn(usize) -> f64,
) -> Vec<(&'a str, &'a str)> {
    let taken = |id: usize| !vocabulary.is_filler(id) && !tokens[id].is_empty();
    let known: FxHashMap<&str, usize> = tokens
        .iter()
        .enumerate()
        .filter(|(id, _)| taken(*id))
        .map(|(id, token)| (token.as_str(), id))
        .collect();
    let mut ways: Vec<Way<'_>> = Vec::new();
    for (id, token) in tokens.iter().enumerate().filter(|(id, _)| taken(*id)) {
        // These are never put together from text.
        if matches!(vocabulary.kind(id), UNKNOWN | CONTROL | BYTE) {
            continue;
        }
        let length = token.chars().count();
        if length > PARTED_MAX {
            continue;
        }
        let first = ways.len();
        for (before, (at, _)) in token.char_indices().enumerate().skip(1) {
            let (left, right) = token.split_at(at);
            if known.contains_key(left) && known.contains_key(right) {
                // 0 and -0 are one score.
                ways.push(Way { left, right, score: score(id) + 0.0, lengths: (before, length - before) });
            }
        }
        ways[first..].sort_by_key(|way| (known[way.left], known[way.right]));
    }
    // Stable: what is equal stays in the order of the tokens.
    ways.sort_by(|a, b| b.score.total_cmp(&a.score).then(b.lengths.cmp(&a.lengths)));
    ways.into_iter().map(|way| (way.left, way.right)).collect()
}
