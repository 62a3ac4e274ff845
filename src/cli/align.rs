//! `ckpt align`: an adapter held against a base, and its repair into a new folder.

mod board;
mod repaired;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::json::{self, ProblemJson};
use super::{DONE, FOUND, stdout_error};
use crate::adapter::align::Aligned;
use crate::adapter::held::Held;
use crate::adapter::repair::{Keep, Wishes};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::problem::Problem;

/// What `align` is asked.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub struct Align {
    /// The base: folder, file, or Hub name in the local cache.
    pub base: String,
    /// The adapter: folder, file, or Hub name in the local cache.
    #[arg(short = 'a', long, value_name = "ADAPTER")]
    pub adapter: String,
    /// A prefix of the adapter's keys that belongs to no module.
    #[arg(long, value_name = "P")]
    pub strip_prefix: Option<String>,
    /// Which adapter is meant, where the keys of the file have the names of several.
    #[arg(long, value_name = "NAME")]
    pub adapter_name: Option<String>,
    /// Write a repaired adapter: keys renamed, config corrected. Every change is printed first.
    #[arg(long)]
    pub repair: bool,
    /// The folder to make. It appears when it is complete.
    #[arg(short, long, value_name = "OUT", requires = "repair")]
    pub output: Option<PathBuf>,
    /// Leave out config fields that this version of PEFT does not know: 0.11.
    #[arg(long, value_name = "V", requires = "repair")]
    pub peft_version: Option<String>,
    /// Where the config's rank is not that of the tensors: what stays, alpha or the scale (alpha by rank).
    #[arg(long, value_name = "WHAT", requires = "repair")]
    pub keep: Option<Kept>,
    /// Alpha of the adapter, where neither its config nor its tensors give it.
    #[arg(long, value_name = "A", requires = "repair")]
    pub alpha: Option<f64>,
    /// Print what a repair would do, and write nothing.
    #[arg(long, requires = "repair")]
    pub dry_run: bool,
    /// Replace a checkpoint that is there.
    #[arg(long, requires = "repair")]
    pub force: bool,
    /// Print one line of JSON; with --repair, events as lines of JSON.
    #[arg(long)]
    pub json: bool,
}

/// What stays where the config's rank is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kept {
    /// Alpha; the scale becomes alpha by the right rank.
    Alpha,
    /// The scale; alpha changes with the rank.
    Scale,
}

/// A base and an adapter, opened and held against each other.
struct Pair<'a> {
    asked: &'a Align,
    held: Held,
}

/// Runs the command: exit 0 when every module is aligned and nothing is wrong, else 1.
///
/// # Errors
/// One of the two cannot be opened, the repair cannot be written, or stdout fails.
pub fn run(asked: &Align, out: &mut dyn Write) -> Result<u8> {
    if asked.repair && asked.output.is_none() && !asked.dry_run {
        return Err(Error::input("--repair: -o OUT names the folder to make"));
    }
    let base = Arc::new(Checkpoint::open_examined(&asked.base)?);
    if asked.alpha.is_some_and(|alpha| !alpha.is_finite()) {
        return Err(Error::input("--alpha: not a finite number"));
    }
    let (strip, name) = (asked.strip_prefix.as_deref(), asked.adapter_name.as_deref());
    let held = Held::open_named(base, &asked.adapter, strip, name)?;
    let pair = Pair { asked, held };
    if asked.repair {
        return repaired::run(&pair, out);
    }
    if asked.json {
        pair.write_json(out)?;
    } else {
        board::write(&pair, out).map_err(|e| stdout_error(&e))?;
    }
    Ok(if pair.is_right() { DONE } else { FOUND })
}

