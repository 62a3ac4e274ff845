//! A GGUF that is made of a GGUF: which tensors become which type, and a header with the metadata kept.
//!
//! Tensors keep their names and their order; parts of a split model become one file. What is not quantized goes over
//! byte for byte in whatever type it is, because a GGUF may mix them. Of the metadata only what says how the file is
//! quantized is set, and what says that it is split is left out.
//! Source: llama.cpp, `llama-quant.cpp` (`llama_model_quantize_impl`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::folder::shard_number;
use crate::checkpoint::side::FileSide;
use crate::container::bytes::SourceFile;
use crate::container::gguf::written::{Changed, Head, Listed};
use crate::error::{Error, ErrorKind, Result};
use crate::name::escape;
use crate::plan::planner::{NOT_READABLE, Planner};
use crate::plan::select::Selection;
use crate::plan::{
    Action, At, Change, How, Names, Order, OutShard, OutTensor, Pack, Plan, SHARD_BYTES, Source, Step,
    Values, folder, list,
};
use crate::problem::{Problem, kind};
use crate::quant::ggml::encode::is_written;
use crate::quant::ggml::mixture::{Mixture, Model, is_quantized};
use crate::quant::target::Target;
use crate::tensor::{Dtype, elements, values};
use crate::units;

/// `GGML_QNT_VERSION`.
const QUANTIZATION_VERSION: u32 = 2;
const SET: [&str; 2] = ["general.file_type", "general.quantization_version"];
const SPLIT: [&str; 3] = ["split.no", "split.count", "split.tensors.count"];

/// The header of a GGUF that is written.
#[derive(Clone, Debug)]
pub struct Gguf {
    /// The file whose key-values it has.
    pub source: PathBuf,
    /// The header.
    pub head: Head,
}

