//! The planner: which layers are decoded, what stands in the way, and the tensors that are written.

use super::select::{Selection, warn_of_idle};
use super::{Action, At, Order, OutTensor, Source, Step, conv1d};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::side::FileSide;
use crate::error::{Error, ErrorKind, Result};
use crate::name::escape;
use crate::problem::{Problem, ProblemKind, kind};
use crate::quant::change::Change;
use crate::quant::{LayerSpec, Parts};
use crate::tensor::{Dtype, elements};
use crate::units;

/// What decoding a layer of one kind gives: alike layers share it.
#[derive(Clone, Debug)]
struct Decoded {
    /// Suffix of the tensor of the codes: where it stood, the result stands.
    codes: String,
    /// Suffixes of the tensors that stay.
    kept: Vec<String>,
    suffix: &'static str,
    shape: Vec<u64>,
    native: Dtype,
}

/// A plan in the making.
pub(super) struct Planner<'a> {
    checkpoint: &'a Checkpoint,
    order: &'a Order,
    /// True if linear layers of the model keep their weights as `[in, out]`.
    is_conv1d: bool,
    pub(super) warnings: Vec<String>,
    pub(super) broken: Vec<String>,
}

/// Faults of files with which what is read is not what was meant, or not all of it.
const UNUSABLE: [&ProblemKind; 15] = [
    &kind::EMPTY_FILE,
    &kind::LFS_POINTER,
    &kind::HTML_PAGE,
    &kind::NOT_A_CONTAINER,
    &kind::HEADER_LENGTH,
    &kind::HEADER_DAMAGED,
    &kind::TRUNCATED,
    &kind::SHAPE_SIZE,
    &kind::OVERLAP,
    &kind::DUPLICATE_NAME,
    &kind::OVER_LIMIT,
    &kind::UNREADABLE_FILE,
    &kind::MISSING_SHARD,
    &kind::INCOMPLETE_SET,
    &kind::DUPLICATE_ACROSS_SHARDS,
];

/// Faults of a file with which what is read of it may be wrong, or not all of it.
pub(super) const NOT_READABLE: [&ProblemKind; 10] = [
    &kind::EMPTY_FILE,
    &kind::LFS_POINTER,
    &kind::HTML_PAGE,
    &kind::NOT_A_CONTAINER,
    &kind::HEADER_LENGTH,
    &kind::HEADER_DAMAGED,
    &kind::PICKLE_DAMAGED,
    &kind::BIG_ENDIAN,
    &kind::OVER_LIMIT,
    &kind::UNREADABLE_FILE,
];

/// Layers named in one message.
const NAMED_MAX: usize = 20;

impl<'a> Planner<'a> {
    pub(super) fn new(checkpoint: &'a Checkpoint, order: &'a Order) -> Self {
        let is_conv1d = conv1d::is_model(checkpoint);
        Self { checkpoint, order, is_conv1d, warnings: Vec::new(), broken: Vec::new() }
    }

    /// Returns which layers are decoded, or refuses with all that stand in the way.
    pub(super) fn choose(&mut self, selection: &Selection) -> Result<Vec<bool>> {
        let (files, layers) = (&self.checkpoint.files, &self.checkpoint.layers);
        let mut chosen = vec![false; layers.len()];
        let mut refused = Vec::new();
        let mut picked = 0usize;
        for layer in 0..layers.len() as u32 {
            let spec = layers.spec(layer);
            let is_dense = spec.format.get().name() == "dense";
            if is_dense && selection.is_all() {
                continue;
            }
            let name = layers.name(&files.names, layer);
            if !selection.takes(&name) {
                continue;
            }
            picked += 1;
            if is_dense {
                continue;
            }
            if spec.broken.is_empty() {
                chosen[layer as usize] = true;
            } else if self.order.skip_broken {
                self.broken.push(name);
            } else {
                let mut words = spec.broken.clone();
                words.dedup();
                refused.push(format!("{}: {}", escape(&name), words.join(", ")));
            }
        }
        if picked == 0 && !selection.is_all() {
            return Err(Error::input(format!(
                "--only and --skip leave none of the {} layers",
                units::exact(layers.len() as u64)
            )));
        }
        for flag in [("--only", self.order.only.as_slice()), ("--skip", &self.order.skip)] {
            let names = (0..layers.len() as u32).map(|layer| layers.name(&files.names, layer));
            warn_of_idle(flag, names, &mut self.warnings)?;
        }
        if refused.is_empty() {
            return Ok(chosen);
        }
        // The words of a layer are few; the problems have the file, the tensor and the numbers.
        let why: Vec<String> = self.problems(|problem| problem.tensor.is_some()).collect();
        let message = format!(
            "{} broken; --skip-broken copies their tensors as they are: {}{}{}",
            units::plural(refused.len(), "layer"),
            list(&refused),
            if why.is_empty() { "" } else { ". What was seen: " },
            list(&why)
        );
        Err(Error { file: Some(files.path.clone()), ..Error::input(message) })
    }

