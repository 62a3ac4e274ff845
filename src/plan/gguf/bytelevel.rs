//! Byte-level BPE (`tokenizer.ggml.model` is `gpt2`): GPT-2's alphabet of bytes, merges from the file.
//!
//! | `tokenizer.ggml.pre`                          | splits by                         | of                |
//! |-----------------------------------------------|-----------------------------------|-------------------|
//! | `gpt-2`                                       | GPT-2's own expression            | GPT-2             |
//! | `smollm`                                      | digits one by one, then GPT-2's   | `SmolLM`          |
//! | `llama-bpe`, `llama3`, `llama-v3`, `falcon3`… | three digits, case-less endings   | Llama 3           |
//! | `qwen2`, `deepseek-r1-qwen`, `megrez`         | one digit, case-less endings; NFC | Qwen 2, 2.5, 3    |
//! | `tekken`                                      | by case                           | Mistral Nemo      |
//! | `gpt-4o`                                      | by case, endings, three digits    | GPT-4o's          |
//!
//! Sources: transformers' `gguf_tokenizer_mapping.py` (`GGUF_PRE_TOKENIZER_SPLITS`), llama.cpp's
//! `llama-vocab.cpp`, the `tokenizer.json` files of the models named.

use serde_json::{Value, json};

use super::tokenizer::{Parts, Vocabulary, bpe, ids, pairs};
use crate::name::escape;

/// How text is split before its bytes are merged.
enum Split {
    /// GPT-2's expression, which the byte-level splitter has built in.
    Gpt2,
    /// Each digit for itself, the rest as GPT-2.
    Digits,
    /// An expression.
    Regex(&'static str),
}

/// Splitters that files name.
struct Pre {
    names: &'static [&'static str],
    split: Split,
    /// Text is composed first (NFC).
    is_composed: bool,
    /// A word that is a token is taken whole, whatever its merges.
    ignores_merges: bool,
    /// The beginning is marked where the file does not say.
    adds_bos: bool,
}

const PRES: [Pre; 6] = [
    Pre { names: &["gpt-2"], split: Split::Gpt2, is_composed: false, ignores_merges: false, adds_bos: false },
    Pre {
        names: &["smollm"],
        split: Split::Digits,
        is_composed: false,
        ignores_merges: false,
        adds_bos: false,
    },
    Pre {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral"],
        split: Split::Regex(concat!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )),
        is_composed: false,
        ignores_merges: true,
        adds_bos: true,
    },
    Pre {
        names: &["qwen2", "deepseek-r1-qwen", "megrez"],
        split: Split::Regex(concat!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )),
        is_composed: true,
        ignores_merges: false,
        adds_bos: false,
    },
    Pre {
        names: &["tekken"],
        split: Split::Regex(concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
            r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )),
        is_composed: false,
        ignores_merges: true,
        adds_bos: true,
    },
    Pre {
        names: &["gpt-4o", "llama4"],
        split: Split::Regex(concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )),
        is_composed: false,
        ignores_merges: false,
        adds_bos: false,
    },
];

/// Returns the parts of `tokenizer.json`.
///
/// # Errors
/// What splits text is not known, there are no merges, or they do not fit the tokens.
pub(super) fn parts(vocabulary: &Vocabulary) -> Result<Parts, String> {
    let pre = PRES.iter().find(|pre| pre.names.contains(&vocabulary.pre.as_str())).ok_or_else(|| {
        let known: Vec<&str> = PRES.iter().map(|pre| pre.names[0]).collect();
        let name = if vocabulary.pre.is_empty() { "missing".into() } else { escape(&vocabulary.pre) };
        format!(
            "how text is split (tokenizer.ggml.pre) is {name}; known are {} and their like",
            known.join(", ")
        )
    })?;
    let merges = vocabulary.merges.as_ref().ok_or("the file has no tokenizer.ggml.merges")?;
    let ids = ids(vocabulary, str::to_owned, &vocabulary.tokens)?;
    // A token may begin with a space, never with two: the first space behind the first character parts.
    let merges = merges.iter().map(|merge| {
        let at = merge.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(at, _)| at);
        at.map_or((merge.as_str(), ""), |at| (&merge[..at], &merge[at + 1..]))
    });
    let merges = pairs(merges, &ids)?;
    let levels = |uses_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": uses_regex});
    let pre_tokenizer = match pre.split {
        Split::Gpt2 => levels(true),
        Split::Digits => json!({
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": true}, levels(true)],
        }),
        Split::Regex(regex) => json!({
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false},
                levels(false),
            ],
        }),
    };
    let more = json!({"ignore_merges": pre.ignores_merges});
    Ok(Parts {
        normalizer: if pre.is_composed { json!({"type": "NFC"}) } else { Value::Null },
        pre_tokenizer,
        decoder: json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
        model: bpe(ids, merges, more),
        plain: Vec::new(),
        adds_bos: pre.adds_bos,
        processor: Some(json!({
            "type": "ByteLevel",
            "add_prefix_space": true,
            "trim_offsets": false,
            "use_regex": true,
        })),
    })
}
