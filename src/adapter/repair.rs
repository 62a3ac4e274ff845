//! Repair: what has to change so that plain PEFT loads an adapter completely. Pure data: nothing is written here.
//!
//! Keys get the names that PEFT looks for; the config is corrected from the tensors (`peft_type`, `r`, targets), and
//! loses fields that PEFT, or the version asked for, does not know. What cannot be put right is named, and then nothing
//! is to be written: an adapter that loads halfway is the fault that this is against.

mod fields;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use self::fields::Fields;
use super::align::{Aligned, Alignment, Asked, Order};
use super::keys::{Key, Tensor};
use super::{Adapter, align::Repair as Possible};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::config::{ConfigFile, Configs};
use crate::checkpoint::files::{Files, Place, Shard};
use crate::checkpoint::layers::Layers;
use crate::container::{Header, View};
use crate::name::escape;
use crate::problem::kind;
use crate::quant::HeadersOnly;

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
    /// What has to be said before it can be repaired, or was said.
    pub asks: Asks,
}

/// What nothing in the files decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asks {
    /// What stays where the config's rank is wrong: alpha, or the scale.
    pub keep: bool,
    /// Alpha, which nothing tells.
    pub alpha: bool,
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
    /// The order of its rows in the result, where it is another.
    pub order: Option<Order>,
    /// True if the result has it as a vector.
    pub is_flat: bool,
}

/// What a repair is to know beside the adapter.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// The oldest PEFT that is to load it: `0.11`.
    pub version: Option<String>,
    /// What stays where the config's rank is wrong.
    pub keep: Option<Keep>,
    /// Alpha, where nothing tells it.
    pub alpha: Option<f64>,
}

/// What stays where the config's rank is not that of the tensors: the two give different adapters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Alpha stays, the scale becomes alpha by the right rank.
    Alpha,
    /// The scale stays, alpha changes with the rank.
    Scale,
}

impl Rekeyed {
    /// Returns true if the result differs from what there is: in name or form.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.from != self.to || self.is_transposed || self.order.is_some() || self.is_flat
    }

    /// Returns what changes beside the name, in words.
    #[must_use]
    pub fn form(&self) -> Option<&'static str> {
        match (self.is_transposed, self.order.is_some(), self.is_flat) {
            (true, ..) => Some("transposed"),
            (_, true, _) => Some("rows in another order"),
            (.., true) => Some("as a vector"),
            _ => None,
        }
    }

    /// Returns the shape in the result, as it is read and as it is written; and how its elements lie in the file,
    /// where they do not lie so.
    fn seen(&self, files: &Files) -> (Vec<u64>, Option<View>) {
        let record = &files.tensors[self.tensor as usize];
        let mut shape = files.shape(record).to_vec();
        let mut view = files.views.get(&self.tensor).cloned();
        let plain = |shape: &[u64]| View {
            strides: strides(shape),
            storage: (record.begin, record.begin.saturating_add(record.bytes)),
            compressed_entry: None,
        };
        if self.is_transposed && shape.len() == 2 {
            view.get_or_insert_with(|| plain(&shape)).strides.reverse();
            shape.reverse();
        }
        if self.is_flat {
            // Only one of its dimensions is not 1.
            let strides = view.as_ref().map(|view| view.strides.clone());
            let long = shape.iter().position(|&size| size != 1).unwrap_or(0);
            if let (Some(view), Some(strides)) = (&mut view, strides) {
                view.strides = strides.get(long).map_or_else(Vec::new, |&stride| vec![stride]);
            }
            shape = shape.get(long).map_or_else(|| vec![1], |&size| vec![size]);
        }
        if let Some(order) = self.order
            && let Some((split, half)) = order.split(&shape)
        {
            let view = view.get_or_insert_with(|| plain(&shape));
            let row = view.strides.first().copied().unwrap_or(1);
            let behind: Vec<u64> = view.strides.iter().skip(1).copied().collect();
            view.strides = [&[row * 2 * half, row, row * 2], behind.as_slice()].concat();
            shape = split;
        }
        (shape, view)
    }

    /// Returns the shape that is written.
    #[must_use]
    pub fn shape(&self, files: &Files) -> Vec<u64> {
        let (shape, _) = Self { order: None, ..self.clone() }.seen(files);
        shape
    }
}

