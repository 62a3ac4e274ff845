//! `ckpt inspect`: a checkpoint as a table, or as JSON for scripts.

use std::cell::RefCell;
use std::io::Write;

use rustc_hash::FxHashMap;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::json::{self, ProblemJson};
use super::table::Text;
use super::{DONE, FAILED, stdout_error};
use crate::adapter::{Adapter, problems_of};
use crate::checkpoint::names::NameWriter;
use crate::checkpoint::summary::Summary;
use crate::checkpoint::{Checkpoint, joined};
use crate::error::Result;
use crate::problem::Problem;
use crate::quant::LayerSpec;
use crate::tensor::Dtype;

/// Runs the command: exit 0 when anything was readable.
///
/// # Errors
/// There is nothing at `path` that could be opened, or stdout fails.
pub fn run(path: &str, as_json: bool, out: &mut dyn Write) -> Result<u8> {
    let opened = Checkpoint::open(path)?;
    let checkpoint = opened.examine_layers();
    let adapter = Adapter::of(&checkpoint);
    std::thread::scope(|scope| {
        // The problems come last: the index is checked while the rest is written.
        let check = RefCell::new(Some(scope.spawn(|| opened.index_problems())));
        let problems = || {
            let of_index = check.borrow_mut().take().map(joined).unwrap_or_default();
            let mut problems = problems_of(&checkpoint, adapter.as_ref());
            problems.extend(of_index);
            problems.sort_by_key(|p| (p.kind.severity, p.kind.code));
            problems
        };
        if as_json {
            let document =
                Document { path, checkpoint: &checkpoint, adapter: adapter.as_ref(), problems: &problems };
            document.write(out)
        } else {
            let text = Text { path, checkpoint: &checkpoint, adapter: adapter.as_ref(), problems: &problems };
            text.write(out).map_err(|e| stdout_error(&e))
        }
    })?;
    let readable = checkpoint.files.shards.iter().any(|shard| !shard.unreadable);
    Ok(if readable { DONE } else { FAILED })
}

/// The JSON document.
struct Document<'a> {
    path: &'a str,
    checkpoint: &'a Checkpoint,
    adapter: Option<&'a Adapter>,
    problems: &'a dyn Fn() -> Vec<Problem>,
}

impl Document<'_> {
    fn write(&self, out: &mut dyn Write) -> Result<()> {
        let checkpoint = self.checkpoint;
        let summary = checkpoint.summary();
        let mut object = json::Object::new(out);
        object.member("path", &self.path)?;
        object.member("kind", &checkpoint.kind.name())?;
        object.member("container", &checkpoint.files.container.name())?;
        object.member("architecture", &checkpoint.architecture())?;
        object.member("parameters", &summary.parameters)?;
        object.member("bytes", &summary.bytes)?;
        object.member("bits_per_weight", &rounded(summary.bits_per_weight))?;
        object.member("bits_per_weight_file", &rounded(summary.bits_per_weight_file))?;
        object.member("shards", &ShardsJson(checkpoint))?;
        object.member("formats", &FormatsJson(&summary))?;
        if let Some(adapter) = self.adapter {
            object.member("adapter", &AdapterJson(checkpoint, adapter))?;
        }
        let mut layers = LayerPieces::new(checkpoint)?;
        object.list("layers", checkpoint.layers.len() as u32, |layer, buffer| layers.push(layer, buffer))?;
        let mut tensors = TensorPieces::new(checkpoint);
        object.list("tensors", checkpoint.files.tensors.len() as u32, |t, buffer| tensors.push(t, buffer))?;
        let problems = (self.problems)();
        let problems: Vec<ProblemJson<'_>> = problems.iter().map(ProblemJson::from).collect();
        object.member("problems", &problems)?;
        object.end()
    }
}

/// Returns a mean of bits with four decimals: more would be noise.
fn rounded(bits: f64) -> f64 {
    (bits * 10_000.0).round() / 10_000.0
}

struct ShardsJson<'a>(&'a Checkpoint);

