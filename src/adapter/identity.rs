//! Identity: whether an adapter was made for this base and these tokens, by what both say of themselves.
//!
//! Shapes can fit by chance: an adapter of a chat model fits the model that it comes from. What is compared are the
//! base's name and size in the adapter's config, numbers of layers, the hidden size, the tokenizer beside the adapter,
//! and whether head and embeddings are tied. Where one of the two says nothing, nothing is said.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde_json::Value;

use super::Adapter;
use super::align::{Alignment, State};
use super::names::split;
use crate::checkpoint::Checkpoint;
use crate::name::escape;
use crate::problem::{Problem, kind};
use crate::tensor::elements;

/// Bytes of a tokenizer file that are read; the largest have some tens of MB.
const TOKENIZER_BYTES_MAX: u64 = 64 << 20;
/// How many times as large as its name says a base may be: `1B` can have 1.5 billion parameters.
const SIZE_RATIO_MAX: f64 = 2.0;

/// Returns what does not fit between an adapter and a base, beside names and shapes of modules.
#[must_use]
pub fn problems(
    base: &Checkpoint,
    adapter: &Checkpoint,
    facts: &Adapter,
    alignment: &Alignment,
) -> Vec<Problem> {
    let config = |message: String| {
        let file = "adapter_config.json";
        Problem::new(&kind::ADAPTER_IDENTITY, format!("{file}: {message}")).file(file)
    };
    let file = adapter.files.shards.first().map(|shard| shard.name.clone()).unwrap_or_default();
    let weights = |what, message: String| {
        Problem::new(what, format!("{}: {message}", escape(&file))).file(file.clone())
    };
    let mut found: Vec<Problem> = Vec::new();
    let named = facts.base.as_deref().filter(|name| !name.is_empty());
    found.extend(named.and_then(|name| other_name(base, name)).map(config));
    found.extend(named.and_then(|name| other_size(base, name)).map(config));
    found.extend(layers(base, alignment).map(|message| weights(&kind::ADAPTER_IDENTITY, message)));
    found.extend(hidden(base, alignment).map(|message| weights(&kind::ADAPTER_IDENTITY, message)));
    found.extend(tied(base, adapter, alignment).into_iter().map(|m| weights(&kind::ADAPTER_TIED, m)));
    found.extend(tokens(base, adapter, alignment));
    found
}

/// Another name than the base gives itself: by its config, or by where the Hub's cache has it.
fn other_name(base: &Checkpoint, named: &str) -> Option<String> {
    let own = base.files.configs.get("config.json")?.get("_name_or_path")?.as_str()?;
    // Names of models, not of folders: those say where somebody kept a model, not which.
    let is_model = |name: &str| {
        name.split('/').count() == 2 && !name.starts_with(['.', '/', '~']) && !name.contains('\\')
    };
    if !is_model(own) || !is_model(named) || words(own) == words(named) {
        return None;
    }
    Some(format!(
        "made for {}, and this base calls itself {}: shapes do not tell such models apart",
        escape(named),
        escape(own)
    ))
}

/// Returns the words of a model's name, without those that say who packed it and how.
fn words(name: &str) -> Vec<String> {
    const PACKED: [&str; 26] = [
        "bnb",
        "4bit",
        "8bit",
        "gptq",
        "awq",
        "int4",
        "int8",
        "fp8",
        "fp16",
        "bf16",
        "gguf",
        "hf",
        "meta",
        "unsloth",
        "dynamic",
        "quantized",
        "w4a16",
        "w8a8",
        "w8a16",
        "nf4",
        "mlx",
        "exl2",
        "eetq",
        "hqq",
        "128g",
        "bit",
    ];
    let label = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    let mut words: Vec<String> = label
        .split(['-', '_', ' '])
        .filter(|word| !word.is_empty() && !PACKED.contains(word))
        .map(str::to_owned)
        .collect();
    words.sort();
    words
}

/// Another size than the name says: `70B` for a base of eight billion parameters.
fn other_size(base: &Checkpoint, named: &str) -> Option<String> {
    let said = size_in(named)?;
    let layers = &base.layers;
    let mut count = 0.0;
    for layer in 0..layers.len() as u32 {
        let spec = layers.spec(layer);
        if !spec.shape_known {
            return None;
        }
        count += elements(&spec.shape)? as f64;
    }
    let ratio = count / said;
    let is_other = count > 0.0 && !(1.0 / SIZE_RATIO_MAX..=SIZE_RATIO_MAX).contains(&ratio);
    is_other.then(|| {
        format!(
            "made for {}, and this base has {} parameters",
            escape(named),
            crate::units::count(count as u64)
        )
    })
}

