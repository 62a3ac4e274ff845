//! Inputs: the files that are read, by positioned reads, and whether they are still what they were.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use super::cpu::VALUES_AT_ONCE;
use super::encoded::{Kept, ToPack};
use super::shared::Shared;
use super::{Resident, Run, merged};
use crate::adapter::delta::{Edit, EditSpec, Values};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::files::{Files, Shard, TensorRecord};
use crate::checkpoint::side::FileSide;
use crate::error::{Error, ErrorKind, Result};
use crate::name::escape;
use crate::plan::{At, Base, How, Merge, Pack, Plan, Values as Of};
use crate::quant::change::Change;
use crate::quant::decode::Decoding;
use crate::quant::dense;
use crate::quant::encode::Place;
use crate::quant::ggml;
use crate::quant::target::Candidate;
use crate::tensor::{Dtype, elements, values};

/// Size and time of a file.
type Stamp = (u64, Option<SystemTime>);

/// One input while it is read.
struct Opened<'a> {
    checkpoint: &'a Checkpoint,
    data: FileSide<'a>,
    stamps: Vec<Stamp>,
}

impl<'a> Opened<'a> {
    fn new(checkpoint: &'a Checkpoint) -> Result<Self> {
        let shards = &checkpoint.files.shards;
        let stamps: Vec<Stamp> = shards.iter().map(|s| stamp(&s.path)).collect::<Result<_>>()?;
        for (shard, (bytes, _)) in shards.iter().zip(&stamps) {
            if *bytes != shard.bytes {
                return Err(changed(&shard.path, &shard.name));
            }
        }
        Ok(Self { checkpoint, data: FileSide::whole(&checkpoint.files), stamps })
    }
}

/// The files of a checkpoint, and of adapters, while it is converted.
pub(super) struct Inputs<'a> {
    /// The checkpoint, then the adapters.
    opened: Vec<Opened<'a>>,
    plan: &'a Plan,
    shared: Shared,
    /// Largest magnitudes that are known, by the first pack of those that share one.
    largest: Mutex<BTreeMap<u32, f32>>,
    read: AtomicU64,
    nanos: AtomicU64,
}

impl<'a> Inputs<'a> {
    pub(super) fn open(run: &Run<'a>) -> Result<Self> {
        let opened = std::iter::once(run.checkpoint).chain(run.adapters.iter().copied()).map(Opened::new);
        Ok(Self {
            opened: opened.collect::<Result<_>>()?,
            plan: run.plan,
            shared: Shared::new(run.plan),
            largest: Mutex::default(),
            read: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
        })
    }

