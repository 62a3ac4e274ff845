//! Sliding: which layers of a decoder cache all tokens, a window of them, or a state that does not grow.
//!
//! | key                                              | meaning                                                    |
//! |--------------------------------------------------|------------------------------------------------------------|
//! | `layer_types` (also `layers_block_type`)         | one word a layer                                           |
//! | `hybrid_override_pattern`                        | one letter a layer: `*` attention, `M` Mamba, `-` `E` MLP  |
//! | `attn_type_list`                                 | one number a layer: 1 attention, 0 linear                  |
//! | `full_attention_interval`, `attn_layer_period`   | every n-th layer is attention, the others keep a state     |
//! | `sliding_window_pattern`                         | N: every N-th is full; text: L local, G global             |
//! | `use_sliding_window`, `max_window_layers`        | Qwen: sliding from that layer on, and only if true         |
//!
//! Sources: transformers' `configuration_*.py` of the models named below; llama.cpp's `set_swa_pattern`.

use serde_json::Value;

use super::numbers::{Keys, count_of};
use crate::units;

/// What a layer caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// All tokens.
    Full,
    /// The last tokens, this many.
    Window(u64),
    /// A state that does not grow: linear attention, Mamba, convolutions.
    State,
    /// Nothing: an MLP, or keys and values of a layer before.
    Nothing,
    /// Tokens of another source: an image, the encoder's input.
    Cross,
}

/// What each layer caches, and what is to be said of it.
pub(super) struct Kinds {
    pub(super) list: Vec<Kind>,
    pub(super) notes: Vec<String>,
}

/// Models of which every n-th layer is full where the config does not say: `sliding_window_pattern`'s default.
const PATTERNS: [(&str, u64); 14] = [
    ("gemma2", 2),
    ("gemma3", 6),
    ("gemma3_text", 6),
    ("gemma3n_text", 5),
    ("cohere2", 4),
    ("gpt_oss", 2),
    ("gguf gemma2", 2),
    ("gguf gemma3", 6),
    ("gguf gemma3n", 5),
    ("gguf cohere2", 4),
    ("gguf gpt-oss", 2),
    ("gguf exaone4", 4),
    ("gguf olmo2", 4),
    ("gguf llama4", 4),
];

/// Models whose window is that of all layers.
const ALL_SLIDE: [&str; 6] = ["mistral", "mixtral", "phi3", "phimoe", "starcoder2", "ministral"];

/// Returns what each of `layers` layers caches.
///
/// # Errors
/// A key holds what it cannot, or a word that is not known.
pub(super) fn kinds(keys: &Keys<'_>, kind: &str, layers: usize) -> Result<Kinds, String> {
    let window = keys
        .count(&["sliding_window", "attention_window_size", "attention_chunk_size"])?
        .filter(|&window| window > 0);
    let mut notes = Vec::new();
    let mut list = match named(keys, layers, window, &mut notes)? {
        Some(list) => list,
        None => match by_rule(keys, layers)? {
            Some(list) => list,
            None => windows(keys, kind, layers, window, &mut notes)?,
        },
    };
    let shared = keys.count(&["num_kv_shared_layers"])?.unwrap_or(0);
    if shared > 0 {
        let first = layers.saturating_sub(usize::try_from(shared).unwrap_or(layers));
        list[first..].fill(Kind::Nothing);
        notes.push(format!(
            "the last {} share keys and values of layers before",
            units::plural(layers - first, "layer")
        ));
    }
    for cross in keys.counts("cross_attention_layers")?.into_iter().flatten() {
        let at = usize::try_from(cross).ok().and_then(|at| list.get_mut(at));
        *at.ok_or_else(|| {
            format!("{}: cross_attention_layers names layer {cross} of {layers}", keys.place)
        })? = Kind::Cross;
    }
    Ok(Kinds { list, notes })
}

/// Returns what lists of layers say, one entry a layer.
fn named(
    keys: &Keys<'_>,
    layers: usize,
    window: Option<u64>,
    notes: &mut Vec<String>,
) -> Result<Option<Vec<Kind>>, String> {
    let mut list: Vec<Kind> = Vec::new();
    let mut windowless = 0;
    for name in ["layer_types", "layers_block_type", "attn_type_list"] {
        let Some(given) = keys.list(name)? else { continue };
        for value in given.iter().take(layers) {
            let found =
                word(value).ok_or_else(|| keys.fault(name, value, "no kind of layer that is known here"))?;
            list.push(match (found, window) {
                (Kind::Window(_), Some(window)) => Kind::Window(window),
                (Kind::Window(_), None) => {
                    windowless += 1;
                    Kind::Full
                }
                (other, _) => other,
            });
        }
        if windowless > 0 {
            notes.push(format!(
                "{} without a sliding_window: counted with all tokens, so at most",
                units::plural(windowless, "sliding layer")
            ));
        }
        return whole(list, layers, name, keys).map(Some);
    }
    if let Some(pattern) = keys.text("hybrid_override_pattern") {
        for letter in pattern.chars().take(layers) {
            list.push(match letter {
                '*' => Kind::Full,
                'M' => Kind::State,
                '-' | 'E' => Kind::Nothing,
                other => {
                    return Err(format!(
                        "{}: hybrid_override_pattern has {other:?}, not known here",
                        keys.place
                    ));
                }
            });
        }
        return whole(list, layers, "hybrid_override_pattern", keys).map(Some);
    }
    // RecurrentGemma repeats its list.
    if let Some(cycle) = keys.list("block_types")?.filter(|cycle| !cycle.is_empty()) {
        for value in cycle.iter().cycle().take(layers) {
            let found = match value.as_str() {
                Some("attention") => window.map_or(Kind::Full, Kind::Window),
                Some("recurrent") => Kind::State,
                _ => return Err(keys.fault("block_types", value, "no kind of layer that is known here")),
            };
            list.push(found);
        }
        return Ok(Some(list));
    }
    Ok(None)
}