impl Pair<'_> {
    /// Returns true if every module is aligned and nothing is wrong.
    fn is_right(&self) -> bool {
        let total = self.held.alignment.modules.len();
        total > 0
            && self.held.alignment.aligned() == total
            && !self.held.problems.iter().any(Problem::is_error)
    }

    /// Returns what the repair is to know.
    fn wishes(&self) -> Wishes {
        let keep = self.asked.keep.map(|kept| match kept {
            Kept::Alpha => Keep::Alpha,
            Kept::Scale => Keep::Scale,
        });
        Wishes { version: self.asked.peft_version.clone(), keep, alpha: self.asked.alpha }
    }

    fn layer_name(&self, module: &Aligned) -> Option<String> {
        let layer = module.layer?;
        if module.places.len() > 1 {
            return Some(module.path.clone());
        }
        Some(self.held.base.layers.name(&self.held.base.files.names, layer))
    }

    fn key(&self, tensor: u32) -> String {
        self.held.adapter.files.tensor_name(tensor)
    }

    fn write_json(&self, out: &mut dyn Write) -> Result<()> {
        let alignment = &self.held.alignment;
        let mut object = json::Object::new(out);
        let adapter = AdapterJson {
            path: &self.asked.adapter,
            kind: &alignment.kind,
            rank: self.held.rank(),
            alpha: self.held.facts.alpha,
            scaling: self
                .held
                .facts
                .scaling
                .or_else(|| alignment.modules.iter().find_map(|module| module.scaling)),
            peft_version: self.held.facts.peft_version.as_deref(),
        };
        object.member("adapter", &adapter)?;
        object.list("modules", alignment.modules.len() as u32, |at, buffer| {
            // Plain values into memory: nothing can fail.
            let _ = json::push(buffer, &self.module_json(&alignment.modules[at as usize]));
        })?;
        object.member("total", &alignment.modules.len())?;
        object.member("aligned", &alignment.aligned())?;
        object.member("repairable", &alignment.repairable())?;
        let unused: Vec<String> = alignment.unused.iter().map(|&tensor| self.key(tensor)).collect();
        object.member("unused_keys", &unused)?;
        object.member("untouched_targets", &alignment.untouched)?;
        object.member("zero_deltas", &alignment.zero_deltas())?;
        let problems = &self.held.problems;
        let problems: Vec<ProblemJson<'_>> = problems.iter().map(ProblemJson::from).collect();
        object.member("problems", &problems)?;
        object.end()
    }

    fn module_json<'m>(&self, module: &'m Aligned) -> ModuleJson<'m> {
        let renames = module.parts.iter().filter_map(|part| {
            part.rename.as_ref().map(|to| RenameJson { from: self.key(part.tensor), to: to.clone() })
        });
        ModuleJson {
            adapter: &module.name,
            layer: self.layer_name(module),
            state: module.state.name(),
            keys: module.parts.iter().map(|part| self.key(part.tensor)).collect(),
            delta: module.delta,
            format: module.layer.map(|layer| self.held.base.layers.spec(layer).format.get().name()),
            base: module.base_shape.as_deref(),
            method: module.method,
            rank: module.rank,
            alpha: module.alpha,
            scaling: module.scaling,
            applied: module.is_applied,
            transposed: module.is_transposed,
            experts: module.experts,
            zero_delta: module.zero_delta,
            nan: module.has_nan,
            renames: renames.collect(),
            evidence: &module.evidence,
        }
    }
}

#[derive(Serialize)]
struct AdapterJson<'a> {
    path: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    rank: Option<u64>,
    alpha: Option<f64>,
    scaling: Option<f64>,
    peft_version: Option<&'a str>,
}

#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not exclude each other")]
struct ModuleJson<'a> {
    adapter: &'a str,
    layer: Option<String>,
    state: &'static str,
    keys: Vec<String>,
    delta: Option<[u64; 2]>,
    format: Option<&'static str>,
    base: Option<&'a [u64]>,
    method: &'static str,
    rank: Option<u64>,
    alpha: Option<f64>,
    scaling: Option<f64>,
    applied: bool,
    transposed: bool,
    experts: u64,
    zero_delta: bool,
    nan: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    renames: Vec<RenameJson>,
    evidence: &'a str,
}

#[derive(Serialize)]
struct RenameJson {
    from: String,
    to: String,
}
