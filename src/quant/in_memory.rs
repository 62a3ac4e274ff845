//! A layer in memory: its tensors are recognized, decoded and encoded again as those of a file are.

use std::borrow::Cow;

use super::decode::Decoding;
use super::encode::Encoding;
use super::{FormatId, LayerSpec, Module, Part, Parts, QuantBlock, QuantConfig, QuantFormat, Side, SideData};
use crate::tensor::Dtype;

/// A tensor in memory.
struct Tensor<'a> {
    /// Its name relative to the layer's prefix.
    suffix: &'a str,
    dtype: Dtype,
    shape: Vec<u64>,
    bytes: Cow<'a, [u8]>,
}

/// The tensors of one layer, and what a config says of it.
#[derive(Default)]
pub struct InMemory<'a> {
    tensors: Vec<Tensor<'a>>,
    /// The quantization config of its model.
    pub config: QuantConfig,
}

impl SideData for InMemory<'_> {
    fn read(&self, tensor: u32, offset: u64, count: u64) -> Side {
        let bytes = self.tensors.get(tensor as usize).and_then(|tensor| {
            let from = usize::try_from(offset).ok()?;
            tensor.bytes.get(from..from.checked_add(usize::try_from(count).ok()?)?)
        });
        bytes.map_or_else(|| Side::Unreadable("beyond its end".into()), |bytes| Side::Bytes(bytes.to_vec()))
    }
}

impl<'a> InMemory<'a> {
    /// Adds a tensor, whose number is how many there were. `suffix`: its name relative to the layer's prefix.
    #[must_use]
    pub fn part(
        mut self,
        suffix: &'a str,
        dtype: Dtype,
        shape: &[u64],
        bytes: impl Into<Cow<'a, [u8]>>,
    ) -> Self {
        self.tensors.push(Tensor { suffix, dtype, shape: shape.to_vec(), bytes: bytes.into() });
        self
    }

    /// Adds the `quantization_config` of a method, as a file has it.
    #[must_use]
    pub fn block(mut self, file: &str, method: &str, value: serde_json::Value) -> Self {
        let (file, key, method) = (file.into(), "quantization_config".into(), Some(method.into()));
        self.config.blocks.push(QuantBlock { file, key, method, value });
        self
    }

    /// Returns how the layer of this name is decoded in a format.
    ///
    /// # Errors
    /// There is no such format, the tensors are not those of it, or something of them is broken; in words.
    pub fn decoding(&self, name: &str, format: &str) -> Result<Decoding, String> {
        self.recognized(name, format, |known, parts, spec| known.decode(parts, spec))
    }

    /// Returns how the layer of this name is encoded again, as it is stored.
    ///
    /// # Errors
    /// As `decoding`, and the format does not write such layers.
    pub fn encoding(&self, name: &str, format: &str) -> Result<Encoding, String> {
        self.recognized(name, format, |known, parts, spec| known.encode(parts, spec))
    }

    fn recognized<T>(
        &self,
        name: &str,
        format: &str,
        then: impl FnOnce(&dyn QuantFormat, &Parts<'_>, &LayerSpec) -> Result<T, String>,
    ) -> Result<T, String> {
        let list: Vec<Part<'_>> = (0u32..)
            .zip(&self.tensors)
            .map(|(number, tensor)| Part {
                suffix: tensor.suffix,
                dtype: tensor.dtype,
                shape: &tensor.shape,
                bytes: tensor.bytes.len() as u64,
                tensor: number,
            })
            .collect();
        let spell = || name.to_owned();
        let parts = Parts { module: &Module::new(&spell), list: &list, config: &self.config, data: self };
        let known = FormatId::find(format).ok_or("its format is not known")?.get();
        let found = known.recognize(&parts).ok_or_else(|| format!("it is not recognized as {format}"))?;
        if !found.spec.broken.is_empty() {
            return Err(found.spec.broken.join(", "));
        }
        then(known, &parts, &found.spec)
    }

    /// Returns the bytes of a tensor by its number: the codes of a decoding. Empty if there is none.
    #[must_use]
    pub fn bytes(&self, tensor: u32) -> &[u8] {
        self.tensors.get(tensor as usize).map_or(&[], |tensor| &tensor.bytes)
    }
}