    /// Returns the errors that concern what is converted, each with its file.
    pub(super) fn problems(&self, concerns: impl Fn(&Problem) -> bool) -> impl Iterator<Item = String> {
        let errors = self.checkpoint.problems.iter().filter(move |p| p.is_error() && concerns(p));
        errors.map(|problem| {
            let file = problem.file.as_deref().unwrap_or_default();
            let message = escape(&problem.message);
            if file.is_empty() || message.contains(file) {
                format!("{} {message}", problem.kind.code)
            } else {
                format!("{} {}: {message}", problem.kind.code, escape(file))
            }
        })
    }

    /// Refuses files that cannot be relied on, and tensors whose bytes are not all in their file.
    pub(super) fn check_data(&self) -> Result<()> {
        let files = &self.checkpoint.files;
        let unusable: Vec<String> = self.problems(|problem| UNUSABLE.contains(&problem.kind)).collect();
        if !unusable.is_empty() {
            let message = format!("the files are damaged or not complete: {}", list(&unusable));
            return Err(Error { file: Some(files.path.clone()), ..Error::input(message) });
        }
        if files.tensors.is_empty() {
            return Err(Error {
                file: Some(files.path.clone()),
                ..Error::input("there is no tensor to convert")
            });
        }
        // Values that are stored conjugated or negated would come out with the wrong sign.
        let is_lazy =
            |problem: &Problem| problem.kind == &kind::UNSUPPORTED_CONTAINER && problem.tensor.is_some();
        let lazy: Vec<String> = match files.container.name() {
            "pytorch" => self.problems(is_lazy).collect(),
            _ => Vec::new(),
        };
        if !lazy.is_empty() {
            let message = format!("tensors are not stored as they are meant: {}", list(&lazy));
            return Err(Error {
                file: Some(files.path.clone()),
                ..Error::new(ErrorKind::Unsupported, message)
            });
        }
        let cut = |tensor: u32| {
            let record = &files.tensors[tensor as usize];
            let shard = &files.shards[usize::from(record.shard)];
            let is_packed = files.views.get(&tensor).is_some_and(|view| view.compressed_entry.is_some());
            let end = record.begin.saturating_add(record.bytes);
            let needed = elements(files.shape(record)).and_then(|count| record.dtype.bytes_of(count));
            let is_cut = !is_packed && end > shard.bytes;
            let is_odd =
                !files.views.contains_key(&tensor) && needed.is_some_and(|needed| needed != record.bytes);
            (is_cut || is_odd).then(|| {
                let name = escape(&files.tensor_name(tensor)).into_owned();
                let wanted = needed.map_or_else(|| "unknown".to_owned(), units::exact);
                format!(
                    "{}: {name}: bytes {}..{end} of a file of {}, {wanted} needed",
                    escape(&shard.name),
                    record.begin,
                    shard.bytes
                )
            })
        };
        let cut: Vec<String> = (0..files.tensors.len() as u32).filter_map(cut).collect();
        if cut.is_empty() {
            return Ok(());
        }
        let message =
            format!("{} not whole in their files: {}", units::plural(cut.len(), "tensor"), list(&cut));
        Err(Error { file: Some(files.path.clone()), ..Error::input(message) })
    }

