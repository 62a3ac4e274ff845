//! The files of tensors: which go over as they are, which get a new header, and which are written tensor by tensor.

use super::names::Renamed;
use super::shard::is_whole;
use super::{Change, Code};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::files::{Files, Shard};
use crate::error::{Error, ErrorKind, Result};
use crate::name::escape;
use crate::plan::folder::Copied;
use crate::plan::planner::list;
use crate::plan::{Action, OutShard, OutTensor, Step};
use crate::units;

/// The files of tensors of a checkpoint while edits are taken.
pub(super) struct Weights<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) files: &'a Files,
    /// Files that are left out, by number.
    left_out: Vec<bool>,
    /// Tensors that are left out, and by which edit.
    gone: Vec<Option<Code>>,
    /// Tensors by file, in the order of their bytes.
    pub(super) by_shard: Vec<Vec<u32>>,
}

/// Files of tensors of the result.
#[derive(Default)]
pub(super) struct Made {
    /// Those that are written.
    pub(super) shards: Vec<OutShard>,
    /// Those that go over as they are.
    pub(super) whole: Vec<Copied>,
    /// Their tensors: name, file, bytes.
    pub(super) entries: Vec<(String, String, u64)>,
    /// True if names of tensors or of files are other than they were.
    pub(super) is_other: bool,
    /// The edit for which files are written.
    pub(super) cause: Option<Code>,
}

/// What becomes of the files of tensors.
pub(super) struct Written {
    pub(super) made: Made,
    pub(super) steps: Vec<Step>,
    pub(super) changes: Vec<Change>,
    pub(super) warnings: Vec<String>,
}

impl<'a> Weights<'a> {
    pub(super) fn new(checkpoint: &'a Checkpoint) -> Self {
        let files = &checkpoint.files;
        let mut by_shard = vec![Vec::new(); files.shards.len()];
        for (tensor, record) in (0u32..).zip(&files.tensors) {
            by_shard[usize::from(record.shard)].push(tensor);
        }
        for tensors in &mut by_shard {
            tensors.sort_by_key(|&tensor| {
                let record = &files.tensors[tensor as usize];
                (record.begin, record.bytes, tensor)
            });
        }
        Self {
            checkpoint,
            files,
            left_out: vec![false; files.shards.len()],
            gone: vec![None; files.tensors.len()],
            by_shard,
        }
    }

    pub(super) fn is_gone(&self, tensor: u32) -> bool {
        self.gone[tensor as usize].is_some()
    }

    /// Returns how many tensors are left out.
    pub(super) fn gone_count(&self) -> usize {
        self.gone.iter().flatten().count()
    }

    /// Leaves a file out with its tensors; `None` if it is none of these.
    pub(super) fn leave_out(&mut self, code: Code, file: &str) -> Option<Change> {
        let shard = self.files.shards.iter().position(|shard| shard.name == file)?;
        self.left_out[shard] = true;
        for &tensor in &self.by_shard[shard] {
            self.gone[tensor as usize] = Some(code);
        }
        let tensors = units::plural(self.by_shard[shard].len(), "tensor");
        Some(Change {
            code,
            file: escape(file).into_owned(),
            what: String::new(),
            before: format!("{tensors}, {}", units::bytes(self.files.shards[shard].bytes)),
            after: "left out".into(),
        })
    }

    pub(super) fn drop_tensors(&mut self, code: Code, tensors: &[u32]) -> Result<Vec<Change>> {
        let mut dropped = Vec::new();
        for &tensor in tensors {
            let Some(gone) = self.gone.get_mut(tensor as usize) else {
                return Err(Error::input(format!(
                    "{code}: there is no tensor {tensor}; there are {}",
                    self.files.tensors.len()
                )));
            };
            if gone.is_none() {
                *gone = Some(code);
                dropped.push(tensor);
            }
        }
        let out = |tensors: &[u32]| format!("{} left out", units::plural(tensors.len(), "tensor"));
        Ok(self
            .by_file(&dropped)
            .map(|(file, tensors)| self.change(code, (file, &tensors), out(&tensors)))
            .collect())
    }

