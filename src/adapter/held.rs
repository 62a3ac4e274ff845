//! An adapter opened and held against a base: what `align`, `merge` and the workbench begin with.

use std::sync::Arc;

use super::align::{Alignment, Asked};
use super::{Adapter, identity, open, problems_of};
use crate::checkpoint::side::FileSide;
use crate::checkpoint::{Checkpoint, CheckpointKind};
use crate::error::{Error, Result};
use crate::name::escape;
use crate::problem::Problem;

/// An adapter, held against a base.
pub struct Held {
    /// The base that it was held against.
    pub base: Arc<Checkpoint>,
    /// The adapter.
    pub adapter: Arc<Checkpoint>,
    /// What it is.
    pub facts: Adapter,
    /// How it lies on the base.
    pub alignment: Alignment,
    /// What is wrong with the adapter and with the two together, errors first.
    pub problems: Vec<Problem>,
}

impl Held {
    /// Opens an adapter and holds it against a base. Reads its values. `strip_prefix` is a prefix of its keys that
    /// belongs to no module.
    ///
    /// # Errors
    /// It cannot be opened, or nothing in it is an adapter's.
    pub fn open(base: Arc<Checkpoint>, path: &str, strip_prefix: Option<&str>) -> Result<Self> {
        Self::open_named(base, path, strip_prefix, None)
    }

    /// Does the same for one of several adapters of a file: the one whose `name` its keys have.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_named(
        base: Arc<Checkpoint>,
        path: &str,
        strip_prefix: Option<&str>,
        name: Option<&str>,
    ) -> Result<Self> {
        let adapter = open::open(path)?;
        let facts = Adapter::read(&adapter);
        let is_adapter = adapter.kind == CheckpointKind::Adapter || facts.by_keys.is_some();
        if !is_adapter && facts.modules.is_empty() {
            return Err(Error::input(format!(
                "{}: no adapter: no adapter_config.json, and no key of its tensors is one of an adapter",
                escape(path)
            )));
        }
        let alignment = {
            let values = FileSide::whole(&adapter.files);
            Alignment::of(&base, &adapter, &facts, &Asked { strip_prefix, name, values: &values })
        };
        let mut problems = problems_of(&adapter, Some(&facts));
        problems.extend(alignment.problems.clone());
        problems.extend(identity::problems(&base, &adapter, &facts, &alignment));
        problems.sort_by_key(|problem| (problem.kind.severity, problem.kind.code));
        Ok(Self { base, adapter: Arc::new(adapter), facts, alignment, problems })
    }

    /// Returns the rank to show: the config's, else that of the first module.
    #[must_use]
    pub fn rank(&self) -> Option<u64> {
        self.facts.rank.or_else(|| self.alignment.modules.iter().find_map(|module| module.rank))
    }
}
