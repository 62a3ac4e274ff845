//! Config: the fields of `adapter_config.json`, by PEFT type and version, and what they give.
//!
//! Source: PEFT's history from 0.1 to 0.21, `tuners/*/config.py`; `PeftType` in `utils/peft_types.py`.

use serde_json::Value;

use super::Adapter;

/// Fields of LoRA by the PEFT version that brought them, newest first. `runtime_config` is never saved.
pub const FIELD_VERSIONS: [(&str, &str); 30] = [
    ("kasa_config", "0.21"),
    ("monteclora_config", "0.21"),
    ("velora_config", "0.20"),
    ("lora_ga_config", "0.19"),
    ("use_bdlora", "0.19"),
    ("alora_invocation_tokens", "0.18"),
    ("arrow_config", "0.18"),
    ("ensure_weight_tying", "0.18"),
    ("peft_version", "0.18"),
    ("target_parameters", "0.17"),
    ("use_qalora", "0.16"),
    ("qalora_group_size", "0.16"),
    ("trainable_token_indices", "0.15"),
    ("corda_config", "0.15"),
    ("exclude_modules", "0.14"),
    ("eva_config", "0.14"),
    ("lora_bias", "0.14"),
    ("runtime_config", "0.12"),
    ("layer_replication", "0.10"),
    ("use_dora", "0.9"),
    ("use_rslora", "0.8"),
    ("megatron_config", "0.7"),
    ("megatron_core", "0.7"),
    ("loftq_config", "0.7"),
    ("rank_pattern", "0.6"),
    ("alpha_pattern", "0.6"),
    ("layers_to_transform", "0.4"),
    ("layers_pattern", "0.4"),
    ("revision", "0.3"),
    ("init_lora_weights", "0.3"),
];

/// Alpha where a config of LoRA, `AdaLoRA`, `LoHa` or `LoKr` gives none.
pub const ALPHA: f64 = 8.0;

/// Fields that every type has.
pub const BASE_FIELDS: [&str; 8] = [
    "task_type",
    "peft_type",
    "auto_mapping",
    "base_model_name_or_path",
    "revision",
    "inference_mode",
    "peft_version",
    "runtime_config",
];

/// Fields of LoRA in PEFT 0.1 and 0.2.
pub const FIRST_FIELDS: [&str; 9] = [
    "r",
    "target_modules",
    "lora_alpha",
    "lora_dropout",
    "merge_weights",
    "fan_in_fan_out",
    "enable_lora",
    "bias",
    "modules_to_save",
];

/// Types by the PEFT version that brought them.
pub const TYPES: [(&str, &str); 44] = [
    ("PROMPT_TUNING", "0.1"),
    ("P_TUNING", "0.1"),
    ("PREFIX_TUNING", "0.1"),
    ("LORA", "0.1"),
    ("ADALORA", "0.3"),
    ("ADAPTION_PROMPT", "0.3"),
    ("IA3", "0.4"),
    ("MULTITASK_PROMPT_TUNING", "0.6"),
    ("LOHA", "0.6"),
    ("LOKR", "0.6"),
    ("OFT", "0.7"),
    ("POLY", "0.9"),
    ("BOFT", "0.11"),
    ("LN_TUNING", "0.11"),
    ("VERA", "0.11"),
    ("FOURIERFT", "0.12"),
    ("XLORA", "0.12"),
    ("HRA", "0.12"),
    ("VBLORA", "0.13"),
    ("CPT", "0.14"),
    ("BONE", "0.14"),
    ("TRAINABLE_TOKENS", "0.15"),
    ("RANDLORA", "0.16"),
    ("C3A", "0.16"),
    ("MISS", "0.17"),
    ("SHIRA", "0.17"),
    ("ROAD", "0.18"),
    ("WAVEFT", "0.18"),
    ("OSF", "0.18"),
    ("DELORA", "0.18"),
    ("ADAMSS", "0.19"),
    ("LILY", "0.19"),
    ("PVERA", "0.19"),
    ("GRALORA", "0.19"),
    ("CARTRIDGE", "0.19"),
    ("TINYLORA", "0.19"),
    ("PSOFT", "0.19"),
    ("PEANUT", "0.19"),
    ("BEFT", "0.20"),
    ("FROD", "0.20"),
    ("GLORA", "0.20"),
    ("UNILORA", "0.20"),
    ("HIRA", "0.20"),
    ("DEFT", "0.20"),
];

/// Types that PEFT 0.21 brought.
pub const NEWEST_TYPES: [&str; 1] = ["SUPERTUNING"];

/// Returns true if some version of PEFT has this type.
#[must_use]
pub fn is_type(name: &str) -> bool {
    TYPES.iter().any(|(known, _)| *known == name) || NEWEST_TYPES.contains(&name)
}

/// Returns the version that a field of a LoRA config is from; `None` for fields that no version has.
#[must_use]
pub fn version_of(field: &str) -> Option<&'static str> {
    let newer = FIELD_VERSIONS.iter().find(|(known, _)| *known == field).map(|(_, version)| *version);
    let is_first = FIRST_FIELDS.contains(&field) || BASE_FIELDS.contains(&field);
    newer.or(is_first.then_some("0.1"))
}

