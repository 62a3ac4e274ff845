//! Summary: a checkpoint in a few numbers: parameters, bytes, bits per weight, by format.

use std::ops::Range;

use super::Checkpoint;

/// A checkpoint in numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Weights as the model has them; tied ones once; side tensors of quantized layers not at all.
    pub parameters: u64,
    /// Bytes of all tensors.
    pub bytes: u64,
    /// Bits per weight of the quantized layers, scales and all; of all layers when none is quantized.
    pub bits_per_weight: f64,
    /// Bits per weight of the whole file.
    pub bits_per_weight_file: f64,
    /// The formats, quantized ones first, then by bytes.
    pub formats: Vec<FormatSum>,
}

/// The layers of one format.
#[derive(Clone, Debug, PartialEq)]
pub struct FormatSum {
    /// The format's name.
    pub format: &'static str,
    /// The word of a row: `GPTQ4`, `BF16`; alike formats of different bits are apart.
    pub label: String,
    /// How many layers.
    pub layers: usize,
    /// How many of them are broken.
    pub broken: usize,
    /// Their weights.
    pub parameters: u64,
    /// Their bytes.
    pub bytes: u64,
    /// True for anything but dense.
    pub is_quantized: bool,
}

impl FormatSum {
    /// Returns bits per weight of these layers.
    #[must_use]
    pub fn bits_per_weight(&self) -> f64 {
        per_weight(self.bytes, self.parameters)
    }
}

impl Checkpoint {
    /// Returns the checkpoint in numbers.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let formats = self.format_sums(0..self.layers.len() as u32);
        let (bytes, parameters) = (self.files.total_bytes(), self.layers.total_parameters());
        let any = formats.iter().any(|f| f.is_quantized);
        let counted = formats.iter().filter(|f| f.is_quantized || !any);
        let (packed, weights) = counted
            .fold((0u64, 0u64), |(b, p), f| (b.saturating_add(f.bytes), p.saturating_add(f.parameters)));
        Summary {
            parameters,
            bytes,
            bits_per_weight: per_weight(packed, weights),
            bits_per_weight_file: per_weight(bytes, parameters),
            formats,
        }
    }

    /// Returns a range of layers summed by format, quantized ones first, then by bytes.
    #[must_use]
    pub fn format_sums(&self, range: Range<u32>) -> Vec<FormatSum> {
        // Alike layers share a spec: a million of them are summed before a label is made.
        let mut by_spec = vec![(0usize, 0u64, 0u64); self.layers.spec_count()];
        for index in range {
            let Some(layer) = self.layers.list().get(index as usize) else { break };
            let (layers, parameters, bytes) = &mut by_spec[layer.spec as usize];
            *layers += 1;
            if !layer.tied {
                *parameters = parameters.saturating_add(self.layers.spec(index).parameters);
            }
            *bytes = bytes.saturating_add(self.layers.bytes(&self.files, index));
        }
        let mut sums: Vec<FormatSum> = Vec::new();
        for (spec, (layers, parameters, bytes)) in self.layers.specs().iter().zip(by_spec) {
            if layers == 0 {
                continue;
            }
            let (format, label) = (spec.format.get().name(), spec.label());
            let broken = if spec.broken.is_empty() { 0 } else { layers };
            if let Some(sum) = sums.iter_mut().find(|sum| sum.format == format && sum.label == label) {
                sum.layers += layers;
                sum.broken += broken;
                sum.parameters = sum.parameters.saturating_add(parameters);
                sum.bytes = sum.bytes.saturating_add(bytes);
            } else {
                let is_quantized = spec.is_quantized();
                sums.push(FormatSum { format, label, layers, broken, parameters, bytes, is_quantized });
            }
        }
        sums.sort_by_key(|sum| (!sum.is_quantized, std::cmp::Reverse(sum.bytes)));
        sums
    }

    /// Returns the format words of the header row: `GPTQ4 g128 sym`, the largest quantized format, or the
    /// largest dtype.
    #[must_use]
    pub fn headline(&self) -> String {
        let summary = self.summary();
        let Some(first) = summary.formats.first() else { return "no tensors".into() };
        let found = self
            .layers
            .specs()
            .iter()
            .find(|s| s.format.get().name() == first.format && s.label() == first.label);
        let Some(spec) = found else { return first.label.clone() };
        let mut words = vec![first.label.clone()];
        if let (true, Some(group)) = (first.format != "ggml" && first.is_quantized, spec.group_size) {
            words.push(format!("{}{group}", if first.format.starts_with("bnb") { "b" } else { "g" }));
        }
        if spec.symmetric == Some(true) && matches!(first.format, "gptq" | "compressed-tensors") {
            words.push("sym".into());
        }
        if spec.variant == "nested" {
            words.push("nested".into());
        }
        if summary
            .formats
            .iter()
            .any(|f| f.is_quantized && (f.format != first.format || f.label != first.label))
        {
            words.push("mixed".into());
        }
        words.join(" ")
    }
}

/// Returns bits a weight, 0 if there is none.
fn per_weight(bytes: u64, parameters: u64) -> f64 {
    if parameters == 0 { 0.0 } else { bytes as f64 * 8.0 / parameters as f64 }
}
