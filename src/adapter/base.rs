//! Base: where the checkpoint lies that an adapter was trained on, as far as its config names it.
//!
//! `base_model_name_or_path` is a Hub name, or a path on the machine of the training. It is looked up as it stands,
//! in the Hub cache, and as a folder of that name near the adapter. Folder listings only: no file is read, nothing
//! is downloaded. The name comes from a file: it is only compared and listed, and opened when the user says so.

use std::path::{Path, PathBuf};

use super::Adapter;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::folder::{container_of, has_weights, list};
use crate::checkpoint::hub_cache;
use crate::name::{cut_middle, escape};

/// Folders below one that is named as the base that are looked into: `model`.
const BELOW_MAX: usize = 100;

/// Cells of a place that was looked at: a name in a file may have any length.
const SHOWN_MAX: usize = 400;

/// What a search for a base found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// What the config names, if it does.
    pub named: Option<String>,
    /// Where it is, if it is on this machine.
    pub found: Option<Found>,
    /// Where it was looked for in vain: places in words.
    pub looked: Vec<String>,
}

/// A base that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What opens it.
    pub path: String,
    /// How it was found: `in the Hub cache`.
    pub how: &'static str,
}

impl Search {
    /// Looks for the base of an adapter.
    #[must_use]
    pub fn of(checkpoint: &Checkpoint, adapter: &Adapter) -> Self {
        let config = checkpoint.files.configs.get("adapter_config.json");
        let revision = config.and_then(|config| config.get("revision")).and_then(|value| value.as_str());
        let named = adapter.base.clone().filter(|named| !named.trim().is_empty());
        let mut search = Self { named, found: None, looked: Vec::new() };
        if let Some(named) = search.named.clone() {
            search.found = search.look(&checkpoint.files.folder, &named, revision);
        }
        search
    }

    fn look(&mut self, adapter: &Path, named: &str, revision: Option<&str>) -> Option<Found> {
        if let Some(path) = self.folder(Path::new(named), adapter) {
            return Some(Found { path, how: "as the config names it" });
        }
        let is_name = !named.starts_with(['/', '.', '~']) && named.matches('/').count() <= 1;
        if is_name {
            let name = match revision {
                Some(revision) => format!("{named}@{revision}"),
                None => named.to_owned(),
            };
            match hub_cache::resolve(named, revision) {
                Ok(_) => return Some(Found { path: name, how: "in the Hub cache" }),
                Err(error) => self.looked.push(format!("the Hub cache: {}", error.message)),
            }
        }
        // The last part of the name, near the adapter: folders are moved together.
        let full = adapter.canonicalize().unwrap_or_else(|_| adapter.to_path_buf());
        let last = Path::new(named.trim_end_matches('/')).file_name()?;
        for (up, above) in full.ancestors().skip(1).take(2).enumerate() {
            // As it was named where that leads up, so that what is shown is short.
            let above = shorter(adapter, up + 1).unwrap_or_else(|| above.to_path_buf());
            if let Some(path) = self.folder(&above.join(last), &full) {
                return Some(Found { path, how: "near the adapter" });
            }
        }
        None
    }

    /// Returns a path that holds a checkpoint: it, or the only folder in it that does.
    fn folder(&mut self, path: &Path, adapter: &Path) -> Option<String> {
        let is_model = |folder: &Path| {
            let files = list(folder).unwrap_or_default();
            has_weights(&files)
                && !files.iter().any(|(name, _)| name == "adapter_config.json")
                && folder.canonicalize().ok() != adapter.canonicalize().ok()
        };
        let is_file = path.is_file() && path.to_str().is_some_and(|name| container_of(name).is_some());
        if is_file || is_model(path) {
            return Some(path.display().to_string());
        }
        let below: Vec<PathBuf> = folders_of(path).into_iter().filter(|folder| is_model(folder)).collect();
        if let [one] = below.as_slice() {
            return Some(one.display().to_string());
        }
        let place = if path.is_relative() && path == Path::new(self.named.as_deref().unwrap_or_default()) {
            " in the working folder"
        } else {
            ""
        };
        let shown = cut_middle(&escape(&path.display().to_string()), SHOWN_MAX).into_owned();
        let shown = format!("{shown}{place}");
        self.looked.push(match below.len() {
            0 if path.is_dir() => format!("{shown}: no weight file"),
            0 => shown,
            several => format!("{shown}: {several} checkpoints in it"),
        });
        None
    }
}

/// Returns the folder so many above, by the name that a path was given by.
fn shorter(path: &Path, up: usize) -> Option<PathBuf> {
    let above = path.ancestors().nth(up).filter(|above| !above.as_os_str().is_empty())?;
    let is_plain = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    (is_plain || path.is_absolute()).then(|| above.to_path_buf())
}

fn folders_of(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten().take(BELOW_MAX);
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests;
