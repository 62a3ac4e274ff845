//! Claims: what the configs say about a layer, and where it contradicts the tensors.
//!
//! The first block of the format's own methods speaks, after the rules for single modules that it holds:
//! GPTQModel's `dynamic` (`+:pattern` overrides, `-:pattern` leaves dense; `re.match`, the first that
//! matches counts) and `AutoRound`'s `extra_config` (a module's name, else `re.search`). Words of faults are
//! alike for alike layers, so that they are counted and not repeated.
//! Sources: GPTQModel `quantization/config.py` (`dynamic_get`), vLLM `inc.py`.

use serde_json::Value;

use super::draft::place;
use super::{Fault, Module, Parts, QuantBlock, QuantConfig, pattern};
use crate::name::escape;
use crate::problem::{ProblemKind, kind};

/// Rules of one config that are looked at for each layer.
const RULES_MAX: usize = 1024;

/// Methods that some loader knows. Sources: transformers 5 and vLLM (their lists of quantizers), GPTQModel,
/// and the writers of formats that neither loads.
pub(super) const METHODS: &[&str] = &[
    "aqlm",
    "auto-round",
    "auto_round",
    "autoround",
    "awq",
    "awq_marlin",
    "bitblas",
    "bitnet",
    "bitsandbytes",
    "bnb",
    "compressed-tensors",
    "deepspeedfp",
    "eetq",
    "exl2",
    "exl3",
    "experts_int8",
    "fbgemm_fp8",
    "fouroversix",
    "fp8",
    "fp_quant",
    "gemma",
    "gguf",
    "gptq",
    "gptq_bitblas",
    "gptq_marlin",
    "gptq_marlin_24",
    "higgs",
    "hqq",
    "inc",
    "intel/auto-round",
    "ipex",
    "llm-awq",
    "marlin",
    "metal",
    "mlx",
    "modelopt",
    "modelopt_fp4",
    "modelopt_mxfp8",
    "moe_wna16",
    "mxfp4",
    "mxfp8",
    "nvfp4",
    "owq",
    "ptpc_fp8",
    "qqq",
    "quanto",
    "quark",
    "rtn",
    "sinq",
    "spqr",
    "torchao",
    "tpu_int8",
    "vptq",
];

/// Returns a whole number; floats like `4.0` and strings like `"4"` count.
pub(super) fn integer(value: &Value) -> Option<i64> {
    value
        .as_i64()
        .or_else(|| value.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 1e15).map(|f| f as i64))
        .or_else(|| value.as_str().and_then(|s| s.trim().parse().ok()))
}

/// Something a config says, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said<T> {
    pub(super) value: T,
    /// `config.json quantization_config.bits`.
    pub(super) place: String,
    /// `config.json`.
    pub(super) file: String,
}

impl<T> Said<T> {
    /// Returns a fault of this config file.
    pub(super) fn fault(&self, kind: &'static ProblemKind, detail: String) -> Fault {
        Fault::new(kind, detail).file(&self.file)
    }
}

/// What the config says about one layer.
pub(super) struct Claims<'c> {
    pub(super) block: &'c QuantBlock,
    rule: Rule<'c>,
}

/// A rule for single modules that matches the layer.
enum Rule<'c> {
    None,
    Overrides(&'c str, &'c str, &'c Value),
    Dense(&'c str, &'c str),
    /// A pattern that we cannot read may or may not match: nothing is known of this layer.
    Unreadable,
}

impl<'c> Claims<'c> {
    /// Returns what the first block of these methods says about a layer.
    pub(super) fn of(parts: &Parts<'c>, accepts: fn(&str) -> bool) -> Option<Self> {
        let mut blocks = parts.config.blocks.iter();
        let block = blocks.find(|block| block.method.as_deref().is_some_and(accepts))?;
        Some(Self { block, rule: rule_of(block, parts.module) })
    }

    /// Returns a whole number under one of these keys.
    pub(super) fn int(&self, keys: &[&str]) -> Option<Said<i64>> {
        self.find(keys, integer)
    }

    /// Returns true or false under one of these keys.
    pub(super) fn flag(&self, keys: &[&str]) -> Option<Said<bool>> {
        self.find(keys, Value::as_bool)
    }

    /// Returns a word under one of these keys, lower case.
    pub(super) fn word(&self, keys: &[&str]) -> Option<Said<String>> {
        self.find(keys, |value| value.as_str().map(str::to_ascii_lowercase))
    }

    /// Returns a fault if a rule says that the layer is not quantized.
    pub(super) fn dense_fault(&self) -> Option<Fault> {
        let Rule::Dense(table, pattern) = self.rule else { return None };
        let place = self.place(&format!("{table}.{pattern}"));
        let detail = format!("{place} leaves the layer dense, the tensors are quantized");
        Some(Fault::new(&kind::QUANT_FLAG_DISAGREES, detail).file(&self.block.file))
    }