/// Returns the elements between neighbors along each dimension of a plain tensor.
fn strides(shape: &[u64]) -> Vec<u64> {
    let mut strides = vec![1; shape.len()];
    for at in (1..shape.len()).rev() {
        strides[at - 1] = shape[at].saturating_mul(strides[at]);
    }
    strides
}

impl Repair {
    /// Plans the repair of an adapter as wished.
    #[must_use]
    pub fn plan(
        base: &Checkpoint,
        adapter: &Checkpoint,
        facts: &Adapter,
        alignment: &Alignment,
        wishes: &Wishes,
    ) -> Self {
        let mut repair = Self::default();
        repair.refuse(adapter, facts, alignment);
        repair.rekey(adapter, alignment);
        let config = adapter.files.configs.get("adapter_config.json").and_then(Value::as_object);
        let fields = Fields::corrected(config, (base, facts, alignment), wishes);
        repair.config = Value::Object(fields.config);
        repair.changes = fields.changes;
        repair.asks = fields.asks;
        repair.refused.extend(fields.refused);
        if repair.refused.is_empty() {
            repair.refused = repair.still_wrong(base, adapter);
        }
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
        self.result_with(adapter, Configs::default(), true)
    }

    /// Holds the result against the base: what would not be right even so, in words.
    fn still_wrong(&self, base: &Checkpoint, adapter: &Checkpoint) -> Vec<String> {
        let name = "adapter_config.json".to_owned();
        let file = ConfigFile { name, value: Some(self.config.clone()) };
        let configs = Configs { files: vec![file], ..Configs::default() };
        let result = self.result_with(adapter, configs, false);
        let asked = Asked { strip_prefix: None, name: None, values: &HeadersOnly };
        let alignment = Alignment::of(base, &result, &Adapter::read(&result), &asked);
        let wrong = alignment.modules.iter().filter(|module| !module.is_applied);
        wrong
            .map(|module| {
                format!(
                    "{} would still be {}: {}",
                    escape(&module.name),
                    module.state.name(),
                    module.evidence
                )
            })
            .collect()
    }

    /// Returns the result with configs. `is_as_read`: rows in another order as they are read, not as they are written.
    fn result_with(&self, adapter: &Checkpoint, configs: Configs, is_as_read: bool) -> Checkpoint {
        let files = &adapter.files;
        let mut headers: Vec<Header> = files.shards.iter().map(|_| Header::default()).collect();
        for key in &self.keys {
            let record = &files.tensors[key.tensor as usize];
            let (shape, view) = if is_as_read { key.seen(files) } else { (key.shape(files), None) };
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
            files: Arc::new(Files::assemble(place, shards, headers, configs)),
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
            self.keys.push(Rekeyed {
                tensor: part.tensor,
                from,
                to,
                is_transposed: part.is_transposed,
                order: part.order,
                is_flat: part.is_flat,
            });
        }
        if alphas > 0 {
            self.left_out.push(format!("{alphas} alpha tensors: the config has them"));
        }
        // What PEFT does not use stays as it is, but for the base's own weights.
        let is_dump = unused.iter().any(|&tensor| files.tensor_name(tensor).contains(".base_layer.weight"));
        let (mut copies, mut others) = (0, 0);
        for tensor in unused {
            let from = files.tensor_name(tensor);
            let key = Key::parse(&from);
            let is_saved = matches!(key.tensor, Tensor::Saved(_));
            if key.name.is_some() && !is_saved {
                others += 1;
            } else if is_dump && is_saved || from.contains(".original_module.") {
                copies += 1;
            } else {
                let to = from.clone();
                self.keys.push(Rekeyed {
                    tensor,
                    from,
                    to,
                    is_transposed: false,
                    order: None,
                    is_flat: false,
                });
            }
        }
        if copies > 0 {
            self.left_out.push(format!("{copies} copies of the base's own tensors"));
        }
        if others > 0 {
            self.left_out.push(format!("{others} tensors of other adapters in the same file"));
        }
        self.keys.sort_by_key(|key| key.tensor);
    }
}
