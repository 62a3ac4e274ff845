//! GGUF files of small models, written here: any architecture, any key-values, values from a fixed sequence.

use half::f16;

/// Dimensions of the models: hidden, inner, heads, heads of keys, size of a head, vocabulary, blocks.
pub(crate) struct Size {
    pub(crate) hidden: u64,
    pub(crate) inner: u64,
    pub(crate) heads: u64,
    pub(crate) kv_heads: u64,
    pub(crate) head: u64,
    pub(crate) vocab: u64,
    pub(crate) blocks: u64,
}

/// A file that grows.
pub(crate) struct GgufFile {
    arch: &'static str,
    pairs: Vec<(String, Vec<u8>)>,
    tensors: Vec<(String, Vec<u64>, u32, Vec<u8>)>,
    seed: u64,
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

impl GgufFile {
    pub(crate) fn new(arch: &'static str) -> Self {
        Self { arch, pairs: Vec::new(), tensors: Vec::new(), seed: 1 }.text("general.architecture", arch)
    }

    fn pair(mut self, key: &str, type_id: u32, value: &[u8]) -> Self {
        let key = if key.contains("general.") || key.contains("tokenizer.") {
            key.to_owned()
        } else {
            format!("{}.{key}", self.arch)
        };
        self.pairs.retain(|(known, _)| *known != key);
        self.pairs.push((key, [&type_id.to_le_bytes()[..], value].concat()));
        self
    }

    /// Adds a key-value by its full key and the bytes of its value.
    pub(crate) fn raw(mut self, key: &str, type_id: u32, value: &[u8]) -> Self {
        self.pairs.push((key.to_owned(), [&type_id.to_le_bytes()[..], value].concat()));
        self
    }

    /// Adds a tensor of any type by its bytes.
    pub(crate) fn bytes_of(mut self, name: &str, shape: &[u64], type_id: u32, bytes: &[u8]) -> Self {
        self.tensors.push((name.to_owned(), shape.to_vec(), type_id, bytes.to_vec()));
        self
    }

    pub(crate) fn text(self, key: &str, text: &str) -> Self {
        self.pair(key, 8, &string(text))
    }

    pub(crate) fn int(self, key: &str, number: u64) -> Self {
        self.pair(key, 4, &(number as u32).to_le_bytes())
    }

    pub(crate) fn float(self, key: &str, number: f32) -> Self {
        self.pair(key, 6, &number.to_le_bytes())
    }

    pub(crate) fn flag(self, key: &str, flag: bool) -> Self {
        self.pair(key, 7, &[u8::from(flag)])
    }

    fn array(self, key: &str, type_id: u32, len: usize, elements: &[u8]) -> Self {
        let head = [&type_id.to_le_bytes()[..], &(len as u64).to_le_bytes()].concat();
        self.pair(key, 9, &[&head, elements].concat())
    }

    pub(crate) fn texts(self, key: &str, texts: &[&str]) -> Self {
        let elements: Vec<u8> = texts.iter().flat_map(|text| string(text)).collect();
        self.array(key, 8, texts.len(), &elements)
    }

    pub(crate) fn ints(self, key: &str, numbers: &[i32]) -> Self {
        let elements: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.array(key, 5, numbers.len(), &elements)
    }

    pub(crate) fn floats(self, key: &str, numbers: &[f32]) -> Self {
        let elements: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.array(key, 6, numbers.len(), &elements)
    }

    fn next(&mut self) -> f32 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Adds a tensor: a matrix in F16, a row in F32.
    pub(crate) fn tensor(mut self, name: &str, shape: &[u64]) -> Self {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| self.next()).collect();
        if shape.len() == 1 {
            return self.values(name, &values);
        }
        let bytes = values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect();
        self.tensors.push((name.to_owned(), shape.to_vec(), 1, bytes));
        self
    }

    /// Adds a row of F32.
    pub(crate) fn values(mut self, name: &str, values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensors.push((name.to_owned(), vec![values.len() as u64], 0, bytes));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.tensors.retain(|(known, ..)| known != name);
        self
    }

    /// Adds all that a model has: `norms` of a block, and norms of heads if `has_head_norms`.
    pub(crate) fn model(mut self, size: &Size, norms: &[&str], has_head_norms: bool) -> Self {
        let Size { hidden, inner, heads, kv_heads, head, vocab, blocks } = *size;
        self = self
            .int("context_length", 128)
            .int("embedding_length", hidden)
            .int("block_count", blocks)
            .int("feed_forward_length", inner)
            .int("attention.head_count", heads)
            .int("attention.head_count_kv", kv_heads)
            .int("attention.key_length", head)
            .int("attention.value_length", head)
            .float("attention.layer_norm_rms_epsilon", 1e-6)
            .float("rope.freq_base", 500_000.0)
            .int("vocab_size", vocab)
            .tensor("token_embd.weight", &[vocab, hidden])
            .tensor("output_norm.weight", &[hidden]);
        for block in 0..blocks {
            let linears = [
                ("attn_q", heads * head, hidden),
                ("attn_k", kv_heads * head, hidden),
                ("attn_v", kv_heads * head, hidden),
                ("attn_output", hidden, heads * head),
                ("ffn_gate", inner, hidden),
                ("ffn_up", inner, hidden),
                ("ffn_down", hidden, inner),
            ];
            for (leaf, rows, columns) in linears {
                self = self.tensor(&format!("blk.{block}.{leaf}.weight"), &[rows, columns]);
            }
            for leaf in norms {
                self = self.tensor(&format!("blk.{block}.{leaf}.weight"), &[hidden]);
            }
            for leaf in ["attn_q_norm", "attn_k_norm"].into_iter().filter(|_| has_head_norms) {
                self = self.tensor(&format!("blk.{block}.{leaf}.weight"), &[head]);
            }
        }
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.pairs.len() as u64).to_le_bytes());
        for (key, value) in &self.pairs {
            out.extend(string(key));
            out.extend(value);
        }
        let mut offset = 0u64;
        for (name, shape, type_id, bytes) in &self.tensors {
            out.extend(string(name));
            out.extend((shape.len() as u32).to_le_bytes());
            out.extend(shape.iter().rev().flat_map(|dim| dim.to_le_bytes()));
            out.extend(type_id.to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset = (offset + bytes.len() as u64).next_multiple_of(32);
        }
        for (.., bytes) in &self.tensors {
            out.resize(out.len().next_multiple_of(32), 0);
            out.extend(bytes);
        }
        out
    }
}
