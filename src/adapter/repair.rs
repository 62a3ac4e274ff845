//! Repair: what has to change so that plain PEFT loads an adapter completely. Pure data: nothing is written here.
//!
//! Keys get the names that PEFT looks for; the config is corrected from the tensors (`peft_type`, `r`, targets), and
//! loses fields that PEFT, or the version asked for, does not know. What cannot be put right is named, and then nothing
//! is to be written: an adapter that loads halfway is the fault that this is against.

mod config;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use self::config::Fields;
use super::align::{Aligned, Alignment};
use super::keys::{Key, Tensor};
use super::{Adapter, align::Repair as Possible};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::config::Configs;
use crate::checkpoint::files::{Files, Place, Shard};
use crate::checkpoint::layers::Layers;
use crate::container::{Header, View};
use crate::name::escape;
use crate::problem::kind;

/// What a repair does.
#[derive(Clone, Debug, Default)]
pub struct Repair {
    /// Tensors of the result: tensor, its key now, the key it gets.
    pub keys: Vec<Rekeyed>,
    /// The config of the result.
    pub config: Value,
    /// What changes in the config, in words.
    pub changes: Vec<String>,
    /// What is left out, in words.
    pub left_out: Vec<String>,
    /// What stands in the way, in words. Not empty: nothing may be written.
    pub refused: Vec<String>,
}

/// A tensor of the result.
#[derive(Clone, Debug)]
pub struct Rekeyed {
    /// Index into the adapter's tensors.
    pub tensor: u32,
    /// Its key.
    pub from: String,
    /// The key it gets.
    pub to: String,
    /// True if the result has it transposed.
    pub is_transposed: bool,
}

impl Rekeyed {
    /// Returns true if it gets another key, or is transposed.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.from != self.to || self.is_transposed
    }
}

impl Repair {
    /// Plans the repair of an adapter. `version` is the oldest PEFT that is to load it: `0.11`.
    #[must_use]
    pub fn plan(
        base: &Checkpoint,
        adapter: &Checkpoint,
        facts: &Adapter,
        alignment: &Alignment,
        version: Option<&str>,
    ) -> Self {
        let mut repair = Self::default();
        repair.refuse(adapter, facts, alignment);
        repair.rekey(adapter, alignment);
        let config = adapter.files.configs.get("adapter_config.json").and_then(Value::as_object);
        let mut fields =
            Fields { config: config.cloned().unwrap_or_default(), changes: Vec::new(), refused: Vec::new() };
        fields.correct(base, facts, alignment);
        fields.downgrade(version);
        repair.config = Value::Object(fields.config);
        repair.changes = fields.changes;
        repair.refused.extend(fields.refused);
        repair
    }

