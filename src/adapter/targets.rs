//! Targets: which modules of a base an adapter's config names, and what rank and alpha it gives each.
//!
//! A text is a regular expression for the whole name; a list holds names and ends of names. A pattern's key
//! counts where `re.match(r"(.*\.)?(K)$", name)` does, the first that matches.
//! Source: PEFT 0.21, `tuners_utils.check_target_module_exists` and `utils/other.get_pattern_key`.

use regex::bytes::{Regex, RegexBuilder};
use rustc_hash::FxHashSet;
use serde_json::Value;

/// Bytes that a compiled pattern may take: patterns come from strangers.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// Patterns of one kind that are read; real configs have some hundreds (one a module) at most.
const PATTERNS_MAX: usize = 4096;

/// What an adapter's config says about modules.
#[derive(Debug, Default)]
pub struct Targets {
    /// `target_modules`.
    pub modules: Names,
    /// `exclude_modules`.
    exclude: Names,
    /// `modules_to_save`.
    pub saved: Vec<String>,
    /// `target_parameters`: full names or ends of names of parameters.
    pub parameters: Vec<String>,
    /// `layers_to_transform`.
    layers: Option<Vec<u64>>,
    /// `layers_pattern`.
    stacks: Vec<String>,
    /// `rank_pattern`, in its order.
    ranks: Vec<(Regex, u64)>,
    /// `alpha_pattern`, in its order.
    alphas: Vec<(Regex, f64)>,
    /// What could not be read, in words.
    pub odd: Vec<String>,
}

/// Names of modules, as a config gives them.
#[derive(Debug, Default)]
pub enum Names {
    /// Nothing is said.
    #[default]
    Unsaid,
    /// `all-linear`.
    AllLinear,
    /// A regular expression for the whole name, and its text.
    Pattern(Regex, String),
    /// A regular expression that only Python can read.
    Unread(String),
    /// Names, and ends of names after a dot: as listed, and for looking up.
    List(Vec<String>, FxHashSet<String>),
}

impl Names {
    fn read(value: Option<&Value>, odd: &mut Vec<String>, key: &str) -> Self {
        match value {
            None | Some(Value::Null) => Self::Unsaid,
            Some(Value::String(text)) if text == "all-linear" => Self::AllLinear,
            Some(Value::String(text)) => match compile(&format!("^(?:{text})$")) {
                Some(regex) => Self::Pattern(regex, text.clone()),
                None => Self::Unread(text.clone()),
            },
            Some(Value::Array(list)) => {
                let names: Vec<String> =
                    list.iter().take(PATTERNS_MAX).filter_map(Value::as_str).map(str::to_owned).collect();
                if names.len() < list.len() {
                    odd.push(format!(
                        "{key}: {} of {} entries are no text",
                        list.len() - names.len(),
                        list.len()
                    ));
                }
                let known = names.iter().cloned().collect();
                if names.is_empty() { Self::Unsaid } else { Self::List(names, known) }
            }
            Some(other) => {
                odd.push(format!("{key} is {other:.40}, not a list or text"));
                Self::Unsaid
            }
        }
    }

    /// Returns true if these name a module.
    fn has(&self, name: &str) -> bool {
        match self {
            Self::Unsaid => false,
            Self::AllLinear | Self::Unread(_) => true,
            Self::Pattern(regex, _) => regex.is_match(name.as_bytes()),
            Self::List(_, known) => ends(name).any(|end| known.contains(end)),
        }
    }

    /// Returns the entries of a list.
    #[must_use]
    pub fn list(&self) -> &[String] {
        if let Self::List(list, _) = self { list } else { &[] }
    }

    /// Returns true if a list holds what only means something as a regular expression: PEFT compares it as it is.
    #[must_use]
    pub fn has_pattern_inside(&self) -> bool {
        self.list().iter().any(|name| name.contains(['*', '\\', '(', '|', '[', '^', '$', '+', '?']))
    }
}

/// Returns a name and its ends after each dot: `a.b.c`, `b.c`, `c`.
pub fn ends(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |end| end.split_once('.').map(|(_, rest)| rest))
}