fn whole(list: Vec<Kind>, layers: usize, name: &str, keys: &Keys<'_>) -> Result<Vec<Kind>, String> {
    if list.len() == layers {
        return Ok(list);
    }
    Err(format!("{}: {name} has {} of {}", keys.place, list.len(), units::plural(layers, "layer")))
}

/// Returns what a word of `layer_types` means; a window's size stands elsewhere.
fn word(value: &Value) -> Option<Kind> {
    if let Some(number) = count_of(value) {
        return [Kind::State, Kind::Full].get(usize::try_from(number).ok()?).copied();
    }
    Some(match value.as_str()? {
        "full_attention" | "attention" | "global_attention" | "global" | "full" => Kind::Full,
        "sliding_attention" | "local_attention" | "sliding" | "local" | "chunked_attention" => {
            Kind::Window(0)
        }
        "linear_attention" | "mamba" | "mamba2" | "recurrent" | "conv" | "short_conv" | "ssm" => Kind::State,
        "mlp" | "moe" | "dense" => Kind::Nothing,
        _ => return None,
    })
}

/// Returns what rules say that mix attention with states.
fn by_rule(keys: &Keys<'_>, layers: usize) -> Result<Option<Vec<Kind>>, String> {
    let every = |period: u64, offset: u64| -> Vec<Kind> {
        let is_full = |at: u64| at % period == offset % period;
        (0..layers as u64).map(|at| if is_full(at) { Kind::Full } else { Kind::State }).collect()
    };
    if let Some(interval) = keys.count(&["full_attention_interval"])?.filter(|&n| n > 0) {
        return Ok(Some(every(interval, interval - 1)));
    }
    if let Some(period) = keys.count(&["attn_layer_period"])?.filter(|&n| n > 0) {
        return Ok(Some(every(period, keys.count(&["attn_layer_offset"])?.unwrap_or(0))));
    }
    // Layers that are attention by number, from 0 (Bamba, LFM2) or from 1 (Kimi Linear).
    for (name, first) in
        [("attn_layer_indices", 0), ("full_attn_idxs", 0), ("linear_attn_config.full_attn_layers", 1)]
    {
        let Some(mut full) = keys.counts(name)? else { continue };
        full.sort_unstable();
        let is_full = |at: usize| full.binary_search(&(at as u64 + first)).is_ok();
        return Ok(Some((0..layers).map(|at| if is_full(at) { Kind::Full } else { Kind::State }).collect()));
    }
    Ok(None)
}

/// Returns which layers slide, for decoders that are all attention.
fn windows(
    keys: &Keys<'_>,
    kind: &str,
    layers: usize,
    window: Option<u64>,
    notes: &mut Vec<String>,
) -> Result<Vec<Kind>, String> {
    let Some(window) = window else { return Ok(vec![Kind::Full; layers]) };
    let pattern = keys.any(&["sliding_window_pattern", "_sliding_window_pattern"]);
    if let Some(text) = pattern.and_then(|(_, value)| value.as_str()).filter(|text| is_pattern(text)) {
        let kind = |letter| if letter == 'L' { Kind::Window(window) } else { Kind::Full };
        return Ok(text.chars().cycle().take(layers).map(kind).collect());
    }
    if let Some(list) = pattern.and_then(|(_, value)| value.as_array()) {
        let kind = |value: &Value| match value.as_bool() {
            Some(slides) => Ok(if slides { Kind::Window(window) } else { Kind::Full }),
            None => Err(keys.fault("sliding_window_pattern", value, "neither true nor false")),
        };
        let list = list.iter().take(layers).map(kind).collect::<Result<_, _>>()?;
        return whole(list, layers, "sliding_window_pattern", keys);
    }
    let given = match pattern {
        // Of a list of GGUF only the beginning was read: where the model's own pattern is known, that holds.
        Some((_, Value::String(_))) if kind.starts_with("gguf ") => None,
        _ => keys.count(&["sliding_window_pattern", "_sliding_window_pattern"])?.filter(|&n| n > 0),
    };
    let every = given.or_else(|| PATTERNS.iter().find(|(model, _)| *model == kind).map(|(_, n)| *n));
    if let Some(every) = every {
        let is_full = |at: u64| (at + 1).is_multiple_of(every);
        let kinds = (0..layers as u64).map(|at| if is_full(at) { Kind::Full } else { Kind::Window(window) });
        return Ok(kinds.collect());
    }
    match keys.flag("use_sliding_window")? {
        Some(false) => return Ok(vec![Kind::Full; layers]),
        Some(true) => {
            let first = keys.count(&["max_window_layers"])?.unwrap_or(0);
            let kinds =
                (0..layers as u64).map(|at| if at >= first { Kind::Window(window) } else { Kind::Full });
            return Ok(kinds.collect());
        }
        // Qwen's own default.
        None if kind.starts_with("qwen") => return Ok(vec![Kind::Full; layers]),
        None => {}
    }
    if ALL_SLIDE.contains(&kind) {
        return Ok(vec![Kind::Window(window); layers]);
    }
    notes.push(format!(
        "a sliding window of {} is given, its layers are not known here: counted with all tokens, so at most",
        units::exact(window)
    ));
    Ok(vec![Kind::Full; layers])
}

/// Returns true for a text like `LLLG`.
fn is_pattern(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| matches!(letter, 'L' | 'G'))
}
