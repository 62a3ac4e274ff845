//! A plan in a file: what was asked, and the steps that were shown for it.
//!
//! Replaying plans anew and holds the steps against those that were saved: a plan is never carried out on inputs
//! that have become others.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::adapter::delta::{Combine, Recipe};
use crate::error::{Error, Result};
use crate::name::escape;
use crate::plan::fixed::Change;
use crate::plan::{Merging, Names, Order, Plan, To};
use crate::tensor::Dtype;

/// A plan file is not read beyond this: a million layers take less.
const FILE_BYTES_MAX: u64 = 512 << 20;

/// A plan as it is saved.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct Saved {
    /// `convert`, `merge` or `fix`.
    ckpt: String,
    input: PathBuf,
    output: PathBuf,
    to: To,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keep: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    also: Vec<String>,
    dtype: Option<String>,
    only: Vec<String>,
    skip: Vec<String>,
    skip_broken: bool,
    shard_bytes: u64,
    #[serde(default)]
    names: Names,
    /// Adapters and what they are multiplied by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    adapters: Vec<(PathBuf, f64)>,
    #[serde(default)]
    rounding: Recipe,
    #[serde(default)]
    combine: Combine,
    #[serde(default)]
    allow_partial: bool,
    #[serde(default)]
    base_is_residual: bool,
    /// The codes whose fixes are carried out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    fixes: Vec<String>,
    /// What changes, edit by edit.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    changes: Value,
    steps: Value,
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// Returns a path that holds from everywhere; a Hub name stays one.
fn found(path: &str) -> PathBuf {
    let path = Path::new(path);
    if path.exists() { absolute(path) } else { path.to_path_buf() }
}

impl Saved {
    pub(in crate::cli) fn of(plan: &Plan) -> Self {
        let order = &plan.order;
        let merging = order.merging.as_ref();
        let adapters = merging.map_or(&[][..], |merging| &merging.adapters);
        Self {
            ckpt: if merging.is_some() { "merge" } else { "convert" }.into(),
            input: found(&order.input),
            adapters: adapters.iter().map(|(path, weight)| (found(path), *weight)).collect(),
            rounding: merging.map_or(Recipe::default(), |merging| merging.recipe),
            combine: merging.map_or(Combine::default(), |merging| merging.combine),
            allow_partial: merging.is_some_and(|merging| merging.allow_partial),
            base_is_residual: merging.is_some_and(|merging| merging.base_is_residual),
            output: absolute(&order.output),
            to: order.to.clone(),
            keep: order.keep.clone(),
            also: order.also.clone(),
            dtype: order.dtype.map(|dtype| dtype.name().to_owned()),
            only: order.only.clone(),
            skip: order.skip.clone(),
            skip_broken: order.skip_broken,
            shard_bytes: order.shard_bytes,
            names: order.names,
            fixes: order.fixes.clone(),
            changes: Value::Null,
            steps: serde_json::json!(plan.steps),
        }
    }

    /// Returns the plan of a fix: of the checkpoint and the adapters that were named, and what changes.
    pub(in crate::cli) fn of_fix(plan: &Plan, path: &str, adapters: &[String], changes: &[Change]) -> Self {
        Self {
            ckpt: "fix".into(),
            input: found(path),
            adapters: adapters.iter().map(|adapter| (found(adapter), 1.0)).collect(),
            changes: serde_json::json!(changes),
            ..Self::of(plan)
        }
    }

    pub(in crate::cli) fn write(&self, path: &Path) -> Result<()> {
        let io = |e: std::io::Error| Error::io("write", path, &e);
        let text = serde_json::to_string_pretty(self).map_err(|e| io(e.into()))?;
        let mut file = std::fs::File::create_new(path).map_err(io)?;
        file.write_all(format!("{text}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(io)
    }

    pub(super) fn read(path: &Path) -> Result<Self> {
        let meta = std::fs::metadata(path).map_err(|e| Error::io("open", path, &e))?;
        let shown = escape(&path.display().to_string()).into_owned();
        if !meta.is_file() || meta.len() > FILE_BYTES_MAX {
            return Err(Error::input(format!("{shown}: no plan file")).at(path));
        }
        let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, &e))?;
        let saved: Self = serde_json::from_str(&text)
            .map_err(|e| Error::input(format!("{shown}: no plan: {}", escape(&e.to_string()))).at(path))?;
        let has_adapters = !saved.adapters.is_empty();
        let is_known = match saved.ckpt.as_str() {
            "convert" => !has_adapters && saved.fixes.is_empty() && saved.to != To::Same,
            "merge" => has_adapters && saved.fixes.is_empty(),
            "fix" => !saved.fixes.is_empty(),
            _ => false,
        };
        if !is_known {
            return Err(Error::input(format!(
                "{shown}: a plan for {}, which this version cannot run",
                escape(&saved.ckpt)
            ))
            .at(path));
        }
        Ok(saved)
    }

    pub(super) fn input(&self) -> &str {
        self.input.to_str().unwrap_or("")
    }

    pub(super) fn order(&self) -> Result<Order> {
        let dtype = match &self.dtype {
            None => None,
            Some(word) => match Dtype::parse(word) {
                dtype @ (Dtype::F16 | Dtype::BF16 | Dtype::F32) => Some(dtype),
                _ => {
                    return Err(Error::input(format!(
                        "the plan's dtype {} is none to convert to",
                        escape(word)
                    )));
                }
            },
        };
        Ok(Order {
            input: self.input().to_owned(),
            output: self.output.clone(),
            dtype,
            only: self.only.clone(),
            skip: self.skip.clone(),
            skip_broken: self.skip_broken,
            shard_bytes: self.shard_bytes.max(1),
            names: self.names,
            to: self.to.clone(),
            keep: self.keep.clone(),
            also: self.also.clone(),
            fixes: self.fixes.clone(),
            merging: (!self.adapters.is_empty()).then(|| Merging {
                adapters: self
                    .adapters
                    .iter()
                    .map(|(path, weight)| (path.display().to_string(), *weight))
                    .collect(),
                recipe: self.rounding,
                combine: self.combine,
                allow_partial: self.allow_partial,
                base_is_residual: self.base_is_residual,
            }),
        })
    }

    /// Returns what a fix is asked: the checkpoint, the adapters, the codes, the folder; `None` if it is none.
    pub(in crate::cli) fn as_fix(&self) -> Option<(String, Vec<String>, Vec<String>, PathBuf)> {
        let adapters = self.adapters.iter().map(|(path, _)| path.display().to_string()).collect();
        let is_fix = self.ckpt == "fix";
        is_fix.then(|| (self.input().to_owned(), adapters, self.fixes.clone(), self.output.clone()))
    }

    /// Fails if planning anew gives other steps, or a fix changes something else.
    pub(in crate::cli) fn check(&self, plan: &Plan, changes: &[Change], path: &Path) -> Result<()> {
        let is_same_fix = self.ckpt != "fix" || serde_json::json!(changes) == self.changes;
        if is_same_fix && serde_json::json!(plan.steps) == self.steps {
            return Ok(());
        }
        let shown = escape(&path.display().to_string()).into_owned();
        let message =
            format!("{shown}: the checkpoint is no longer what was planned for; save the plan again");
        Err(Error::input(message).at(path))
    }
}