impl Serialize for ShardsJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shard<'a> {
            file: &'a str,
            bytes: u64,
            tensors: u32,
            #[serde(skip_serializing_if = "std::ops::Not::not")]
            unreadable: bool,
        }
        serializer.collect_seq(self.0.files.shards.iter().map(|s| Shard {
            file: &s.name,
            bytes: s.bytes,
            tensors: s.tensors,
            unreadable: s.unreadable,
        }))
    }
}

struct FormatsJson<'a>(&'a Summary);

impl Serialize for FormatsJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Entry {
            format: &'static str,
            layers: usize,
            parameters: u64,
            bytes: u64,
            bits_per_weight: f64,
        }
        // One entry a format; labels (bits, dtypes) are apart only on screen.
        let mut formats: Vec<Entry> = Vec::new();
        for sum in &self.0.formats {
            match formats.iter_mut().find(|f| f.format == sum.format) {
                Some(known) => {
                    known.layers += sum.layers;
                    known.parameters = known.parameters.saturating_add(sum.parameters);
                    known.bytes = known.bytes.saturating_add(sum.bytes);
                }
                None => formats.push(Entry {
                    format: sum.format,
                    layers: sum.layers,
                    parameters: sum.parameters,
                    bytes: sum.bytes,
                    bits_per_weight: 0.0,
                }),
            }
        }
        for format in &mut formats {
            let weights = format.parameters.max(1) as f64;
            format.bits_per_weight = rounded(format.bytes as f64 * 8.0 / weights);
        }
        formats.serialize(serializer)
    }
}

struct AdapterJson<'a>(&'a Checkpoint, &'a Adapter);

impl Serialize for AdapterJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let adapter = self.1;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", adapter.kind())?;
        map.serialize_entry("rank", &adapter.rank)?;
        map.serialize_entry("alpha", &adapter.alpha)?;
        map.serialize_entry("scaling", &adapter.scaling)?;
        map.serialize_entry("variations", &adapter.variations)?;
        map.serialize_entry("target_modules", &adapter.targets)?;
        map.serialize_entry("base", &adapter.base)?;
        map.serialize_entry("peft_version", &adapter.peft_version)?;
        map.serialize_entry("modules", &adapter.modules.len())?;
        let saved: Vec<String> = adapter.saved.iter().map(|&t| self.0.files.tensor_name(t)).collect();
        map.serialize_entry("saved", &saved)?;
        map.end()
    }
}

/// Layers as JSON: what alike layers share is made once.
struct LayerPieces<'a> {
    checkpoint: &'a Checkpoint,
    /// By spec: the members that follow from it.
    specs: Vec<Vec<u8>>,
    names: NameWriter<'a>,
    tensor_names: NameWriter<'a>,
}

impl<'a> LayerPieces<'a> {
    fn new(checkpoint: &'a Checkpoint) -> Result<Self> {
        let mut specs = Vec::with_capacity(checkpoint.layers.specs().len());
        for spec in checkpoint.layers.specs() {
            let mut piece = Vec::new();
            json::push(&mut piece, &SpecJson(spec))?;
            // Its members go into the layer's own object.
            piece.pop();
            piece[0] = b',';
            specs.push(piece);
        }
        let names = || NameWriter::new(&checkpoint.files.names);
        Ok(Self { checkpoint, specs, names: names(), tensor_names: names() })
    }

