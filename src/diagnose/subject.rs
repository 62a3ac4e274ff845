//! Subject: what rules look at: a checkpoint as it was opened and examined, and the adapters held against it.

use serde_json::Value;

use crate::adapter::Adapter;
use crate::adapter::align::Alignment;
use crate::adapter::held::Held;
use crate::checkpoint::files::Files;
use crate::checkpoint::{Checkpoint, CheckpointKind};
use crate::name::escape;
use crate::problem::{Problem, ProblemKind};
use crate::quant::QuantBlock;
use crate::units;

/// Of what a finding speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// The checkpoint that was opened, be it a model or an adapter.
    #[default]
    Checkpoint,
    /// An adapter that is attached to it, by its number.
    Adapter(usize),
}

/// What rules look at.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The checkpoint, examined.
    pub checkpoint: &'a Checkpoint,
    /// What it is as an adapter, if it is one.
    pub facts: Option<&'a Adapter>,
    /// The adapters that are attached to it.
    pub held: &'a [&'a Held],
    /// What reading the data showed, if it was read (`--deep`).
    pub deep: &'a [Problem],
}

/// An adapter, attached or opened by itself.
#[derive(Clone, Copy)]
pub struct AdapterView<'a> {
    /// Which one.
    pub about: About,
    /// Its files.
    pub checkpoint: &'a Checkpoint,
    /// What it says of itself.
    pub facts: &'a Adapter,
    /// How it lies on its base, and the base, if it is attached to one.
    pub held: Option<&'a Held>,
}

impl<'a> AdapterView<'a> {
    /// Returns how it lies on its base.
    #[must_use]
    pub fn alignment(&self) -> Option<&'a Alignment> {
        self.held.map(|held| &held.alignment)
    }

    /// Returns a value of its `adapter_config.json` that is not null.
    #[must_use]
    pub fn config(&self, key: &str) -> Option<&'a Value> {
        self.checkpoint.files.configs.get("adapter_config.json")?.get(key).filter(|value| !value.is_null())
    }

    /// Returns a flag of its config; absent and null are false.
    #[must_use]
    pub fn flag(&self, key: &str) -> bool {
        self.config(key).and_then(Value::as_bool) == Some(true)
    }
}

impl<'a> Subject<'a> {
    /// Returns what the headers of the checkpoint say.
    #[must_use]
    pub fn files(&self) -> &'a Files {
        &self.checkpoint.files
    }

    /// Returns the checkpoint if it holds weights of a model.
    #[must_use]
    pub fn model(&self) -> Option<&'a Checkpoint> {
        (self.checkpoint.kind == CheckpointKind::Model).then_some(self.checkpoint)
    }

    /// Returns the adapters: the checkpoint itself if it is one, and those that are attached.
    pub fn adapters(&self) -> impl Iterator<Item = AdapterView<'a>> + 'a {
        let checkpoint = self.checkpoint;
        let own =
            self.facts.map(|facts| AdapterView { about: About::Checkpoint, checkpoint, facts, held: None });
        let attached = self.held.iter().enumerate().map(|(number, held)| AdapterView {
            about: About::Adapter(number),
            checkpoint: &held.adapter,
            facts: &held.facts,
            held: Some(held),
        });
        own.into_iter().chain(attached)
    }

    /// Returns everything that opening, examining, aligning and deep reading saw.
    pub fn problems(&self) -> impl Iterator<Item = (About, &'a Problem)> + 'a {
        let facts = self.facts.into_iter().flat_map(|facts| &facts.problems);
        let own = self.checkpoint.problems.iter().chain(facts).chain(self.deep);
        let own = own.map(|problem| (About::Checkpoint, problem));
        let attached = self.held.iter().enumerate().flat_map(|(number, held)| {
            held.problems.iter().map(move |problem| (About::Adapter(number), problem))
        });
        own.chain(attached)
    }

    /// Returns a config file of the checkpoint, if it is there and JSON.
    #[must_use]
    pub fn json(&self, file: &str) -> Option<&'a Value> {
        self.files().configs.get(file)
    }

    /// Returns the first block that describes the quantization and names its method.
    #[must_use]
    pub fn quant_block(&self) -> Option<&'a QuantBlock> {
        self.files().configs.quant.blocks.iter().find(|block| block.method.is_some())
    }

    /// Returns the method that the config names: `gptq`.
    #[must_use]
    pub fn quant_method(&self) -> Option<&'a str> {
        self.quant_block()?.method.as_deref()
    }

    /// Returns how many layers have this format (`gptq`, `bnb-nf4` …), and the name of the first.
    #[must_use]
    pub fn layers_of(&self, is_format: impl Fn(&str) -> bool) -> (usize, Option<String>) {
        let (layers, files) = (&self.checkpoint.layers, self.files());
        let wanted: Vec<bool> =
            layers.specs().iter().map(|spec| is_format(spec.format.get().name())).collect();
        if !wanted.contains(&true) {
            return (0, None);
        }
        let mut count = 0;
        let mut first = None;
        for (layer, found) in layers.list().iter().enumerate() {
            if wanted[found.spec as usize] {
                count += 1;
                first.get_or_insert(layer as u32);
            }
        }
        (count, first.map(|layer| layers.name(&files.names, layer)))
    }

    /// Returns how many layers are packed, and the name of the first.
    #[must_use]
    pub fn packed_layers(&self) -> (usize, Option<String>) {
        self.layers_of(|format| format != "dense")
    }

    /// Returns how many of all layers are packed and what they are: `14 of 21 layers are AWQ4 g128`.
    #[must_use]
    pub fn packed_words(&self, packed: usize) -> String {
        let all = units::exact(self.checkpoint.layers.len() as u64);
        let are = if packed == 1 { "is" } else { "are" };
        format!(
            "{} of {all} layers {are} {}",
            units::exact(packed as u64),
            escape(&self.checkpoint.headline())
        )
    }

    /// Returns true if opening, aligning or deep reading saw a problem of one of these kinds.
    #[must_use]
    pub fn has_problem(&self, kinds: &[&ProblemKind]) -> bool {
        self.problems().any(|(_, problem)| kinds.contains(&problem.kind))
    }

    /// Returns true if a file of this name is in the folder, weights and configs included.
    #[must_use]
    pub fn has_file(&self, name: &str) -> bool {
        let files = self.files();
        files.configs.has(name)
            || files.others.iter().any(|(other, _)| other == name)
            || files.shards.iter().any(|shard| shard.name == name)
    }
}
