//! Hugging Face names and values for the tensors of a GGUF file, by architecture.
//!
//! llama.cpp's converter renames tensors, interleaves the query and key rows of some models for its rotary
//! embedding, and adds one to the norms of others. Here is the way back, as tables: every tensor is named,
//! dropped for a reason that is said, or refused by name; none is lost in silence.
//! Sources: llama.cpp's `convert_hf_to_gguf.py`, gguf-py's `tensor_mapping.py`, and transformers'
//! `modeling_gguf_pytorch_utils.py`, whose state dicts are what the results are held against.

mod bytelevel;
mod config;
mod making;
mod rope;
mod sentencepiece;
mod tokenizer;
pub mod written;

use super::folder::Made;
use super::{At, Merge, OutTensor, Source, Step, list};
use crate::adapter::delta::RowOrder;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::gguf_meta::Meta;
use crate::checkpoint::gguf_names::{ALL_LINEARS, ATTENTION, Fate, GgufNames, HEAD, TOP};
use crate::error::{Error, ErrorKind, Result};
use crate::name::escape;
use crate::quant::change::Change;
use crate::quant::dense;
use crate::units;

/// The config of a model.
const CONFIG: &str = "config.json";

/// How a file's tensors are named.
pub(super) struct Naming<'a> {
    checkpoint: &'a Checkpoint,
    meta: Meta<'a>,
    names: GgufNames,
}

impl<'a> Naming<'a> {
    /// Returns how a GGUF file's tensors are named.
    ///
    /// # Errors
    /// It is no GGUF file of a model, its architecture is not in the table, its metadata lack what is needed,
    /// a tensor has no name or a wrong shape, or one is missing.
    pub(super) fn of(checkpoint: &'a Checkpoint) -> Result<Self> {
        let files = &checkpoint.files;
        let refused =
            |kind, message: String| Error { file: Some(files.path.clone()), ..Error::new(kind, message) };
        let names = GgufNames::of(files).map_err(|(kind, why)| refused(kind, why))?;
        let naming = Self { checkpoint, meta: Meta::new(files, names.arch.gguf), names };
        naming.check().map_err(|(kind, why)| refused(kind, why))?;
        Ok(naming)
    }

    /// Checks that every tensor has a name, and that every name has a tensor.
    fn check(&self) -> std::result::Result<(), (ErrorKind, String)> {
        let files = &self.checkpoint.files;
        let (mut unmapped, mut misshapen) = (Vec::new(), Vec::new());
        for (tensor, record) in (0u32..).zip(&files.tensors) {
            let name = files.tensor_name(tensor);
            let shape = files.shape(record);
            match self.names.fate(&name) {
                None => unmapped.push(escape(&name).into_owned()),
                Some(Fate::Named(_, change)) if !change.fits(shape) => {
                    misshapen.push(format!("{} {}", escape(&name), units::shape(shape)));
                }
                Some(_) => {}
            }
        }
        let arch = self.names.arch.gguf;
        if !unmapped.is_empty() {
            let what = units::plural(unmapped.len(), "tensor");
            let message = format!("{what} without a Hugging Face name in {arch}: {}", list(&unmapped));
            return Err((ErrorKind::Unsupported, message));
        }
        if !misshapen.is_empty() {
            let message = format!(
                "{} not of whole heads ({} heads, {} of keys): {}",
                units::plural(misshapen.len(), "tensor"),
                self.names.heads,
                self.names.kv_heads,
                list(&misshapen)
            );
            return Err((ErrorKind::Input, message));
        }
        let missing = self.missing();
        if missing.is_empty() {
            return Ok(());
        }
        let what = units::plural(missing.len(), "tensor");
        let message = format!("{what} that {arch} needs missing from the file: {}", list(&missing));
        Err((ErrorKind::Input, message))
    }

    /// Returns the tensors that a model of this architecture must have and the file has not.
    fn missing(&self) -> Vec<String> {
        let files = &self.checkpoint.files;
        let needed = |leaf: &str| format!("{leaf}.weight");
        let top = TOP.iter().filter(|(leaf, _)| *leaf != HEAD).map(|(leaf, _)| needed(leaf));
        let rows = || self.names.arch.block.iter().flat_map(|rows| rows.iter());
        // Not more than there are tensors: the count of blocks is whatever the file says.
        let blocks = self.names.blocks.min(files.tensors.len() as u64 + 1);
        let blocks = (0..blocks).flat_map(|n| rows().map(move |(leaf, _)| format!("blk.{n}.{leaf}.weight")));
        top.chain(blocks).filter(|name| files.find(name).is_none()).collect()
    }