    /// Leaves out tensors whose bytes are not all in their file.
    pub(super) fn keep_whole(&mut self, code: Code) -> Vec<Change> {
        let cut: Vec<u32> = (0..self.gone.len() as u32)
            .filter(|&tensor| !self.is_gone(tensor) && !is_whole(self.files, tensor))
            .collect();
        for &tensor in &cut {
            self.gone[tensor as usize] = Some(code);
        }
        let mut changes: Vec<Change> = Vec::new();
        for (file, tensors) in self.by_file(&cut) {
            let kept = self.by_shard[file].iter().filter(|&&tensor| !self.is_gone(tensor)).count();
            let words = format!(
                "{} not whole left out, {} kept",
                units::plural(tensors.len(), "tensor"),
                units::exact(kept as u64)
            );
            changes.push(self.change(code, (file, &tensors), words));
        }
        for (at, shard) in self.files.shards.iter().enumerate().filter(|(_, shard)| shard.unreadable) {
            if !std::mem::replace(&mut self.left_out[at], true) {
                changes.push(Change {
                    code,
                    file: escape(&shard.name).into_owned(),
                    what: String::new(),
                    before: format!("{}, of which nothing can be read", units::bytes(shard.bytes)),
                    after: "left out".into(),
                });
            }
        }
        changes
    }

    fn by_file(&self, tensors: &[u32]) -> impl Iterator<Item = (usize, Vec<u32>)> + use<> {
        let mut by_file: Vec<Vec<u32>> = vec![Vec::new(); self.files.shards.len()];
        for &tensor in tensors {
            by_file[usize::from(self.files.tensors[tensor as usize].shard)].push(tensor);
        }
        by_file.into_iter().enumerate().filter(|(_, tensors)| !tensors.is_empty())
    }

    fn change(&self, code: Code, (file, tensors): (usize, &[u32]), after: String) -> Change {
        let names: Vec<String> =
            tensors.iter().map(|&tensor| escape(&self.files.tensor_name(tensor)).into_owned()).collect();
        Change {
            code,
            file: escape(&self.files.shards[file].name).into_owned(),
            what: String::new(),
            before: list(&names),
            after,
        }
    }

    /// Plans the files. `rewrite` is the code of an edit that wants all written as new files are.
    pub(super) fn write(&self, renamed: &Renamed, rewrite: Option<Code>) -> Result<Written> {
        let files = self.files;
        let is_gguf = files.container.name() == "gguf";
        let kept: Vec<Vec<u32>> = self
            .by_shard
            .iter()
            .map(|tensors| tensors.iter().copied().filter(|&tensor| !self.is_gone(tensor)).collect())
            .collect();
        let is_edited: Vec<bool> = (0..kept.len())
            .map(|at| {
                kept[at].len() < self.by_shard[at].len()
                    || kept[at].iter().any(|&tensor| renamed.of(tensor).is_some())
                    || rewrite.is_some() && self.is_odd(at)
            })
            .collect();
        let stays = |at: usize| !self.left_out[at];
        let is_any = (0..kept.len()).any(|at| stays(at) && is_edited[at]);
        // Pickles are not written: where one has to change, all become safetensors.
        let becomes_safetensors = is_any && files.container.name() == "pytorch";
        if is_gguf && is_any {
            let message = "tensors of GGUF files cannot be renamed, left out or written anew";
            return Err(Error::new(ErrorKind::Unsupported, message).at(&files.path));
        }
        let cause = rewrite.or(renamed.code).or_else(|| self.gone.iter().flatten().next().copied());
        let mut written = Written {
            made: Made { is_other: self.gone.iter().any(Option::is_some), cause, ..Made::default() },
            steps: Vec::new(),
            changes: Vec::new(),
            warnings: Vec::new(),
        };
        written.made.is_other |= self.left_out.contains(&true);
        for at in (0..kept.len()).filter(|&at| stays(at)) {
            let shard = &files.shards[at];
            if !is_edited[at] && !becomes_safetensors {
                written.whole(shard, files, &kept[at]);
                continue;
            }
            if kept[at].is_empty() && !self.by_shard[at].is_empty() {
                written
                    .warnings
                    .push(format!("{}: left out, none of its tensors is left", escape(&shard.name)));
                written.made.is_other = true;
                continue;
            }
            self.check(at, &kept[at], renamed)?;
            let made = self.shard((at, &kept[at]), renamed, rewrite.is_some());
            written.made.is_other |= made.file != shard.name;
            written.changes.extend(self.differences((at, &kept[at]), &made, (cause, rewrite.is_some())));
            let entry = |tensor: &OutTensor| (tensor.name.clone(), made.file.clone(), tensor.bytes);
            written.made.entries.extend(made.tensors.iter().map(entry));
            written.made.is_other |= kept[at].iter().any(|&tensor| renamed.of(tensor).is_some());
            written.made.shards.push(made);
        }
        if written.made.entries.is_empty() && !files.tensors.is_empty() {
            return Err(Error::input("no tensor would be left").at(&files.path));
        }
        written.check_twins(files)?;
        written.steps = self.steps(renamed);
        Ok(written)
    }

