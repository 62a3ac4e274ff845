//! A fix as a plan: a checkpoint as it is, but for some edits, which are carried out in one pass.
//!
//! Files of which nothing changes go over as they are; a file of tensors of which only the header changes gets a new
//! header and its data in one run; only what is left is copied tensor by tensor. JSON files change where they are
//! edited and nowhere else. What two edits would make of one thing is refused, by name.

mod index;
mod json;
mod names;
mod shard;
mod sides;
mod weights;

use std::path::Path;

use rustc_hash::FxHashSet;
use serde::Serialize;

use self::index::Index;
use self::names::Renamed;
use self::sides::Sides;
use self::weights::Weights;
use super::edit::Edit;
use super::{Order, Plan};
use crate::checkpoint::{self, Checkpoint};
use crate::error::{Error, Result};
use crate::name::escape;
use crate::problem::{Problem, kind};
use crate::units;

/// The code of a rule: `Q001`.
pub type Code = &'static str;

/// One change, as it is shown before anything is written. Texts from files are escaped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The rule whose fix it is.
    pub code: Code,
    /// The file in the folder, or how many.
    pub file: String,
    /// What of it: a key, a tensor.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub what: String,
    /// What is there.
    pub before: String,
    /// What will be there.
    pub after: String,
}

/// A fix that can be carried out.
#[derive(Clone, Debug)]
pub struct Fixed {
    /// The plan of the folder.
    pub plan: Plan,
    /// What changes, edit by edit.
    pub changes: Vec<Change>,
    /// What the edits ask for and is so already, in words.
    pub idle: Vec<String>,
}

impl Fixed {
    /// Plans to write a checkpoint with these edits into a folder.
    ///
    /// # Errors
    /// Edits contradict each other or what is there, or what they need cannot be read: in words, with names.
    pub fn plan(checkpoint: &Checkpoint, edits: &[(Code, Edit)], order: Order) -> Result<Self> {
        let mut draft = Draft::default();
        let mut sides = Sides::of(checkpoint, &mut draft.warnings)?;
        let mut weights = Weights::new(checkpoint);
        let mut left_out = FxHashSet::default();
        for (code, file) in edits.iter().filter_map(as_left_out) {
            if left_out.insert(file) {
                let change = match weights.leave_out(code, file) {
                    Some(change) => change,
                    None => sides.leave_out(code, file)?,
                };
                draft.changes.push(change);
            }
        }
        for (code, edit) in edits {
            match edit {
                Edit::Drop { tensors } => draft.changes.extend(weights.drop_tensors(code, tensors)?),
                Edit::KeepWhole => {
                    let before = weights.gone_count();
                    draft.take(weights.keep_whole(code), || {
                        format!("{code}: every tensor is whole in its file")
                    });
                    let lost = weights.gone_count() - before;
                    if lost > 0 {
                        draft.warnings.push(format!(
                            "{} will be missing: the result is for getting at the others, and no whole model",
                            units::plural(lost, "tensor")
                        ));
                    }
                }
                _ => {}
            }
        }
        let mut renamed = Renamed::new(&checkpoint.files);
        // Names that are told one by one are those of the files; all others are told by what they have become.
        let is_each = |edit: &Edit| matches!(edit, Edit::Rename(super::edit::Rename::Each(_)));
        for pass in [false, true] {
            for (code, edit) in edits.iter().filter(|(_, edit)| is_each(edit) == pass) {
                if let Edit::Rename(rename) = edit {
                    let made = renamed.apply(&checkpoint.files, (code, rename), &|t| weights.is_gone(t))?;
                    draft.take(made, || format!("{code}: no tensor has such a name"));
                }
            }
        }
        let rewrite = edits.iter().find(|(_, edit)| *edit == Edit::Rewrite).map(|(code, _)| *code);
        let written = weights.write(&renamed, rewrite)?;
        if let Some(code) = rewrite
            && !written.changes.iter().any(|change| change.code == code)
        {
            draft.idle.push(format!("{code}: every file of tensors is as it would be written"));
        }
        draft.changes.extend(written.changes);
        let asked = edits.iter().find(|(_, edit)| *edit == Edit::Index).map(|(code, _)| *code);
        let cause = written.made.cause.or(edits.first().map(|(code, _)| *code)).unwrap_or_default();
        let index = Index::plan(checkpoint, &written.made, (asked, cause), &left_out)?;
        if index.text.is_some() || !index.gone.is_empty() {
            check_complete(checkpoint)?;
        }
        draft.take(index.changes, || match asked {
            Some(code) => format!("{code}: the index says what the headers say"),
            None => String::new(),
        });
        draft.edit_sides(&mut sides, edits, (&index.gone, index.text))?;
        let (texts, copies) = sides.into_parts();
        let mut plan = Plan {
            order,
            steps: written.steps,
            shards: written.made.shards,
            merges: Vec::new(),
            packs: Vec::new(),
            target: None,
            shared: Vec::new(),
            shared_bytes: 0,
            coverage: None,
            texts,
            copies,
            whole: written.made.whole,
            warnings: draft.warnings,
            broken: Vec::new(),
        };
        plan.warnings.extend(written.warnings);
        plan.warnings.extend(index.warnings);
        check_names(&plan)?;
        draft.idle.retain(|words| !words.is_empty());
        Ok(Self { plan, changes: draft.changes, idle: draft.idle })
    }

