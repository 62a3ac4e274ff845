//! What is refused by name: methods without arithmetic here, and configs that change more than a delta.

use serde_json::Value;

use super::landing::Attached;
use crate::name::escape;

/// Why a method is not merged.
enum Why {
    /// It changes weights, in a way that is not computed here; PEFT can merge it.
    Other,
    /// It changes no weight.
    NoWeight,
    /// It works on each input anew, and no weight is equal to it.
    EachInput,
}

/// PEFT types that are not merged: name, why, and what it is.
/// Source: PEFT 0.21, `tuners/*/layer.py` and their configs.
const METHODS: [(&str, Why, &str); 42] = [
    ("ADAMSS", Why::Other, "AdaMSS learns in subspaces of the base weight's own singular vectors"),
    ("ADAPTION_PROMPT", Why::NoWeight, "it adds prompts with gates to the attention of some layers"),
    ("BEFT", Why::Other, "BEFT adds a bias to what a layer gives"),
    ("BOFT", Why::Other, "BOFT turns weights by products of butterfly matrices"),
    ("BONE", Why::Other, "Bone adds a block of the outputs to all inputs; PEFT 0.19 dropped it for MiSS"),
    ("C3A", Why::Other, "C3A adds circulant blocks"),
    ("CARTRIDGE", Why::NoWeight, "it holds a trained cache of keys and values"),
    ("CPT", Why::NoWeight, "it holds trained embeddings of an example prompt"),
    ("DEFT", Why::Other, "DEFT takes a direction out of a weight and puts another in"),
    ("DELORA", Why::Other, "DeLoRA adds a product whose columns are normalized by their lengths"),
    ("DIFF", Why::Other, "it holds whole differences of weights (LyCORIS), which PEFT does not know"),
    ("FOURIERFT", Why::Other, "FourierFT adds a sparse spectrum at places that a generator of torch chose"),
    ("FROD", Why::Other, "FRoD adds sparse factors in a basis that all layers share"),
    ("GLORA", Why::Other, "GLoRA multiplies weight and bias and adds to both"),
    ("GRALORA", Why::Other, "GraLoRA adds products block by block"),
    ("HIRA", Why::Other, "HiRA multiplies a weight's elements by those of a product"),
    ("HRA", Why::Other, "HRA turns weights by a chain of reflections"),
    ("LILY", Why::EachInput, "Lily mixes factors that layers share by a router"),
    ("LN_TUNING", Why::Other, "LN tuning brings other weights for norms"),
    ("MISS", Why::Other, "MiSS adds one block of the outputs to all inputs"),
    ("MULTITASK_PROMPT_TUNING", Why::NoWeight, "it holds trained embeddings before the input"),
    ("OSF", Why::Other, "OSF trains the small part of each weight's singular values"),
    ("PEANUT", Why::EachInput, "PEANuT adds what a small network makes of a weight"),
    ("POLY", Why::EachInput, "Poly mixes several LoRAs by the task that is asked for"),
    ("PREFIX_TUNING", Why::NoWeight, "it holds trained keys and values before the input"),
    ("PROMPT_TUNING", Why::NoWeight, "it holds trained embeddings before the input"),
    ("PSOFT", Why::Other, "PSOFT turns within the main subspace of the base weight"),
    ("PVERA", Why::EachInput, "PVeRA draws its factors at random for each input"),
    ("P_TUNING", Why::NoWeight, "it holds trained embeddings before the input"),
    ("RANDLORA", Why::Other, "RandLoRA scales random bases that a generator of torch made"),
    ("ROAD", Why::Other, "RoAd turns the outputs in pairs"),
    ("SHADOW", Why::EachInput, "a network of its own runs beside the layers"),
    ("SHIRA", Why::Other, "SHiRA adds to single elements of a weight"),
    ("SUPERTUNING", Why::Other, "Super-Tuning sets single elements of a weight"),
    ("TINYLORA", Why::Other, "TinyLoRA scales singular vectors of the base weight"),
    ("UNILORA", Why::Other, "Uni-LoRA takes all factors from one vector, at places that a generator chose"),
    ("VBLORA", Why::Other, "VB-LoRA mixes its factors from a bank of vectors"),
    ("WAVEFT", Why::Other, "WaveFT adds sparse wavelets at places that a generator of torch chose"),
    ("XLORA", Why::EachInput, "X-LoRA weighs its LoRAs anew for each token"),
    ("KASA", Why::Other, "KaSA cuts the base weight's smallest singular values and adds between A and B"),
    ("ALORA", Why::EachInput, "an activated LoRA works only behind the tokens that invoke it"),
    ("ARROW", Why::EachInput, "Arrow chooses among LoRAs for each token"),
];

