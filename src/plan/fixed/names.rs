//! The names that tensors get.

use rustc_hash::FxHashMap;

use super::{Change, Code};
use crate::checkpoint::files::Files;
use crate::error::{Error, Result};
use crate::name::escape;
use crate::plan::edit::Rename;
use crate::plan::planner::list;
use crate::units;

/// Renames of single tensors that are listed; the rest is counted.
const LISTED_MAX: usize = 50;

impl Rename {
    /// Returns what becomes of a name, `None` if it stays.
    #[must_use]
    pub fn apply(&self, name: &str) -> Option<String> {
        match self {
            Self::Strip(prefix) => name.strip_prefix(prefix.as_str()).map(str::to_owned),
            Self::Add { prefix, heads } => {
                let head = name.split('.').next().unwrap_or(name);
                let gets = heads.is_empty() || heads.iter().any(|wanted| wanted == head);
                gets.then(|| format!("{prefix}{name}"))
            }
            Self::Part { from, to } => Some(replaced(name, from, to)),
            Self::Each(pairs) => pairs.iter().find(|(from, _)| from == name).map(|(_, to)| to.clone()),
        }
        .filter(|new| new != name)
    }

    /// Returns what it does, in a few words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Strip(prefix) => format!("{} taken off", escape(prefix)),
            Self::Add { prefix, .. } => format!("{} put before", escape(prefix)),
            Self::Part { from, to } if to.is_empty() => format!("{} taken out", escape(from)),
            Self::Part { from, to } => format!("{} becomes {}", escape(from), escape(to)),
            Self::Each(_) => "renamed".into(),
        }
    }
}

/// Replaces parts of a name wherever they stand between dots.
fn replaced(name: &str, from: &str, to: &str) -> String {
    let (parts, wanted): (Vec<&str>, Vec<&str>) = (name.split('.').collect(), from.split('.').collect());
    let mut new: Vec<&str> = Vec::with_capacity(parts.len());
    let mut at = 0;
    while at < parts.len() {
        if parts[at..].starts_with(&wanted) {
            new.extend((!to.is_empty()).then_some(to));
            at += wanted.len();
        } else {
            new.push(parts[at]);
            at += 1;
        }
    }
    new.join(".")
}

/// The names of all tensors, some of them new.
pub(super) struct Renamed {
    /// By tensor; `None`: its own.
    names: Vec<Option<String>>,
    /// The edit that named it one by one.
    by_one: FxHashMap<u32, Code>,
    /// The first edit that gave another name.
    pub(super) code: Option<Code>,
}

impl Renamed {
    pub(super) fn new(files: &Files) -> Self {
        Self { names: vec![None; files.tensors.len()], by_one: FxHashMap::default(), code: None }
    }

    /// Returns the name that a tensor gets, `None` if it keeps its own.
    pub(super) fn of(&self, tensor: u32) -> Option<&str> {
        self.names[tensor as usize].as_deref()
    }

    /// Gives tensors other names; returns what changes, nothing if none does. Tensors that are left out are passed
    /// over.
    pub(super) fn apply(
        &mut self,
        files: &Files,
        (code, rename): (Code, &Rename),
        is_left_out: &dyn Fn(u32) -> bool,
    ) -> Result<Vec<Change>> {
        let changes = match rename {
            Rename::Each(pairs) => self.each(files, code, pairs, is_left_out)?,
            _ => self.all(files, (code, rename), is_left_out)?,
        };
        if !changes.is_empty() {
            self.code.get_or_insert(code);
        }
        Ok(changes)
    }

    fn all(
        &mut self,
        files: &Files,
        (code, rename): (Code, &Rename),
        is_left_out: &dyn Fn(u32) -> bool,
    ) -> Result<Vec<Change>> {
        let mut first: Option<(String, String)> = None;
        let mut count = 0usize;
        for tensor in (0..files.tensors.len() as u32).filter(|&tensor| !is_left_out(tensor)) {
            let own = files.tensor_name(tensor);
            let name = self.of(tensor).unwrap_or(&own).to_owned();
            let Some(new) = rename.apply(&name) else { continue };
            if let Some(other) = self.by_one.get(&tensor) {
                return Err(twice(&own, other, code));
            }
            check_name(&name, &new)?;
            count += 1;
            first.get_or_insert((name, new.clone()));
            self.names[tensor as usize] = Some(new);
        }
        let Some((before, after)) = first else { return Ok(Vec::new()) };
        let more =
            if count > 1 { format!(" (and {} more)", units::exact(count as u64 - 1)) } else { String::new() };
        Ok(vec![Change {
            code,
            file: weights_of(files),
            what: format!("{} renamed: {}", units::plural(count, "tensor"), rename.words()),
            before: format!("{}{more}", escape(&before)),
            after: format!("{}{more}", escape(&after)),
        }])
    }

