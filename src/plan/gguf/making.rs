//! Tensors of a GGUF on their way into another: which stay, which become what, and what is said of them.

use std::collections::BTreeMap;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::files::Files;
use crate::checkpoint::side::FileSide;
use crate::container::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::name::escape;
use crate::plan::packing;
use crate::plan::packing::layer_of;
use crate::plan::select::Selection;
use crate::plan::{Action, At, Change, Order, OutTensor, Pack, Source, Step, Values, list};
use crate::quant::ggml;
use crate::quant::ggml::mixture::{Before, Choice, Mixture, Model, is_quantized, is_values};
use crate::tensor::{Dtype, GgmlType, elements};
use crate::units;

/// What keys begin with that tell of an importance matrix.
const IMATRIX: &str = "quantize.imatrix.";

/// Tensors on their way.
pub(super) struct Making<'a> {
    checkpoint: &'a Checkpoint,
    /// What tensors become; `None`: what they are.
    mixture: Option<Mixture>,
    selection: Selection,
    keep: Selection,
    also: Selection,
    model: Model<'a>,
    before: Before,
    pub(super) packs: Vec<Pack>,
    /// Layers that are decoded.
    pub(super) decoded: Vec<bool>,
    /// Why the weight of a layer is not what was asked for.
    notes: BTreeMap<u32, String>,
    /// Layers of a block type that become another.
    requantized: usize,
}

impl<'a> Making<'a> {
    pub(super) fn new(
        checkpoint: &'a Checkpoint,
        order: &Order,
        mixture: Option<Mixture>,
        selection: Selection,
    ) -> Result<Self> {
        let files = &checkpoint.files;
        Ok(Self {
            checkpoint,
            mixture,
            selection,
            keep: Selection::only(&order.keep)?,
            also: Selection::only(&order.also)?,
            model: model(files),
            before: Before::default(),
            packs: Vec::new(),
            decoded: vec![false; checkpoint.layers.len()],
            notes: BTreeMap::new(),
            requantized: 0,
        })
    }

    /// Returns the tensors of the result, in the order of the files.
    pub(super) fn tensors(&mut self) -> Result<Vec<(u32, OutTensor)>> {
        let files = &self.checkpoint.files;
        let mut tensors = Vec::with_capacity(files.tensors.len());
        let mut unknown = Vec::new();
        for tensor in 0..files.tensors.len() as u32 {
            let name = files.tensor_name(tensor);
            let dtype = files.tensors[tensor as usize].dtype;
            if matches!(dtype, Dtype::Other(_)) {
                unknown.push(format!("{} ({dtype})", escape(&name)));
            }
            tensors.push((tensor, self.tensor(tensor, name)?));
        }
        if !unknown.is_empty() {
            let what = units::plural(unknown.len(), "tensor");
            let message = format!("{what} of types whose size is not known: {}", list(&unknown));
            return Err(Error::new(ErrorKind::Unsupported, message).at(&files.path));
        }
        let place = |tensor: u32| {
            let record = &files.tensors[tensor as usize];
            (record.shard, record.begin, tensor)
        };
        tensors.sort_by_key(|(tensor, _)| place(*tensor));
        Ok(tensors)
    }

