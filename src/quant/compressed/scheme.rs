//! Scheme: what a compressed-tensors config says about one module.
//!
//! `config_groups` names targets (a module, `re:` and a regular expression that must match from the
//! start, or a class such as `Linear`); an exact name wins over an expression, that over a class, and
//! inside a kind the first group wins. A group has its own `format` in mixed-precision models.
//! Source: compressed-tensors, `quantization/lifecycle/apply.py` and `utils/match.py`.

use serde_json::Value;

use crate::quant::QuantBlock;
use crate::quant::pattern;

/// Targets of one config that are looked at. Real ones have a handful; per-module ones some hundreds.
const TARGETS_MAX: usize = 4096;

/// What a config says about a module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scheme<'c> {
    /// The group's key: `group_0`.
    pub(super) group: &'c str,
    /// The target that matched.
    pub(super) target: &'c str,
    /// The group's format, else the config's.
    pub(super) format: Option<&'c str>,
    weights: &'c Value,
}

impl<'c> Scheme<'c> {
    /// Returns what `block` says about `module`.
    pub(super) fn of(block: &'c QuantBlock, module: &str) -> Option<Self> {
        let groups = block.value.get("config_groups")?.as_object()?;
        let top = block.text(&["format"]).filter(|format| *format != "mixed-precision");
        let all = || {
            let pairs = groups.iter().flat_map(|(key, group)| {
                // Old files map a scheme's name right to its targets.
                let targets = group.get("targets").unwrap_or(group).as_array();
                targets.into_iter().flatten().filter_map(Value::as_str).map(move |t| (key, group, t))
            });
            pairs.take(TARGETS_MAX)
        };
        let kinds: [fn(&str, &str) -> bool; 3] = [
            |target, module| target == module,
            |target, module| {
                target.strip_prefix("re:").is_some_and(|p| pattern::starts(p, module) == Some(true))
            },
            is_class_of,
        ];
        let found = kinds.iter().find_map(|fits| all().find(|(_, _, target)| fits(target, module)));
        let (key, group, target) = found?;
        Some(Self {
            group: key,
            target,
            format: group.get("format").and_then(Value::as_str).or(top),
            weights: group.get("weights").unwrap_or(&Value::Null),
        })
    }

    pub(super) fn bits(&self) -> Option<u64> {
        self.number("num_bits")
    }

    pub(super) fn is_float(&self) -> Option<bool> {
        self.weights.get("type").and_then(Value::as_str).map(|kind| kind == "float")
    }

    pub(super) fn symmetric(&self) -> Option<bool> {
        self.weights.get("symmetric").and_then(Value::as_bool)
    }

    pub(super) fn strategy(&self) -> Option<&'c str> {
        self.weights.get("strategy").and_then(Value::as_str)
    }

    /// Returns the group size, if more than zero.
    pub(super) fn group_size(&self) -> Option<u64> {
        self.number("group_size")
    }

    /// Returns the block, written `[128, 128]` or, by old versions, `"128x128"`.
    pub(super) fn block(&self) -> Option<[u64; 2]> {
        let value = self.weights.get("block_structure")?;
        if let Some(text) = value.as_str() {
            let (high, wide) = text.split_once('x')?;
            return Some([high.trim().parse().ok()?, wide.trim().parse().ok()?]);
        }
        Some([value.get(0)?.as_u64()?, value.get(1)?.as_u64()?])
    }

    /// Returns the path of a key of the weights' arguments, for messages.
    pub(super) fn path(&self, block: &QuantBlock, key: &str) -> String {
        let group = crate::name::escape(self.group);
        super::super::draft::place(&block.file, &block.key) + &format!(".config_groups.{group}.{key}")
    }

    fn number(&self, key: &str) -> Option<u64> {
        let value = self.weights.get(key)?;
        let float = || value.as_f64().filter(|f| f.fract() == 0.0 && (0.0..1e15).contains(f));
        value.as_u64().or_else(|| float().map(|f| f as u64)).filter(|&n| n > 0)
    }
}

/// Returns true if `target` is a class that a quantized layer is of: `Linear`, `LinearBase`; names of
/// modules are no classes. Embeddings are of their own class.
fn is_class_of(target: &str, module: &str) -> bool {
    if target.contains('.') || target.starts_with("re:") {
        return false;
    }
    let is_embedding = module.rsplit('.').next().is_some_and(|leaf| leaf.contains("embed"));
    target.contains(if is_embedding { "Embedding" } else { "Linear" })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn group_of(groups: &Value, module: &str) -> Option<String> {
        let value = json!({"format": "mixed-precision", "config_groups": groups});
        let (file, key) = ("config.json".into(), "quantization_config".into());
        let block = QuantBlock { file, key, method: Some("compressed-tensors".into()), value };
        Scheme::of(&block, module).map(|scheme| scheme.group.to_owned())
    }

    #[test]
    fn names_win_over_patterns_and_patterns_over_classes() {
        let groups = json!({
            "a": {"targets": ["Linear"]},
            "b": {"targets": [r"re:.*\.experts\.\d+\.(up|down)_proj$"]},
            "c": {"targets": ["model.layers.0.q_proj"]},
            "d": ["Embedding"],
        });
        let cases = [
            ("model.layers.0.q_proj", "c"),
            ("model.layers.0.mlp.experts.11.up_proj", "b"),
            ("model.layers.0.mlp.experts.11.gate_proj", "a"),
            ("model.embed_tokens", "d"),
        ];
        for (module, group) in cases {
            assert_eq!(group_of(&groups, module).as_deref(), Some(group), "{module}");
        }
    }

    #[test]
    fn patterns_match_from_the_start_and_hostile_ones_match_nothing() {
        assert_eq!(group_of(&json!({"a": {"targets": ["re:layers"]}}), "model.layers.0"), None);
        for pattern in ["re:(?!x).*", "re:(", "re:((a{1000}){1000}){1000}", "re:\\p{Greek}"] {
            assert_eq!(group_of(&json!({"a": {"targets": [pattern]}}), "model.layers.0"), None, "{pattern}");
        }
    }

    #[test]
    fn numbers_are_read_as_they_come() {
        let weights = json!({"num_bits": 4.0, "group_size": -1, "block_structure": "128x64"});
        let scheme = Scheme { group: "g", target: "Linear", format: None, weights: &weights };
        assert_eq!((scheme.bits(), scheme.group_size(), scheme.block()), (Some(4), None, Some([128, 64])));
    }
}