    fn find<T>(&self, keys: &[&str], read: impl Fn(&Value) -> Option<T>) -> Option<Said<T>> {
        let here = |value: &'c Value, prefix: &str| {
            keys.iter().find_map(|key| {
                let found = value.get(key).and_then(&read)?;
                let place = self.place(&format!("{prefix}{key}"));
                Some(Said { value: found, place, file: self.block.file.clone() })
            })
        };
        let overridden = match self.rule {
            Rule::Unreadable => return None,
            Rule::Overrides(table, pattern, value) => here(value, &format!("{table}.{pattern}.")),
            Rule::None | Rule::Dense(..) => None,
        };
        overridden.or_else(|| here(&self.block.value, ""))
    }

    fn place(&self, key: &str) -> String {
        let block = &self.block;
        let joiner = if block.key.is_empty() { " " } else { "." };
        format!("{}{joiner}{}", place(&block.file, &block.key), escape(key))
    }
}

fn rule_of<'c>(block: &'c QuantBlock, module: &Module<'_>) -> Rule<'c> {
    if let Some(rules) = block.value.get("dynamic").and_then(Value::as_object) {
        let module = module.name();
        for (key, overrides) in rules.iter().take(RULES_MAX) {
            let dense = key.strip_prefix("-:");
            let text = dense.or_else(|| key.strip_prefix("+:")).unwrap_or(key);
            match pattern::starts(text, module) {
                None => return Rule::Unreadable,
                Some(true) if dense.is_some() => return Rule::Dense("dynamic", key),
                Some(true) => return Rule::Overrides("dynamic", key, overrides),
                Some(false) => {}
            }
        }
    }
    let Some(layers) = block.value.get("extra_config").and_then(Value::as_object) else { return Rule::None };
    let module = module.name();
    if let Some((key, overrides)) = layers.get_key_value(module) {
        return Rule::Overrides("extra_config", key, overrides);
    }
    // Names have dots; only keys with other signs are patterns.
    let is_pattern = |key: &str| key.contains(['*', '+', '?', '^', '$', '(', '[', '{', '|', '\\']);
    for (key, overrides) in layers.iter().take(RULES_MAX).filter(|(key, _)| is_pattern(key)) {
        match pattern::within(key, module) {
            None => return Rule::Unreadable,
            Some(true) => return Rule::Overrides("extra_config", key, overrides),
            Some(false) => {}
        }
    }
    Rule::None
}

/// Returns a fault of this kind if a config says something else than the tensors have.
pub(super) fn differs<T: PartialEq + std::fmt::Display>(
    kind: &'static ProblemKind,
    said: Option<&Said<T>>,
    tensors: &T,
) -> Option<Fault> {
    let said = said.filter(|said| said.value != *tensors)?;
    let word = said.value.to_string();
    Some(said.fault(kind, format!("{} is {}, the tensors have {tensors}", said.place, escape(&word))))
}

/// Returns what is wrong with the methods that the configs name: none, one that no loader knows, another
/// than the tensors', or several.
pub(super) fn method_faults(
    config: &QuantConfig,
    accepts: fn(&str) -> bool,
    tensors_are: &str,
) -> Vec<Fault> {
    let mut named = config.blocks.iter().filter_map(|block| block.method.as_deref().map(|m| (block, m)));
    let Some((first, method)) = named.next() else {
        let detail = match config.blocks.first() {
            Some(block) => {
                format!("{} names no quant_method; the tensors are {tensors_are}", at(block))
            }
            None => format!("no config says that the tensors are quantized; they are {tensors_are}"),
        };
        let file = config.blocks.first().map_or("config.json", |block| block.file.as_str());
        return vec![Fault::new(&kind::QUANT_CONFIG_MISSING, detail).file(file)];
    };
    if !METHODS.contains(&method) && !accepts(method) {
        let detail = format!(
            "{} says quant_method {}, which no loader knows; the tensors are {tensors_are}",
            at(first),
            escape(method)
        );
        return vec![Fault::new(&kind::QUANT_METHOD_UNKNOWN, detail).file(&first.file)];
    }
    if !accepts(method) {
        let flagged = flagged(first, method);
        let detail = format!("{} says {}{flagged}, the tensors are {tensors_are}", at(first), escape(method));
        return vec![Fault::new(&kind::QUANT_METHOD_DISAGREES, detail).file(&first.file)];
    }
    let other = named.find(|(block, m)| !accepts(m) && block.file != first.file);
    let both = other.map(|(block, other)| {
        let detail = format!("{} says {}, {} says {}", at(first), escape(method), at(block), escape(other));
        Fault::new(&kind::QUANT_CONFIGS_DISAGREE, detail).file(&block.file)
    });
    both.into_iter().collect()
}

/// Returns ` (load_in_4bit)` where such a flag makes loaders take the block for bitsandbytes, whatever
/// method it names.
fn flagged(block: &QuantBlock, method: &str) -> String {
    let named = block.text(&["quant_method", "method"]);
    if method != "bitsandbytes" || named.is_none_or(|named| named.eq_ignore_ascii_case(method)) {
        return String::new();
    }
    let flag = ["load_in_4bit", "load_in_8bit"].into_iter().find(|flag| block.flag(&[flag]) == Some(true));
    flag.map_or_else(String::new, |flag| format!(" ({flag} outweighs its quant_method)"))
}