/// Returns the number of parameters in a model's name: `7B`, `1.5b`, `1_8B`, `125m`; none of `8x7B` or `E4B`.
fn size_in(named: &str) -> Option<f64> {
    let label = named.trim_end_matches('/').rsplit('/').next().unwrap_or(named).to_ascii_lowercase();
    label.split(['-', ' ']).find_map(|word| {
        let (digits, unit) = match word.strip_suffix('b') {
            Some(digits) => (digits, 1e9),
            None => (word.strip_suffix('m')?, 1e6),
        };
        let is_number = digits.starts_with(|c: char| c.is_ascii_digit())
            && digits.chars().all(|c| c.is_ascii_digit() || c == '.' || c == '_');
        let number = is_number.then(|| digits.replace('_', ".").parse::<f64>().ok()).flatten()?;
        (number > 0.0).then_some(number * unit)
    })
}

/// Modules of more layers than the base has.
fn layers(base: &Checkpoint, alignment: &Alignment) -> Option<String> {
    let last = |path: &str| -> Option<(String, u64)> {
        let (_, rest) = split(path);
        let mut parts = rest.splitn(3, '.');
        let (stack, number) = (parts.next()?, parts.next()?.parse::<u64>().ok()?);
        Some((stack.to_owned(), number))
    };
    let lost = alignment.modules.iter().filter(|module| module.state == State::Missing);
    let (stack, of_adapter) = lost.filter_map(|module| last(&module.path)).max_by_key(|(_, n)| *n)?;
    let names = &base.files.names;
    let of_base = (0..base.layers.len() as u32)
        .filter_map(|layer| last(&base.layers.name(names, layer)))
        .filter(|(name, _)| *name == stack)
        .map(|(_, number)| number)
        .max()?;
    (of_adapter > of_base).then(|| {
        format!(
            "modules up to {}.{of_adapter}, and the last of this base is {}.{of_base}",
            escape(&stack),
            escape(&stack)
        )
    })
}

/// Modules that are for another hidden size.
fn hidden(base: &Checkpoint, alignment: &Alignment) -> Option<String> {
    let size = base.files.configs.model_int("hidden_size")?;
    let odd: Vec<u64> = alignment
        .modules
        .iter()
        .filter(|module| module.state == State::Shape)
        .filter_map(|module| {
            let [_, inputs] = module.delta?;
            let own = *module.base_shape.as_ref()?.get(1)?;
            (own == size && inputs != size).then_some(inputs)
        })
        .collect();
    let first = *odd.first()?;
    odd.iter().all(|&inputs| inputs == first).then(|| {
        format!("made for a hidden size of {first}, and this base has {size} ({} modules)", odd.len())
    })
}

/// What ties between head and embeddings make of the adapter.
fn tied(base: &Checkpoint, adapter: &Checkpoint, alignment: &Alignment) -> Vec<String> {
    if !base.files.configs.ties_embeddings() {
        return Vec::new();
    }
    let label = |path: &str| path.rsplit('.').next().unwrap_or("").to_owned();
    let is_head = |path: &str| ["lm_head", "embed_out", "output"].contains(&label(path).as_str());
    let ends = || alignment.modules.iter().filter(|module| module.is_tied);
    let deltas: Vec<_> = ends().filter(|module| module.delta.is_some()).collect();
    let mut found = Vec::new();
    match deltas.as_slice() {
        [] => {}
        [one] if is_head(&one.path) => found.push(format!(
            "{} has a delta and this base ties the head to the embeddings: merged, it changes both",
            escape(&one.name)
        )),
        [one] => found.push(format!(
            "{} has a delta and this base ties the head to the embeddings: merged, it changes the head as well",
            escape(&one.name)
        )),
        _ => found.push(
            "embeddings and head have deltas and this base ties the two: merged, both go to one tensor".into(),
        ),
    }
    let saved = adapter.files.configs.get("adapter_config.json").and_then(|c| c.get("modules_to_save"));
    let names_head =
        |list: &Value| list.as_array().into_iter().flatten().filter_map(Value::as_str).any(&is_head);
    let head = ends().find(|module| is_head(&module.path) && module.part("weight").is_some());
    if let Some(head) = head.filter(|_| saved.is_some_and(names_head)) {
        found.push(format!(
            "{} brings a head of its own and this base ties the head to the embeddings: with tie_word_embeddings true \
             in the result it would be lost",
            escape(&head.name)
        ));
    }
    found
}

