//! `ckpt inspect`: a checkpoint as a table, or as JSON for scripts.

use std::cell::RefCell;
use std::io::Write;

use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Serialize, Serializer};

use super::json::{self, ProblemJson};
use super::table::Text;
use super::{DONE, FAILED, stdout_error};
use crate::adapter::{Adapter, problems_of};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::names::NameWriter;
use crate::checkpoint::summary::Summary;
use crate::error::Result;
use crate::problem::Problem;

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
            let of_index = check.borrow_mut().take().and_then(|check| check.join().ok()).unwrap_or_default();
            let mut problems = problems_of(&checkpoint, adapter.as_ref());
            problems.extend(of_index);
            problems.sort_by_key(|p| (p.kind.severity, p.kind.code));
            problems
        };
        if as_json {
            let document =
                Document { path, checkpoint: &checkpoint, adapter: adapter.as_ref(), problems: &problems };
            json::write_line(out, &document)
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

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let checkpoint = self.checkpoint;
        let summary = checkpoint.summary();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("path", self.path)?;
        map.serialize_entry("kind", checkpoint.kind.name())?;
        map.serialize_entry("container", checkpoint.files.container.name())?;
        map.serialize_entry("architecture", &checkpoint.architecture())?;
        map.serialize_entry("parameters", &summary.parameters)?;
        map.serialize_entry("bytes", &summary.bytes)?;
        map.serialize_entry("bits_per_weight", &rounded(summary.bits_per_weight))?;
        map.serialize_entry("bits_per_weight_file", &rounded(summary.bits_per_weight_file))?;
        map.serialize_entry("shards", &ShardsJson(checkpoint))?;
        map.serialize_entry("formats", &FormatsJson(&summary))?;
        if let Some(adapter) = self.adapter {
            map.serialize_entry("adapter", &AdapterJson(checkpoint, adapter))?;
        }
        map.serialize_entry("layers", &LayersJson(checkpoint))?;
        map.serialize_entry("tensors", &TensorsJson(checkpoint))?;
        let problems = (self.problems)();
        let problems: Vec<ProblemJson<'_>> = problems.iter().map(ProblemJson::from).collect();
        map.serialize_entry("problems", &problems)?;
        map.end()
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
                    known.parameters += sum.parameters;
                    known.bytes += sum.bytes;
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

struct LayersJson<'a>(&'a Checkpoint);

impl Serialize for LayersJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let layers = &self.0.layers;
        let mut list = serializer.serialize_seq(Some(layers.len()))?;
        // Serialization takes what it writes by shared reference; the writers carry state along.
        let names =
            RefCell::new((NameWriter::new(&self.0.files.names), NameWriter::new(&self.0.files.names)));
        for layer in 0..layers.len() as u32 {
            list.serialize_element(&LayerJson { checkpoint: self.0, layer, names: &names })?;
        }
        list.end()
    }
}

struct LayerJson<'a> {
    checkpoint: &'a Checkpoint,
    layer: u32,
    /// Of the layers, and of their tensors.
    names: &'a RefCell<(NameWriter<'a>, NameWriter<'a>)>,
}

/// The tensors of a layer, by name.
struct TensorNames<'a, 'b>(&'a LayerJson<'b>);

impl Serialize for TensorNames<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let LayerJson { checkpoint, layer, names } = self.0;
        let tensors = checkpoint.layers.tensors(*layer);
        let mut list = serializer.serialize_seq(Some(tensors.len()))?;
        for &tensor in tensors {
            let node = checkpoint.files.tensors[tensor as usize].node;
            list.serialize_element(names.borrow_mut().1.name(node))?;
        }
        list.end()
    }
}

impl Serialize for LayerJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let Self { checkpoint, layer, names } = *self;
        let (files, layers) = (&checkpoint.files, &checkpoint.layers);
        let spec = layers.spec(layer);
        let bytes = layers.bytes(files, layer);
        let mut map = serializer.serialize_map(None)?;
        let record = &layers.list()[layer as usize];
        {
            let mut names = names.borrow_mut();
            let name = names.0.name(record.node);
            map.serialize_entry("name", &name[..name.len() - record.cut_bytes()])?;
        }
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
        map.serialize_entry("bytes", &bytes)?;
        if spec.parameters > 0 {
            map.serialize_entry("bits_per_weight", &rounded(bytes as f64 * 8.0 / spec.parameters as f64))?;
        }
        if record.tied {
            map.serialize_entry("tied", &true)?;
        }
        if !spec.broken.is_empty() {
            map.serialize_entry("broken", &spec.broken)?;
        }
        map.serialize_entry("tensors", &TensorNames(self))?;
        map.end()
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

struct TensorsJson<'a>(&'a Checkpoint);

impl Serialize for TensorsJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Tensor<'a> {
            name: &'a str,
            dtype: &'static str,
            shape: &'a [u64],
            bytes: u64,
            file: &'a str,
            offset: u64,
        }
        let files = &self.0.files;
        let mut names = NameWriter::new(&files.names);
        let mut list = serializer.serialize_seq(Some(files.tensors.len()))?;
        for record in &files.tensors {
            list.serialize_element(&Tensor {
                name: names.name(record.node),
                dtype: record.dtype.name(),
                shape: files.shape(record),
                bytes: record.bytes,
                file: &files.shards[usize::from(record.shard)].name,
                offset: record.begin,
            })?;
        }
        list.end()
    }
}