/// What is known of the key-values that a result has: those of its input, and these.
#[derive(Clone, Copy, Debug)]
pub struct Metadata {
    /// Numbers that are set.
    pub set: [(&'static str, u32); 2],
    /// Keys that are left out.
    pub left_out: &'static [&'static str],
}

/// Returns what becomes of the key-values.
#[must_use]
pub fn metadata(mixture: Mixture) -> Metadata {
    Metadata { set: [(SET[0], mixture.file_type), (SET[1], QUANTIZATION_VERSION)], left_out: &SPLIT }
}

/// Returns true if an output is one file, by its name.
#[must_use]
pub fn is_file_name(output: &Path) -> bool {
    output.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

/// Plans a GGUF.
///
/// # Errors
/// The input is no GGUF, or one that cannot be relied on; an option is not for it; a layer is broken or cannot be
/// decoded; nothing would be packed: in words, all that stand in the way named.
pub(in crate::plan) fn plan(
    checkpoint: &Checkpoint,
    order: Order,
    (target, mixture): (Box<dyn Target>, Mixture),
) -> Result<Plan> {
    check_order(&order, mixture)?;
    check_input(checkpoint, mixture)?;
    let mut planner = Planner::new(checkpoint, &order);
    planner.check_data()?;
    let selection = Selection::new(&order.only, &order.skip)?;
    planner.choose(&selection)?;
    let mut making = Making::new(checkpoint, &order, mixture, selection)?;
    let tensors = making.tensors()?;
    planner.check_decodable(&making.decoded)?;
    let mut warnings = std::mem::take(&mut planner.warnings);
    let broken = std::mem::take(&mut planner.broken);
    warnings.extend(planner.problems(|problem| problem.kind.code.starts_with(['K', 'S', 'Q', 'V', 'C'])));
    let steps = making.steps(&tensors);
    making.check(&steps, mixture)?;
    making.warn(&mut warnings);
    let shard = shard(checkpoint, (&order, mixture), tensors)?;
    let copies = if is_file_name(&order.output) {
        Vec::new()
    } else {
        folder::copies(checkpoint, &[], true, &mut warnings)?
    };
    Ok(Plan {
        order,
        steps,
        shards: vec![shard],
        merges: Vec::new(),
        packs: making.packs,
        target: Some(Arc::from(target)),
        shared: Vec::new(),
        shared_bytes: 0,
        coverage: None,
        texts: Vec::new(),
        copies,
        whole: Vec::new(),
        warnings,
        broken,
    })
}

/// Refuses what does not go with a GGUF.
fn check_order(order: &Order, mixture: Mixture) -> Result<()> {
    let why = if order.merging.is_some() {
        "adapters are merged into what is written as safetensors: merge with --to dense --names hf"
    } else if order.dtype.is_some() {
        "--dtype: the types of its tensors are what --to says"
    } else if order.names != Names::Own {
        "--names hf: a GGUF has llama.cpp's names"
    } else if order.shard_bytes != SHARD_BYTES {
        "--max-shard-size: it is written as one file"
    } else {
        return Ok(());
    };
    Err(Error::input(format!("--to {} writes a GGUF, and {why}", mixture.name.to_ascii_lowercase())))
}

/// Refuses inputs of which no GGUF is made.
fn check_input(checkpoint: &Checkpoint, mixture: Mixture) -> Result<()> {
    let files = &checkpoint.files;
    let refused =
        |kind, message: String| Err(Error { file: Some(files.path.clone()), ..Error::new(kind, message) });
    let to = mixture.name.to_ascii_lowercase();
    let container = files.container.name();
    if container != "gguf" {
        let message =
            format!("--to {to} writes a GGUF, and a GGUF is made of a GGUF input; this is {container}");
        return refused(ErrorKind::Unsupported, message);
    }
    let is_fault = |at: &&Problem| NOT_READABLE.contains(&at.kind) || at.kind == &kind::BAD_VERSION;
    let is_swapped = |at: &&Problem| at.kind == &kind::BIG_ENDIAN;
    let problems = || checkpoint.problems.iter();
    // A swapped file has other faults too, which say less.
    if let Some(fault) = problems().find(is_swapped).or_else(|| problems().find(is_fault)) {
        let message = format!("no GGUF can be made of it: {} {}", fault.kind.code, escape(&fault.message));
        return refused(ErrorKind::Unsupported, message);
    }
    let what = files.metadata("general.type").and_then(crate::container::Value::as_str);
    match what.filter(|what| matches!(*what, "adapter" | "imatrix")) {
        Some(what) => {
            refused(ErrorKind::Unsupported, format!("it is no model: general.type is {}", escape(what)))
        }
        None => Ok(()),
    }
}

/// Tensors on their way.
struct Making<'a> {
    checkpoint: &'a Checkpoint,
    mixture: Mixture,
    selection: Selection,
    keep: Selection,
    also: Selection,
    model: Model<'a>,
    packs: Vec<Pack>,
    /// Layers that are decoded.
    decoded: Vec<bool>,
    /// Why the weight of a layer is not what was asked for.
    notes: BTreeMap<u32, String>,
    /// Layers of a block type that become another.
    requantized: usize,
}

/// What a tensor becomes, if it does not stay.
struct Becomes {
    dtype: Dtype,
    note: Option<String>,
}

impl<'a> Making<'a> {
    fn new(
        checkpoint: &'a Checkpoint,
        order: &Order,
        mixture: Mixture,
        selection: Selection,
    ) -> Result<Self> {
        let files = &checkpoint.files;
        let arch = files.metadata("general.architecture").and_then(crate::container::Value::as_str);
        Ok(Self {
            checkpoint,
            mixture,
            selection,
            keep: Selection::only(&order.keep)?,
            also: Selection::only(&order.also)?,
            model: Model { arch: arch.unwrap_or_default(), has_head: files.find("output.weight").is_some() },
            packs: Vec::new(),
            decoded: vec![false; checkpoint.layers.len()],
            notes: BTreeMap::new(),
            requantized: 0,
        })
    }

    /// Returns the tensors of the result, in the order of the files.
    fn tensors(&mut self) -> Result<Vec<(u32, OutTensor)>> {
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
            Dtype::Ggml(_) => Source::Encoded { pack: self.pack((layer, &name), values, dtype), part: 0 },
            _ if is_packed => Source::Decode { layer, native: Dtype::F32, change: Change::None },
            _ => Source::Cast(at),
        };
        Ok(OutTensor { name, dtype, shape, bytes, source })
    }

    /// Adds a layer that is packed; returns its number.
    fn pack(&mut self, (layer, name): (u32, &str), values: Values, dtype: Dtype) -> u32 {
        let how = if let Dtype::Ggml(kind) = dtype { How::Blocks(kind) } else { How::Target };
        self.packs.push(Pack {
            layer,
            name: name.strip_suffix(".weight").unwrap_or(name).to_owned(),
            values,
            // ggml goes through F32: nothing is rounded on the way.
            native: Dtype::F32,
            dtype: Dtype::F32,
            change: Change::None,
            how,
            shares: Vec::new(),
        });
        self.packs.len() as u32 - 1
    }

