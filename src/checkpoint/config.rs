//! Config files of a folder: `config.json`, the side files that describe a quantization, and what they
//! say. Read leniently: a damaged file is a `Problem`, a missing key is `None`.

use std::path::Path;

use serde_json::Value;

use crate::container::bytes::SourceFile;
use crate::problem::{Problem, kind};
use crate::quant::{ConfigShapes, QuantBlock, QuantConfig};
use crate::tensor::Dtype;

/// A JSON side file is not read beyond this. The largest known (EXL3's `tensor_storage`) has some MB.
const CONFIG_BYTES_MAX: u64 = 64 << 20;

/// The files that are read, in the order of trust for quantization.
pub const CONFIG_FILES: [&str; 11] = [
    "config.json",
    "quantize_config.json",
    "quant_config.json",
    "hf_quant_config.json",
    "quantization_config.json",
    "quanto_qmap.json",
    "adapter_config.json",
    "generation_config.json",
    "params.json",
    "tokenizer_config.json",
    "added_tokens.json",
];

/// Keys under which a composite config nests the language model's.
pub const NESTED: [&str; 8] = [
    "text_config",
    "llm_config",
    "language_config",
    "thinker_config",
    "text_model_config",
    "decoder",
    "llm",
    "language_model",
];

/// Architectures whose shapes follow from the config by one rule. Sources: transformers'
/// `modeling_llama.py`, `modeling_mistral.py`, `modeling_qwen2.py`, `modeling_qwen3.py`.
pub const ONE_RULE: [&str; 4] =
    ["LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"];

/// One config file.
#[derive(Debug)]
pub struct ConfigFile {
    /// Its name in the folder.
    pub name: String,
    /// Its content, if it is JSON.
    pub value: Option<Value>,
}

/// The config files of a checkpoint.
#[derive(Debug, Default)]
pub struct Configs {
    /// Those that are there.
    pub files: Vec<ConfigFile>,
    /// What they say about the quantization.
    pub quant: QuantConfig,
}

impl Configs {
    /// Reads the config files of a folder. Faults go to `problems`.
    pub fn read(folder: &Path, problems: &mut Vec<Problem>) -> Self {
        let mut configs = Self::default();
        for name in CONFIG_FILES {
            let path = folder.join(name);
            if !path.exists() {
                continue;
            }
            let value = match read_json(&path, name) {
                Ok(value) => Some(value),
                Err(problem) => {
                    problems.push(problem);
                    None
                }
            };
            configs.files.push(ConfigFile { name: name.to_owned(), value });
        }
        configs.quant = configs.quant_blocks();
        configs
    }

    /// Returns the content of a config file.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.files.iter().find(|file| file.name == name)?.value.as_ref()
    }

    /// Returns true if the file is there, readable or not.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.files.iter().any(|file| file.name == name)
    }

    /// Returns a value of `config.json`: at the top, else in the nested language model's config.
    #[must_use]
    pub fn model(&self, key: &str) -> Option<&Value> {
        let config = self.get("config.json")?;
        config.get(key).filter(|v| !v.is_null()).or_else(|| {
            NESTED.iter().find_map(|nested| config.get(nested)?.get(key).filter(|v| !v.is_null()))
        })
    }

    /// Returns a whole number of `config.json`.
    #[must_use]
    pub fn model_int(&self, key: &str) -> Option<u64> {
        self.model(key).and_then(Value::as_u64)
    }

    /// Returns the architecture: `architectures[0]`, else `model_type`.
    #[must_use]
    pub fn architecture(&self) -> Option<&str> {
        let config = self.get("config.json")?;
        config
            .get("architectures")
            .and_then(|list| list.get(0))
            .and_then(Value::as_str)
            .or_else(|| config.get("model_type").and_then(Value::as_str))
    }

    /// Returns true if the config ties the head to the embeddings, by what it says or by what its type does where it
    /// says nothing.
    #[must_use]
    pub fn ties_embeddings(&self) -> bool {
        if self.architecture().is_some_and(|name| super::expected::NEVER_TIED.contains(&name)) {
            return false;
        }
        let by_type = || self.model_type().is_some_and(|kind| super::expected::TIED_TYPES.contains(&kind));
        self.model("tie_word_embeddings").and_then(Value::as_bool).unwrap_or_else(by_type)
    }

    /// Returns the `model_type` of `config.json`.
    #[must_use]
    pub fn model_type(&self) -> Option<&str> {
        self.get("config.json")?.get("model_type")?.as_str()
    }

    /// Returns the dtype that the config says most weights have (`dtype`, else `torch_dtype`).
    #[must_use]
    pub fn dtype(&self) -> Option<Dtype> {
        let text = self.model("dtype").or_else(|| self.model("torch_dtype"))?.as_str()?;
        match text.trim_start_matches("torch.") {
            "bfloat16" => Some(Dtype::BF16),
            "float16" | "half" => Some(Dtype::F16),
            "float32" | "float" => Some(Dtype::F32),
            "float64" | "double" => Some(Dtype::F64),
            _ => None,
        }
    }

    fn quant_blocks(&self) -> QuantConfig {
        let mut blocks = Vec::new();
        if let Some(config) = self.get("config.json") {
            collect(config, "", 0, &mut blocks);
        }
        for (file, implied) in [
            ("quantize_config.json", Some("gptq")),
            ("quant_config.json", None),
            ("hf_quant_config.json", Some("modelopt")),
            ("quantization_config.json", None),
            ("quanto_qmap.json", Some("quanto")),
        ] {
            if let Some(value) = self.get(file).filter(|v| v.is_object()) {
                let method =
                    method_of(value).or(implied.map(str::to_owned)).or_else(|| implied_by_keys(value));
                blocks.push(QuantBlock {
                    file: file.into(),
                    key: String::new(),
                    method,
                    value: value.clone(),
                });
            }
        }
        let of_model = self.has("config.json");
        QuantConfig { blocks, shapes: self.shapes().unwrap_or_default(), of_model }
    }

    /// Returns the shapes that the config gives: all of them for architectures of one rule, the embeddings' for
    /// others that are known.
    fn shapes(&self) -> Option<ConfigShapes> {
        let architecture = self.architecture()?;
        if ONE_RULE.contains(&architecture) {
            return Self::shapes_by(|key| self.model_int(key));
        }
        self.get("config.json").filter(|config| config.get("auto_map").is_none())?;
        let (label, key, why) = super::stacks::embeddings_of(architecture)?;
        let shape = vec![self.model_int("vocab_size")?, self.model_int(key)?];
        Some(ConfigShapes(vec![(label, shape, why)]))
    }

    /// Returns the shapes that whole numbers of a config give, by the rule of `ONE_RULE`.
    pub(crate) fn shapes_by(int: impl Fn(&str) -> Option<u64>) -> Option<ConfigShapes> {
        let hidden = int("hidden_size")?;
        let heads = int("num_attention_heads").filter(|&h| h > 0)?;
        let head = int("head_dim").unwrap_or(hidden / heads);
        let queries = heads.checked_mul(head)?;
        let keys = int("num_key_value_heads").unwrap_or(heads).checked_mul(head)?;
        let (vocab, inner) = (int("vocab_size")?, int("intermediate_size")?);
        let key_words = "num_key_value_heads × head_dim, hidden_size";
        Some(ConfigShapes(vec![
            ("embed_tokens", vec![vocab, hidden], "vocab_size, hidden_size"),
            ("lm_head", vec![vocab, hidden], "vocab_size, hidden_size"),
            ("q_proj", vec![queries, hidden], "num_attention_heads × head_dim, hidden_size"),
            ("k_proj", vec![keys, hidden], key_words),
            ("v_proj", vec![keys, hidden], key_words),
            ("o_proj", vec![hidden, queries], "hidden_size, num_attention_heads × head_dim"),
            ("gate_proj", vec![inner, hidden], "intermediate_size, hidden_size"),
            ("up_proj", vec![inner, hidden], "intermediate_size, hidden_size"),
            ("down_proj", vec![hidden, inner], "hidden_size, intermediate_size"),
            ("input_layernorm", vec![hidden], "hidden_size"),
            ("post_attention_layernorm", vec![hidden], "hidden_size"),
        ]))
    }
}