    /// Returns a step for each layer.
    fn steps(&self, renamed: &Renamed) -> Vec<Step> {
        let (files, layers) = (self.files, &self.checkpoint.layers);
        let step = |layer: u32| {
            let tensors = layers.tensors(layer);
            let kept = tensors.iter().filter(|&&tensor| !self.is_gone(tensor));
            let bytes_out =
                kept.clone().map(|&tensor| files.tensors[tensor as usize].bytes).fold(0, u64::saturating_add);
            let action = if tensors.iter().all(|&tensor| self.is_gone(tensor)) {
                Action::Drop
            } else if kept.clone().any(|&tensor| renamed.of(tensor).is_some()) {
                Action::Rename
            } else {
                Action::Copy
            };
            let format = layers.spec(layer).format.get().name();
            Step {
                layer: layers.name(&files.names, layer),
                action,
                from: format.into(),
                to: format.into(),
                bytes_in: if action == Action::Drop { 0 } else { layers.bytes(files, layer) },
                bytes_out,
                note: None,
            }
        };
        (0..layers.len() as u32).map(step).collect()
    }
}

impl Written {
    /// Takes a file as it is.
    fn whole(&mut self, shard: &Shard, files: &Files, tensors: &[u32]) {
        self.made.whole.push(Copied {
            from: shard.path.clone(),
            file: shard.name.clone(),
            bytes: shard.bytes,
        });
        let entry = |&tensor: &u32| {
            let bytes = files.tensors[tensor as usize].bytes;
            (files.tensor_name(tensor), shard.name.clone(), bytes)
        };
        self.made.entries.extend(tensors.iter().map(entry));
    }

    /// Refuses two tensors of one name, unless both are in files that go over as they are.
    fn check_twins(&self, files: &Files) -> Result<()> {
        if self.made.shards.is_empty() {
            return Ok(());
        }
        let mut entries: Vec<&(String, String, u64)> = self.made.entries.iter().collect();
        entries.sort();
        let is_written = |file: &str| self.made.shards.iter().any(|shard| shard.file == file);
        let twins: Vec<String> = entries
            .windows(2)
            .filter(|pair| pair[0].0 == pair[1].0 && (is_written(&pair[0].1) || is_written(&pair[1].1)))
            .map(|pair| match (&pair[0].1, &pair[1].1) {
                (one, other) if one == other => format!("{} (twice in {})", escape(&pair[0].0), escape(one)),
                (one, other) => format!("{} (in {} and {})", escape(&pair[0].0), escape(one), escape(other)),
            })
            .collect();
        if twins.is_empty() {
            return Ok(());
        }
        let count = units::plural(twins.len(), "name");
        Err(Error::input(format!("{count} would belong to two tensors each: {}", list(&twins)))
            .at(&files.path))
    }
}
