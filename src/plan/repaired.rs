//! A repair as a plan: the adapter's own bytes under the keys that PEFT looks for, with its config corrected.
//!
//! `ckpt align --repair` and the workbench carry out the same one. Nothing is opened or written here.

use std::path::Path;

use rustc_hash::FxHashMap;

use super::folder::{Copied, Text};
use super::{Action, At, Order, OutShard, OutTensor, Plan, Source, Step};
use crate::adapter::held::Held;
use crate::adapter::repair::{Repair, Wishes};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::files::TensorRecord;
use crate::checkpoint::folder::container_of;
use crate::tensor::elements;

/// What files of a trainer's state begin with; they are large, and of no use beside an adapter.
const TRAINING: [&str; 5] = ["optimizer", "scheduler", "scaler", "rng_state", "random_states"];

/// A repair that can be carried out.
pub struct Repaired {
    /// What it does.
    pub repair: Repair,
    /// The adapter with its tensors under their new keys: the input of the plan. The base is an input too, of which
    /// nothing is copied.
    pub result: Checkpoint,
    /// The plan of the folder.
    pub plan: Plan,
}

impl Repaired {
    /// Plans the repair of an adapter into a folder.
    #[must_use]
    pub fn plan(held: &Held, wishes: &Wishes, order: Order) -> Self {
        let repair = Repair::plan(&held.base, &held.adapter, &held.facts, &held.alignment, wishes);
        let result = repair.result(&held.adapter);
        let plan = folder(held, &repair, &result, order);
        Self { repair, result, plan }
    }

    /// Returns why nothing may be written, in words: there is nothing to repair, or not all can be.
    #[must_use]
    pub fn obstacle(&self) -> Option<&'static str> {
        match (self.repair.refused.is_empty(), self.repair.is_empty()) {
            (false, _) => Some("not everything can be repaired: nothing is written"),
            (true, true) => Some("nothing to repair"),
            (true, false) => None,
        }
    }
}

/// Returns what a user asks who repairs an adapter, given as `input`, into a folder.
#[must_use]
pub fn order(input: &str, output: &Path) -> Order {
    Order { shard_bytes: u64::MAX, ..Order::new(input, output) }
}

fn folder(held: &Held, repair: &Repair, result: &Checkpoint, order: Order) -> Plan {
    let files = &result.files;
    // Rows in another order are read as more dimensions than are written.
    let ordered: FxHashMap<&str, Vec<u64>> = repair
        .keys
        .iter()
        .filter(|key| key.order.is_some())
        .map(|key| (key.to.as_str(), key.shape(&held.adapter.files)))
        .collect();
    let tensor = |(at, record): (usize, &TensorRecord)| OutTensor {
        shape: ordered
            .get(files.tensor_name(at as u32).as_str())
            .map_or_else(|| files.shape(record).to_vec(), Clone::clone),
        name: files.tensor_name(at as u32),
        dtype: record.dtype,
        // A view spans other bytes than its elements take.
        bytes: elements(files.shape(record)).and_then(|n| record.dtype.bytes_of(n)).unwrap_or(record.bytes),
        source: Source::Copy(At::base(at as u32)),
    };
    let mut tensors: Vec<OutTensor> = files.tensors.iter().enumerate().map(tensor).collect();
    tensors.sort_by_key(|tensor| std::cmp::Reverse(tensor.dtype.bits().map_or(0, |bits| bits as u32)));
    let bytes = tensors.iter().map(|tensor| tensor.bytes).fold(0, u64::saturating_add);
    let step = Step {
        layer: held.adapter.files.title.clone(),
        action: Action::Copy,
        from: held.alignment.kind.clone(),
        to: held.alignment.kind.clone(),
        bytes_in: bytes,
        bytes_out: bytes,
        note: None,
    };
    Plan {
        order,
        steps: vec![step],
        shards: vec![OutShard {
            file: "adapter_model.safetensors".into(),
            tensors,
            metadata: None,
            run: None,
            gguf: None,
        }],
        merges: Vec::new(),
        packs: Vec::new(),
        target: None,
        shared: Vec::new(),
        shared_bytes: 0,
        coverage: None,
        texts: vec![Text { file: "adapter_config.json".into(), content: format!("{:#}\n", repair.config) }],
        copies: copies(&held.adapter),
        whole: Vec::new(),
        warnings: Vec::new(),
        broken: Vec::new(),
    }
}

/// Returns the files that go over as they are: all but weights and what is written anew.
fn copies(adapter: &Checkpoint) -> Vec<Copied> {
    let files = &adapter.files;
    // Beside an adapter that was named as a file may be anything.
    if !files.path.is_dir() {
        return Vec::new();
    }
    let is_kept = |name: &str| {
        name != "adapter_config.json"
            && !name.starts_with('.')
            && !name.ends_with(".index.json")
            && !TRAINING.iter().any(|word| name.starts_with(word))
            && container_of(name).is_none()
    };
    let copied = |(name, bytes): &(String, u64)| Copied {
        from: files.folder.join(name),
        file: name.clone(),
        bytes: *bytes,
    };
    files.others.iter().filter(|(name, _)| is_kept(name)).map(copied).collect()
}