/// Depth to which a config is searched for quantization blocks.
const BLOCK_DEPTH_MAX: usize = 2;

/// Collects the quantization blocks of `config.json`, at the top and inside nested configs.
fn collect(value: &Value, path: &str, depth: usize, blocks: &mut Vec<QuantBlock>) {
    let Some(object) = value.as_object() else { return };
    for key in ["quantization_config", "compression_config", "quantization"] {
        let Some(mut block) = object.get(key).filter(|v| v.is_object()) else { continue };
        let mut key = join(path, key);
        // Old compressed-tensors nested the block once more.
        if let Some(inner) = block.get("quantization_config").filter(|v| v.is_object()) {
            key = join(&key, "quantization_config");
            block = inner;
        }
        let method = method_of(block)
            .or_else(|| key.contains("compression_config").then(|| "compressed-tensors".into()))
            .or_else(|| implied_by_keys(block));
        blocks.push(QuantBlock { file: "config.json".into(), key, method, value: block.clone() });
    }
    if depth < BLOCK_DEPTH_MAX {
        for (name, child) in object {
            if child.is_object()
                && !matches!(name.as_str(), "quantization_config" | "compression_config" | "quantization")
            {
                collect(child, &join(path, name), depth + 1, blocks);
            }
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Returns the method a block names. As in transformers, the bitsandbytes flags win over the name.
fn method_of(block: &Value) -> Option<String> {
    let flag = |key: &str| block.get(key).and_then(Value::as_bool).unwrap_or(false);
    if flag("load_in_4bit") || flag("load_in_8bit") {
        return Some("bitsandbytes".into());
    }
    let name = block.get("quant_method").or_else(|| block.get("method"))?.as_str()?;
    Some(name.to_ascii_lowercase())
}

/// Returns the method that the keys of a block without a name imply.
fn implied_by_keys(block: &Value) -> Option<String> {
    let has = |key: &str| block.get(key).is_some();
    let method = if has("config_groups") {
        "compressed-tensors"
    } else if has("w_bit") || has("q_group_size") {
        "awq"
    } else if has("weight_quant_params") || has("quant_config") {
        "hqq"
    } else if has("tensor_storage") {
        "exl3"
    } else if has("desc_act") || has("damp_percent") {
        "gptq"
    } else if has("quant_algo") {
        "modelopt"
    } else if has("group_size") && has("bits") {
        "mlx"
    } else {
        return None;
    };
    Some(method.into())
}

fn read_json(path: &Path, name: &str) -> Result<Value, Problem> {
    let problem = |message: String| Problem::new(&kind::CONFIG_DAMAGED, message).file(name);
    let file = SourceFile::open(path, name).map_err(|e| problem(e.message))?;
    if file.len() > CONFIG_BYTES_MAX {
        return Err(problem(format!(
            "{name}: {} bytes, over the {CONFIG_BYTES_MAX} that are read of a config",
            file.len()
        )));
    }
    let bytes = file.head(CONFIG_BYTES_MAX as usize).map_err(|e| problem(e.message))?;
    serde_json::from_slice(&bytes).map_err(|e| problem(format!("{name}: not JSON: {e}")))
}
