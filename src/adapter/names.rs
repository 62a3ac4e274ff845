//! Names: where in a base the path of an adapter's module leads.
//!
//! First as PEFT reads it (`base_model.model.` and the base's own name), then as PEFT and transformers rename it
//! themselves, then by the prefix: an adapter's prefix and a base's may differ by wrappers that are known
//! (`model`, `language_model`, `module` …), and the prefix that most modules hit is taken. If two hit as many,
//! that is said and none is taken.

use rustc_hash::FxHashMap;
use serde_json::Value;

use super::gguf_base::GgufBase;
use super::keys::Family;
use crate::checkpoint::Checkpoint;

/// What PEFT puts before the base's names in its files.
pub const PREFIX: &str = "base_model.model.";

/// Wrappers that a prefix may have or lack.
const WRAPPERS: [&str; 14] = [
    "base_model",
    "model",
    "module",
    "_orig_mod",
    "language_model",
    "text_model",
    "thinker",
    "llm",
    "lm",
    "transformer",
    "diffusion_model",
    "unet",
    "text_encoder",
    "backbone",
];

/// Components that wrap a module anywhere in a path and are no part of its name.
const INSIDE: [&str; 3] = ["_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"];

/// Prefixes that transformers 4.52 changed for composite models; PEFT from 0.16 maps adapters of either form.
/// Source: `_checkpoint_conversion_mapping` of the llava family, Qwen2-VL, Qwen2.5-VL, mllama.
const COMPOSITE: [(&str, &str); 9] = [
    ("language_model.model.", "model.language_model."),
    ("language_model.lm_head", "lm_head"),
    ("language_model.", "model.language_model."),
    ("vision_tower.", "model.vision_tower."),
    ("multi_modal_projector.", "model.multi_modal_projector."),
    ("visual.", "model.visual."),
    ("vision_model.", "model.vision_model."),
    ("model.", "model.language_model."),
    ("model.", "language_model.model."),
];

/// Components of torchtune's names and transformers' for them.
const TORCHTUNE: [(&str, &str); 7] = [
    ("attn", "self_attn"),
    ("output_proj", "o_proj"),
    ("w1", "gate_proj"),
    ("w2", "down_proj"),
    ("w3", "up_proj"),
    ("output", "lm_head"),
    ("tok_embeddings", "embed_tokens"),
];

/// Components of Megatron's names and transformers' for them.
const MEGATRON: [(&str, &str); 4] = [
    ("decoder", "model"),
    ("self_attention", "self_attn"),
    ("linear_proj", "o_proj"),
    ("linear_fc2", "down_proj"),
];

/// Prefixes of kohya's flat names.
const FLAT: [&str; 7] =
    ["lora_unet_", "lora_te_", "lora_te1_", "lora_te2_", "lora_te3_", "lora_transformer_", "lycoris_"];

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The base's own name, as PEFT reads it.
    Direct(String),
    /// Another name, which current PEFT finds by itself; and why.
    ByPeft(String, &'static str),
    /// Another name, after a change of the key; and which.
    Renamed(String, String),
    /// Several names fit as well.
    Ambiguous(Vec<String>),
    /// None.
    Nowhere,
}

impl Found {
    /// Returns the path in the base.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Direct(path) | Self::ByPeft(path, _) | Self::Renamed(path, _) => Some(path),
            Self::Ambiguous(_) | Self::Nowhere => None,
        }
    }
}

/// The names of a base, for looking up those of an adapter.
pub struct BaseNames<'b> {
    base: &'b Checkpoint,
    is_composite: bool,
    /// True if the whole model is wrapped on loading: `task_type` of a bare backbone.
    is_bare: bool,
    /// Base layer of each layer of the adapter, by `layer_replication`.
    replicas: Vec<u64>,
    /// The names that transformers gives the layers of a GGUF base, or why they are not known.
    gguf: Option<Result<GgufBase, String>>,
}

/// Layers that a replication may make.
const REPLICAS_MAX: u64 = 65_536;

impl<'b> BaseNames<'b> {
    /// Returns the names of a base, for an adapter with this config.
    #[must_use]
    pub fn new(base: &'b Checkpoint, config: Option<&Value>) -> Self {
        let model = base.files.configs.get("config.json");
        let has = |key: &str| model.is_some_and(|config| config.get(key).is_some());
        let named = |name: &str| base.files.names.find(name).is_some();
        let is_composite = has("vision_config")
            || has("audio_config")
            || ["visual", "vision_tower", "vision_model", "model.visual", "model.vision_tower"]
                .iter()
                .any(|name| named(name));
        let task = config.and_then(|c| c.get("task_type")).and_then(Value::as_str);
        Self {
            base,
            is_composite,
            is_bare: task == Some("FEATURE_EXTRACTION"),
            replicas: replicas(config),
            gguf: GgufBase::of(base),
        }
    }