    /// Edits the files beside the tensors in the plan of a conversion, whose own changes are told by `code`.
    ///
    /// # Errors
    /// An edit is of tensors or their files, or contradicts what the conversion makes of a file: in words.
    pub fn with_conversion(
        checkpoint: &Checkpoint,
        (code, summary): (Code, &str),
        mut plan: Plan,
        edits: &[(Code, Edit)],
    ) -> Result<Self> {
        let mut draft = Draft::default();
        let mut sides = Sides::of_plan(checkpoint, code, &mut plan);
        draft.changes.push(Change {
            code,
            file: names::weights_of(&checkpoint.files),
            what: summary.to_owned(),
            before: formats(&plan, |step| &step.from),
            after: formats(&plan, |step| &step.to),
        });
        for (own, edit) in edits {
            match edit {
                Edit::LeaveOut { file } if sides.has(file) => draft.changes.push(sides.leave_out(own, file)?),
                // What is decoded is written anew, with an index that fits.
                Edit::Index | Edit::Rewrite => draft.idle.push(format!("{own}: done by {code}")),
                Edit::Json { .. } | Edit::Bring { .. } => {}
                _ => {
                    return Err(Error::input(format!(
                        "{own} and {code} cannot be fixed in one pass: fix {own} first, then {code} in its result"
                    )));
                }
            }
        }
        draft.edit_sides(&mut sides, edits, (&[], None))?;
        (plan.texts, plan.copies) = sides.into_parts();
        check_names(&plan)?;
        Ok(Self { plan, changes: draft.changes, idle: draft.idle })
    }

    /// Returns why nothing is to be written, in words: nothing would change.
    #[must_use]
    pub fn obstacle(&self) -> Option<&'static str> {
        self.changes.is_empty().then_some("nothing would change: nothing is written")
    }
}

/// Files that are named of those that a folder gets.
const NAMED_MAX: usize = 8;

impl Plan {
    /// Returns which files are written, in lines: anew, with their data copied by the kernel, or copied whole.
    #[must_use]
    pub fn said_files(&self) -> Vec<String> {
        let shards = |is_run: bool| {
            let of_kind = self.shards.iter().filter(move |shard| shard.run.is_some() == is_run);
            of_kind.map(|shard| shard.file.as_str()).collect::<Vec<_>>()
        };
        let texts = self.texts.iter().map(|text| text.file.as_str());
        let copies = self.whole.iter().chain(&self.copies).map(|copied| copied.file.as_str());
        let rows: [(&str, Vec<&str>); 3] = [
            ("writes", shards(false).into_iter().chain(texts).collect()),
            ("header", shards(true)),
            ("copies", copies.collect()),
        ];
        let line = |(word, names): (&str, Vec<&str>)| {
            let mut shown: Vec<String> =
                names.iter().take(NAMED_MAX).map(|name| escape(name).into_owned()).collect();
            if names.len() > NAMED_MAX {
                shown.push(format!("and {} more", names.len() - NAMED_MAX));
            }
            let as_is = if word == "header" { " (data as it is)" } else { "" };
            (!names.is_empty()).then(|| format!("{word:<7} {}{as_is}", shown.join(", ")))
        };
        rows.into_iter().filter_map(line).collect()
    }
}

