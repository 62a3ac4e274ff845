//! The files of tensors: which go over as they are, which get a new header, and which are written tensor by tensor.

use super::names::Renamed;
use super::{Change, Code};
use crate::checkpoint::files::{Files, Shard};
use crate::checkpoint::folder::shard_number;
use crate::checkpoint::{Checkpoint, CheckpointKind};
use crate::container::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::name::escape;
use crate::plan::folder::{Copied, aligned_order};
use crate::plan::planner::{NOT_READABLE, list};
use crate::plan::{Action, At, DataRun, OutShard, OutTensor, Source, Step};
use crate::problem::kind;
use crate::tensor::{Dtype, elements};
use crate::units;

/// The files of tensors of a checkpoint while edits are taken.
pub(super) struct Weights<'a> {
    checkpoint: &'a Checkpoint,
    files: &'a Files,
    /// Files that are left out, by number.
    left_out: Vec<bool>,
    /// Tensors that are left out, and by which edit.
    gone: Vec<Option<Code>>,
    /// Tensors by file, in the order of their bytes.
    by_shard: Vec<Vec<u32>>,
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

    /// Returns true if a file is not as it would be written.
    fn is_odd(&self, at: usize) -> bool {
        let shard = &self.files.shards[at];
        let is_of_file =
            |problem: &crate::problem::Problem| problem.file.as_deref() == Some(shard.name.as_str());
        self.name(at, true) != shard.name
            || self.files.container.name() == "pytorch"
            || format_of(shard) != Some("pt")
            || self.checkpoint.problems.iter().any(|p| is_of_file(p) && p.kind.code.starts_with('K'))
            || !self.is_aligned(&self.by_shard[at])
    }

    /// Returns the name that a file gets when it is written.
    fn name(&self, at: usize, is_rewritten: bool) -> String {
        let files = self.files;
        let is_alone = files.shards.len() == 1 && files.index.is_none() && files.path.is_dir();
        safetensors_name(&files.shards[at].name, (is_alone, is_rewritten), self.checkpoint.kind)
    }

    /// Returns true if every tensor is aligned to its elements where a new header has the same data behind it.
    fn is_aligned(&self, tensors: &[u32]) -> bool {
        let records = tensors.iter().map(|&tensor| &self.files.tensors[tensor as usize]);
        let start = records.clone().map(|record| record.begin).min().unwrap_or(0);
        records.into_iter().all(|record| {
            let bytes = record.dtype.bits().map_or(1, |bits| (bits as u64 / 8).max(1));
            (record.begin - start).is_multiple_of(bytes)
        })
    }

    /// Refuses what cannot be written as it is read.
    fn check(&self, at: usize, kept: &[u32], renamed: &Renamed) -> Result<()> {
        let (files, shard) = (self.files, &self.files.shards[at]);
        let refuse =
            |what: String| Err(Error::input(format!("{}: {what}", escape(&shard.name))).at(&shard.path));
        let is_pickle = files.container.name() == "pytorch";
        let stands_in_the_way = |problem: &&crate::problem::Problem| {
            problem.is_error()
                && problem.file.as_deref() == Some(shard.name.as_str())
                && (NOT_READABLE.contains(&problem.kind)
                    // Values that are stored conjugated or negated would come out with the wrong sign.
                    || is_pickle && problem.kind == &kind::UNSUPPORTED_CONTAINER)
        };
        if let Some(problem) = self.checkpoint.problems.iter().find(stands_in_the_way) {
            return refuse(format!(
                "cannot be written anew: {} {}",
                problem.kind.code,
                escape(&problem.message)
            ));
        }
        let named = |tensors: Vec<u32>| {
            let names: Vec<String> =
                tensors.iter().map(|&tensor| escape(&files.tensor_name(tensor)).into_owned()).collect();
            (units::plural(names.len(), "tensor"), list(&names))
        };
        let cut: Vec<u32> = kept.iter().copied().filter(|&tensor| !is_whole(files, tensor)).collect();
        if !cut.is_empty() {
            let (count, names) = named(cut);
            return refuse(format!("{count} not whole in the file: {names}"));
        }
        if !is_pickle && let Some(pair) = self.overlap(kept) {
            let (_, names) = named(pair.to_vec());
            return refuse(format!("two tensors share bytes: {names}"));
        }
        let is_unwritable = |tensor: &u32| {
            matches!(files.tensors[*tensor as usize].dtype, Dtype::Ggml(_) | Dtype::Other(_) | Dtype::C128)
        };
        let unwritable: Vec<u32> = kept.iter().copied().filter(is_unwritable).collect();
        if !unwritable.is_empty() {
            let (count, names) = named(unwritable);
            return refuse(format!("{count} of a dtype that safetensors has not: {names}"));
        }
        let is_torchao = shard.metadata.iter().any(|(key, _)| key == "tensor_names");
        let is_other = kept.len() < self.by_shard[at].len() || kept.iter().any(|&t| renamed.of(t).is_some());
        if is_torchao && is_other {
            return refuse(
                "its metadata describes quantized tensors by their names (torchao); they cannot be renamed or left out"
                    .into(),
            );
        }
        Ok(())
    }

    /// Returns two tensors that share bytes, if there are any.
    fn overlap(&self, kept: &[u32]) -> Option<[u32; 2]> {
        let mut farthest: Option<(u64, u32)> = None;
        for &tensor in kept {
            let record = &self.files.tensors[tensor as usize];
            if record.bytes == 0 {
                continue;
            }
            let end = record.begin.saturating_add(record.bytes);
            if let Some((_, other)) = farthest.filter(|(reached, _)| *reached > record.begin) {
                return Some([other, tensor]);
            }
            farthest = Some((end, tensor));
        }
        None
    }

    /// Plans a file that is written.
    fn shard(&self, (at, kept): (usize, &[u32]), renamed: &Renamed, is_rewritten: bool) -> OutShard {
        let (files, shard) = (self.files, &self.files.shards[at]);
        let tensor = |&tensor: &u32| {
            let record = &files.tensors[tensor as usize];
            let shape = files.shape(record).to_vec();
            OutTensor {
                name: renamed.of(tensor).map_or_else(|| files.tensor_name(tensor), str::to_owned),
                dtype: record.dtype,
                // A view spans other bytes than its elements take.
                bytes: elements(&shape).and_then(|n| record.dtype.bytes_of(n)).unwrap_or(record.bytes),
                shape,
                source: Source::Copy(At::base(tensor)),
            }
        };
        let mut tensors: Vec<OutTensor> = kept.iter().map(tensor).collect();
        let run = self.run(at, kept).filter(|_| !is_rewritten || self.is_aligned(kept));
        if run.is_none() {
            aligned_order(&mut tensors);
        }
        OutShard {
            file: self.name(at, is_rewritten),
            tensors,
            metadata: Some(metadata(shard, files.container.name() == "pytorch" || is_rewritten)),
            run,
        }
    }

    /// Returns where the data of tensors lie, if that is one run without a gap.
    fn run(&self, at: usize, kept: &[u32]) -> Option<DataRun> {
        let files = self.files;
        let is_plain = files.container.name() == "safetensors"
            && kept.iter().all(|tensor| !files.views.contains_key(tensor));
        let first = kept.first().filter(|_| is_plain)?;
        let begin = files.tensors[*first as usize].begin;
        let mut end = begin;
        for &tensor in kept {
            let record = &files.tensors[tensor as usize];
            if record.begin != end {
                return None;
            }
            end = end.checked_add(record.bytes)?;
        }
        Some(DataRun { shard: at as u16, begin, bytes: end - begin })
    }

    /// Says what of a file changes beside the names of its tensors.
    fn differences(
        &self,
        (at, kept): (usize, &[u32]),
        made: &OutShard,
        (cause, is_rewritten): (Option<Code>, bool),
    ) -> Vec<Change> {
        let (files, shard) = (self.files, &self.files.shards[at]);
        let Some(code) = cause else { return Vec::new() };
        let mut changes = Vec::new();
        let file = escape(&shard.name).into_owned();
        let change = |what: &str, before: String, after: String| Change {
            code,
            file: file.clone(),
            what: what.into(),
            before,
            after,
        };
        if files.container.name() == "pytorch" {
            let tensors = units::plural(kept.len(), "tensor");
            changes.push(change(
                "",
                format!("a pickle of {tensors}"),
                format!("{}, safetensors", escape(&made.file)),
            ));
            return changes;
        }
        if made.file != shard.name {
            changes.push(change("name", escape(&shard.name).into_owned(), escape(&made.file).into_owned()));
        }
        let format = format_of(shard);
        if format.is_none() || is_rewritten && format != Some("pt") {
            let before = format.map_or_else(|| "not set".into(), |format| escape(format).into_owned());
            changes.push(change("__metadata__.format", before, "pt".into()));
        }
        if !is_rewritten {
            return changes;
        }
        let all = || self.by_shard[at].iter().map(|&tensor| &files.tensors[tensor as usize]);
        let size = all().map(|record| record.bytes).sum::<u64>();
        let start = all().map(|record| record.begin).min().unwrap_or(0);
        let end = all().map(|record| record.begin.saturating_add(record.bytes)).max().unwrap_or(0);
        if shard.bytes > end && end > 0 {
            let count = units::exact(shard.bytes - end);
            changes.push(change("", format!("{count} bytes behind the last tensor"), "cut off".into()));
        }
        if end.saturating_sub(start) > size {
            let count = units::exact(end - start - size);
            changes.push(change("", format!("{count} bytes between tensors"), "packed".into()));
        }
        if !self.is_aligned(&self.by_shard[at]) {
            changes.push(change(
                "",
                "tensors that are not aligned to their elements".into(),
                "aligned".into(),
            ));
        }
        if changes.is_empty() && self.is_odd(at) {
            changes.push(change("header", "odd".into(), "written anew".into()));
        }
        changes
    }

    /// Returns a step for each layer.
    fn steps(&self, renamed: &Renamed) -> Vec<Step> {
        let (files, layers) = (self.files, &self.checkpoint.layers);
        let step = |layer: u32| {
            let tensors = layers.tensors(layer);
            let kept = tensors.iter().filter(|&&tensor| !self.is_gone(tensor));
            let bytes_out = kept.clone().map(|&tensor| files.tensors[tensor as usize].bytes).sum();
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

/// Returns true if all bytes of a tensor are in its file, and as many as its shape needs.
fn is_whole(files: &Files, tensor: u32) -> bool {
    let record = &files.tensors[tensor as usize];
    let shard = &files.shards[usize::from(record.shard)];
    let view = files.views.get(&tensor);
    let is_packed = view.is_some_and(|view| view.compressed_entry.is_some());
    let needed = elements(files.shape(record)).and_then(|count| record.dtype.bytes_of(count));
    let is_here = is_packed || record.begin.saturating_add(record.bytes) <= shard.bytes;
    is_here && (view.is_some() || needed.is_none_or(|needed| needed == record.bytes))
}

fn format_of(shard: &Shard) -> Option<&str> {
    shard.metadata.iter().find(|(key, _)| key == "format").and_then(|(_, value)| value.as_str())
}

/// Returns the metadata of a file that is written: what it has, and the format that loaders look for.
fn metadata(shard: &Shard, is_new: bool) -> Vec<(String, String)> {
    let text = |value: &Value| match value {
        Value::Text(text) => Some(text.clone()),
        Value::Int(number) => Some(number.to_string()),
        Value::Unsigned(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Array { .. } => None,
    };
    let mut metadata: Vec<(String, String)> =
        shard.metadata.iter().filter_map(|(key, value)| Some((key.clone(), text(value)?))).collect();
    match metadata.iter_mut().find(|(key, _)| key == "format") {
        Some((_, format)) if is_new => *format = "pt".into(),
        Some(_) => {}
        None => metadata.insert(0, ("format".into(), "pt".into())),
    }
    metadata
}

/// Returns the name of a file as safetensors: that of a pickle, or of a file that nothing joins, is the one that
/// loaders look for. `is_alone`: there is one file and no index, in a folder.
fn safetensors_name(name: &str, (is_alone, is_rewritten): (bool, bool), kind: CheckpointKind) -> String {
    const USUAL: [&str; 3] = ["model", "pytorch_model", "adapter_model"];
    let is_safetensors = name.ends_with(".safetensors");
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    // `model.fp16` is a variant that loaders can be told of.
    let is_usual = USUAL.contains(&stem.split('.').next().unwrap_or(stem)) || shard_number(name).is_some();
    if is_alone && !is_usual && (is_rewritten || !is_safetensors) {
        let own = if kind == CheckpointKind::Adapter { "adapter_model" } else { "model" };
        return format!("{own}.safetensors");
    }
    if is_safetensors {
        return name.to_owned();
    }
    let stem = stem.strip_prefix("pytorch_").filter(|rest| rest.starts_with("model")).unwrap_or(stem);
    format!("{stem}.safetensors")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_get_the_names_that_loaders_look_for() {
        let (model, adapter) = (CheckpointKind::Model, CheckpointKind::Adapter);
        for (name, is_alone, is_rewritten, kind, wanted) in [
            ("pytorch_model.bin", true, false, model, "model.safetensors"),
            ("pytorch_model-00001-of-00002.bin", false, true, model, "model-00001-of-00002.safetensors"),
            ("pytorch_model.fp16.bin", true, true, model, "model.fp16.safetensors"),
            ("adapter_model.bin", true, false, adapter, "adapter_model.safetensors"),
            ("consolidated.00.pth", true, false, model, "model.safetensors"),
            ("consolidated.00.pth", false, false, model, "consolidated.00.safetensors"),
            ("gptq_model-4bit-128g.safetensors", true, true, model, "model.safetensors"),
            ("gptq_model-4bit-128g.safetensors", true, false, model, "gptq_model-4bit-128g.safetensors"),
            ("model-00001-of-00001.safetensors", true, true, model, "model-00001-of-00001.safetensors"),
            ("lora.safetensors", true, true, adapter, "adapter_model.safetensors"),
            ("lora.safetensors", false, true, adapter, "lora.safetensors"),
        ] {
            assert_eq!(safetensors_name(name, (is_alone, is_rewritten), kind), wanted, "{name}");
        }
    }
}