    /// Returns the layer of this name.
    #[must_use]
    pub fn layer(&self, path: &str) -> Option<u32> {
        let names = &self.base.files.names;
        let at = |name: &str| {
            let layer = self.base.layers.at(names.find(name)?)?;
            (self.base.layers.name(names, layer) == path).then_some(layer)
        };
        let by_gguf = || self.gguf()?.layer(path);
        at(path).or_else(|| at(&format!("{path}_blocks"))).or_else(by_gguf)
    }

    /// Returns the names of a GGUF base, if they are known.
    #[must_use]
    pub fn gguf(&self) -> Option<&GgufBase> {
        self.gguf.as_ref()?.as_ref().ok()
    }

    /// Returns why the names are not known that transformers gives the layers of a GGUF base.
    #[must_use]
    pub fn not_named(&self) -> Option<&str> {
        self.gguf.as_ref()?.as_ref().err().map(String::as_str)
    }

    /// Returns the name of a layer as transformers gives it: of a GGUF base not its own, where that is known.
    #[must_use]
    pub fn name(&self, layer: u32) -> String {
        let named = self.gguf().and_then(|gguf| gguf.name(layer)).map(str::to_owned);
        named.unwrap_or_else(|| self.base.layers.name(&self.base.files.names, layer))
    }