    fn push(&mut self, layer: u32, buffer: &mut Vec<u8>) {
        let Self { checkpoint, specs, names, tensor_names } = self;
        let record = &checkpoint.layers.list()[layer as usize];
        let bytes = checkpoint.layers.bytes(&checkpoint.files, layer);
        let name = names.name(record.node);
        buffer.extend_from_slice(b"{\"name\":");
        json::push_text(buffer, &name[..name.len() - record.cut_bytes()]);
        buffer.extend_from_slice(&specs[record.spec as usize]);
        buffer.extend_from_slice(b",\"bytes\":");
        json::push_number(buffer, bytes);
        let parameters = checkpoint.layers.spec(layer).parameters;
        if parameters > 0 {
            buffer.extend_from_slice(b",\"bits_per_weight\":");
            // Four decimals: the fifth would be noise.
            let scaled = (bytes as f64 * 80_000.0 / parameters as f64).round() as u64;
            json::push_number(buffer, scaled / 10_000);
            if !scaled.is_multiple_of(10_000) {
                let _ = write!(buffer, ".{:04}", scaled % 10_000);
            }
        }
        if record.tied {
            buffer.extend_from_slice(b",\"tied\":true");
        }
        buffer.extend_from_slice(b",\"tensors\":[");
        for (index, &tensor) in checkpoint.layers.tensors(layer).iter().enumerate() {
            if index > 0 {
                buffer.push(b',');
            }
            json::push_text(buffer, tensor_names.name(checkpoint.files.tensors[tensor as usize].node));
        }
        buffer.extend_from_slice(b"]}");
    }
}

/// The members of a layer that alike layers share.
struct SpecJson<'a>(&'a LayerSpec);

impl Serialize for SpecJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let spec = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("format", spec.format.get().name())?;
        map.serialize_entry("shape", &spec.shape_known.then_some(&spec.shape))?;
        map.serialize_entry("bits", &BitsJson(spec.bits()))?;
        map.serialize_entry("group_size", &spec.group_size)?;
        map.serialize_entry("symmetric", &spec.symmetric)?;
        map.serialize_entry("act_order", &spec.act_order)?;
        map.serialize_entry("variant", &(!spec.variant.is_empty()).then_some(&spec.variant))?;
        if let Some(dtype) = spec.dtype {
            map.serialize_entry("dtype", dtype.name())?;
        }
        map.serialize_entry("parameters", &spec.parameters)?;
        if !spec.broken.is_empty() {
            map.serialize_entry("broken", &spec.broken)?;
        }
        map.end()
    }
}

/// Tensors as JSON: dtype and shape are made once for alike ones, the file once a shard.
struct TensorPieces<'a> {
    checkpoint: &'a Checkpoint,
    kinds: FxHashMap<(Dtype, u32), Vec<u8>>,
    files: Vec<Vec<u8>>,
    names: NameWriter<'a>,
}

impl<'a> TensorPieces<'a> {
    fn new(checkpoint: &'a Checkpoint) -> Self {
        let files = checkpoint.files.shards.iter().map(|shard| {
            let mut piece = b",\"file\":".to_vec();
            json::push_text(&mut piece, &shard.name);
            piece.extend_from_slice(b",\"offset\":");
            piece
        });
        let names = NameWriter::new(&checkpoint.files.names);
        Self { checkpoint, kinds: FxHashMap::default(), files: files.collect(), names }
    }

    fn push(&mut self, tensor: u32, buffer: &mut Vec<u8>) {
        let Self { checkpoint, kinds, files, names } = self;
        let record = &checkpoint.files.tensors[tensor as usize];
        buffer.extend_from_slice(b"{\"name\":");
        json::push_text(buffer, names.name(record.node));
        let kind = kinds.entry((record.dtype, record.shape)).or_insert_with(|| {
            let mut piece = b",\"dtype\":".to_vec();
            json::push_text(&mut piece, record.dtype.name());
            piece.extend_from_slice(b",\"shape\":[");
            for (index, &dim) in checkpoint.files.shape(record).iter().enumerate() {
                if index > 0 {
                    piece.push(b',');
                }
                json::push_number(&mut piece, dim);
            }
            piece.extend_from_slice(b"],\"bytes\":");
            piece
        });
        buffer.extend_from_slice(kind);
        json::push_number(buffer, record.bytes);
        buffer.extend_from_slice(&files[usize::from(record.shard)]);
        json::push_number(buffer, record.begin);
        buffer.push(b'}');
    }
}

/// Bits: a whole number where they are one, null where they are not known.
struct BitsJson(f64);

impl Serialize for BitsJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        if self.0 == 0.0 {
            serializer.serialize_none()
        } else if self.0.fract() == 0.0 {
            serializer.serialize_u64(self.0 as u64)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}