    fn tensor(&mut self, tensor: u32, name: String) -> Result<OutTensor> {
        let files = &self.checkpoint.files;
        let record = &files.tensors[tensor as usize];
        let shape = files.shape(record).to_vec();
        let at = At::base(tensor);
        let stays = |name: String, shape: Vec<u64>| OutTensor {
            name,
            dtype: record.dtype,
            shape,
            bytes: record.bytes,
            source: Source::Copy(at),
        };
        let layer = self.checkpoint.layers.of_tensor(files, tensor);
        let Some(layer) = layer else { return Ok(stays(name, shape)) };
        let becomes = match self.becomes((tensor, layer), &name, &shape) {
            Ok(Some(becomes)) => becomes,
            Ok(None) => return Ok(stays(name, shape)),
            Err(why) => {
                self.notes.insert(layer, why);
                return Ok(stays(name, shape));
            }
        };
        if let Some(note) = becomes.note {
            self.notes.insert(layer, note);
        }
        if becomes.dtype == record.dtype {
            return Ok(stays(name, shape));
        }
        let is_packed = matches!(record.dtype, Dtype::Ggml(_));
        self.decoded[layer as usize] |= is_packed;
        self.requantized += usize::from(is_packed);
        let values =
            if is_packed { Values::Layer(layer, Change::None) } else { Values::Tensor(at, Change::None) };
        let dtype = becomes.dtype;
        let bytes = elements(&shape).and_then(|count| dtype.bytes_of(count));
        let bytes = bytes.ok_or_else(|| Error::input(format!("{}: its shape overflows", escape(&name))))?;
        let source = match dtype {
            Dtype::Ggml(kind) => {
                let encoding = ggml::encode::encoding(kind, &shape);
                let encoding = encoding.map_err(|why| Error::input(format!("{}: {why}", escape(&name))))?;
                let made = (kind, packing::Making::of(&encoding));
                Source::Encoded { pack: self.pack((layer, &name), values, made), part: 0 }
            }
            _ if is_packed => Source::Decode { layer, native: Dtype::F32, change: Change::None },
            _ => Source::Cast(at),
        };
        Ok(OutTensor { name, dtype, shape, bytes, source })
    }

    /// Adds a layer that is packed; returns its number.
    fn pack(
        &mut self,
        (layer, name): (u32, &str),
        values: Values,
        (kind, making): (GgmlType, packing::Making),
    ) -> u32 {
        let name = layer_of(name);
        self.packs.push(Pack::in_blocks((layer, name), values, (kind, making)));
        self.packs.len() as u32 - 1
    }

    /// Returns what a tensor becomes; `None` if it stays because it is nothing that is packed, or not asked for.
    fn becomes(
        &mut self,
        (tensor, layer): (u32, u32),
        name: &str,
        shape: &[u64],
    ) -> std::result::Result<Option<Choice>, String> {
        let Some(mixture) = self.mixture else { return Ok(None) };
        let (files, layers) = (&self.checkpoint.files, &self.checkpoint.layers);
        let record = &files.tensors[tensor as usize];
        let layer_name = layer_of(name);
        // What is asked for besides does not count among the others.
        let mut besides = self.before;
        let before = if is_quantized(name, shape, self.model.arch) {
            &mut self.before
        } else if name.ends_with("weight") && self.also.takes(layer_name) {
            &mut besides
        } else {
            return Ok(None);
        };
        let choice = mixture.choose(name, shape, (&self.model, before));
        if !self.selection.takes(layer_name) {
            return Ok(None);
        }
        if self.keep.takes(layer_name) {
            return Err("--keep".into());
        }
        let spec = layers.spec(layer);
        if !spec.broken.is_empty() {
            return Err(format!("broken: {}", spec.broken.join(", ")));
        }
        let is_block = matches!(record.dtype, Dtype::Ggml(_));
        let is_plain = matches!(record.dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32);
        if !is_block && !is_plain {
            return Err(format!("{} holds no weights that are rounded", record.dtype));
        }
        let data = FileSide::whole(files);
        if layers.with_parts(files, layer, &data, |parts| parts.get("scale").is_some()) {
            return Err("a scale stands beside it, which belongs to its own type".into());
        }
        if elements(shape).is_none_or(|count| count == 0) {
            return Err("it has no values".into());
        }
        choice.map(Some)
    }

