//! A GGUF that is made of a GGUF: which tensors become which type, and a header with the metadata kept.
//!
//! Tensors keep their names and their order; parts of a split model become one file. What is not quantized goes over
//! byte for byte in whatever type it is, because a GGUF may mix them. Of the metadata only what says how the file is
//! quantized is set, and what says that it is split is left out.
//! Source: llama.cpp, `llama-quant.cpp` (`llama_model_quantize_impl`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::making::Making;
use crate::adapter::delta::Recipe;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::folder::shard_number;
use crate::container::Value;
use crate::container::bytes::SourceFile;
use crate::container::gguf::written::{Changed, Head, Listed};
use crate::error::{Error, ErrorKind, Result};
use crate::name::escape;
use crate::plan::packing::layer_of;
use crate::plan::planner::{NOT_READABLE, Planner};
use crate::plan::select::{Selection, warn_of_idle};
use crate::plan::{
    Attached, How, Names, Order, OutShard, OutTensor, Pack, Plan, SHARD_BYTES, folder, landings, merge,
};
use crate::problem::{Problem, kind};
use crate::quant::ggml::encode::is_written;
use crate::quant::ggml::mixture::Mixture;
use crate::quant::target::Target;
use crate::units;

/// `GGML_QNT_VERSION`.
const QUANTIZATION_VERSION: u32 = 2;
const SET: [&str; 2] = ["general.file_type", "general.quantization_version"];
/// Types of plain values.
const PLAIN: [&str; 3] = ["F16", "BF16", "F32"];
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
#[derive(Clone, Debug)]
pub struct Metadata {
    /// Numbers that are set.
    pub set: Vec<(&'static str, u32)>,
    /// Keys that are left out.
    pub left_out: &'static [&'static str],
}

impl OutShard {
    /// Returns the bytes of its tensors; of a GGUF those of the whole file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let head = self.gguf.as_ref().map_or(0, |gguf| gguf.head.bytes);
        self.tensors.iter().map(|tensor| tensor.bytes + self.padding(tensor)).fold(head, u64::saturating_add)
    }

    /// Returns how many zeros follow a tensor.
    #[must_use]
    pub fn padding(&self, tensor: &OutTensor) -> u64 {
        self.gguf.as_ref().map_or(0, |gguf| gguf.head.padding(tensor.bytes))
    }
}

impl Plan {
    /// Returns the name of the one file that is written, if the output is that file and no folder.
    #[must_use]
    pub fn single_file(&self) -> Option<&str> {
        match self.shards.as_slice() {
            [shard] if shard.gguf.is_some() && is_file_name(&self.order.output) => Some(&shard.file),
            _ => None,
        }
    }
}

/// Returns what becomes of the key-values; where tensors keep their types, nothing is set.
#[must_use]
pub fn metadata(mixture: Option<Mixture>) -> Metadata {
    let set = |mixture: Mixture| vec![(SET[0], mixture.file_type), (SET[1], QUANTIZATION_VERSION)];
    Metadata { set: mixture.map(set).unwrap_or_default(), left_out: &SPLIT }
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
    target: Option<(Box<dyn Target>, Mixture)>,
    attached: &[Attached<'_>],
) -> Result<Plan> {
    let (target, mixture) = target.unzip();
    check_order(&order, mixture)?;
    check_input(checkpoint, mixture)?;
    let landings =
        order.merging.as_ref().map(|merging| landings(checkpoint, merging, attached)).transpose()?;
    let mut planner = Planner::new(checkpoint, &order);
    planner.check_data()?;
    let selection = Selection::new(&order.only, &order.skip)?;
    planner.choose(&selection)?;
    let mut making = Making::new(checkpoint, &order, mixture, selection)?;
    let (numbers, mut tensors): (Vec<u32>, Vec<OutTensor>) = making.tensors()?.into_iter().unzip();
    planner.check_decodable(&making.decoded)?;
    let mut warnings = std::mem::take(&mut planner.warnings);
    for flag in [("--keep", order.keep.as_slice()), ("--also", &order.also)] {
        let names = tensors.iter().map(|tensor| layer_of(&tensor.name).to_owned());
        warn_of_idle(flag, names, &mut warnings)?;
    }
    let broken = std::mem::take(&mut planner.broken);
    warnings.extend(planner.problems(|problem| problem.kind.code.starts_with(['K', 'S', 'Q', 'V', 'C'])));
    let mut steps = making.steps(numbers.iter().copied().zip(&tensors));
    making.warn(&mut warnings);
    let (mut merges, mut packs) = (Vec::new(), std::mem::take(&mut making.packs));
    if let Some(landings) = &landings {
        warnings.extend(landings.warnings.iter().cloned());
        let planned = merge::Planned { steps: &mut steps, tensors: &mut tensors, packs, is_gguf: true };
        let merged = merge::apply((checkpoint, &order), attached, &landings.list, planned)?;
        (merges, packs) = (merged.merges, merged.packs);
        warn_anew(checkpoint, &packs, &mut warnings);
    } else if let Some(mixture) = mixture {
        making.check(&steps, mixture)?;
    }
    let (shared, shared_bytes) = merge::shared(&merges, attached);
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
        merges,
        packs,
        target: target.map(Arc::from),
        shared,
        shared_bytes,
        coverage: landings.map(|landings| landings.coverage),
        texts: Vec::new(),
        copies,
        whole: Vec::new(),
        warnings,
        broken,
    })
}