    fn base(&self) -> &Opened<'a> {
        &self.opened[0]
    }

    fn shards(&self) -> impl Iterator<Item = (&'a Shard, &Stamp)> {
        self.opened.iter().flat_map(|opened| opened.checkpoint.files.shards.iter().zip(&opened.stamps))
    }

    /// Returns name, size and time of each file, as text: what a run that is continued must find again.
    pub(super) fn stamps(&self) -> Vec<(String, u64, String)> {
        let stamp = |(shard, (bytes, time)): (&Shard, &Stamp)| {
            (shard.path.display().to_string(), *bytes, format!("{time:?}"))
        };
        self.shards().map(stamp).collect()
    }

    /// Fails if a file has changed since it was opened.
    pub(super) fn check_unchanged(&self) -> Result<()> {
        for (shard, before) in self.shards() {
            if stamp(&shard.path)? != *before {
                return Err(changed(&shard.path, &shard.name));
            }
        }
        Ok(())
    }

    pub(super) fn read_bytes(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Returns how long readers have waited, in sum.
    pub(super) fn read_nanos(&self) -> u64 {
        self.nanos.load(Ordering::Relaxed)
    }

    fn record(&self, at: At) -> (&'a Files, &'a TensorRecord) {
        let files = &self.opened[at.input].checkpoint.files;
        (files, &files.tensors[at.tensor as usize])
    }

    pub(super) fn dtype(&self, at: At) -> Dtype {
        self.record(at).1.dtype
    }

    pub(super) fn bytes_of(&self, at: At) -> u64 {
        self.record(at).1.bytes
    }

    /// Reads bytes of a tensor from `offset` on until `out` is full.
    pub(super) fn read_into(&self, at: At, offset: u64, out: &mut [u8]) -> Result<()> {
        let failed = |what: String| {
            let (files, record) = self.record(at);
            let shard = &files.shards[usize::from(record.shard)];
            let name = files.tensor_name(at.tensor);
            Error {
                file: Some(shard.path.clone()),
                message: format!("{}: tensor {}: {what}", escape(&shard.name), escape(&name)),
                tensor: Some(name),
                ..Error::new(ErrorKind::Io, "")
            }
        };
        let since = Instant::now();
        self.opened[at.input].data.fill(at.tensor, offset, out).map_err(failed)?;
        super::busy::add(&self.nanos, since);
        self.read.fetch_add(out.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Returns all values of a plain tensor, and its shape.
    fn values(&self, at: At) -> Result<Values> {
        let (files, record) = self.record(at);
        let shape = files.shape(record).to_vec();
        let mut bytes = vec![0; record.bytes as usize];
        self.read_into(at, 0, &mut bytes)?;
        let mut values = vec![0.0; elements(&shape).unwrap_or(0) as usize];
        if values::to_f32(record.dtype, &bytes, &mut values) {
            return Ok((values, shape));
        }
        let name = files.tensor_name(at.tensor);
        Err(Error::input(format!("{}: {} has no plain values", escape(&name), record.dtype)).at(&files.path))
    }

    /// Returns how a layer or tensor is decoded, with all that its codes need.
    pub(super) fn decoding(&self, values: Of) -> Result<Decoding> {
        match values {
            Of::Layer(layer, change) => {
                change.over(self.layer(layer)?).map_err(|why| self.refused(values, &why))
            }
            Of::Tensor(at, change) => {
                change.over(self.tensor(at, false)?).map_err(|why| self.refused(values, &why))
            }
            Of::Merged(merge) => {
                let merge = &self.plan.merges[merge as usize];
                let (base, edits) = self.to_merge(merge)?;
                Ok(merged::over(base, merge, edits))
            }
        }
    }

    /// Returns all codes of a decoding of which every row needs all.
    pub(super) fn strewn_codes(&self, values: Of, decoding: &Decoding) -> Result<Option<Vec<u8>>> {
        let at = self.codes(values, decoding);
        let all = self.bytes_of(at);
        if decoding.row_count() < 2 || decoding.rows.codes(0..1) != (0..all) {
            return Ok(None);
        }
        let mut bytes = vec![0; all as usize];
        self.read_into(at, 0, &mut bytes)?;
        Ok(Some(bytes))
    }

    /// Returns how a weight is decoded and what adapters do to it.
    pub(super) fn to_merge(&self, merge: &Merge) -> Result<(Decoding, Vec<Box<dyn Edit>>)> {
        let (made, name) = self.unmerged(merge)?;
        let edits = merge.edits.iter().map(|spec| self.edit(spec, merge, &made));
        let edits = edits.collect::<std::result::Result<Vec<_>, _>>();
        let edits = edits.map_err(|why| self.undecodable(&name, &why))?;
        Ok((made, edits))
    }

    /// Returns how a weight is decoded before anything is added to it, and its name.
    fn unmerged(&self, merge: &Merge) -> Result<(Decoding, String)> {
        let (made, name) = match merge.base {
            Base::Layer(layer) => (self.layer(layer)?, self.layer_name(layer)),
            Base::Tensor(at) => (self.tensor(at, merge.is_flat)?, self.record(at).0.tensor_name(at.tensor)),
        };
        let made = merge.change.over(made).map_err(|why| self.undecodable(&name, &why))?;
        Ok((made, name))
    }

    fn edit(
        &self,
        spec: &EditSpec,
        merge: &Merge,
        made: &Decoding,
    ) -> std::result::Result<Box<dyn Edit>, String> {
        let mut read = |adapter: usize, tensor: u32| {
            let at = At::of_adapter((adapter, tensor));
            self.shared.get(at, || self.values(at)).map_err(|error| error.message)
        };
        let mut base = |rows: Range<u64>, out: &mut [f32]| {
            let range = made.rows.codes(rows.clone());
            let mut codes = vec![0; (range.end - range.start) as usize];
            self.read_into(codes_of(merge.base, made), range.start, &mut codes).map_err(|e| e.message)?;
            made.rows.decode(rows, &codes, out);
            values::round_all(merge.native, out);
            Ok(())
        };
        let edit = spec.edit(&made.shape, merge.dtype, &mut read, &mut base);
        edit.map_err(|why| format!("adapter module {}: {why}", escape(&spec.module)))
    }

    /// Returns the tensor that holds the codes of a decoding.
    pub(super) fn codes(&self, values: Of, decoding: &Decoding) -> At {
        match values {
            Of::Merged(merge) => codes_of(self.plan.merges[merge as usize].base, decoding),
            Of::Layer(..) => At::base(decoding.codes),
            Of::Tensor(at, _) => at,
        }
    }

    fn layer_name(&self, layer: u32) -> String {
        let checkpoint = self.base().checkpoint;
        checkpoint.layers.name(&checkpoint.files.names, layer)
    }

    /// Returns how a layer is decoded, changed and packed.
    pub(super) fn to_pack(&self, number: u32) -> Result<ToPack> {
        let pack = &self.plan.packs[number as usize];
        let refused = |why: String| self.refused(pack.values, &why);
        let decoding = pack.change.over(self.decoding(pack.values)?).map_err(refused)?;
        let encoding = match (pack.how, &self.plan.target) {
            (How::AsStored, _) => {
                let Opened { checkpoint, data, .. } = self.base();
                let (files, layers) = (&checkpoint.files, &checkpoint.layers);
                let spec = layers.spec(pack.layer);
                layers.with_parts(files, pack.layer, data, |parts| spec.format.get().encode(parts, spec))
            }
            (How::Blocks(kind), _) => ggml::encode::encoding(kind, &decoding.shape),
            (How::Target, Some(target)) => {
                target.encoding(&Candidate { shape: &decoding.shape, dtype: pack.dtype })
            }
            (How::Target, None) => Err("the plan has no format to pack it as".into()),
        };
        let encoding = encoding.map_err(refused)?;
        let codes = self.strewn_codes(pack.values, &decoding)?;
        let kept = match (pack.values, encoding.encoder.kept_block()) {
            (Of::Merged(merge), Some(block)) => {
                let (base, _) = self.unmerged(&self.plan.merges[merge as usize])?;
                Some(Kept::new(base.rows, block))
            }
            _ => None,
        };
        Ok(ToPack {
            kept,
            how: pack.how,
            values: pack.values,
            decoding,
            encoding,
            codes,
            dtype: pack.dtype,
            rounded: self.roundings(pack),
            largest: 0.0,
            at_once: VALUES_AT_ONCE,
            resident: Resident::default(),
        })
    }

    /// Returns the dtypes to which the values of a pack are rounded. Those of a plain tensor that has the dtype already
    /// are none the other for it.
    fn roundings(&self, pack: &Pack) -> Vec<Dtype> {
        let is_so = |dtype: Dtype| match pack.values {
            Of::Tensor(at, Change::None | Change::Turned) => self.dtype(at) == dtype,
            _ => false,
        };
        let mut rounded = vec![pack.native, pack.dtype];
        rounded.dedup();
        // A rounding to what they are changes nothing, and all behind it stay.
        while rounded.first().is_some_and(|&dtype| is_so(dtype)) {
            rounded.remove(0);
        }
        rounded
    }

    /// Returns the base of a merge, before anything is added to it.
    pub(super) fn before(&self, number: u32, merge: u32) -> Result<ToPack> {
        let pack = &self.plan.packs[number as usize];
        let merge = &self.plan.merges[merge as usize];
        let (decoding, _) = self.to_merge(merge)?;
        let values = Of::of(merge.base);
        let mut base = self.to_pack(number)?;
        base.codes = self.strewn_codes(values, &decoding)?;
        base.values = values;
        base.decoding = pack.change.over(decoding).map_err(|why| self.refused(values, &why))?;
        base.rounded = vec![merge.native, pack.dtype];
        Ok(base)
    }

    /// Returns the tensors of a pack as they are stored, in the order of its encoding.
    pub(super) fn stored(&self, number: u32) -> Result<Vec<Vec<u8>>> {
        let encoding = self.to_pack(number)?.encoding;
        let stored = encoding.tensors.iter().filter_map(|encoded| match encoded.place {
            Place::Of(tensor) => Some(At::base(tensor)),
            Place::New(_) => None,
        });
        let read = |at: At| {
            let mut bytes = vec![0; self.bytes_of(at) as usize];
            self.read_into(at, 0, &mut bytes).map(|()| bytes)
        };
        stored.map(read).collect()
    }

    /// Returns the largest magnitude among the values that a pack shares it with; `find` finds that of one.
    pub(super) fn largest(&self, number: u32, find: &mut dyn FnMut(&ToPack) -> Result<f32>) -> Result<f32> {
        let own = [number];
        let shares = &self.plan.packs[number as usize].shares;
        let shares = if shares.is_empty() { own.as_slice() } else { shares };
        let mut known = self.largest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&largest) = shares.first().and_then(|first| known.get(first)) {
            return Ok(largest);
        }
        let mut largest = 0f32;
        for &share in shares {
            largest = largest.max(find(&self.to_pack(share)?)?);
        }
        known.extend(shares.first().map(|&first| (first, largest)));
        Ok(largest)
    }

    /// Returns the error of what cannot be decoded, merged or packed.
    pub(super) fn refused(&self, values: Of, why: &str) -> Error {
        let base = match values {
            Of::Merged(merge) => self.plan.merges[merge as usize].base,
            Of::Layer(layer, _) => Base::Layer(layer),
            Of::Tensor(at, _) => Base::Tensor(at),
        };
        let name = match base {
            Base::Layer(layer) => self.layer_name(layer),
            Base::Tensor(at) => self.record(at).0.tensor_name(at.tensor),
        };
        self.undecodable(&name, why)
    }

    /// Returns the error of what cannot be packed.
    pub(super) fn refused_pack(&self, pack: u32, why: &str) -> Error {
        self.refused(self.plan.packs[pack as usize].values, why)
    }

    fn undecodable(&self, name: &str, why: &str) -> Error {
        let message = format!("{}: {why}", escape(name));
        Error {
            tensor: Some(name.to_owned()),
            file: Some(self.base().checkpoint.files.path.clone()),
            ..Error::input(message)
        }
    }

    /// Returns how a plain tensor is read; `is_flat`: its first dimension by all others.
    fn tensor(&self, at: At, is_flat: bool) -> Result<Decoding> {
        let (tensor, (files, record)) = (at.tensor, self.record(at));
        let shape = files.shape(record);
        let flat = match shape {
            [first, rest @ ..] if is_flat => elements(rest).map(|rest| [*first, rest]),
            _ => None,
        };
        dense::plain(tensor, record.dtype, flat.as_ref().map_or(shape, |flat| flat), record.bytes)
            .map_err(|why| self.undecodable(&files.tensor_name(tensor), &why))
    }

    fn layer(&self, layer: u32) -> Result<Decoding> {
        let Opened { checkpoint, data, .. } = self.base();
        let (files, layers) = (&checkpoint.files, &checkpoint.layers);
        let spec = layers.spec(layer);
        let made = layers.with_parts(files, layer, data, |parts| {
            let side = parts.list.iter().map(|part| part.bytes).fold(0, u64::saturating_add);
            spec.format
                .get()
                .decode(parts, spec)
                .map(|decoding| (self.bytes_of(At::base(decoding.codes)), side, decoding))
        });
        let (codes, all, decoding) = made.map_err(|why| self.undecodable(&self.layer_name(layer), &why))?;
        self.read.fetch_add(all.saturating_sub(codes), Ordering::Relaxed);
        Ok(decoding)
    }
}

/// Returns the tensor that holds the codes of a merged weight.
pub(super) fn codes_of(base: Base, decoding: &Decoding) -> At {
    match base {
        Base::Layer(_) => At::base(decoding.codes),
        Base::Tensor(at) => at,
    }
}

fn stamp(path: &Path) -> Result<Stamp> {
    let meta = std::fs::metadata(path).map_err(|e| Error::io("open", path, &e))?;
    Ok((meta.len(), meta.modified().ok()))
}

fn changed(path: &Path, name: &str) -> Error {
    Error::input(format!("{}: the file changed while it was read", escape(name))).at(path)
}