/// Fields that PEFT 0.3 took out of LoRA's config.
const GONE_FIELDS: [&str; 2] = ["merge_weights", "enable_lora"];

/// Fields of OFT's config by the version that brought them, newest first.
const OFT_FIELDS: [(&str, &str); 3] =
    [("use_cayley_neumann", "0.16"), ("num_cayley_neumann_terms", "0.16"), ("oft_block_size", "0.14")];

/// Returns the bound that a config gives for the PEFT that wrote it, and by what: `≥ 0.6, by rank_pattern`.
#[must_use]
pub fn dated(config: &Value) -> Option<String> {
    let kind = config.get("peft_type").and_then(Value::as_str).unwrap_or("").to_ascii_uppercase();
    let since = TYPES.iter().find(|(known, _)| *known == kind).map(|(_, version)| *version);
    let since = since.or(NEWEST_TYPES.contains(&kind.as_str()).then_some("0.21"));
    let of_type = since.filter(|since| *since != "0.1").map(|since| (since, format!("peft_type {kind}")));
    let fields = FIELD_VERSIONS.iter().chain(OFT_FIELDS.iter().filter(|_| kind == "OFT"));
    let of_fields = fields
        // AdaLoRA had its own from the beginning.
        .filter(|(field, _)| config.get(*field).is_some() && !(kind == "ADALORA" && *field == "rank_pattern"))
        .map(|(field, since)| (*since, (*field).to_owned()));
    let mut newest: Option<(&str, String)> = None;
    for (since, by) in of_fields.chain(of_type) {
        if newest.as_ref().is_none_or(|(known, _)| parse(known) < parse(since)) {
            newest = Some((since, by));
        }
    }
    let gone = GONE_FIELDS.iter().find(|field| config.get(**field).is_some());
    match (newest, gone) {
        (Some((since, by)), _) => Some(format!("≥ {since}, by {by}")),
        (None, Some(by)) => Some(format!("≤ 0.2, by {by}")),
        (None, None) => None,
    }
}

/// Returns `0.11` or `0.11.1` as numbers.
#[must_use]
pub fn parse(version: &str) -> Option<(u64, u64)> {
    let mut parts = version.split('.');
    let (major, minor) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some((major, minor))
}

/// Returns true if a field has the value that PEFT gives it by itself.
#[must_use]
pub fn is_default(field: &str, value: &Value) -> bool {
    let is_empty = match value {
        Value::Null | Value::Bool(false) => true,
        Value::Object(object) => object.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    match field {
        "init_lora_weights" | "inference_mode" => value == &Value::Bool(true) || is_empty,
        "megatron_core" => value.as_str() == Some("megatron.core") || is_empty,
        "qalora_group_size" => value.as_u64() == Some(16) || is_empty,
        // It only says who wrote the file.
        "peft_version" => true,
        _ => is_empty,
    }
}

/// Returns what the product of a module's factors is multiplied by.
#[must_use]
pub fn scaling(method: &str, rank: Option<u64>, alpha: Option<f64>, facts: &Adapter) -> Option<f64> {
    let rank = rank.filter(|&rank| rank > 0).map(|rank| rank as f64);
    match method {
        "LORA" if facts.variations.contains(&"rsLoRA") => Some(alpha? / rank?.sqrt()),
        "LORA" | "LOHA" | "LOKR" => Some(alpha? / rank?),
        // PEFT takes the rank for an alpha of 0, and adds a little to the rank.
        "ADALORA" => {
            let rank = rank?;
            let alpha = alpha.filter(|&alpha| alpha != 0.0).unwrap_or(rank);
            Some(alpha / (rank + 1e-5))
        }
        _ => Some(1.0),
    }
}

/// Returns mlx-lm's scale of an adapter; `None` if the config does not tell. Before 0.19 it had an alpha too, and the
/// scale was `scale * alpha / rank`. Source: `mlx_lm/tuner/lora.py`.
#[must_use]
pub fn mlx_scale(config: Option<&Value>) -> Option<f64> {
    /// What older versions took for the scale if there was an alpha alone.
    const SCALE: f64 = 10.0;
    let parameters = config?.get("lora_parameters")?;
    let number = |key: &str| parameters.get(key).and_then(Value::as_f64);
    match (number("scale"), number("alpha")) {
        (scale, Some(alpha)) => {
            let rank = number("rank").or_else(|| number("r")).filter(|&rank| rank > 0.0)?;
            Some(scale.unwrap_or(SCALE) * alpha / rank)
        }
        (scale, None) => scale,
    }
}

/// Token rows that a config may name.
const TOKENS_MAX: usize = 1 << 20;

/// Returns the rows of a module that `trainable_tokens_delta` replaces.
#[must_use]
pub fn token_rows(config: Option<&Value>, path: &str) -> Vec<u64> {
    let Some(config) = config else { return Vec::new() };
    let named = ["trainable_token_indices", "token_indices"].iter().find_map(|key| config.get(*key));
    let list = match named {
        Some(Value::Array(list)) => Some(list),
        Some(Value::Object(by_module)) => by_module
            .iter()
            .find(|(module, _)| super::targets::ends_with(path, module))
            .and_then(|(_, list)| list.as_array()),
        _ => None,
    };
    list.into_iter().flatten().take(TOKENS_MAX).filter_map(Value::as_u64).collect()
}
