//! Groups: the tensors of an adapter, put together by module, before anything is known of a base.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};

use super::keys::{BASE_LAYER, Family, Key, Mark, Tensor};
use crate::checkpoint::files::Files;

/// The tensors of one module.
#[derive(Clone, Debug)]
pub struct Group {
    /// Path as the keys spell it.
    pub name: String,
    /// The same without the `base_layer`s at its end.
    pub path: String,
    /// How many `base_layer`s the keys of its parts have at the end of the path.
    pub wraps: usize,
    /// Whose spelling it is.
    pub family: Family,
    /// PEFT type that its marks show; none if there are saved tensors only.
    pub kind: Option<&'static str>,
    /// Parts of the delta: mark and tensor.
    pub parts: Vec<(&'static Mark, u32)>,
    /// Its own tensors: `weight`, `bias` or other, the tensor, and whether a `base_layer` stands before it.
    pub saved: Vec<(&'static str, u32, bool)>,
    /// The adapter's name that a save left in its keys.
    pub leaked: Option<String>,
}

/// The tensors of an adapter by module.
#[derive(Debug, Default)]
pub struct Groups {
    /// The modules, in natural order of their first tensor.
    pub modules: Vec<Group>,
    /// Tensors of no module: mark and tensor.
    pub shared: Vec<(&'static Mark, u32)>,
    /// Tensors that are of another adapter than the first in the file, or there twice.
    pub others: Vec<u32>,
    /// Names of adapters that were left in keys, where more than one is there.
    pub names: Vec<String>,
}

impl Groups {
    /// Puts the tensors of an adapter together. `strip` is a prefix that is none of a module's path, `name` the adapter
    /// that is meant where keys have the names of several.
    #[must_use]
    pub fn of(files: &Files, strip: Option<&str>, name: Option<&str>) -> Self {
        let keys: Vec<String> =
            (0..files.tensors.len() as u32).map(|tensor| files.tensor_name(tensor)).collect();
        let parsed: Vec<Key<'_>> = keys.iter().map(|key| Key::parse(stripped(key, strip))).collect();
        let chosen = name.map(str::to_owned).or_else(|| chosen_name(&parsed));
        let mut groups = Self { names: leaked_names(&parsed, chosen.as_deref()), ..Self::default() };
        let mut at: FxHashMap<(String, usize), usize> = FxHashMap::default();
        // Those without a name first: a second one of a part is another adapter's.
        let mut order: Vec<usize> = (0..parsed.len()).collect();
        order.sort_by_key(|&index| parsed[index].name.is_some());
        let mut found: BTreeMap<usize, Group> = BTreeMap::new();
        for index in order {
            let key = &parsed[index];
            let tensor = index as u32;
            let is_default = name.is_none() && key.name == Some("default");
            let is_other = key.name.is_some() && key.name != chosen.as_deref() && !is_default;
            if is_other || name.is_some() && key.name.is_none() && matches!(key.tensor, Tensor::Part(_)) {
                groups.others.push(tensor);
                continue;
            }
            let (path, wraps) = unwrap(key.module);
            let (mark, wraps_of_part) = match key.tensor {
                Tensor::Part(mark) => (Some(mark), wraps),
                Tensor::Saved(_) => (None, 0),
            };
            if let Some(mark) = mark.filter(|_| is_shared(path)) {
                groups.shared.push((mark, tensor));
                continue;
            }
            let slot = *at.entry((path.to_owned(), wraps_of_part)).or_insert(index);
            let group = found.entry(slot).or_insert_with(|| Group {
                name: if mark.is_some() { key.module.to_owned() } else { path.to_owned() },
                path: path.to_owned(),
                wraps: wraps_of_part,
                family: Family::Peft,
                kind: None,
                parts: Vec::new(),
                saved: Vec::new(),
                leaked: None,
            });
            if !group.take(key, mark, tensor, wraps > 0) {
                groups.others.push(tensor);
            }
        }
        groups.modules = found.into_values().collect();
        groups.modules.sort_by_key(Group::first_tensor);
        groups.others.sort_unstable();
        groups
    }
}

impl Group {
    /// Takes a tensor; false if its part is there already.
    fn take(&mut self, key: &Key<'_>, mark: Option<&'static Mark>, tensor: u32, is_wrapped: bool) -> bool {
        match (mark, key.tensor) {
            (Some(mark), _) => {
                if self.parts.iter().any(|(known, _)| known.part == mark.part) {
                    return false;
                }
                if self.parts.is_empty() {
                    self.family = mark.family;
                }
                if self.kind.is_none() || self.kind == Some("LORA") {
                    self.kind = Some(mark.kind);
                }
                self.parts.push((mark, tensor));
                if let Some(name) = key.name {
                    self.leaked = Some(name.to_owned());
                }
            }
            (None, Tensor::Saved(part)) => {
                if part.is_empty() || !self.saved.iter().any(|(known, ..)| *known == part) {
                    self.saved.push((part, tensor, is_wrapped));
                } else {
                    return false;
                }
                if self.parts.is_empty() && self.leaked.is_none() {
                    self.leaked = key.name.map(str::to_owned);
                }
            }
            (None, Tensor::Part(_)) => {}
        }
        true
    }

    fn first_tensor(&self) -> u32 {
        let parts = self.parts.iter().map(|(_, tensor)| *tensor);
        parts.chain(self.saved.iter().map(|(_, tensor, _)| *tensor)).min().unwrap_or(u32::MAX)
    }

    /// Returns the tensor of a part.
    #[must_use]
    pub fn part(&self, part: &str) -> Option<u32> {
        self.parts.iter().find(|(mark, _)| mark.part == part).map(|(_, tensor)| *tensor)
    }
}

/// Returns the method that the keys show: the least common denominator is LoRA.
#[must_use]
pub fn kind_of(groups: &Groups) -> Option<&'static str> {
    let of_modules = groups.modules.iter().filter_map(|group| group.kind);
    let kinds: FxHashSet<&'static str> =
        of_modules.chain(groups.shared.iter().map(|(mark, _)| mark.kind)).collect();
    // What stands beside other methods and is none by itself.
    let beside = ["TRAINABLE_TOKENS", "LORA", "PROMPT_TUNING", "DIFF"];
    let mut telling: Vec<&str> = kinds.iter().copied().filter(|kind| !beside.contains(kind)).collect();
    telling.sort_unstable();
    telling.first().copied().or_else(|| {
        ["LORA", "DIFF", "TRAINABLE_TOKENS", "PROMPT_TUNING"].into_iter().find(|k| kinds.contains(k))
    })
}

/// Returns the key without a prefix that is none of a module's path.
#[must_use]
pub fn stripped<'k>(key: &'k str, strip: Option<&str>) -> &'k str {
    let Some(strip) = strip.map(|strip| strip.trim_end_matches('.')).filter(|strip| !strip.is_empty()) else {
        return key;
    };
    key.strip_prefix(strip).and_then(|rest| rest.strip_prefix('.')).unwrap_or(key)
}

