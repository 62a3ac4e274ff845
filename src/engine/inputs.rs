//! Inputs: the files that are read, by positioned reads, and whether they are still what they were.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use super::Decoded;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::side::FileSide;
use crate::error::{Error, ErrorKind, Result};
use crate::name::escape;
use crate::quant::decode::Decoding;
use crate::quant::dense;
use crate::tensor::Dtype;

/// Size and time of a file.
type Stamp = (u64, Option<SystemTime>);

/// The files of a checkpoint while it is converted.
pub(super) struct Inputs<'a> {
    checkpoint: &'a Checkpoint,
    data: FileSide<'a>,
    stamps: Vec<Stamp>,
    read: AtomicU64,
    nanos: AtomicU64,
}

impl<'a> Inputs<'a> {
    pub(super) fn open(checkpoint: &'a Checkpoint) -> Result<Self> {
        let stamps: Result<Vec<Stamp>> = checkpoint.files.shards.iter().map(|s| stamp(&s.path)).collect();
        let inputs = Self {
            checkpoint,
            data: FileSide::whole(&checkpoint.files),
            stamps: stamps?,
            read: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
        };
        for (shard, (bytes, _)) in checkpoint.files.shards.iter().zip(&inputs.stamps) {
            if *bytes != shard.bytes {
                return Err(changed(&shard.path, &shard.name));
            }
        }
        Ok(inputs)
    }

    /// Returns name, size and time of each file, as text: what a run that is continued must find again.
    pub(super) fn stamps(&self) -> Vec<(String, u64, String)> {
        let shards = self.checkpoint.files.shards.iter().zip(&self.stamps);
        shards
            .map(|(shard, (bytes, time))| (shard.path.display().to_string(), *bytes, format!("{time:?}")))
            .collect()
    }

    /// Fails if a file has changed since it was opened.
    pub(super) fn check_unchanged(&self) -> Result<()> {
        for (shard, before) in self.checkpoint.files.shards.iter().zip(&self.stamps) {
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

    pub(super) fn dtype(&self, tensor: u32) -> Dtype {
        self.checkpoint.files.tensors[tensor as usize].dtype
    }

    pub(super) fn bytes_of(&self, tensor: u32) -> u64 {
        self.checkpoint.files.tensors[tensor as usize].bytes
    }

    /// Reads bytes of a tensor from `offset` on until `out` is full.
    pub(super) fn read_into(&self, tensor: u32, offset: u64, out: &mut [u8]) -> Result<()> {
        let failed = |what: String| {
            let files = &self.checkpoint.files;
            let record = &files.tensors[tensor as usize];
            let shard = &files.shards[usize::from(record.shard)];
            let name = files.tensor_name(tensor);
            Error {
                file: Some(shard.path.clone()),
                message: format!("{}: tensor {}: {what}", escape(&shard.name), escape(&name)),
                tensor: Some(name),
                ..Error::new(ErrorKind::Io, "")
            }
        };
        let since = Instant::now();
        self.data.fill(tensor, offset, out).map_err(failed)?;
        super::busy::add(&self.nanos, since);
        self.read.fetch_add(out.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Returns how a layer or tensor is decoded, with all that its codes need.
    pub(super) fn decoding(&self, decoded: Decoded) -> Result<Decoding> {
        let files = &self.checkpoint.files;
        let (made, change, name) = match decoded {
            Decoded::Layer(layer, change) => {
                (self.layer(layer)?, change, self.checkpoint.layers.name(&files.names, layer))
            }
            Decoded::Tensor(tensor, change) => {
                let record = &files.tensors[tensor as usize];
                let name = files.tensor_name(tensor);
                let made = dense::plain(tensor, record.dtype, files.shape(record), record.bytes)
                    .map_err(|why| self.undecodable(&name, &why))?;
                (made, change, name)
            }
        };
        change.over(made).map_err(|why| self.undecodable(&name, &why))
    }

    fn undecodable(&self, name: &str, why: &str) -> Error {
        let message = format!("{}: {why}", escape(name));
        Error {
            tensor: Some(name.to_owned()),
            file: Some(self.checkpoint.files.path.clone()),
            ..Error::input(message)
        }
    }

    fn layer(&self, layer: u32) -> Result<Decoding> {
        let (files, layers) = (&self.checkpoint.files, &self.checkpoint.layers);
        let spec = layers.spec(layer);
        let made = layers.with_parts(files, layer, &self.data, |parts| {
            let side = parts.list.iter().map(|part| part.bytes).sum::<u64>();
            spec.format
                .get()
                .decode(parts, spec)
                .map(|decoding| (self.bytes_of(decoding.codes), side, decoding))
        });
        let (codes, all, decoding) =
            made.map_err(|why| self.undecodable(&layers.name(&files.names, layer), &why))?;
        self.read.fetch_add(all.saturating_sub(codes), Ordering::Relaxed);
        Ok(decoding)
    }
}

fn stamp(path: &Path) -> Result<Stamp> {
    let meta = std::fs::metadata(path).map_err(|e| Error::io("open", path, &e))?;
    Ok((meta.len(), meta.modified().ok()))
}

fn changed(path: &Path, name: &str) -> Error {
    Error::input(format!("{}: the file changed while it was read", escape(name))).at(path)
}