/// Returns what two blocks of one format say differently, by the spellings of each setting.
pub(super) fn settings_differ(
    config: &QuantConfig,
    accepts: fn(&str) -> bool,
    settings: &[&[&str]],
) -> Vec<Fault> {
    let mut blocks = config.blocks.iter().filter(|block| block.method.as_deref().is_some_and(accepts));
    let (Some(first), Some(second)) = (blocks.next(), blocks.next()) else { return Vec::new() };
    let differing = settings.iter().filter_map(|keys| {
        let (one, two) = (setting(first, keys)?, setting(second, keys)?);
        if one == two {
            return None;
        }
        let detail =
            format!("{}: {} says {}, {} says {}", keys[0], at(first), escape(&one), at(second), escape(&two));
        Some(Fault::new(&kind::QUANT_CONFIGS_DISAGREE, detail).file(&second.file))
    });
    differing.collect()
}

/// Returns a setting as a word: numbers, flags and words compare alike whatever their spelling.
fn setting(block: &QuantBlock, keys: &[&str]) -> Option<String> {
    let (_, value) = block.any(keys)?;
    integer(value)
        .map(|number| number.to_string())
        .or_else(|| value.as_bool().map(|flag| flag.to_string()))
        .or_else(|| value.as_str().map(str::to_ascii_lowercase))
}

/// Returns where a block stands: `config.json quantization_config`.
pub(super) fn at(block: &QuantBlock) -> String {
    place(&block.file, &block.key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(blocks: &[(&str, Option<&str>, Value)]) -> QuantConfig {
        let block = |(file, method, value): &(&str, Option<&str>, Value)| QuantBlock {
            file: (*file).into(),
            key: String::new(),
            method: method.map(str::to_owned),
            value: value.clone(),
        };
        QuantConfig { blocks: blocks.iter().map(block).collect(), ..QuantConfig::default() }
    }

    fn bits(value: Value, module: &str) -> Option<i64> {
        let block = QuantBlock { file: "c.json".into(), key: String::new(), method: None, value };
        let rule = rule_of(&block, &Module::new(&|| module.to_owned()));
        Claims { block: &block, rule }.int(&["bits"]).map(|said| said.value)
    }

    #[test]
    fn the_first_matching_rule_speaks_for_a_module() {
        let value = json!({"bits": 4.0, "dynamic": {"+:.*q_proj.*": {"bits": 8}, ".*proj": {"bits": "3"}}});
        assert_eq!(bits(value.clone(), "m.q_proj"), Some(8));
        assert_eq!(bits(value.clone(), "m.k_proj"), Some(3));
        assert_eq!(bits(value, "m.gate"), Some(4));
        let value = json!({"bits": 4, "extra_config": {"m.q": {"bits": 2}, ".*mlp.*": {"bits": 8}}});
        assert_eq!(bits(value.clone(), "m.q"), Some(2));
        assert_eq!(bits(value.clone(), "m.mlp.up"), Some(8));
        assert_eq!(bits(value, "m.qq"), Some(4));
    }

    #[test]
    fn a_rule_that_is_not_understood_claims_nothing() {
        assert_eq!(bits(json!({"bits": 4, "dynamic": {"+:(?!x).*": {"bits": 8}}}), "m"), None);
    }

    #[test]
    fn methods_are_none_unknown_other_or_several() {
        let codes = |blocks: &[(&str, Option<&str>, Value)]| {
            let faults = method_faults(&config(blocks), |m| m == "gptq", "gptq");
            faults.iter().map(|f| f.kind.code).collect::<Vec<_>>()
        };
        let block = |method| ("config.json", Some(method), json!({}));
        assert_eq!(codes(&[]), ["Q007"]);
        assert_eq!(codes(&[("config.json", None, json!({}))]), ["Q007"]);
        assert_eq!(codes(&[block("frobnicate")]), ["Q009"]);
        assert_eq!(codes(&[block("awq")]), ["Q008"]);
        assert_eq!(codes(&[block("gptq"), ("quant_config.json", Some("awq"), json!({}))]), ["Q003"]);
        assert!(codes(&[block("gptq")]).is_empty());
    }

    #[test]
    fn settings_compare_by_value_and_not_by_spelling() {
        let one = ("config.json", Some("awq"), json!({"bits": 4, "version": "GEMM", "group_size": 128}));
        let two =
            ("quant_config.json", Some("awq"), json!({"w_bit": 4.0, "version": "gemm", "q_group_size": 64}));
        let keys: &[&[&str]] = &[&["bits", "w_bit"], &["version"], &["group_size", "q_group_size"]];
        let faults = settings_differ(&config(&[one, two]), |m| m == "awq", keys);
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].detail, "group_size: config.json says 128, quant_config.json says 64");
    }
}
