//! A small model in a folder of its own, which a case changes before it is written.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Map, Value, json};

/// A tensor of a safetensors file: dtype as the format spells it, shape, bytes.
#[derive(Clone)]
pub(super) struct Tensor {
    pub(super) dtype: &'static str,
    pub(super) shape: Vec<u64>,
    pub(super) bytes: Vec<u8>,
}

impl Tensor {
    /// Returns a tensor of values that are not all alike, and finite as BF16, F16 and F32.
    pub(super) fn new(dtype: &'static str, shape: &[u64]) -> Self {
        let bits = match dtype {
            "F64" | "I64" => 64,
            "F32" | "I32" => 32,
            "BF16" | "F16" | "I16" => 16,
            _ => 8,
        };
        let count = shape.iter().product::<u64>() * bits / 8;
        let bytes = (0..count).map(|at| (at % 53) as u8 + 1).collect();
        Self { dtype, shape: shape.to_vec(), bytes }
    }
}

/// Tensors of one file, and its `__metadata__` (`None`: it has none).
#[derive(Clone, Default)]
pub(super) struct Shard {
    pub(super) tensors: BTreeMap<String, Tensor>,
    pub(super) metadata: Option<Value>,
}

/// A model (and an adapter beside it) in a temporary folder, removed at the end.
pub(super) struct Folder {
    root: PathBuf,
    /// The weight files by name; at first one `model.safetensors`.
    pub(super) shards: BTreeMap<String, Shard>,
    /// JSON files by name: `config.json`, an index, `quantize_config.json` …
    pub(super) json: BTreeMap<String, Value>,
    /// Other files by name, written as they are; one of the name of a shard stands in its place.
    pub(super) raw: BTreeMap<String, Vec<u8>>,
    /// The adapter, if there is one: its JSON files and tensors.
    pub(super) adapter: Option<(BTreeMap<String, Value>, Shard)>,
    /// Other files of the adapter by name, written as they are.
    pub(super) adapter_raw: BTreeMap<String, Vec<u8>>,
    /// True if the data is read as well (`--deep`).
    pub(super) is_deep: bool,
}

pub(super) const HIDDEN: u64 = 32;
pub(super) const INNER: u64 = 64;
pub(super) const VOCAB: u64 = 48;
pub(super) const LAYERS: u64 = 2;
const KEYS: u64 = 16;

