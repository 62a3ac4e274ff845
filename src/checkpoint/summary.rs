//! Summary: a checkpoint in a few numbers: parameters, bytes, bits per weight, by format.

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
        let mut formats: Vec<FormatSum> = Vec::new();
        // Alike layers share a spec: sum by spec first, then by label.
        let mut by_spec = vec![(0usize, 0u64, 0u64); self.layers.spec_count()];
        for (index, layer) in self.layers.list().iter().enumerate() {
            let sum = &mut by_spec[layer.spec as usize];
            sum.0 += 1;
            if !layer.tied {
                sum.1 = sum.1.saturating_add(self.layers.spec(index as u32).parameters);
            }
            sum.2 = sum.2.saturating_add(self.layers.bytes(&self.files, index as u32));
        }
        for (spec, (layers, parameters, bytes)) in self.layers.specs().iter().zip(by_spec) {
            if layers == 0 {
                continue;
            }
            let (format, label) = (spec.format.get().name(), spec.label());
            let at =
                formats.iter().position(|f| f.format == format && f.label == label).unwrap_or_else(|| {
                    let is_quantized = spec.is_quantized();
                    formats.push(FormatSum {
                        format,
                        label,
                        layers: 0,
                        broken: 0,
                        parameters: 0,
                        bytes: 0,
                        is_quantized,
                    });
                    formats.len() - 1
                });
            let sum = &mut formats[at];
            sum.layers += layers;
            sum.broken += if spec.broken.is_empty() { 0 } else { layers };
            sum.parameters = sum.parameters.saturating_add(parameters);
            sum.bytes = sum.bytes.saturating_add(bytes);
        }
        formats.sort_by_key(|f| (!f.is_quantized, std::cmp::Reverse(f.bytes)));
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
