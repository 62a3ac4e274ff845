//! Marks: layers that a person picked in the tree, for the form that opens next and for `ckpt stats`.
//!
//! They are layers, not rows: a fold marks all its alike members, a group all below it. A form takes them as patterns
//! that match these layers and no other.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{App, Effect};
use crate::checkpoint::Checkpoint;
use crate::plan::select::Selection;

/// Patterns that a form takes at most: more are no longer read by anybody.
const PATTERNS_MAX: usize = 200;

/// Layers that are marked, each once, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks(Vec<u32>);

impl Marks {
    /// Returns how many layers are marked.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns how many of some layers are marked, and how many those are.
    #[must_use]
    pub fn among(&self, layers: &[Range<u32>]) -> [usize; 2] {
        let below = |layer| self.0.partition_point(|&marked| marked < layer);
        let marked = layers.iter().map(|range| below(range.end) - below(range.start)).sum();
        [marked, layers.iter().map(ExactSizeIterator::len).sum()]
    }

    /// Marks layers; or takes their marks away, if all of them are marked.
    fn toggle(&mut self, layers: &[Range<u32>]) {
        let [marked, all] = self.among(layers);
        if marked == all {
            self.0.retain(|layer| !layers.iter().any(|range| range.contains(layer)));
        } else {
            self.0.extend(layers.iter().cloned().flatten());
            self.0.sort_unstable();
            self.0.dedup();
        }
    }

    /// Returns the marks of layers that have these names in another reading of the files.
    pub(super) fn read_again(&self, before: &Checkpoint, after: &Checkpoint) -> Self {
        let name = |&layer: &u32| before.layers.name(&before.files.names, layer);
        let mut found: Vec<u32> = self
            .0
            .iter()
            .filter_map(|layer| after.layers.find_name(&after.files.names, &name(layer)))
            .collect();
        found.sort_unstable();
        found.dedup();
        Self(found)
    }

    /// Returns patterns that match these layers and no other, as `--only` takes them: one for all layers whose names
    /// differ in numbers alone, where all of them are marked; else their names.
    ///
    /// # Errors
    /// They are too many, in words.
    pub fn patterns(&self, checkpoint: &Checkpoint) -> Result<Vec<String>, String> {
        patterns(checkpoint, &self.0)
    }

    /// Returns patterns that match all layers but these, as `--keep` takes them.
    ///
    /// # Errors
    /// They are too many, in words.
    pub fn patterns_of_others(&self, checkpoint: &Checkpoint) -> Result<Vec<String>, String> {
        let is_other = |layer: &u32| self.0.binary_search(layer).is_err();
        let others: Vec<u32> = (0..checkpoint.layers.len() as u32).filter(is_other).collect();
        patterns(checkpoint, &others)
    }
}

fn patterns(checkpoint: &Checkpoint, wanted: &[u32]) -> Result<Vec<String>, String> {
    let name = |layer: u32| checkpoint.layers.name(&checkpoint.files.names, layer);
    let mut alike: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for &layer in wanted {
        alike.entry(any_number(&name(layer))).or_default().push(layer);
    }
    let refused = || {
        let (layers, most) = (crate::units::plural(wanted.len(), "layer"), PATTERNS_MAX);
        format!("{layers} need more than {most} patterns: mark whole groups, or type a pattern")
    };
    let mut found = Vec::new();
    // Each is held against all names.
    if alike.len() > PATTERNS_MAX {
        return Err(refused());
    }
    for (pattern, layers) in alike {
        // A pattern that takes another layer too is none: `*` also stands for dots.
        let is_exact = || {
            Selection::only(std::slice::from_ref(&pattern)).is_ok_and(|selection| {
                let mut others =
                    (0..checkpoint.layers.len() as u32).filter(|layer| wanted.binary_search(layer).is_err());
                !others.any(|layer| selection.takes(&name(layer)))
            })
        };
        if layers.len() > 1 && is_exact() {
            found.push(pattern);
        } else {
            found.extend(layers.into_iter().map(|layer| plain(&name(layer))));
        }
        if found.len() > PATTERNS_MAX {
            return Err(refused());
        }
    }
    Ok(found)
}

/// Returns a name with `*` for each part that is a number.
fn any_number(name: &str) -> String {
    let part = |part: &str| {
        let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { "*".to_owned() } else { plain(part) }
    };
    name.split('.').map(part).collect::<Vec<_>>().join(".")
}

/// Returns a name as a pattern: blanks separate patterns, and `*` is one.
fn plain(name: &str) -> String {
    name.replace(|c: char| c.is_whitespace() || c == '*', "?")
}

/// Marks the layers of the row under the cursor, or takes their marks away, and goes on to the next row.
pub(super) fn toggle(app: &mut App) -> Vec<Effect> {
    if let Some(ready) = app.ready_mut() {
        let layers = ready.tree.alike_layers(&ready.checkpoint, ready.tree.cursor());
        ready.marks.toggle(&layers);
        ready.tree.move_cursor(1);
    }
    app.explain()
}

/// Takes all marks away.
pub(super) fn clear(app: &mut App) -> Vec<Effect> {
    if let Some(ready) = app.ready_mut() {
        ready.marks = Marks::default();
    }
    Vec::new()
}

pub(super) fn can_toggle(app: &App) -> Result<(), String> {
    super::command::has_checkpoint(app)?;
    let Some(ready) = app.ready() else { return Ok(()) };
    let layers = ready.tree.alike_layers(&ready.checkpoint, ready.tree.cursor());
    if layers.iter().all(Range::is_empty) {
        return Err("marks are of layers, and this row has none (t shows layers)".into());
    }
    Ok(())
}

pub(super) fn can_clear(app: &App) -> Result<(), String> {
    let is_marked = app.ready().is_some_and(|ready| !ready.marks.is_empty());
    if is_marked { Ok(()) } else { Err("nothing is marked (Space marks the row)".into()) }
}

impl App {
    /// Puts what is marked into the fields of the form: `only` where layers are decoded, `keep` (all others) where they are
    /// packed. A text that a person has typed since stays until marks change.
    pub(super) fn fill_marked(&mut self) {
        let Some(ready) = self.ready() else { return };
        let texts = if ready.marks.is_empty() {
            Ok([String::new(), String::new()])
        } else {
            let joined = |patterns: Result<Vec<String>, String>| patterns.map(|list| list.join(" "));
            joined(ready.marks.patterns(&ready.checkpoint)).and_then(|only| {
                joined(ready.marks.patterns_of_others(&ready.checkpoint)).map(|keep| [only, keep])
            })
        };
        let marks = ready.marks.clone();
        let Some(form) = self.form.as_mut().filter(|form| form.marks != marks) else { return };
        form.marks = marks;
        match texts {
            Ok([only, keep]) => {
                form.set_globs("only", &only);
                form.set_globs("keep", &keep);
            }
            Err(why) => self.toast = Some(format!("marks: {why}")),
        }
    }
}

#[cfg(test)]
mod tests;