/// What is gathered while edits are taken.
#[derive(Default)]
struct Draft {
    changes: Vec<Change>,
    idle: Vec<String>,
    warnings: Vec<String>,
}

impl Draft {
    /// Takes what an edit changes, or the words that it changes nothing.
    fn take(&mut self, changes: Vec<Change>, idle: impl FnOnce() -> String) {
        if changes.is_empty() {
            self.idle.push(idle());
        }
        self.changes.extend(changes);
    }

    /// Brings files, sets values in JSON files, and puts the index in its place: in this order.
    fn edit_sides(
        &mut self,
        sides: &mut Sides<'_>,
        edits: &[(Code, Edit)],
        (gone, index): (&[String], Option<super::folder::Text>),
    ) -> Result<()> {
        for file in gone {
            sides.take_out(file);
        }
        for (code, edit) in edits {
            if let Edit::Bring { from, file } = edit {
                let made = sides.bring(code, from, file)?;
                self.take(made.into_iter().collect(), || {
                    format!("{code}: {} is there already", escape(file))
                });
            }
        }
        for (code, edit) in edits {
            if let Edit::Json { file, path, value } = edit {
                if gone.contains(file) || index.as_ref().is_some_and(|index| index.file == *file) {
                    let file = escape(file);
                    return Err(Error::input(format!(
                        "{code}: {file} is made anew from the headers; a value in it cannot be set in the same pass"
                    )));
                }
                match sides.set(code, (file, path), value.as_ref())? {
                    Ok(change) => self.changes.extend(change),
                    Err(idle) => self.idle.push(idle),
                }
            }
        }
        if let Some(text) = index {
            sides.put(text)?;
        }
        Ok(())
    }
}

fn as_left_out((code, edit): &(Code, Edit)) -> Option<(Code, &str)> {
    match edit {
        Edit::LeaveOut { file } => Some((code, file)),
        _ => None,
    }
}

/// Returns the formats of the layers that a conversion changes.
fn formats(plan: &Plan, of: impl Fn(&super::Step) -> &str) -> String {
    let mut seen: Vec<&str> = Vec::new();
    for step in plan.steps.iter().filter(|step| step.from != step.to) {
        let format = of(step);
        if !seen.contains(&format) {
            seen.push(format);
        }
    }
    seen.join(", ")
}

/// Returns true if this names a file in a folder, and is no path.
pub(super) fn is_plain_name(file: &str) -> bool {
    !file.is_empty() && file != "." && file != ".." && !file.contains(['/', '\\', '\0'])
}

/// Refuses two files of one name.
/// An index that is made while a shard is missing would not know of it: the result would look complete. Where all
/// that the missing file should hold is in others, nothing is lost.
fn check_complete(checkpoint: &Checkpoint) -> Result<()> {
    let files = &checkpoint.files;
    let is_gap = |problem: &&Problem| [&kind::MISSING_SHARD, &kind::INCOMPLETE_SET].contains(&problem.kind);
    let Some(problem) = checkpoint.problems.iter().find(is_gap) else { return Ok(()) };
    let old = files.index.as_deref().and_then(|path| checkpoint::index::Index::read(path).ok());
    let is_elsewhere = old.is_some_and(|old| old.entries().all(|(name, _)| files.find(name).is_some()));
    if is_elsewhere {
        return Ok(());
    }
    Err(Error::input(format!(
        "{} {}: an index made without it would look complete; bring the file first",
        problem.kind.code,
        escape(&problem.message)
    )))
}

fn check_names(plan: &Plan) -> Result<()> {
    let mut seen = FxHashSet::default();
    let shards = plan.shards.iter().map(|shard| shard.file.as_str());
    let texts = plan.texts.iter().map(|text| text.file.as_str());
    let copies = plan.whole.iter().chain(&plan.copies).map(|copied| copied.file.as_str());
    for file in shards.chain(texts).chain(copies) {
        if !seen.insert(file) {
            let message = format!("two files of the result would have the name {}", escape(file));
            return Err(Error::input(message));
        }
    }
    Ok(())
}

/// Returns what a user asks who fixes a checkpoint, given as `input`, into a folder.
#[must_use]
pub fn order(input: &str, output: &Path, codes: &[String]) -> Order {
    Order { shard_bytes: u64::MAX, fixes: codes.to_vec(), ..Order::new(input, output) }
}