    /// Returns the steps, one a layer.
    pub(super) fn steps<'t>(&self, tensors: impl Iterator<Item = (u32, &'t OutTensor)>) -> Vec<Step> {
        let (files, layers) = (&self.checkpoint.files, &self.checkpoint.layers);
        let word = |dtype: Dtype| dtype.name().to_ascii_lowercase();
        let step = |layer: u32| Step {
            layer: layers.name(&files.names, layer),
            action: Action::Copy,
            from: String::new(),
            to: String::new(),
            bytes_in: layers.bytes(files, layer),
            bytes_out: 0,
            note: self.notes.get(&layer).cloned(),
        };
        let mut steps: Vec<Step> = (0..layers.len() as u32).map(step).collect();
        for (tensor, out) in tensors {
            let Some(layer) = layers.of_tensor(files, tensor) else { continue };
            let step = &mut steps[layer as usize];
            step.bytes_out = step.bytes_out.saturating_add(out.bytes);
            let action = match out.source {
                Source::Encoded { .. } => Action::Quantize,
                Source::Decode { .. } => Action::Dequantize,
                Source::Cast(_) => Action::Cast,
                _ => Action::Copy,
            };
            // A weight says what its layer is, and not its bias.
            if action != Action::Copy || out.name.ends_with("weight") || step.to.is_empty() {
                step.from = word(files.tensors[tensor as usize].dtype);
                step.to = word(out.dtype);
                step.action = action;
            }
        }
        steps
    }

    /// Refuses a result in which nothing is packed.
    pub(super) fn check(&self, steps: &[Step], mixture: Mixture) -> Result<()> {
        if steps.iter().any(|step| step.action != Action::Copy) {
            return Ok(());
        }
        let files = &self.checkpoint.files;
        let name = mixture.name.to_ascii_lowercase();
        let made = steps.iter().filter(|step| step.to == name).count();
        let message = if made > 0 {
            format!("{} are {} already; nothing is left to pack", units::plural(made, "layer"), mixture.name)
        } else {
            let why: Vec<String> = self
                .notes
                .iter()
                .map(|(&layer, note)| format!("{}: {note}", escape(&steps[layer as usize].layer)))
                .collect();
            let why = if why.is_empty() {
                "it has no matrices that llama.cpp quantizes".to_owned()
            } else {
                list(&why)
            };
            format!("nothing of it would become {}: {why}", mixture.name)
        };
        Err(Error { file: Some(files.path.clone()), ..Error::new(ErrorKind::Unsupported, message) })
    }

    /// Says what is lost twice, and what became another type than asked for.
    pub(super) fn warn(&self, warnings: &mut Vec<String>) {
        if self.requantized > 0 {
            let layers = units::plural(self.requantized, "layer");
            warnings.push(format!(
                "{layers} of the input are quantized already and lose twice: from the F16 or F32 file the result \
                 would be nearer (llama-quantize asks for --allow-requantize)"
            ));
        }
        if self.mixture.is_some() {
            warn_of_imatrix(self.checkpoint, warnings);
        }
        let mut instead: BTreeMap<&str, usize> = BTreeMap::new();
        for note in self.notes.values().filter(|note| note.ends_with(" instead")) {
            *instead.entry(note).or_default() += 1;
        }
        warnings.extend(
            instead.iter().map(|(note, count)| format!("{}: {note}", units::plural(*count, "layer"))),
        );
    }
}

/// Says that metadata tell of an importance matrix which new blocks are made without.
pub(super) fn warn_of_imatrix(checkpoint: &Checkpoint, warnings: &mut Vec<String>) {
    let keys = checkpoint.files.shards.first().map(|shard| &shard.metadata);
    let message = format!(
        "{IMATRIX}*: the metadata, which are kept, tell of an importance matrix; the new blocks are made without one"
    );
    let is_there = keys.is_some_and(|keys| keys.iter().any(|(key, _)| key.starts_with(IMATRIX)));
    if is_there && !warnings.contains(&message) {
        warnings.push(message);
    }
}

/// Returns what of a model the types hang on, by what its metadata say.
fn model(files: &Files) -> Model<'_> {
    let arch = files.metadata("general.architecture").and_then(Value::as_str).unwrap_or_default();
    let number = |key: &str| match files.metadata(&format!("{arch}.{key}"))? {
        Value::Array { first, .. } => first.first()?.as_u64(),
        value => value.as_u64(),
    };
    let heads = number("attention.head_count").unwrap_or(0);
    Model {
        arch,
        has_head: files.find("output.weight").is_some(),
        blocks: number("block_count").unwrap_or(0),
        experts: number("expert_count").unwrap_or(0),
        heads: [heads, number("attention.head_count_kv").unwrap_or(heads)],
        values: (0..files.tensors.len() as u32)
            .filter(|&tensor| is_values(&files.tensor_name(tensor)))
            .count() as u64,
    }
}