    fn each(
        &mut self,
        files: &Files,
        code: Code,
        pairs: &[(String, String)],
        is_left_out: &dyn Fn(u32) -> bool,
    ) -> Result<Vec<Change>> {
        let index = files.names_index();
        let mut absent = Vec::new();
        let mut changes = Vec::new();
        let mut more = 0;
        for (from, to) in pairs {
            let Some(tensor) = index.find(files, from).filter(|&tensor| !is_left_out(tensor)) else {
                absent.push(escape(from).into_owned());
                continue;
            };
            match self.by_one.get(&tensor) {
                Some(_) if self.of(tensor).unwrap_or(from) == to => continue,
                Some(other) => return Err(twice(from, other, code)),
                None if self.of(tensor).is_some_and(|name| name != to) => {
                    return Err(twice(from, "another code", code));
                }
                None => {}
            }
            self.by_one.insert(tensor, code);
            if from == to {
                continue;
            }
            check_name(from, to)?;
            self.names[tensor as usize] = Some(to.clone());
            if changes.len() == LISTED_MAX {
                more += 1;
                continue;
            }
            let shard = &files.shards[usize::from(files.tensors[tensor as usize].shard)];
            changes.push(Change {
                code,
                file: shard.name.clone(),
                what: "tensor renamed".into(),
                before: escape(from).into_owned(),
                after: escape(to).into_owned(),
            });
        }
        if !absent.is_empty() {
            let message = format!("{code}: no such tensor: {}", list(&absent));
            return Err(Error::input(message).at(&files.path));
        }
        if more > 0
            && let Some(last) = changes.last_mut()
        {
            last.what = format!("tensor renamed, and {} more like it", units::exact(more));
        }
        Ok(changes)
    }
}

/// Returns the name of the only file of tensors, or how many there are.
pub(super) fn weights_of(files: &Files) -> String {
    match files.shards.as_slice() {
        [only] => only.name.clone(),
        shards => units::plural(shards.len(), "file"),
    }
}

fn check_name(from: &str, to: &str) -> Result<()> {
    if to.is_empty()
        || to == "__metadata__"
        || to.split('.').any(str::is_empty) && !from.split('.').any(str::is_empty)
    {
        return Err(Error::input(format!("{} would become {:?}, no name for a tensor", escape(from), to)));
    }
    Ok(())
}

fn twice(name: &str, one: &str, other: &str) -> Error {
    Error::input(format!(
        "{}: {one} and {other} give it different names; fix {one} first, then {other} in its result",
        escape(name)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_change_where_the_part_stands_and_nowhere_else() {
        let part = |from: &str, to: &str| Rename::Part { from: from.into(), to: to.into() };
        for (rename, name, wanted) in [
            (Rename::Strip("module.".into()), "module.a", Some("a")),
            (Rename::Strip("module.".into()), "modules.a", None),
            (part("base_layer", ""), "q.base_layer.weight", Some("q.weight")),
            (part("base_layer", ""), "q.base_layer.base_layer.weight", Some("q.weight")),
            (part("base_layer", ""), "q.base_layers.weight", None),
            (part("a.b", "c"), "x.a.b.a.b.y", Some("x.c.c.y")),
            (part("a.b", "c"), "x.a.bb", None),
            (
                Rename::Add { prefix: "model.".into(), heads: vec!["layers".into()] },
                "layers.0",
                Some("model.layers.0"),
            ),
            (Rename::Add { prefix: "model.".into(), heads: vec!["layers".into()] }, "lm_head.weight", None),
            (Rename::Add { prefix: "model.".into(), heads: vec![] }, "x", Some("model.x")),
        ] {
            assert_eq!(rename.apply(name).as_deref(), wanted, "{rename:?} {name}");
        }
    }
}
