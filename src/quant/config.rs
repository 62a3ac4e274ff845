//! Config: what config files say of the quantization, for formats to hold against the tensors.

use serde_json::Value;

use super::claims;

/// One place that describes the quantization: a block of a config file.
#[derive(Clone, Debug)]
pub struct QuantBlock {
    /// File it stands in: `config.json`, `quantize_config.json`, `__metadata__`.
    pub file: String,
    /// Path inside the file: `quantization_config`, `text_config.quantization_config`, or empty for the
    /// whole file.
    pub key: String,
    /// The method that the block means, lower case: `quant_method`, or what its form implies
    /// (`load_in_4bit` means `bitsandbytes`, a `quantization` block of MLX means `mlx`). `None` if it does
    /// not tell.
    pub method: Option<String>,
    /// The block itself, an object.
    pub value: Value,
}

/// Every block that describes the quantization, in the order of trust.
#[derive(Clone, Debug, Default)]
pub struct QuantConfig {
    /// The blocks.
    pub blocks: Vec<QuantBlock>,
    /// Shapes that follow from the model's config, for formats whose tensors do not tell theirs.
    pub shapes: ConfigShapes,
    /// True if there is a `config.json`, which would have to say how the weights are quantized.
    pub of_model: bool,
}

/// Shapes of linears by the last component of their name, `[out, in]`: `q_proj`, `down_proj` …
/// Empty for architectures whose shapes do not follow from the config by one rule.
#[derive(Clone, Debug, Default)]
pub struct ConfigShapes(pub Vec<(&'static str, Vec<u64>, &'static str)>);

impl ConfigShapes {
    /// Returns the shape for this label, with the config keys that give it.
    #[must_use]
    pub fn find(&self, label: &str) -> Option<(&[u64], &'static str)> {
        self.0.iter().find(|(known, ..)| *known == label).map(|(_, shape, why)| (shape.as_slice(), *why))
    }
}

impl QuantConfig {
    /// Returns the method of the first block that tells one.
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        self.blocks.iter().find_map(|block| block.method.as_deref())
    }

    /// Returns the shape that the architecture gives a layer, by the last component of its name.
    #[must_use]
    pub fn shape_of(&self, module: &str) -> Option<Vec<u64>> {
        let label = module.rsplit('.').next().unwrap_or(module);
        self.shapes.find(label).map(|(shape, _)| shape.to_vec())
    }

    /// Returns the first block that means one of these methods.
    #[must_use]
    pub fn block(&self, methods: &[&str]) -> Option<&QuantBlock> {
        self.blocks.iter().find(|block| block.method.as_deref().is_some_and(|m| methods.contains(&m)))
    }
}

impl QuantBlock {
    /// Returns the value of the first of these keys that is there (not null), with the key.
    #[must_use]
    pub fn any<'a>(&'a self, keys: &[&'a str]) -> Option<(&'a str, &'a Value)> {
        keys.iter().find_map(|&key| self.value.get(key).filter(|v| !v.is_null()).map(|v| (key, v)))
    }

    /// Returns a whole number under one of these keys; floats like `4.0` and strings like `"4"` count.
    #[must_use]
    pub fn int(&self, keys: &[&str]) -> Option<i64> {
        self.any(keys).and_then(|(_, value)| claims::integer(value))
    }

    /// Returns true or false under one of these keys.
    #[must_use]
    pub fn flag(&self, keys: &[&str]) -> Option<bool> {
        self.any(keys).and_then(|(_, value)| value.as_bool())
    }

    /// Returns the text under one of these keys.
    #[must_use]
    pub fn text(&self, keys: &[&str]) -> Option<&str> {
        keys.iter().find_map(|key| self.value.get(*key).and_then(Value::as_str))
    }
}