/// Returns true if a path is no module's: nothing, or what wraps the whole model.
fn is_shared(path: &str) -> bool {
    path.split('.').all(|part| ["", "base_model", "module", "_orig_mod"].contains(&part))
}

/// Returns the key that PEFT has for a tensor of the whole adapter, where it is another.
#[must_use]
pub fn shared_key(key: &str) -> Option<String> {
    let module = Key::parse(key).module;
    if module.is_empty() || module == "base_model" {
        return None;
    }
    let rest = key.strip_prefix(module)?;
    let holder = if module.contains("base_model") { "base_model" } else { "" };
    Some(format!("{holder}{rest}").trim_start_matches('.').to_owned())
}

/// Returns the path without the `base_layer`s at its end, and how many there were.
fn unwrap(module: &str) -> (&str, usize) {
    let (mut path, mut wraps) = (module, 0);
    while let Some(inner) = path.strip_suffix(BASE_LAYER).and_then(|inner| inner.strip_suffix('.')) {
        (path, wraps) = (inner, wraps + 1);
    }
    (path, wraps)
}

/// Returns the adapter's name that counts: none where keys have none, else `default`, else the only one.
fn chosen_name(keys: &[Key<'_>]) -> Option<String> {
    let parts = keys.iter().filter(|key| matches!(key.tensor, Tensor::Part(_)));
    let names: FxHashSet<Option<&str>> = parts.map(|key| key.name).collect();
    if names.contains(&None) {
        return None;
    }
    if names.contains(&Some("default")) {
        return Some("default".into());
    }
    let mut only = names.into_iter().flatten();
    let first = only.next()?;
    only.next().is_none().then(|| first.to_owned())
}

fn leaked_names(keys: &[Key<'_>], chosen: Option<&str>) -> Vec<String> {
    let parts = keys.iter().filter(|key| matches!(key.tensor, Tensor::Part(_)));
    let mut names: Vec<String> = parts
        .filter_map(|key| key.name)
        .filter(|name| Some(*name) != chosen && *name != "default")
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}
