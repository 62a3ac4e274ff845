//! Check: one module against its layer: parts, shapes, rank, scaling, state, and why.

use super::build::{Context, EMBEDDINGS, part_of};
use super::missing::missing;
use super::{Aligned, Part, Place, Repair, State, experts, fused};
use crate::adapter::dims::{self, Dims, Shapes};
use crate::adapter::group::Group;
use crate::adapter::keys::Family;
use crate::adapter::names::{Found, PREFIX};
use crate::adapter::{config as fields, values};

/// A checked module, and the tensors of it that PEFT would not use.
pub(super) struct Checked {
    pub(super) module: Option<Aligned>,
    pub(super) unused: Vec<u32>,
}

impl Checked {
    /// Checks a group. `siblings` are the groups of the same path, itself among them.
    pub(super) fn of(context: &Context<'_>, group: &Group, found: &Found, siblings: &[&Group]) -> Self {
        let mut unused = Vec::new();
        let is_first = siblings.first().is_some_and(|first| std::ptr::eq(*first, group));
        let path = found.path().unwrap_or(group.path.strip_prefix(PREFIX).unwrap_or(&group.path));
        if context.is_copy(group, path) {
            return Self { module: None, unused };
        }
        let saved = context.saved(group, path, &mut unused);
        let Some(kind) = group.kind.filter(|kind| *kind != "TRAINABLE_TOKENS") else {
            if group.kind.is_none() && saved.is_empty() {
                return Self { module: None, unused };
            }
            let module = context.check_saved(group, found, saved);
            return Self { module: Some(module), unused };
        };
        let mut module = Aligned::new(&group.name, kind);
        path.clone_into(&mut module.path);
        module.layer = context.layer_of(path, &mut module.is_tied);
        module.parts = context.parts(group, &mut unused);
        if is_first {
            module.parts.extend(saved);
        }
        context.check_delta(&mut module, group, found, siblings);
        Self { module: Some(module), unused }
    }
}

/// What a state is decided from.
pub(super) struct Verdict {
    state: State,
    evidence: String,
}