    /// Returns the steps, and the tensors that are written, in the order of the files.
    pub(super) fn layers(&mut self, chosen: &[bool]) -> Result<(Vec<Step>, Vec<OutTensor>)> {
        let (files, layers) = (&self.checkpoint.files, &self.checkpoint.layers);
        let decoded = self.kinds(chosen)?;
        let data = FileSide::whole(files);
        let mut steps = Vec::with_capacity(layers.len());
        let mut out: Vec<Option<OutTensor>> = (0..files.tensors.len()).map(|_| None).collect();
        let mut seen = vec![false; files.tensors.len()];
        for layer in 0..layers.len() as u32 {
            let spec = layers.spec(layer);
            let name = layers.name(&files.names, layer);
            let mut bytes_out = 0;
            let mut action = Action::Copy;
            let how = decoded[layers.list()[layer as usize].spec as usize].as_ref();
            layers.with_parts(files, layer, &data, |parts| {
                let how = how.filter(|_| chosen[layer as usize]);
                for part in parts.list {
                    seen[part.tensor as usize] = true;
                    let tensor = match how {
                        Some(how) if part.suffix == how.codes => {
                            action = Action::Dequantize;
                            Some(self.result(&name, layer, how))
                        }
                        Some(how) if !how.kept.iter().any(|kept| kept == part.suffix) => None,
                        _ => Some(self.as_stored(part.tensor, how.is_some() || !spec.is_quantized())),
                    };
                    if let Some(tensor) = tensor {
                        if matches!(tensor.source, Source::Cast(_)) && action == Action::Copy {
                            action = Action::Cast;
                        }
                        bytes_out = u64::saturating_add(bytes_out, tensor.bytes);
                        out[part.tensor as usize] = Some(tensor);
                    }
                }
            });
            let from = spec.format.get().name();
            let to = if action == Action::Dequantize { "dense" } else { from };
            steps.push(Step {
                layer: name,
                action,
                from: from.into(),
                to: to.into(),
                bytes_in: layers.bytes(files, layer),
                bytes_out,
                note: None,
            });
        }
        let mut twice = 0;
        for (tensor, record) in (0u32..).zip(&files.tensors).filter(|(t, _)| !seen[*t as usize]) {
            if files.names.first_tensor(record.node) == tensor {
                out[tensor as usize] = Some(self.as_stored(tensor, true));
            } else {
                twice += 1;
            }
        }
        if twice > 0 {
            let what = units::plural(twice, "tensor");
            self.warnings.push(format!("{what} left out: another of the same name comes first"));
        }
        let mut order: Vec<u32> = (0..files.tensors.len() as u32).collect();
        order.sort_by_key(|&t| (files.tensors[t as usize].shard, files.tensors[t as usize].begin, t));
        let tensors: Vec<OutTensor> = order.iter().filter_map(|&t| out[t as usize].take()).collect();
        let unwritable: Vec<String> = tensors
            .iter()
            .filter(|t| matches!(t.dtype, Dtype::Ggml(_) | Dtype::Other(_) | Dtype::C128))
            .map(|t| format!("{} ({})", escape(&t.name), t.dtype))
            .collect();
        if !unwritable.is_empty() {
            let message = format!(
                "{} cannot stay as they are, safetensors has no such dtype: {}",
                units::plural(unwritable.len(), "tensor"),
                list(&unwritable)
            );
            return Err(Error {
                file: Some(files.path.clone()),
                ..Error::new(ErrorKind::Unsupported, message)
            });
        }
        Ok((steps, tensors))
    }

    /// Refuses layers that cannot be decoded.
    pub(super) fn check_decodable(&mut self, chosen: &[bool]) -> Result<()> {
        self.kinds(chosen).map(drop)
    }

    /// Decodes one layer of each kind as far as its side tensors, and refuses the kinds that cannot be.
    fn kinds(&mut self, chosen: &[bool]) -> Result<Vec<Option<Decoded>>> {
        let (files, layers) = (&self.checkpoint.files, &self.checkpoint.layers);
        let data = FileSide::whole(files);
        let mut kinds: Vec<Option<Decoded>> = vec![None; layers.spec_count()];
        let mut refused: Vec<(String, u32, usize)> = Vec::new();
        let mut seen: Vec<Option<usize>> = vec![None; layers.spec_count()];
        let mut cautions: Vec<String> = Vec::new();
        for layer in (0..layers.len() as u32).filter(|&layer| chosen[layer as usize]) {
            let id = layers.list()[layer as usize].spec as usize;
            if kinds[id].is_some() {
                continue;
            }
            if let Some(at) = seen[id] {
                refused[at].2 += 1;
                continue;
            }
            let spec = layers.spec(layer);
            let found = layers.with_parts(files, layer, &data, |parts| self.kind(parts, spec, &mut cautions));
            match found {
                Ok(kind) => kinds[id] = Some(kind),
                Err(why) => {
                    seen[id] = Some(refused.len());
                    refused.push((why, layer, 1));
                }
            }
        }
        self.warnings.extend(cautions);
        let twice = |kind: &&Decoded| {
            self.order.dtype.is_some_and(|dtype| dtype != kind.native && dtype != Dtype::F32)
        };
        if let (Some(kind), Some(dtype)) = (kinds.iter().flatten().find(twice), self.order.dtype) {
            let native = kind.native;
            self.warnings.push(format!(
                "values are rounded twice: to {native}, the format's own result, and from that to {dtype}"
            ));
        }
        if refused.is_empty() {
            return Ok(kinds);
        }
        let total: usize = refused.iter().map(|(.., count)| count).sum();
        let lines: Vec<String> = refused
            .iter()
            .map(|(why, first, count)| {
                let more = if *count > 1 { format!(" and {} alike", count - 1) } else { String::new() };
                format!("{}{more}: {why}", escape(&layers.name(&files.names, *first)))
            })
            .collect();
        let message = format!("{} cannot be decoded: {}", units::plural(total, "layer"), list(&lines));
        Err(Error { file: Some(files.path.clone()), ..Error::new(ErrorKind::Unsupported, message) })
    }