/// Refuses what does not go with a GGUF.
fn check_order(order: &Order, mixture: Option<Mixture>) -> Result<()> {
    let is_rounded = order.merging.as_ref().is_some_and(|merging| merging.recipe != Recipe::Peft);
    let is_plain = mixture.is_some_and(|mixture| PLAIN.contains(&mixture.base));
    let why = if mixture.is_none() && order.merging.is_none() {
        "nothing of it would change"
    } else if is_rounded && !is_plain {
        "--rounding: what is packed is rounded to codes alone"
    } else if order.dtype.is_some() {
        "--dtype: the types of its tensors are what --to says"
    } else if order.names != Names::Own {
        "--names hf: a GGUF has llama.cpp's names"
    } else if order.shard_bytes != SHARD_BYTES {
        "--max-shard-size: it is written as one file"
    } else {
        return Ok(());
    };
    let what = mixture.map_or("--to same makes a GGUF of a GGUF".to_owned(), |mixture| {
        format!("{} is a type of GGUF", mixture.name)
    });
    Err(Error::input(format!("{what}, and {why}")))
}

/// Refuses inputs of which no GGUF is made.
fn check_input(checkpoint: &Checkpoint, mixture: Option<Mixture>) -> Result<()> {
    let files = &checkpoint.files;
    let refused =
        |kind, message: String| Err(Error { file: Some(files.path.clone()), ..Error::new(kind, message) });
    let to = mixture.map_or("--to same of a GGUF", |mixture| mixture.name);
    let container = files.container.name();
    if container != "gguf" {
        let message =
            format!("{to} is a type of GGUF, and a GGUF is made of a GGUF input; this is {container}");
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
    let what = files.metadata("general.type").and_then(Value::as_str);
    match what.filter(|what| matches!(*what, "adapter" | "imatrix")) {
        Some(what) => {
            refused(ErrorKind::Unsupported, format!("it is no model: general.type is {}", escape(what)))
        }
        None => Ok(()),
    }
}

/// Returns the file that is written.
fn shard(
    checkpoint: &Checkpoint,
    (order, mixture): (&Order, Option<Mixture>),
    tensors: Vec<OutTensor>,
) -> Result<OutShard> {
    let files = &checkpoint.files;
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
        _ => match mixture {
            Some(mixture) => format!("{}-{}.gguf", stem(&first.name), mixture.name),
            None => format!("{}.gguf", model(&first.name)),
        },
    };
    let gguf = Some(Arc::new(Gguf { source: first.path.clone(), head }));
    Ok(OutShard { file, tensors, metadata: None, run: None, gguf })
}

/// Returns the name of a model by that of its file: without the number of the part.
fn model(name: &str) -> &str {
    shard_number(name).map_or_else(|| name.rsplit_once('.').map_or(name, |(stem, _)| stem), |(stem, ..)| stem)
}

/// Returns the name of a model by that of its file: without the number of the part, and without the type.
fn stem(name: &str) -> &str {
    let stem = model(name);
    let is_type = |word: &str| {
        let word = word.to_ascii_uppercase();
        let base =
            word.strip_suffix("_S").or(word.strip_suffix("_M")).or(word.strip_suffix("_L")).unwrap_or(&word);
        is_written(base) || is_written(&word) || PLAIN.contains(&word.as_str())
    };
    match stem.rsplit_once(['-', '.']) {
        Some((rest, word)) if !rest.is_empty() && is_type(word) => rest,
        _ => stem,
    }
}

/// Says what packing again in the same type does not know.
fn warn_anew(checkpoint: &Checkpoint, packs: &[Pack], warnings: &mut Vec<String>) {
    let anew = packs.iter().filter(|pack| pack.how == How::AsStored).count();
    if anew == 0 {
        return;
    }
    warnings.push(format!(
        "{} packed again as stored: blocks whose values change get new scales, by ggml's own searches and without an \
         importance matrix; the others keep their bytes",
        units::plural(anew, "merged layer")
    ));
    super::making::warn_of_imatrix(checkpoint, warnings);
}