impl Folder {
    /// Returns a Llama of two layers in BF16: hidden 32, 4 heads, 2 key-value heads, inner 64, vocabulary 48.
    pub(super) fn model() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("ckpt-rules-{}-{number}", std::process::id()));
        let mut shard = Shard { metadata: Some(json!({"format": "pt"})), ..Shard::default() };
        let mut add = |name: String, shape: &[u64]| {
            shard.tensors.insert(name, Tensor::new("BF16", shape));
        };
        add("model.embed_tokens.weight".into(), &[VOCAB, HIDDEN]);
        add("model.norm.weight".into(), &[HIDDEN]);
        add("lm_head.weight".into(), &[VOCAB, HIDDEN]);
        for layer in 0..LAYERS {
            let prefix = format!("model.layers.{layer}");
            for (module, rows, columns) in [
                ("self_attn.q_proj", HIDDEN, HIDDEN),
                ("self_attn.k_proj", KEYS, HIDDEN),
                ("self_attn.v_proj", KEYS, HIDDEN),
                ("self_attn.o_proj", HIDDEN, HIDDEN),
                ("mlp.gate_proj", INNER, HIDDEN),
                ("mlp.up_proj", INNER, HIDDEN),
                ("mlp.down_proj", HIDDEN, INNER),
            ] {
                add(format!("{prefix}.{module}.weight"), &[rows, columns]);
            }
            add(format!("{prefix}.input_layernorm.weight"), &[HIDDEN]);
            add(format!("{prefix}.post_attention_layernorm.weight"), &[HIDDEN]);
        }
        let config = json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN,
            "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": 4,
            "num_key_value_heads": 2, "vocab_size": VOCAB, "rms_norm_eps": 1e-6, "hidden_act": "silu",
            "max_position_embeddings": 128, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
            "transformers_version": "4.57.1"
        });
        Self {
            root,
            shards: BTreeMap::from([("model.safetensors".into(), shard)]),
            json: BTreeMap::from([("config.json".into(), config)]),
            raw: BTreeMap::new(),
            adapter: None,
            adapter_raw: BTreeMap::new(),
            is_deep: false,
        }
    }

    /// Returns the folder of the model.
    pub(super) fn path(&self) -> PathBuf {
        self.root.join("model")
    }

    /// Returns the folder of the adapter, if there is one.
    pub(super) fn adapter_path(&self) -> Option<PathBuf> {
        let is_there = self.adapter.is_some() || !self.adapter_raw.is_empty();
        is_there.then(|| self.root.join("adapter"))
    }

    /// Returns the config.
    pub(super) fn config(&mut self) -> &mut Map<String, Value> {
        self.json.get_mut("config.json").unwrap().as_object_mut().unwrap()
    }

    /// Returns the tensors of the only weight file.
    pub(super) fn tensors(&mut self) -> &mut BTreeMap<String, Tensor> {
        &mut self.shards.get_mut("model.safetensors").unwrap().tensors
    }

    /// Gives every tensor another name.
    pub(super) fn rename(&mut self, name: impl Fn(&str) -> String) {
        let tensors = std::mem::take(self.tensors());
        *self.tensors() = tensors.into_iter().map(|(old, tensor)| (name(&old), tensor)).collect();
    }

    /// Attaches a LoRA of rank 4 on `q_proj` and `v_proj`, as PEFT 0.17 saves it.
    pub(super) fn attach_lora(&mut self) {
        let mut shard = Shard { metadata: Some(json!({"format": "pt"})), ..Shard::default() };
        for layer in 0..LAYERS {
            for (module, rows) in [("q_proj", HIDDEN), ("v_proj", KEYS)] {
                let key = format!("base_model.model.model.layers.{layer}.self_attn.{module}");
                shard.tensors.insert(format!("{key}.lora_A.weight"), Tensor::new("F32", &[4, HIDDEN]));
                shard.tensors.insert(format!("{key}.lora_B.weight"), Tensor::new("F32", &[rows, 4]));
            }
        }
        let config = json!({
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "lora_dropout": 0.0,
            "target_modules": ["q_proj", "v_proj"], "bias": "none", "modules_to_save": null,
            "use_rslora": false, "use_dora": false, "fan_in_fan_out": false, "inference_mode": true,
            "base_model_name_or_path": self.path().to_str().unwrap()
        });
        self.adapter = Some((BTreeMap::from([("adapter_config.json".into(), config)]), shard));
    }

    /// Returns the config of the adapter, which is attached if there is none yet.
    pub(super) fn adapter_config(&mut self) -> &mut Map<String, Value> {
        if self.adapter.is_none() {
            self.attach_lora();
        }
        let (json, _) = self.adapter.as_mut().unwrap();
        json.get_mut("adapter_config.json").unwrap().as_object_mut().unwrap()
    }

    /// Returns the tensors of the adapter, which is attached if there is none yet.
    pub(super) fn adapter_tensors(&mut self) -> &mut BTreeMap<String, Tensor> {
        if self.adapter.is_none() {
            self.attach_lora();
        }
        &mut self.adapter.as_mut().unwrap().1.tensors
    }

    /// Writes everything.
    pub(super) fn write(&self) {
        let folder = self.path();
        std::fs::create_dir_all(&folder).unwrap();
        write_all(&folder, &self.json, &self.shards);
        for (name, bytes) in &self.raw {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            write(&path, bytes);
        }
        let Some(folder) = self.adapter_path() else { return };
        std::fs::create_dir_all(&folder).unwrap();
        if let Some((json, shard)) = &self.adapter {
            let shards = BTreeMap::from([("adapter_model.safetensors".to_owned(), shard.clone())]);
            write_all(&folder, json, &shards);
        }
        for (name, bytes) in &self.adapter_raw {
            write(&folder.join(name), bytes);
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

fn write(path: &Path, bytes: &[u8]) {
    // What stands in the place of a shard is written after it.
    let _ = std::fs::remove_file(path);
    std::fs::File::create_new(path).unwrap().write_all(bytes).unwrap();
}

fn write_all(folder: &Path, json: &BTreeMap<String, Value>, shards: &BTreeMap<String, Shard>) {
    for (name, value) in json {
        write(&folder.join(name), format!("{value:#}\n").as_bytes());
    }
    for (name, shard) in shards {
        write(&folder.join(name), &shard.bytes());
    }
}

impl Shard {
    /// Returns the file: the length of the header, the header, the data in the order of the names.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut header = Map::new();
        header.extend(self.metadata.iter().map(|metadata| ("__metadata__".to_owned(), metadata.clone())));
        let mut data = Vec::new();
        for (name, tensor) in &self.tensors {
            let end = data.len() + tensor.bytes.len();
            let entry =
                json!({"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [data.len(), end]});
            header.insert(name.clone(), entry);
            data.extend_from_slice(&tensor.bytes);
        }
        let mut text = Value::Object(header).to_string().into_bytes();
        while !text.len().is_multiple_of(8) {
            text.push(b' ');
        }
        let mut file = (text.len() as u64).to_le_bytes().to_vec();
        file.extend(text);
        file.extend(data);
        file
    }
}
