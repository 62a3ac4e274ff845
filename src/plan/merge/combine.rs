//! Combinations of adapters: whether they have one, and their edits of a weight as one edit.
//!
//! Source of the rules: PEFT 0.21, `tuners/lora/model.py` (`_check_add_weighted_adapter`).

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value;

use super::landing::Attached;
use crate::adapter::align::{Aligned, State};
use crate::adapter::delta::{Combination, Combine, EditSpec, Method, Term};
use crate::name::escape;
use crate::plan::Merging;

/// Ends each refusal: what always works.
const INSTEAD: &str = "--combine sequential merges one after the other";

/// Refuses adapters that have no combination. Returns what the user should know.
///
/// # Errors
/// An adapter is none that can be combined, or their ranks differ where they must not; in words, by name.
pub(in crate::plan) fn check(merging: &Merging, attached: &[Attached<'_>]) -> Result<Vec<String>, String> {
    if merging.combine == Combine::Sequential {
        return Ok(Vec::new());
    }
    let named = || attached.iter().zip(merging.adapters.iter().map(|(path, _)| escape(path)));
    for (adapter, name) in named() {
        if let Some(why) = alone(adapter) {
            return Err(format!("{name} cannot be combined with others: {why}; {INSTEAD}"));
        }
    }
    let mut saved: BTreeMap<u32, String> = BTreeMap::new();
    let mut ranks: BTreeMap<u32, (u64, String)> = BTreeMap::new();
    for (adapter, name) in named() {
        for (module, layer) in adapter.alignment.modules.iter().filter_map(|m| Some((m, m.layer?))) {
            if module.state == State::Saved
                && let Some(other) = saved.insert(layer, name.to_string())
                && other != *name
            {
                return Err(format!(
                    "{other} and {name} both bring {} whole (modules_to_save), which has no weighted sum",
                    escape(&module.name)
                ));
            }
            let Some(rank) = module.rank.filter(|_| module.method == "LORA") else { continue };
            let (first, other) = ranks.entry(layer).or_insert_with(|| (rank, name.to_string()));
            if merging.combine == Combine::Linear && *first != rank {
                return Err(format!(
                    "linear sums factors of the same rank, and {} has r {first} in {other}, {rank} in {name}: \
                     --combine cat takes any",
                    escape(&module.name)
                ));
            }
        }
    }
    Ok(differences(attached))
}

/// Returns why an adapter's deltas are none that can be combined.
fn alone(adapter: &Attached<'_>) -> Option<String> {
    let config = adapter.checkpoint.files.configs.get("adapter_config.json");
    let has = |part: &str| adapter.alignment.modules.iter().any(|module| module.part(part).is_some());
    let any = |is: fn(&Aligned) -> bool| adapter.alignment.modules.iter().any(is);
    if adapter.alignment.kind != "LORA" {
        return Some(format!(
            "it is {}, and only factors of LoRA have weighted sums",
            adapter.alignment.kind
        ));
    }
    if has("lora_magnitude_vector") {
        return Some("it is DoRA, whose magnitudes belong to its own sum with the base".into());
    }
    if any(|module| module.experts > 1) {
        return Some("it targets parameters of stacked experts (target_parameters)".into());
    }
    if has("lora_B.bias") || config.is_some_and(keeps_bias) || has("bias") {
        return Some("it has trained biases, which belong to no factor".into());
    }
    if any(|module| module.method == "TRAINABLE_TOKENS") {
        return Some("it has trained rows of tokens, which are no deltas".into());
    }
    None
}

fn keeps_bias(config: &Value) -> bool {
    config.get("bias").and_then(Value::as_str).is_some_and(|bias| bias != "none")
}

/// Says where PEFT's own combination would differ, because it takes the first adapter's config for it.
fn differences(attached: &[Attached<'_>]) -> Vec<String> {
    let first =
        attached.first().and_then(|adapter| adapter.checkpoint.files.configs.get("adapter_config.json"));
    let Some(first) = first else { return Vec::new() };
    let mut told = Vec::new();
    if first.get("use_rslora").and_then(Value::as_bool) == Some(true) {
        told.push(
            "the first adapter is rsLoRA: PEFT 0.21 would multiply the combination by the root of its rank once \
             more, which is not done here"
                .to_owned(),
        );
    }
    if first.get("layers_to_transform").is_some_and(|layers| !layers.is_null()) {
        told.push(
            "the first adapter has layers_to_transform: PEFT 0.21 would leave the other adapters' other layers out, \
             which is not done here"
                .to_owned(),
        );
    }
    told
}

/// Makes one edit of those of several adapters, for each part of the weight that they change alike.
///
/// # Errors
/// Parts that differ overlap, or a change is no product of two factors; in words.
pub(super) fn combined(edits: Vec<EditSpec>, how: Combine) -> Result<Vec<EditSpec>, String> {
    if how == Combine::Sequential {
        return Ok(edits);
    }
    let mut list: Vec<EditSpec> = Vec::new();
    for mut edit in edits {
        if !matches!(edit.method, Method::Lora | Method::Embedding) {
            return Err(format!("it has no sum with others; {INSTEAD}"));
        }
        let term = Term {
            adapter: edit.adapter,
            parts: std::mem::take(&mut edit.parts),
            weight: edit.weight,
            scaling: edit.scaling,
        };
        let alike =
            list.iter_mut().find(|other| is_alike(other, &edit)).and_then(|other| other.combination.as_mut());
        if let Some(combination) = alike {
            combination.terms.push(term);
            continue;
        }
        if list.iter().any(|other| other.order != edit.order) {
            return Err(format!(
                "the adapters have its rows in different orders, llama.cpp's and transformers'; {INSTEAD}"
            ));
        }
        if list
            .iter()
            .any(|other| other.rows != edit.rows && overlaps(other.rows.as_ref(), edit.rows.as_ref()))
        {
            return Err(format!("the adapters change parts of it that overlap; {INSTEAD}"));
        }
        edit.combination = Some(Combination { how, terms: vec![term] });
        list.push(edit);
    }
    Ok(list)
}

/// Returns true if two edits change the same part in the same form, and are not of one adapter: its embeddings
/// and its head may be one tensor.
fn is_alike(one: &EditSpec, other: &EditSpec) -> bool {
    let terms = one.combination.iter().flat_map(|combination| &combination.terms);
    one.method == other.method
        && (one.transposed, one.order) == (other.transposed, other.order)
        && (&one.outputs, &one.rows) == (&other.outputs, &other.rows)
        && terms.into_iter().all(|term| term.adapter != other.adapter)
}

fn overlaps(one: Option<&Range<u64>>, other: Option<&Range<u64>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.start < other.end && other.start < one.end,
        _ => true,
    }
}