    /// Returns true if there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.renames() == 0
    }

    /// Returns how many keys change.
    #[must_use]
    pub fn renames(&self) -> usize {
        self.keys.iter().filter(|key| key.is_changed()).count()
    }

    /// Returns what it does in a few words each: how many keys and fields change, and what is left out.
    #[must_use]
    pub fn said(&self) -> Vec<String> {
        let keys =
            (self.renames(), "key renamed, its values as they are", "keys renamed, their values as they are");
        let fields = (self.changes.len(), "field of the config corrected", "fields of the config corrected");
        let counted = [keys, fields].into_iter().filter(|(count, ..)| *count > 0);
        let counted =
            counted.map(|(count, one, more)| format!("{count} {}", if count == 1 { one } else { more }));
        counted.chain(self.left_out.iter().map(|what| format!("without {what}"))).collect()
    }

    /// Returns the adapter with its tensors under their new keys, and transposed where PEFT has them so: the same
    /// bytes of the same files, seen otherwise.
    #[must_use]
    pub fn result(&self, adapter: &Checkpoint) -> Checkpoint {
        let files = &adapter.files;
        let mut headers: Vec<Header> = files.shards.iter().map(|_| Header::default()).collect();
        for key in &self.keys {
            let record = &files.tensors[key.tensor as usize];
            let mut shape = files.shape(record).to_vec();
            let mut view = files.views.get(&key.tensor).cloned();
            if key.is_transposed && shape.len() == 2 {
                let range = (record.begin, record.begin.saturating_add(record.bytes));
                let seen = view.get_or_insert_with(|| View {
                    strides: vec![shape[1], 1],
                    storage: range,
                    compressed_entry: None,
                });
                seen.strides.reverse();
                shape.reverse();
            }
            let Some(header) = headers.get_mut(usize::from(record.shard)) else { continue };
            header.push(
                &key.to,
                record.dtype,
                &shape,
                record.begin,
                record.begin.saturating_add(record.bytes),
            );
            if let Some(view) = view {
                header.views.insert(header.entries().len() as u32 - 1, view);
            }
        }
        let place = Place {
            path: files.path.clone(),
            folder: files.folder.clone(),
            title: files.title.clone(),
            container: files.container,
            index: None,
            others: files.others.clone(),
        };
        let shard = |shard: &Shard| Shard {
            name: shard.name.clone(),
            path: shard.path.clone(),
            bytes: shard.bytes,
            tensors: shard.tensors,
            metadata: Vec::new(),
            unreadable: shard.unreadable,
        };
        let shards = files.shards.iter().map(shard).collect();
        Checkpoint {
            files: Arc::new(Files::assemble(place, shards, headers, Configs::default())),
            layers: Layers::default(),
            problems: Vec::new(),
            kind: adapter.kind,
            examined: true,
            index_unchecked: false,
        }
    }

    fn refuse(&mut self, adapter: &Checkpoint, facts: &Adapter, alignment: &Alignment) {
        for problem in adapter.problems.iter().filter(|problem| problem.is_error()) {
            self.refused.push(problem.message.clone());
        }
        let weights = facts.problems.iter().find(|problem| problem.kind == &kind::ADAPTER_WEIGHTS);
        self.refused.extend(weights.map(|problem| problem.message.clone()));
        if alignment.modules.is_empty() && weights.is_none() {
            self.refused.push("no module of an adapter is here".into());
        }
        let hopeless = |module: &&Aligned| matches!(module.repair, Possible::No(_)) || module.has_nan;
        for module in alignment.modules.iter().filter(hopeless) {
            let why = if module.has_nan { "NaN values" } else { &module.evidence };
            self.refused.push(format!("{} ({}): {why}", escape(&module.name), module.state.name()));
        }
        let configs = &adapter.files.configs;
        if configs.get("adapter_config.json").and_then(Value::as_object).is_none()
            && !alignment.modules.is_empty()
        {
            let known =
                alignment.modules.iter().all(|module| module.alpha.is_some() || module.method == "SAVED");
            if !known {
                self.refused.push("adapter_config.json is not here: alpha is not known".into());
            }
        }
    }

    fn rekey(&mut self, adapter: &Checkpoint, alignment: &Alignment) {
        let files = &adapter.files;
        let mut unused: BTreeSet<u32> = alignment.unused.iter().copied().collect();
        let used = alignment.modules.iter().flat_map(|module| &module.parts).chain(&alignment.shared);
        let mut alphas = 0;
        for part in used {
            unused.remove(&part.tensor);
            if part.part == "alpha" {
                alphas += 1;
                continue;
            }
            let from = files.tensor_name(part.tensor);
            let to = part.rename.clone().unwrap_or_else(|| from.clone());
            self.keys.push(Rekeyed { tensor: part.tensor, from, to, is_transposed: part.is_transposed });
        }
        if alphas > 0 {
            self.left_out.push(format!("{alphas} alpha tensors: the config has them"));
        }
        // What PEFT does not use stays as it is, but for the base's own weights.
        let is_dump = unused.iter().any(|&tensor| files.tensor_name(tensor).contains(".base_layer.weight"));
        let mut copies = 0;
        for tensor in unused {
            let from = files.tensor_name(tensor);
            let is_saved = matches!(Key::parse(&from).tensor, Tensor::Saved(_));
            if is_dump && is_saved || from.contains(".original_module.") {
                copies += 1;
            } else {
                self.keys.push(Rekeyed { tensor, to: from.clone(), from, is_transposed: false });
            }
        }
        if copies > 0 {
            self.left_out.push(format!("{copies} copies of the base's own tensors"));
        }
        self.keys.sort_by_key(|key| key.tensor);
    }
}