    /// Returns true if something of the base is named so: a layer, or what holds layers.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        !path.is_empty() && (self.layer(path).is_some() || self.base.files.names.find(path).is_some())
    }

    /// Returns the base layer of a replicated one.
    #[must_use]
    pub fn replicated(&self, path: &str) -> Option<String> {
        if self.replicas.is_empty() {
            return None;
        }
        let (prefix, rest) = split(path);
        let mut parts = rest.splitn(3, '.');
        let (stack, number, tail) = (parts.next()?, parts.next()?, parts.next()?);
        let of = self.replicas.get(number.parse::<usize>().ok()?)?;
        Some(join(&[prefix, stack, &of.to_string(), tail]))
    }

    /// Returns where a path leads that PEFT or the base can read as it is, or that transformers renames.
    #[must_use]
    pub fn find(&self, path: &str, family: Family) -> Found {
        let gguf = family == Family::Gguf && self.base.files.container.name() == "gguf";
        let Some(own) = path.strip_prefix(PREFIX).or(gguf.then_some(path)) else { return Found::Nowhere };
        if let Some(replica) = self.replicated(own) {
            return if self.has(&replica) {
                Found::ByPeft(replica, "a replica, by layer_replication")
            } else {
                Found::Nowhere
            };
        }
        if let Some(path) = self.attention(own) {
            return Found::ByPeft(path, "a part of torch's MultiheadAttention");
        }
        if self.has(own) {
            return Found::Direct(own.to_owned());
        }
        let by_peft = |path: String, why| self.has(&path).then_some(Found::ByPeft(path, why));
        let moved = || {
            let moved = own.replacen(".mlp.", ".block_sparse_moe.", 1);
            (moved != own).then(|| by_peft(moved, "transformers 5 calls block_sparse_moe mlp")).flatten()
        };
        let composite = || {
            let pairs = COMPOSITE.iter().flat_map(|&(a, b)| [(a, b), (b, a)]);
            pairs.filter(|_| self.is_composite).find_map(|(from, to)| {
                by_peft(
                    format!("{to}{}", own.strip_prefix(from)?),
                    "transformers 4.52 renamed it; PEFT maps it",
                )
            })
        };
        // A checkpoint of the backbone alone gets the prefix when the whole model is loaded from it, and the
        // other way round.
        let backbone = || {
            let (first, rest) = own.split_once('.')?;
            let is_prefix =
                ["model", "transformer"].contains(&first) && self.base.files.names.find(first).is_none();
            by_peft(rest.to_owned(), "the base is a backbone: loaders add the prefix").filter(|_| is_prefix)
        };
        let bare =
            || by_peft(format!("model.{own}"), "task_type loads the backbone alone").filter(|_| self.is_bare);
        let vision = || by_peft(vision_name(own)?, "transformers 5 has newer names for vision transformers");
        let head = || {
            let before = own.strip_suffix("lm_head")?;
            by_peft(format!("{before}embed_out"), "transformers 5 calls embed_out lm_head")
        };
        moved()
            .or_else(vision)
            .or_else(head)
            .or_else(composite)
            .or_else(backbone)
            .or_else(bare)
            .unwrap_or(Found::Nowhere)
    }

    /// Returns where a path leads in torch's `MultiheadAttention`, which PEFT wraps as a whole: its delta is that of
    /// `in_proj_weight`, and its `out_proj` has a wrapper of its own inside.
    fn attention(&self, own: &str) -> Option<String> {
        let (holder, inner) = match own.rsplit_once(".base_layer.") {
            Some((holder, "out_proj")) => (holder, "out_proj"),
            Some(_) => return None,
            None => (own, "in_proj_weight"),
        };
        self.layer(&format!("{holder}.in_proj_weight"))?;
        let path = format!("{holder}.{inner}");
        self.layer(&path).is_some().then_some(path)
    }

    /// Returns where paths lead that `find` did not find: by the prefix that most of them hit. `fits` says whether
    /// the module (by its index in `paths`) has the shape of a layer.
    #[must_use]
    pub fn guess(&self, paths: &[(String, Family)], fits: &dyn Fn(usize, u32) -> bool) -> Vec<Found> {
        let mut by_rest: FxHashMap<String, Vec<(String, u32)>> = FxHashMap::default();
        let mut flat: FxHashMap<String, Vec<String>> = FxHashMap::default();
        if paths.is_empty() {
            return Vec::new();
        }
        let any_flat = paths.iter().any(|(path, _)| !path.contains('.'));
        for layer in 0..self.base.layers.len() as u32 {
            let name = self.name(layer);
            let (prefix, rest) = split(&name);
            by_rest.entry(rest.to_owned()).or_default().push((prefix.to_owned(), layer));
            if any_flat {
                flat.entry(name.replace('.', "_")).or_default().push(name);
            }
        }
        let translated: Vec<String> = paths.iter().map(|(path, family)| translate(path, *family)).collect();
        // Hits of each base prefix, by the adapter's prefix: by shape and name, and by name alone.
        let mut hits: FxHashMap<&str, Vec<(&str, usize, usize)>> = FxHashMap::default();
        for (index, path) in translated.iter().enumerate() {
            let (prefix, rest) = split(path);
            let counts = hits.entry(prefix).or_default();
            for (of_base, layer) in by_rest.get(rest).into_iter().flatten() {
                if !differ_by_wrappers(prefix, of_base) {
                    continue;
                }
                let fit = usize::from(fits(index, *layer));
                match counts.iter_mut().find(|(known, ..)| known == of_base) {
                    Some(count) => {
                        count.1 += fit;
                        count.2 += 1;
                    }
                    None => counts.push((of_base, fit, 1)),
                }
            }
        }
        let choice = |prefix: &str, rest: &str| -> Vec<&str> {
            let Some(counts) = hits.get(prefix) else { return Vec::new() };
            // Only prefixes that have this module can be chosen for it.
            let has = |of_base: &str| {
                by_rest.get(rest).is_some_and(|found| found.iter().any(|(prefix, _)| prefix == of_base))
            };
            let best = counts.iter().filter(|(b, ..)| has(b)).map(|(_, fit, all)| (*fit, *all)).max();
            counts
                .iter()
                .filter(|(b, fit, all)| has(b) && Some((*fit, *all)) == best)
                .map(|(b, ..)| *b)
                .collect()
        };
        let lead = |(index, path): (usize, &String)| {
            let (original, _) = &paths[index];
            let (prefix, rest) = split(path);
            let mut to: Vec<String> = choice(prefix, rest).iter().map(|p| join(&[p, rest])).collect();
            if to.is_empty() && !original.contains('.') {
                to = flat_matches(original, &flat);
            }
            match to.as_slice() {
                [] => Found::Nowhere,
                [one] => Found::Renamed(one.clone(), change(original, one)),
                _ => Found::Ambiguous(to),
            }
        };
        translated.iter().enumerate().map(lead).collect()
    }
}

/// Names of vision transformers in transformers 5, and those that their files keep. Source: the conversion mapping
/// of `vit`, `deit`, `ijepa`, `vivit` and others in transformers 5.23.
const VISION: [(&str, &str); 6] = [
    ("attention.q_proj", "attention.attention.query"),
    ("attention.k_proj", "attention.attention.key"),
    ("attention.v_proj", "attention.attention.value"),
    ("attention.o_proj", "attention.output.dense"),
    ("mlp.fc1", "intermediate.dense"),
    ("mlp.fc2", "output.dense"),
];