    fn kind(
        &self,
        parts: &Parts<'_>,
        spec: &LayerSpec,
        cautions: &mut Vec<String>,
    ) -> std::result::Result<Decoded, String> {
        let decoding = spec.format.get().decode(parts, spec)?;
        if let Some(caution) = decoding.caution {
            let line = format!("{}: {caution}", spec.label());
            if !cautions.contains(&line) {
                cautions.push(line);
            }
        }
        let suffix_of = |tensor: u32| {
            parts.list.iter().find(|part| part.tensor == tensor).map(|part| part.suffix.to_owned())
        };
        let codes = suffix_of(decoding.codes).ok_or("its codes are no part of it")?;
        let kept = decoding.kept.iter().filter_map(|&tensor| suffix_of(tensor)).collect();
        // Values that no dtype is recorded for are exact until they are rounded to the one that is asked for.
        let native = decoding.dtype.or(self.order.dtype).unwrap_or_else(|| self.native_default());
        Ok(Decoded { codes, kept, suffix: decoding.suffix, shape: decoding.shape.clone(), native })
    }

    /// Returns the dtype of formats that do not record one.
    fn native_default(&self) -> Dtype {
        let files = &self.checkpoint.files;
        if files.container.name() == "gguf" {
            let is_bf16 = files.tensors.iter().any(|tensor| tensor.dtype == Dtype::BF16);
            return if is_bf16 { Dtype::BF16 } else { Dtype::F16 };
        }
        let said =
            files.configs.dtype().filter(|dtype| matches!(dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32));
        said.unwrap_or(Dtype::BF16)
    }

    fn result(&self, layer_name: &str, layer: u32, how: &Decoded) -> OutTensor {
        let change = if self.is_conv1d {
            let format = self.checkpoint.layers.spec(layer).format.get().name();
            conv1d::change(layer_name, format, &how.shape)
        } else {
            Change::None
        };
        let name = match how.suffix {
            "*" => layer_name.to_owned(),
            suffix => suffix
                .strip_prefix('*')
                .map_or_else(|| format!("{layer_name}.{suffix}"), |rest| format!("{layer_name}{rest}")),
        };
        let dtype = self.order.dtype.unwrap_or(how.native);
        let bytes = elements(&how.shape).and_then(|count| dtype.bytes_of(count)).unwrap_or(u64::MAX);
        let source = Source::Decode { layer, native: how.native, change };
        OutTensor { name, dtype, shape: change.shape(&how.shape), bytes, source }
    }

    /// Returns a tensor as it is, or rounded if a dtype was asked for and it is a plain float.
    fn as_stored(&self, tensor: u32, may_cast: bool) -> OutTensor {
        let files = &self.checkpoint.files;
        let record = &files.tensors[tensor as usize];
        let shape = files.shape(record).to_vec();
        let castable =
            may_cast && record.dtype.is_float() && crate::tensor::values::is_readable(record.dtype);
        let at = At::base(tensor);
        let wanted = self.order.dtype.filter(|&dtype| castable && dtype != record.dtype);
        let (dtype, source) =
            wanted.map_or((record.dtype, Source::Copy(at)), |dtype| (dtype, Source::Cast(at)));
        let bytes = elements(&shape).and_then(|count| dtype.bytes_of(count)).unwrap_or(record.bytes);
        OutTensor { name: files.tensor_name(tensor), dtype, shape, bytes, source }
    }
}

/// Joins lines, the first few in full.
pub(super) fn list(lines: &[String]) -> String {
    let mut text = lines[..lines.len().min(NAMED_MAX)].join("; ");
    if lines.len() > NAMED_MAX {
        text = format!("{text}; and {} more", lines.len() - NAMED_MAX);
    }
    text
}