/// Tokens of the tokenizer beside the adapter that no row of the embeddings is for.
fn tokens(base: &Checkpoint, adapter: &Checkpoint, alignment: &Alignment) -> Option<Problem> {
    let (file, length) = tokenizer(&adapter.files.folder, &adapter.files.others)?;
    let is_embedding = |path: &str| {
        let label = path.rsplit('.').next().unwrap_or("");
        ["embed_tokens", "wte", "embed_in", "word_embeddings", "tok_embeddings"].contains(&label)
    };
    let brought = alignment.modules.iter().find_map(|module| {
        let weight = module.part("weight").filter(|_| is_embedding(&module.path))?;
        adapter.files.shape(&adapter.files.tensors[weight as usize]).first().copied()
    });
    let names = &base.files.names;
    let of_base = || {
        (0..base.layers.len() as u32)
            .find(|&layer| is_embedding(&base.layers.name(names, layer)))
            .and_then(|layer| base.layers.spec(layer).shape.first().copied())
    };
    let (rows, whose) = match brought {
        Some(rows) => (rows, "the adapter brings"),
        None => (of_base()?, "the base has"),
    };
    (length > rows).then(|| {
        let message = format!(
            "{file}: {length} tokens, and {whose} {rows} rows of embeddings: {} tokens have none",
            length - rows
        );
        Problem::new(&kind::ADAPTER_VOCABULARY, message).file(file)
    })
}

/// Returns how many tokens the tokenizer of a folder has (its largest id and one), and the file that tells.
fn tokenizer(folder: &Path, files: &[(String, u64)]) -> Option<(&'static str, u64)> {
    let read = |name: &str| -> Option<Value> {
        let &(_, bytes) = files.iter().find(|(file, _)| file == name)?;
        if bytes > TOKENIZER_BYTES_MAX {
            return None;
        }
        let mut text = Vec::new();
        File::open(folder.join(name)).ok()?.take(TOKENIZER_BYTES_MAX).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    };
    let ids = |value: &Value| value.as_object()?.values().filter_map(Value::as_u64).max();
    if let Some(whole) = read("tokenizer.json") {
        let vocabulary = whole.get("model").and_then(|model| model.get("vocab"));
        let listed = vocabulary.and_then(Value::as_array).and_then(|list| (list.len() as u64).checked_sub(1));
        let added = whole.get("added_tokens").and_then(Value::as_array);
        let added = added.into_iter().flatten().filter_map(|token| token.get("id")?.as_u64()).max();
        let last = vocabulary.and_then(ids).max(listed).max(added)?;
        return Some(("tokenizer.json", last.saturating_add(1)));
    }
    let last = ids(&read("added_tokens.json")?)?;
    Some(("added_tokens.json", last.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::{size_in, words};

    #[test]
    fn a_name_tells_the_size() {
        for (name, size) in [
            ("meta-llama/Llama-3-70B-Instruct", Some(70e9)),
            ("Qwen/Qwen-1_8B", Some(1.8e9)),
            ("Qwen/Qwen2.5-0.5B", Some(0.5e9)),
            ("facebook/opt-125m", Some(125e6)),
            ("mistralai/Mixtral-8x7B-v0.1", None),
            ("google/gemma-3n-E4B", None),
            ("base-A-bf16", None),
            ("b/", None),
            ("x/0b-m", None),
        ] {
            assert_eq!(size_in(name), size, "{name}");
        }
    }

    #[test]
    fn names_of_one_model_packed_otherwise_are_the_same() {
        for (a, b, is_same) in [
            ("unsloth/Meta-Llama-3.1-8B-bnb-4bit", "meta-llama/Llama-3.1-8B", true),
            ("TheBloke/Llama-2-7B-GPTQ", "meta-llama/Llama-2-7b-hf", true),
            ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B-Instruct", false),
            ("Qwen/Qwen2-7B", "Qwen/Qwen2.5-7B", false),
        ] {
            assert_eq!(words(a) == words(b), is_same, "{a} {b}");
        }
    }
}