/// Returns true if `name` is `target`, or ends with it after a dot.
#[must_use]
pub fn ends_with(name: &str, target: &str) -> bool {
    name.strip_suffix(target).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

fn compile(pattern: &str) -> Option<Regex> {
    RegexBuilder::new(pattern).unicode(false).size_limit(PATTERN_BYTES_MAX).build().ok()
}

impl Targets {
    /// Reads a config.
    #[must_use]
    pub fn read(config: &Value) -> Self {
        let mut odd = Vec::new();
        let names = |key: &str| -> Vec<String> {
            match config.get(key) {
                Some(Value::Array(list)) => {
                    list.iter().take(PATTERNS_MAX).filter_map(Value::as_str).map(str::to_owned).collect()
                }
                Some(Value::String(text)) => vec![text.clone()],
                _ => Vec::new(),
            }
        };
        let (saved, parameters, stacks) =
            (names("modules_to_save"), names("target_parameters"), names("layers_pattern"));
        let layers = match config.get("layers_to_transform") {
            Some(Value::Array(list)) => Some(list.iter().filter_map(Value::as_u64).collect()),
            Some(Value::Number(number)) => number.as_u64().map(|layer| vec![layer]),
            _ => None,
        };
        Self {
            modules: Names::read(config.get("target_modules"), &mut odd, "target_modules"),
            exclude: Names::read(config.get("exclude_modules"), &mut odd, "exclude_modules"),
            ranks: patterns(config, "rank_pattern", Value::as_u64, &mut odd),
            alphas: patterns(config, "alpha_pattern", Value::as_f64, &mut odd),
            saved,
            parameters,
            stacks,
            layers,
            odd,
        }
    }

    /// Returns true if the config does not say which modules, or in a way that only Python can tell.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.modules, Names::Unread(_))
            || (matches!(self.modules, Names::Unsaid) && self.parameters.is_empty())
    }

    /// Returns true if the config gives a module an adapter.
    #[must_use]
    pub fn names(&self, module: &str) -> bool {
        if matches!(self.exclude, Names::Unread(_)) || !self.exclude.has(module) {
            self.modules.has(module) && self.has_layer(module)
        } else {
            false
        }
    }

    /// Returns true if the config gives this parameter (`mlp.experts.gate_up_proj`) an adapter.
    #[must_use]
    pub fn names_parameter(&self, parameter: &str) -> bool {
        self.parameters.iter().any(|target| ends_with(parameter, target))
    }

    /// Returns true if `modules_to_save` names a module.
    #[must_use]
    pub fn saves(&self, module: &str) -> bool {
        self.saved.iter().any(|target| ends_with(module, target))
    }

    /// Returns true unless `layers_to_transform` leaves the module's layer out.
    fn has_layer(&self, module: &str) -> bool {
        let (Some(layers), Names::List(..) | Names::AllLinear) = (&self.layers, &self.modules) else {
            return true;
        };
        let parts: Vec<&str> = module.split('.').collect();
        let index = parts.windows(2).find_map(|pair| {
            let is_stack = self.stacks.is_empty() || self.stacks.iter().any(|stack| stack == pair[0]);
            pair[1].parse::<u64>().ok().filter(|_| is_stack)
        });
        index.is_some_and(|index| layers.contains(&index))
    }

    /// Returns the rank that `rank_pattern` gives a module.
    #[must_use]
    pub fn rank(&self, module: &str) -> Option<u64> {
        self.ranks.iter().find(|(regex, _)| regex.is_match(module.as_bytes())).map(|(_, rank)| *rank)
    }

    /// Returns the alpha that `alpha_pattern` gives a module.
    #[must_use]
    pub fn alpha(&self, module: &str) -> Option<f64> {
        self.alphas.iter().find(|(regex, _)| regex.is_match(module.as_bytes())).map(|(_, alpha)| *alpha)
    }
}

fn patterns<T>(
    config: &Value,
    key: &str,
    read: fn(&Value) -> Option<T>,
    odd: &mut Vec<String>,
) -> Vec<(Regex, T)> {
    let Some(entries) = config.get(key).and_then(Value::as_object) else { return Vec::new() };
    let mut found = Vec::new();
    for (pattern, value) in entries.iter().take(PATTERNS_MAX) {
        // AdaLoRA keeps masks under the same key: no rank.
        let Some(value) = read(value) else { continue };
        match compile(&format!(r"^(?:.*\.)?(?:{pattern})$")) {
            Some(regex) => found.push((regex, value)),
            None => odd.push(format!("{key}: {pattern:.60} is no pattern that can be read here")),
        }
    }
    if entries.len() > PATTERNS_MAX {
        odd.push(format!("{key}: {} entries, {PATTERNS_MAX} are read", entries.len()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lists_name_ends_and_texts_are_patterns_of_the_whole_name() {
        let name = "model.layers.1.self_attn.q_proj";
        for (targets, named) in [
            (json!(["q_proj"]), true),
            (json!(["proj"]), false),
            (json!(["self_attn.q_proj", "x"]), true),
            (json!([".*q_proj"]), false),
            (json!(".*q_proj"), true),
            (json!(".*q_pro"), false),
            (json!("all-linear"), true),
            (json!("(a|a)*(?<=b)"), true),
        ] {
            let read = Targets::read(&json!({"target_modules": targets}));
            assert_eq!(read.names(name), named, "{targets}");
        }
    }

    #[test]
    fn layers_and_excluded_modules_are_left_out() {
        let config = json!({
            "target_modules": ["q_proj"], "layers_to_transform": [1], "exclude_modules": ["layers.3.q_proj"]
        });
        let read = Targets::read(&config);
        assert_eq!([0, 1, 3].map(|n| read.names(&format!("m.layers.{n}.q_proj"))), [false, true, false]);
    }

    #[test]
    fn the_first_pattern_that_matches_counts() {
        let read = Targets::read(&json!({
            "rank_pattern": {"layers.1.mlp.down_proj": 6, "q_proj": 2, ".*": 7, "(": 1, "x": "2"},
            "alpha_pattern": {"down_proj": 3.5},
        }));
        assert_eq!(read.rank("model.layers.1.mlp.down_proj"), Some(6));
        assert_eq!(read.rank("model.layers.11.mlp.down_proj"), Some(7));
        assert_eq!(read.rank("a.q_proj"), Some(2));
        assert_eq!(read.alpha("a.down_proj"), Some(3.5));
        assert_eq!(read.alpha("a.downdown_proj"), None);
        assert_eq!(read.odd.len(), 1);
    }

    #[test]
    fn hostile_values_are_no_targets() {
        for value in
            [json!(7), json!({"a": 1}), json!([1, null, {}]), json!("(((("), json!("(a{1000}){1000}")]
        {
            let read = Targets::read(&json!({
                "target_modules": value, "rank_pattern": value, "layers_to_transform": value,
                "modules_to_save": value, "exclude_modules": value, "target_parameters": value,
            }));
            let _ = (read.names("a.b"), read.rank("a"), read.saves("a"));
        }
    }
}