/// Refuses an adapter that cannot be merged as a whole. Returns what the user should know where it can.
///
/// # Errors
/// Why not, in words.
pub fn check(attached: &Attached<'_>, is_residual: bool) -> Result<Option<String>, String> {
    let told = config(attached.checkpoint.files.configs.get("adapter_config.json"), is_residual)?;
    method(&attached.alignment.kind).map_or(Ok(told), Err)
}

/// Returns why a method is not merged, and what to do; `None` for a type that no table names.
pub(super) fn method(kind: &str) -> Option<String> {
    let (name, why, what) = METHODS.iter().find(|(name, ..)| *name == kind)?;
    Some(match why {
        Why::Other => format!(
            "{name}: {what}, which is not computed here: merge it with PEFT (merge_and_unload) into the 16-bit base, \
             which convert --to dense makes"
        ),
        Why::NoWeight => format!(
            "{name}: {what} and changes no weight, so that there is nothing to merge: PEFT loads it beside the base"
        ),
        Why::EachInput => format!(
            "{name}: {what}, which no weight can stand for: it cannot be merged, PEFT loads it beside the base"
        ),
    })
}

/// Initial values that change the base when training begins.
const CHANGE_BASE: [&str; 5] = ["pissa", "olora", "corda", "loftq", "lora_ga"];

/// Refuses a config that changes the base when it is loaded, works on each input, or shares layers. Returns what
/// the user should know where that is allowed.
///
/// # Errors
/// It cannot be merged as it stands, in words.
fn config(config: Option<&Value>, is_residual: bool) -> Result<Option<String>, String> {
    let Some(config) = config else { return Ok(None) };
    let is_set = |key: &str| match config.get(key) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty(),
        Some(_) => true,
    };
    let variants = [("kasa_config", "KASA"), ("alora_invocation_tokens", "ALORA"), ("arrow_config", "ARROW")];
    if let Some((key, kind)) = variants.into_iter().find(|(key, _)| is_set(key)) {
        return Err(format!("{key} is set. {}", method(kind).unwrap_or_default()));
    }
    if let Some(key) = ["use_qalora", "use_bdlora"].into_iter().find(|key| is_set(key)) {
        return Err(format!(
            "{key}: its factors are for groups or blocks of the inputs, which is not computed here: merge it with \
             PEFT where that can"
        ));
    }
    if is_set("layer_replication") {
        return Err("layer_replication: its layers share weights, and each would need its own".into());
    }
    let init = config.get("init_lora_weights").and_then(Value::as_str);
    let Some(init) = init.filter(|init| {
        let init = init.to_ascii_lowercase();
        CHANGE_BASE.iter().any(|name| init.starts_with(name))
    }) else {
        return Ok(None);
    };
    let init = escape(init);
    if is_residual {
        return Ok(Some(format!(
            "init_lora_weights is {init}: the base is taken for the one that was left when training began \
             (--base-is-residual); nothing here can prove that, and into the plain base the result would be wrong"
        )));
    }
    Err(format!(
        "init_lora_weights is {init}: the adapter belongs to a base that was changed when training began, and merged \
         into the plain one it would be wrong; --base-is-residual says that the base is that one, or save it with \
         PEFT's path_initial_model_for_weight_conversion first"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::config::{NEWEST_TYPES, TYPES};

    #[test]
    fn every_type_of_peft_is_merged_or_has_its_reason() {
        const MERGED: [&str; 8] =
            ["LORA", "ADALORA", "LOHA", "LOKR", "IA3", "OFT", "VERA", "TRAINABLE_TOKENS"];
        let types = TYPES.iter().map(|(name, _)| *name).chain(NEWEST_TYPES);
        let mut refused = 0;
        for name in types {
            let why = method(name);
            assert_eq!(why.is_none(), MERGED.contains(&name), "{name}");
            refused += usize::from(why.is_some_and(|why| why.starts_with(name) && why.contains("merge")));
        }
        assert_eq!(refused, TYPES.len() + NEWEST_TYPES.len() - MERGED.len());
    }
}
