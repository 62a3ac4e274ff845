//! One file of tensors that is written: whether it has to be and can be, and how.

use super::names::Renamed;
use super::weights::Weights;
use super::{Change, Code};
use crate::checkpoint::CheckpointKind;
use crate::checkpoint::files::{Files, Shard};
use crate::checkpoint::folder::shard_number;
use crate::container::Value;
use crate::error::{Error, Result};
use crate::name::escape;
use crate::plan::folder::aligned_order;
use crate::plan::planner::{NOT_READABLE, list};
use crate::plan::{At, DataRun, OutShard, OutTensor, Source};
use crate::problem::kind;
use crate::tensor::{Dtype, elements};
use crate::units;

impl Weights<'_> {
    /// Returns true if a file is not as it would be written.
    pub(super) fn is_odd(&self, at: usize) -> bool {
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
    pub(super) fn check(&self, at: usize, kept: &[u32], renamed: &Renamed) -> Result<()> {
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
    pub(super) fn shard(
        &self,
        (at, kept): (usize, &[u32]),
        renamed: &Renamed,
        is_rewritten: bool,
    ) -> OutShard {
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
            gguf: None,
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
    pub(super) fn differences(
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
        let size = all().map(|record| record.bytes).fold(0, u64::saturating_add);
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
}

/// Returns true if all bytes of a tensor are in its file, and as many as its shape needs.
pub(super) fn is_whole(files: &Files, tensor: u32) -> bool {
    let record = &files.tensors[tensor as usize];
    let shard = &files.shards[usize::from(record.shard)];
    let view = files.views.get(&tensor);
    let is_packed = view.is_some_and(|view| view.compressed_entry.is_some());
    // Dimensions whose product is too large are refused by readers, even where another one is zero.
    let product = files.shape(record).iter().try_fold(1u64, |product, &dim| product.checked_mul(dim));
    if product.is_none() {
        return false;
    }
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