/// Returns the name in the files of a module of a vision transformer: `vit.layers.0.mlp.fc1` is
/// `vit.encoder.layer.0.intermediate.dense`.
fn vision_name(own: &str) -> Option<String> {
    let (prefix, rest) = split(own);
    let (number, inner) = rest.strip_prefix("layers.")?.split_once('.')?;
    let (_, of_file) = VISION.iter().find(|(name, _)| *name == inner)?;
    Some(join(&[prefix, "encoder.layer", number, of_file]))
}

/// Returns the base layers of a replicated stack: `[[0, 2], [1, 2]]` is 0, 1, 1.
fn replicas(config: Option<&Value>) -> Vec<u64> {
    let ranges = config.and_then(|c| c.get("layer_replication")).and_then(Value::as_array);
    let mut layers = Vec::new();
    for range in ranges.into_iter().flatten() {
        let bound = |at: usize| range.get(at).and_then(Value::as_u64);
        let (Some(start), Some(end)) = (bound(0), bound(1)) else { return Vec::new() };
        if end.saturating_sub(start) > REPLICAS_MAX - layers.len() as u64 {
            return Vec::new();
        }
        layers.extend(start..end);
    }
    layers
}

/// Splits a path before its first numbered stack (`layers.0`), else before its last component.
#[must_use]
pub fn split(path: &str) -> (&str, &str) {
    let mut start = 0;
    let mut stack = None;
    for part in path.split('.') {
        if !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) && start > 0 {
            stack = path[..start - 1].rfind('.').map(|dot| dot + 1).or(Some(0));
            break;
        }
        start += part.len() + 1;
    }
    let at = stack.unwrap_or_else(|| path.rfind('.').map_or(0, |dot| dot + 1));
    (path[..at].strip_suffix('.').unwrap_or(&path[..at]), &path[at..])
}

fn join(parts: &[&str]) -> String {
    parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(".")
}

/// Returns true if two prefixes are the same but for wrappers that are known.
fn differ_by_wrappers(a: &str, b: &str) -> bool {
    let rest = |prefix: &str| -> Vec<String> {
        prefix
            .split('.')
            .filter(|part| !part.is_empty() && !WRAPPERS.contains(part))
            .map(str::to_owned)
            .collect()
    };
    rest(a) == rest(b)
}

/// Returns the path without what wraps modules inside, and true if there was any.
#[must_use]
pub fn unwrapped(path: &str) -> (String, bool) {
    let kept: Vec<&str> = path.split('.').filter(|part| !INSIDE.contains(part)).collect();
    let is_changed = kept.len() != path.split('.').count();
    (kept.join("."), is_changed)
}

/// Returns a path in transformers' names.
fn translate(path: &str, family: Family) -> String {
    // diffusers kept adapters in attention processors; what goes out is the first of a list.
    if family == Family::Diffusers {
        let inner = path.replace(".processor.", ".");
        return match inner.strip_suffix(".to_out") {
            Some(holder) => format!("{holder}.to_out.0"),
            None => inner,
        };
    }
    let table: &[(&str, &str)] = match family {
        Family::Torchtune => &TORCHTUNE,
        Family::Nemo => &MEGATRON,
        _ => return path.to_owned(),
    };
    let word = |part: &str| {
        table.iter().find(|(from, _)| *from == part).map_or(part.to_owned(), |(_, to)| (*to).to_owned())
    };
    path.split('.').map(word).collect::<Vec<_>>().join(".")
}

/// Returns the base names that a flat name (`lora_unet_mid_block_attn`) can mean.
fn flat_matches(path: &str, flat: &FxHashMap<String, Vec<String>>) -> Vec<String> {
    let bare = FLAT.iter().find_map(|prefix| path.strip_prefix(prefix)).unwrap_or(path);
    let variants = [bare.to_owned(), format!("model_{bare}"), format!("text_model_{bare}")];
    variants.iter().find_map(|name| flat.get(name)).cloned().unwrap_or_default()
}

/// Says how a key's path becomes another: what its prefix loses and gets.
fn change(from: &str, to: &str) -> String {
    let needed = format!("{PREFIX}{to}");
    let same = from.bytes().rev().zip(needed.bytes().rev()).take_while(|(a, b)| a == b).count();
    // At a component's edge.
    let mut at = from.len() - same;
    while at < from.len() && at > 0 && from.as_bytes()[at - 1] != b'.' {
        at += 1;
    }
    while !from.is_char_boundary(at) {
        at += 1;
    }
    let (lost, got) = (&from[..at], &needed[..needed.len().saturating_sub(from.len() - at)]);
    let quoted = |text: &str| if text.is_empty() { "nothing".to_owned() } else { format!("\"{text}\"") };
    format!("{} becomes {}", quoted(lost), quoted(got))
}

#[cfg(test)]
mod tests;