impl Context<'_> {
    /// Returns the layer of a path; a tied head is the embeddings.
    fn layer_of(&self, path: &str, is_tied: &mut bool) -> Option<u32> {
        let configs = &self.base.files.configs;
        let label = path.rsplit('.').next().unwrap_or("");
        let is_end = EMBEDDINGS.contains(&label);
        let ties = configs.ties_embeddings();
        *is_tied = is_end && ties;
        let found = self.names.layer(path);
        // Encoder and decoder of one vocabulary share their embeddings as well; BERT's head is a decoder.
        let is_shared = ["lm_head", "embed_out", "proj_out", "embed_tokens"].contains(&label)
            || path.ends_with("predictions.decoder");
        if found.is_some() || !ties || !is_shared {
            return found;
        }
        let before = path.strip_suffix("lm_head").unwrap_or("");
        [
            "model.embed_tokens",
            "embed_tokens",
            "model.language_model.embed_tokens",
            "language_model.model.embed_tokens",
        ]
        .iter()
        .find_map(|name| self.names.layer(&format!("{before}{name}")).or_else(|| self.names.layer(name)))
        .or_else(|| self.only_embeddings())
    }

    /// Returns the layer of the embeddings of tokens, if the base has one matrix of such a name and no other.
    fn only_embeddings(&self) -> Option<u32> {
        const NAMES: [&str; 7] =
            ["embed_in", "embed_tokens", "embeddings", "shared", "tok_embeddings", "word_embeddings", "wte"];
        let (layers, names) = (&self.base.layers, &self.base.files.names);
        let is_one = |layer: &u32| {
            NAMES.contains(&layers.label(names, *layer)) && layers.spec(*layer).shape.len() == 2
        };
        let mut found = (0..layers.len() as u32).filter(is_one);
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    /// Returns true for the copies that PEFT writes of a saved module's bias where `bias` is `all`: one under
    /// `modules_to_save` and one under `original_module`, beside the module's own.
    fn is_copy(&self, group: &Group, path: &str) -> bool {
        let holder = path.strip_suffix(".modules_to_save").or_else(|| path.strip_suffix(".original_module"));
        group.kind.is_none()
            && holder.is_some_and(|holder| self.targets.saves(holder))
            && group.saved.iter().all(|&(part, ..)| part == "bias")
    }

    /// Returns the parts of a group that the config wants.
    fn parts(&self, group: &Group, unused: &mut Vec<u32>) -> Vec<Part> {
        let flag = |key: &str| self.config.and_then(|c| c.get(key)).and_then(serde_json::Value::as_bool);
        let is_peft = group.family == Family::Peft && self.is_of_config("LORA");
        let mut parts = Vec::new();
        for &(mark, tensor) in &group.parts {
            let is_wanted = match mark.part {
                "lora_magnitude_vector" => !is_peft || flag("use_dora") == Some(true),
                "lora_B.bias" => !is_peft || flag("lora_bias") == Some(true),
                _ => true,
            };
            if is_wanted { parts.push(part_of(mark, tensor)) } else { unused.push(tensor) }
        }
        parts
    }

    /// Returns true if the config is one of PEFT of this type.
    fn is_of_config(&self, kind: &str) -> bool {
        self.facts.declared.as_deref() == Some(kind)
    }

    /// Returns the tensors that replace the module's own; what PEFT does not look at goes to `unused`.
    fn saved(&self, group: &Group, path: &str, unused: &mut Vec<u32>) -> Vec<Part> {
        let label = path.rsplit('.').next().unwrap_or("");
        let text = |key: &str| self.config.and_then(|c| c.get(key)).and_then(serde_json::Value::as_str);
        let keeps_bias = text("bias").is_some_and(|bias| bias != "none");
        let is_end = EMBEDDINGS.contains(&label) && !self.is_dump;
        let by_name = self.targets.saves(path)
            || self.targets.saved.iter().any(|saved| path.split('.').any(|part| part == saved));
        // A name in the key of a saved module is of `modules_to_save`; in that of a part, of the adapter.
        let is_named = group.leaked.is_some() && group.parts.is_empty();
        let mut parts = Vec::new();
        for &(part, tensor, is_wrapped) in &group.saved {
            let is_saved = match part {
                "bias" => keeps_bias || by_name || is_end && is_wrapped,
                "weight" => by_name || is_end || is_named,
                _ => by_name && !is_wrapped,
            };
            if is_saved {
                parts.push(Part {
                    part,
                    tensor,
                    rename: None,
                    is_transposed: false,
                    order: None,
                    is_flat: false,
                    is_factor: false,
                });
            } else {
                unused.push(tensor);
            }
        }
        parts
    }

    /// Returns true if a module's delta has the shape of a layer.
    pub(super) fn fits(&self, group: &Group, layer: u32) -> bool {
        let kind = group.kind.unwrap_or("");
        let spec = self.base.layers.spec(layer);
        let [out, inputs, ..] = spec.shape[..] else { return kind.is_empty() };
        let Ok(dims) = dims::of(kind, &Shapes(self.shapes(group))) else { return false };
        let fits = |out: u64, inputs: u64| {
            dims.out.is_none_or(|n| n == out) && dims.inputs.is_none_or(|n| n == inputs)
        };
        fits(out, inputs) || fits(inputs, out)
    }

    /// Returns the shapes of a group's parts, as PEFT has them.
    pub(super) fn shapes(&self, group: &Group) -> Vec<(&'static str, &[u64])> {
        let files = &self.adapter.files;
        let shape = |tensor: u32| files.shape(&files.tensors[tensor as usize]);
        group.parts.iter().map(|&(mark, tensor)| (mark.part, shape(tensor))).collect()
    }

    fn check_delta(&self, module: &mut Aligned, group: &Group, found: &Found, siblings: &[&Group]) {
        let stacked = experts::of(self, module, group, siblings);
        let turned: Vec<(&'static str, Vec<u64>)> = module
            .parts
            .iter()
            .map(|part| {
                let files = &self.adapter.files;
                let mut shape = files.shape(&files.tensors[part.tensor as usize]).to_vec();
                if part.is_transposed && shape.len() == 2 {
                    shape.reverse();
                }
                (part.part, shape)
            })
            .collect();
        let shapes = Shapes(turned.iter().map(|(part, shape)| (*part, shape.as_slice())).collect());
        let dims = dims::of(module.method, &shapes);
        module.rank = dims.as_ref().ok().and_then(|dims| dims.rank);
        if let Some(stacked) = &stacked {
            module.experts = stacked.experts;
            module.rank = module.rank.map(|rank| rank / stacked.experts.max(1));
        }
        self.scale(module, group);
        self.look(module);
        let empty =
            module.parts.iter().find(|part| self.adapter.files.tensors[part.tensor as usize].bytes == 0);
        let mut lacking = dims::missing(module.method, &|part| module.part(part).is_some());
        if self.wants_magnitude(module, group) {
            lacking.push("lora_magnitude_vector");
        }
        let verdict = if let Some(empty) = empty {
            Verdict {
                state: State::Incomplete,
                evidence: format!("{} has no values (left by a partitioned save)", empty.part),
            }
        } else if !lacking.is_empty() {
            Verdict { state: State::Incomplete, evidence: Self::lacking_evidence(module, &lacking) }
        } else {
            match (stacked, dims) {
                (_, Err(why)) => Verdict { state: State::Shape, evidence: why },
                (Some(stacked), Ok(dims)) => stacked.place(self, module, dims),
                (None, Ok(dims)) => self.place(module, found, dims),
            }
        };
        module.state = verdict.state;
        module.evidence = verdict.evidence;
        if matches!(
            module.state,
            State::Incomplete | State::Missing | State::Shape | State::Padded | State::Fused
        ) {
            module.repair = Repair::No(module.evidence.clone());
            return;
        }
        self.name(module, group, found);
    }

    fn lacking_evidence(module: &Aligned, lacking: &[&str]) -> String {
        let names = lacking.join(", ");
        if lacking == ["lora_magnitude_vector"] {
            return "use_dora is true and lora_magnitude_vector is not here: PEFT would make its own, with other results".into();
        }
        let here: Vec<&str> = module.parts.iter().map(|part| part.part).collect();
        format!("{names} is not here, {} alone is no delta", here.join(", "))
    }

    fn wants_magnitude(&self, module: &Aligned, group: &Group) -> bool {
        module.method == "LORA"
            && group.family == Family::Peft
            && self.is_of_config("LORA")
            && self.config.and_then(|c| c.get("use_dora")).and_then(serde_json::Value::as_bool) == Some(true)
            && module.part("lora_magnitude_vector").is_none()
    }

    /// Decides where a module of one layer goes.
    fn place(&self, module: &mut Aligned, found: &Found, dims: Dims) -> Verdict {
        let Some(layer) = module.layer else {
            return fused::place(self, module, found, dims);
        };
        let spec = self.base.layers.spec(layer);
        module.base_shape = Some(spec.shape.clone());
        if !spec.shape_known || spec.shape.is_empty() {
            module.delta = dims.out.zip(dims.inputs).map(|(out, inputs)| [out, inputs]);
            Self::whole_layer(module, layer, dims.out.unwrap_or(0));
            return Verdict {
                state: State::Aligned,
                evidence: "the base layer's shape is not known; names fit".into(),
            };
        }
        let brought = self.brought(module, &spec.shape);
        let mut stored = brought.unwrap_or([spec.shape[0], spec.shape.get(1).copied().unwrap_or(1)]);
        // LoHa and LoKr of a convolution may have its inputs and its kernel in one factor.
        let all = crate::tensor::elements(&spec.shape[1..]);
        if spec.shape.len() > 2 && matches!(module.method, "LOHA" | "LOKR") && dims.inputs == all {
            stored[1] = all.unwrap_or(stored[1]);
        }
        let delta = |shape: [u64; 2]| [dims.out.unwrap_or(shape[0]), dims.inputs.unwrap_or(shape[1])];
        let turned = [stored[1], stored[0]];
        let is_turned = self.is_turned(module, layer, delta(stored) == stored);
        let shape = if is_turned { turned } else { stored };
        let is_vector = spec.shape.len() == 1;
        module.delta = if is_vector { None } else { Some(delta(shape)) };
        module.is_transposed = is_turned;
        if is_vector && dims.out.is_none_or(|out| out == shape[0]) || delta(shape) == shape {
            Self::whole_layer(module, layer, shape[0]);
            let fits = if brought.is_some() { "the weight that the adapter brings for" } else { "the layer" };
            return Verdict {
                state: State::Aligned,
                evidence: format!("delta {:?} fits {fits} {:?}", delta(shape), spec.shape),
            };
        }
        let ([rows, columns], [of_base, inputs]) = (delta(shape), shape);
        if brought.is_some() {
            return Verdict {
                state: State::Shape,
                evidence: format!(
                    "delta [{rows}, {columns}], and the weight that the adapter itself brings [{of_base}, {inputs}]"
                ),
            };
        }
        let label = module.path.rsplit('.').next().unwrap_or("");
        if EMBEDDINGS.contains(&label) && columns == inputs {
            return Verdict {
                state: State::Shape,
                evidence: format!(
                    "delta for a vocabulary of {rows}, the base has {of_base}, and the adapter does not bring the \
                     embeddings with those rows"
                ),
            };
        }
        mismatch(delta(shape), shape)
    }

    /// Returns the shape of the weight that an adapter brings for embeddings or a head beside its delta, where the
    /// vocabulary was resized: the delta is for that.
    fn brought(&self, module: &Aligned, base: &[u64]) -> Option<[u64; 2]> {
        let label = module.path.rsplit('.').next().unwrap_or("");
        let weight = module.part("weight").filter(|_| EMBEDDINGS.contains(&label))?;
        let files = &self.adapter.files;
        match (files.shape(&files.tensors[weight as usize]), base) {
            (&[rows, inputs], &[of_base, of]) if inputs == of && rows != of_base => Some([rows, inputs]),
            _ => None,
        }
    }

    fn whole_layer(module: &mut Aligned, layer: u32, rows: u64) {
        module.places =
            vec![Place { layer, expert: None, slab: None, delta_rows: 0..rows, layer_rows: 0..rows }];
    }

    /// Returns true if the base stores the weight `[in, out]`.
    fn is_turned(&self, module: &Aligned, layer: u32, fits_as_stored: bool) -> bool {
        /// Models whose linears are transformers' `Conv1D`.
        const CONV1D: [&str; 4] = ["gpt2", "openai-gpt", "imagegpt", "decision_transformer"];
        let spec = self.base.layers.spec(layer);
        if spec.is_quantized() || spec.shape.len() != 2 {
            return false;
        }
        let label = module.path.rsplit('.').next().unwrap_or("");
        if EMBEDDINGS.contains(&label) {
            return false;
        }
        let config = &self.base.files.configs;
        let model_type =
            config.get("config.json").and_then(|c| c.get("model_type")).and_then(serde_json::Value::as_str);
        let flag = self.config.and_then(|c| c.get("fan_in_fan_out")).and_then(serde_json::Value::as_bool);
        match model_type {
            Some(model_type) if CONV1D.contains(&model_type) => {
                ["c_attn", "c_proj", "c_fc", "q_attn"].contains(&label)
            }
            Some(_) => false,
            // No config: the flag, where the stored shape does not contradict it.
            None => flag == Some(true) && (!fits_as_stored || spec.shape[0] == spec.shape[1]),
        }
    }

    /// Looks at the values of a module's parts.
    pub(super) fn look(&self, module: &mut Aligned) {
        for part in &module.parts {
            let Some(seen) = values::look(&self.adapter.files, self.asked.values, part.tensor) else {
                continue;
            };
            module.has_nan |= seen.has_nan;
            module.has_infinity |= seen.has_infinity;
            module.zero_delta |= seen.is_zero && part.is_factor;
        }
    }

    /// Checks a module of which the adapter has tensors of its own, or token rows.
    fn check_saved(&self, group: &Group, found: &Found, saved: Vec<Part>) -> Aligned {
        let mut module =
            Aligned::new(&group.name, if group.kind.is_some() { "TRAINABLE_TOKENS" } else { "SAVED" });
        let path = found.path().unwrap_or(group.path.strip_prefix(PREFIX).unwrap_or(&group.path));
        path.clone_into(&mut module.path);
        module.layer = self.layer_of(path, &mut module.is_tied);
        module.parts = group.parts.iter().map(|&(mark, tensor)| part_of(mark, tensor)).chain(saved).collect();
        module.base_shape = module.layer.map(|layer| self.base.layers.spec(layer).shape.clone());
        module.tokens = fields::token_rows(self.config, path);
        self.look(&mut module);
        module.state = State::Saved;
        let rows = Self::base_rows(&module);
        module.evidence = if module.method == "TRAINABLE_TOKENS" {
            format!("{} rows of the embeddings are replaced", module.tokens.len())
        } else if module.layer.is_none() {
            "the base has no such module: it is made when the adapter is loaded".into()
        } else {
            "it replaces the module's own tensors".into()
        };
        if let Some(wrong) = self.saved_shape(&module, rows) {
            module.state = State::Shape;
            module.repair = Repair::No(wrong.clone());
            module.evidence = wrong;
            return module;
        }
        if matches!(found, Found::Ambiguous(_)) || (module.layer.is_none() && !self.targets.saves(path)) {
            module.state = State::Missing;
            module.evidence = missing(found, path, (self.base, &self.names));
            module.repair = Repair::No(module.evidence.clone());
            return module;
        }
        if let Some(layer) = module.layer {
            Self::whole_layer(&mut module, layer, rows.unwrap_or(0));
        }
        self.name(&mut module, group, found);
        if module.is_renamed() && !module.is_applied {
            module.state = State::Renamed;
        }
        module
    }

    fn base_rows(module: &Aligned) -> Option<u64> {
        module.base_shape.as_ref().and_then(|shape| shape.first()).copied()
    }

    /// Returns what is wrong with the shapes of saved tensors. Another number of rows is another vocabulary.
    fn saved_shape(&self, module: &Aligned, rows: Option<u64>) -> Option<String> {
        let base = module.base_shape.as_ref().filter(|shape| !shape.is_empty())?;
        let files = &self.adapter.files;
        let is_turned = module.layer.is_some_and(|layer| self.is_turned(module, layer, false));
        let turned = base.get(1).filter(|_| is_turned);
        module.parts.iter().find_map(|part| {
            let shape = files.shape(&files.tensors[part.tensor as usize]);
            let label = module.path.rsplit('.').next().unwrap_or("");
            let is_end = EMBEDDINGS.contains(&label);
            let fits = match part.part {
                "weight" => {
                    shape.len() == base.len()
                        && shape.get(1..) == base.get(1..)
                        && (is_end || shape.first() == base.first())
                }
                "bias" => is_end || shape.first().copied() == rows || turned == shape.first(),
                "trainable_tokens_delta" => {
                    shape.get(1) == base.get(1)
                        && (module.tokens.is_empty()
                            || shape.first().copied() == Some(module.tokens.len() as u64))
                }
                _ => true,
            };
            (!fits).then(|| format!("{} {shape:?} does not fit the layer {base:?}", part.part))
        })
    }
}

/// Returns the verdict on a delta that has not the layer's shape.
fn mismatch(delta: [u64; 2], base: [u64; 2]) -> Verdict {
    let is_padded = |a: u64, b: u64| {
        let (less, more) = (a.min(b), a.max(b));
        // Quantized bases are padded to whole groups or tiles, which is little beside the layer.
        [32, 64, 128, 256, 512]
            .iter()
            .any(|&to| less.checked_next_multiple_of(to) == Some(more) && less % to != 0)
            && (more - less).saturating_mul(8) < less
    };
    let differ: Vec<usize> = (0..2).filter(|&at| delta[at] != base[at]).collect();
    let is_padding = differ.iter().all(|&at| is_padded(delta[at], base[at]));
    let evidence = format!("delta {delta:?}, base layer {base:?}");
    if is_padding {
        let whose = if differ.iter().all(|&at| delta[at] > base[at]) {
            "the adapter is of a padded base"
        } else {
            "this base is padded"
        };
        return Verdict { state: State::Padded, evidence: format!("{evidence}: {whose}") };
    }
    Verdict { state: State::Shape, evidence: format!("{evidence}: another model's, or another size") }
}

impl Verdict {
    pub(super) fn new(state: State, evidence: String) -> Self {
        Self { state, evidence }
    }

    /// Adds to the evidence of a part of a layer.
    pub(super) fn with(mut self, more: &str) -> Self {
        if self.state == State::Fused {
            self.evidence.push_str(more);
        }
        self
    }
}

/// Returns the verdict on a delta of stacked experts that has not the layer's shape.
pub(super) fn shape_verdict(delta: [u64; 2], base: [u64; 2]) -> Verdict {
    mismatch(delta, base)
}