    /// Names the tensors of a plan, and drops those that no model has, with their steps.
    ///
    /// # Errors
    /// A tensor whose values change is of a dtype that cannot be changed without loss.
    pub(super) fn apply(
        &self,
        tensors: Vec<OutTensor>,
        merges: &mut [Merge],
        steps: &mut Vec<Step>,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<OutTensor>> {
        let mut dropped = Vec::new();
        let mut named = Vec::with_capacity(tensors.len());
        for mut tensor in tensors {
            match self.names.fate(&tensor.name) {
                Some(Fate::Named(name, change)) => {
                    tensor.source = self.changed(&tensor, change, merges)?;
                    tensor.name = name;
                    named.push(tensor);
                }
                Some(Fate::Dropped) | None => dropped.push(tensor.name),
            }
        }
        if !dropped.is_empty() {
            steps
                .retain(|step| !dropped.iter().any(|name| name.strip_suffix(".weight") == Some(&step.layer)));
            warnings.push(format!("{} dropped: no model has it, its config says as much", list(&dropped)));
        }
        Ok(named)
    }

    fn changed(&self, tensor: &OutTensor, change: Change, merges: &mut [Merge]) -> Result<Source> {
        if change.is_none() {
            return Ok(tensor.source);
        }
        match tensor.source {
            Source::Copy(At { input: 0, tensor: from }) | Source::Cast(At { input: 0, tensor: from }) => {
                let record = &self.checkpoint.files.tensors[from as usize];
                dense::plain(from, record.dtype, &tensor.shape, record.bytes)
                    .map_err(|why| Error::input(format!("{}: {why}", escape(&tensor.name))))?;
                Ok(Source::Changed { tensor: from, change })
            }
            Source::Decode { layer, native, .. } => Ok(Source::Decode { layer, native, change }),
            Source::Merged(number) => {
                if let Some(merge) = merges.get_mut(number as usize) {
                    merged(merge, change)
                        .map_err(|why| Error::input(format!("{}: {why}", escape(&tensor.name))))?;
                }
                Ok(tensor.source)
            }
            // What an adapter brings is as transformers has it.
            Source::Copy(_) | Source::Cast(_) | Source::Changed { .. } | Source::Encoded { .. } => {
                Ok(tensor.source)
            }
        }
    }

    /// Returns the files that the metadata give: config and tokenizer. What stands beside the weights already is
    /// taken from there, but for `config.json`: beside GGUF files that is often a stub.
    ///
    /// # Errors
    /// The metadata lack what every model has; in words.
    pub(super) fn texts(&self, warnings: &mut Vec<String>) -> Result<Vec<Made>> {
        let files = &self.checkpoint.files;
        let refused = |why| Error { file: Some(files.path.clone()), ..Error::input(why) };
        let config = config::build(self, warnings).map_err(refused)?;
        let mut made = vec![Made { file: CONFIG, content: config }];
        if let Some(content) = config::generation(self) {
            made.push(Made { file: "generation_config.json", content });
        }
        let is_beside = |file: &str| files.others.iter().any(|(name, _)| name == file);
        if !is_beside("tokenizer.json") {
            made.extend(tokenizer::texts(self, warnings));
        }
        if is_beside(CONFIG) {
            warnings
                .push("config.json is made from the metadata; the one beside the file is left out".into());
        }
        made.retain(|made| made.file == CONFIG || !is_beside(made.file));
        Ok(made)
    }

    fn has(&self, tensor: &str) -> bool {
        self.checkpoint.files.find(tensor).is_some()
    }

    /// Returns a dimension of a tensor.
    fn dim(&self, tensor: &str, at: usize) -> Option<u64> {
        let files = &self.checkpoint.files;
        let record = &files.tensors[files.find(tensor)? as usize];
        files.shape(record).get(at).copied()
    }
}

/// Changes the values of a weight before adapters are merged into it: then its rows are those of factors for
/// transformers' order, and not of others.
fn merged(merge: &mut Merge, change: Change) -> std::result::Result<(), String> {
    let Change::RopeRows { heads } = change else {
        return Err("a GGUF of this model has one added to its values, which no delta is for".into());
    };
    for edit in &mut merge.edits {
        edit.order = match edit.order {
            Some(_) => None,
            None => Some(RowOrder::Halves { heads }),
        };
    }
    merge.change = change;
    Ok(())
}
