//! Fixes carried out on small folders: each edit, several in one pass, what is refused, and what is left behind.

mod all;
mod edits;
mod refused;
mod runs;
mod treated;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ckpt::checkpoint::Checkpoint;
use ckpt::engine::cpu::Cpu;
use ckpt::engine::{Options, Outcome, Progress, Proof, Run};
use ckpt::error::Result;
use ckpt::plan::edit::{Edit, Rename};
use ckpt::plan::fixed::{Code, Fixed, order};
use serde_json::{Value, json};

use super::folder::{Folder, Shard, Tensor};

/// A folder as it was opened, its plan and where that goes.
struct Fixing {
    checkpoint: Checkpoint,
    fixed: Fixed,
}

/// Returns the folder that a fix of `folder` makes.
fn out(folder: &Folder) -> PathBuf {
    folder.path().parent().unwrap().join("fixed")
}

fn plan(folder: &Folder, edits: &[(Code, Edit)]) -> Result<Fixing> {
    let checkpoint = Checkpoint::open_examined(folder.path().to_str().unwrap()).unwrap();
    let codes: Vec<String> = edits.iter().map(|(code, _)| (*code).to_owned()).collect();
    let order = order(folder.path().to_str().unwrap(), &out(folder), &codes);
    let fixed = Fixed::plan(&checkpoint, edits, order)?;
    Ok(Fixing { checkpoint, fixed })
}

impl Fixing {
    fn run(&self, options: &Options) -> Result<Outcome> {
        let progress = Progress::default();
        let plan = &self.fixed.plan;
        let run = Run {
            checkpoint: &self.checkpoint,
            adapters: &[],
            plan,
            options,
            device: &Cpu,
            progress: &progress,
        };
        run.carry_out()
    }
}

/// Writes the folder, fixes it, and returns what is in the result by name; everything is proven.
fn fix(folder: &Folder, edits: &[(Code, Edit)]) -> (Fixing, BTreeMap<String, Vec<u8>>) {
    folder.write();
    let before = files(&folder.path());
    let fixing = plan(folder, edits).unwrap();
    let options = Options { threads: 2, proof: Proof::Full, ..Options::default() };
    let outcome = fixing.run(&options).unwrap();
    assert!(outcome.proof.is_some());
    assert_eq!(files(&folder.path()), before, "the input is as it was");
    let made = files(&out(folder));
    (fixing, made)
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            let below = files(&entry.path());
            found.extend(below.into_iter().map(|(below, bytes)| (format!("{name}/{below}"), bytes)));
        } else {
            found.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
    found
}

/// Reads a safetensors file with the format's own reader: its metadata, and bytes by name.
fn tensors(file: &[u8]) -> (BTreeMap<String, String>, BTreeMap<String, Vec<u8>>) {
    let (_, header) = safetensors::SafeTensors::read_metadata(file).unwrap();
    let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
    let read = safetensors::SafeTensors::deserialize(file).unwrap();
    (metadata, read.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect())
}

/// Returns the bytes of a folder's tensors by name.
fn bytes_of(shard: &Shard) -> BTreeMap<String, Vec<u8>> {
    shard.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.bytes.clone())).collect()
}

fn json_edit(file: &str, path: &str, value: Option<Value>) -> Edit {
    Edit::Json { file: file.into(), path: path.split('.').map(str::to_owned).collect(), value }
}

fn strip(prefix: &str) -> Edit {
    Edit::Rename(Rename::Strip(prefix.into()))
}

/// Deals the tensors of a model out to two files with an index.
fn split(folder: &mut Folder) {
    let all = folder.shards.remove("model.safetensors").unwrap();
    let (mut one, mut two) = (
        Shard { metadata: all.metadata.clone(), ..Shard::default() },
        Shard { metadata: all.metadata, ..Shard::default() },
    );
    for (name, tensor) in all.tensors {
        let shard = if name.contains("layers.1") || name.contains("norm") { &mut two } else { &mut one };
        shard.tensors.insert(name, tensor);
    }
    let mut map = serde_json::Map::new();
    let mut total = 0;
    for (file, shard) in [(ONE, &one), (TWO, &two)] {
        for (name, tensor) in &shard.tensors {
            map.insert(name.clone(), json!(file));
            total += tensor.bytes.len();
        }
    }
    folder.shards.insert(ONE.into(), one);
    folder.shards.insert(TWO.into(), two);
    let index = json!({"metadata": {"total_size": total, "kept": "x"}, "weight_map": map});
    folder.json.insert(INDEX.into(), index);
}

const ONE: &str = "model-00001-of-00002.safetensors";
const TWO: &str = "model-00002-of-00002.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Returns an index of a result: file by tensor, and its total.
fn index(made: &BTreeMap<String, Vec<u8>>) -> (BTreeMap<String, String>, u64) {
    let index: Value = serde_json::from_slice(&made[INDEX]).unwrap();
    let map = index["weight_map"].as_object().unwrap();
    let map = map.iter().map(|(name, file)| (name.clone(), file.as_str().unwrap().to_owned())).collect();
    (map, index["metadata"]["total_size"].as_u64().unwrap())
}

/// Returns a problem's codes of an opened folder.
fn codes(folder: &Path) -> Vec<&'static str> {
    let opened = Checkpoint::open_examined(folder.to_str().unwrap()).unwrap();
    opened.problems.iter().map(|problem| problem.kind.code).collect()
}

fn a_tensor(bytes: u8, shape: &[u64]) -> Tensor {
    let mut tensor = Tensor::new("BF16", shape);
    tensor.bytes.fill(bytes);
    tensor
}

/// Puts a file there, in the place of what is there.
fn put(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
    use std::io::Write as _;
    let file = std::fs::File::options().write(true).create(true).truncate(true).open(path);
    file.unwrap().write_all(bytes.as_ref()).unwrap();
}