    /// Returns what a tensor becomes; `None` if it stays because it is nothing that is packed.
    fn becomes(
        &self,
        (tensor, layer): (u32, u32),
        name: &str,
        shape: &[u64],
    ) -> std::result::Result<Option<Becomes>, String> {
        let (files, layers) = (&self.checkpoint.files, &self.checkpoint.layers);
        let record = &files.tensors[tensor as usize];
        let layer_name = name.strip_suffix(".weight").unwrap_or(name);
        let is_weight = name.ends_with("weight");
        if !self.selection.takes(layer_name)
            || !is_weight
            || !is_quantized(name, shape, self.model.arch) && !self.also.takes(layer_name)
        {
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
        if !is_block && !(record.dtype.is_float() && values::is_readable(record.dtype)) {
            return Err(format!("{} holds no weights that are rounded", record.dtype));
        }
        let data = FileSide::whole(files);
        let has_scale = layers.with_parts(files, layer, &data, |parts| parts.get("scale").is_some());
        if has_scale {
            return Err("a scale stands beside it, which belongs to its own type".into());
        }
        if elements(shape).is_none_or(|count| count == 0) {
            return Err("it has no values".into());
        }
        let choice = self.mixture.choose(name, shape, self.model)?;
        Ok(Some(Becomes { dtype: choice.dtype, note: choice.note }))
    }

    /// Returns the steps, one a layer.
    fn steps(&self, tensors: &[(u32, OutTensor)]) -> Vec<Step> {
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
            let Some(layer) = layers.of_tensor(files, *tensor) else { continue };
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
                step.from = word(files.tensors[*tensor as usize].dtype);
                step.to = word(out.dtype);
                step.action = action;
            }
        }
        steps
    }

    /// Refuses a result in which nothing is packed.
    fn check(&self, steps: &[Step], mixture: Mixture) -> Result<()> {
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
    fn warn(&self, warnings: &mut Vec<String>) {
        if self.requantized > 0 {
            let layers = units::plural(self.requantized, "layer");
            warnings.push(format!(
                "{layers} of the input are quantized already and lose twice: from the F16 or F32 file the result \
                 would be nearer (llama-quantize asks for --allow-requantize)"
            ));
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

/// Returns the file that is written.
fn shard(
    checkpoint: &Checkpoint,
    (order, mixture): (&Order, Mixture),
    tensors: Vec<(u32, OutTensor)>,
) -> Result<OutShard> {
    let files = &checkpoint.files;
    let tensors: Vec<OutTensor> = tensors.into_iter().map(|(_, tensor)| tensor).collect();
    let first = files.shards.first().ok_or_else(|| Error::input("there is no file").at(&files.path))?;
    let refused = |why: String| {
        Error::new(ErrorKind::Unsupported, format!("{}: {why}", escape(&first.name))).at(&first.path)
    };
    let source = SourceFile::open(&first.path, first.name.clone())?;
    let listed: Vec<Listed<'_>> = tensors
        .iter()
        .map(|tensor| Listed {
            name: &tensor.name,
            dtype: tensor.dtype,
            shape: &tensor.shape,
            bytes: tensor.bytes,
        })
        .collect();
    let metadata = metadata(mixture);
    let changed = Changed { set: &metadata.set, left_out: metadata.left_out };
    let head = Head::new(&source, &listed, changed).map_err(refused)?;
    let file = match order.output.file_name().and_then(|name| name.to_str()) {
        Some(name) if is_file_name(&order.output) => name.to_owned(),
        _ => format!("{}-{}.gguf", stem(&first.name), mixture.name),
    };
    let gguf = Some(Arc::new(Gguf { source: first.path.clone(), head }));
    Ok(OutShard { file, tensors, metadata: None, run: None, gguf })
}

/// Returns the name of a model by that of its file: without the number of the part, and without the type.
fn stem(name: &str) -> &str {
    let stem = shard_number(name)
        .map_or_else(|| name.rsplit_once('.').map_or(name, |(stem, _)| stem), |(stem, ..)| stem);
    let is_type = |word: &str| {
        let word = word.to_ascii_uppercase();
        let base =
            word.strip_suffix("_S").or(word.strip_suffix("_M")).or(word.strip_suffix("_L")).unwrap_or(&word);
        is_written(base) || is_written(&word) || ["F16", "BF16", "F32"].contains(&word.as_str())
    };
    match stem.rsplit_once(['-', '.']) {
        Some((rest, word)) if !rest.is_empty() && is_type(word) => rest,
        _ => stem,
    }
}
