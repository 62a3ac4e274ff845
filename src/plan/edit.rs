//! Edit: one change that a fix makes to a checkpoint, as data: what becomes of a config value, of the names of
//! tensors, of the files that hold them. Edits are applied to a plan in which everything is copied (or decoded), so
//! that several are one pass.

use serde_json::Value;

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// A value of a JSON file of the folder is set, or taken out with `None`. A file that is not there is made.
    Json {
        /// Its name in the folder: `config.json`.
        file: String,
        /// The keys from the top: `["quantization_config", "use_exllama"]`.
        path: Vec<String>,
        /// What it becomes.
        value: Option<Value>,
    },
    /// A file is left out of the result.
    LeaveOut {
        /// Its name in the folder.
        file: String,
    },
    /// A file of another folder goes into the result: one that a merge or a save lost.
    Bring {
        /// Where it is.
        from: std::path::PathBuf,
        /// Its name in the result.
        file: String,
    },
    /// Tensors get other names. The shards keep their data; only their headers change.
    Rename(Rename),
    /// Tensors are left out.
    Drop {
        /// Which: indices into the checkpoint's tensors, ascending.
        tensors: Vec<u32>,
    },
    /// The index of the shards is made anew from their headers (or left out where one file holds everything).
    Index,
    /// Files of tensors are written anew: packed, aligned, `__metadata__` with `{"format":"pt"}`; bytes that belong to
    /// no tensor go. A pickle becomes safetensors; a lone file gets the name that loaders look for.
    Rewrite,
    /// Tensors whose bytes are not all in their file are left out; what is whole is kept.
    KeepWhole,
}

/// How names change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rename {
    /// A prefix is taken off all names that have it: `module.`.
    Strip(String),
    /// A prefix is put before names that begin with one of these parts (all names if there are none).
    Add {
        /// What is put before: `model.`.
        prefix: String,
        /// First parts of the names that get it: `layers`, `embed_tokens`, `norm`.
        heads: Vec<String>,
    },
    /// A part of the name is replaced wherever it stands between dots (`base_layer` by nothing takes it out).
    Part {
        /// The part.
        from: String,
        /// What stands for it; empty: nothing.
        to: String,
    },
    /// These names, one by one.
    Each(Vec<(String, String)>),
}
