//! Draft: a layer while its format puts it together, with the faults found on the way.
//!
//! Holds what the scaled formats check alike: a part that is missing or does not fit, the bias, scales
//! that are not finite, and a config that is silent or speaks of another method.

use super::scale_values::{Looked, look};
use super::{Fault, LayerSpec, Parts, Recognized, claims};
use crate::problem::{ProblemKind, kind};
use crate::tensor::{Dtype, elements};
use crate::units;

/// The given parts, and those that every scaled format may have beside them: the bias, and scales of
/// activations and of the KV cache, which runtimes use and weights do not.
macro_rules! scaled_parts {
    ($($own:literal),* $(,)?) => {
        &[
            $($own,)*
            "bias",
            "input_scale",
            "input_scale_ub",
            "input_zero_point",
            "input_global_scale",
            "activation_scale",
            "act_scale",
            "output_scale",
            "output_zero_point",
            "q_scale",
            "k_scale",
            "v_scale",
        ]
    };
}
pub(super) use scaled_parts;

/// A layer in the making.
pub(super) struct Draft<'p, 'a> {
    pub(super) parts: &'p Parts<'a>,
    pub(super) spec: LayerSpec,
    faults: Vec<Fault>,
}

impl<'p, 'a> Draft<'p, 'a> {
    pub(super) fn new(parts: &'p Parts<'a>, spec: LayerSpec) -> Self {
        Self { parts, spec, faults: Vec::new() }
    }

    /// Notes a part that the format needs and that is not there.
    pub(super) fn lacks(&mut self, suffix: &str) {
        let detail = format!("missing {}", plain(suffix));
        self.faults.push(Fault::new(&kind::LAYER_INCOMPLETE, detail.clone()));
        self.spec.broken.push(detail);
    }

    /// Notes a part that does not fit the others: the weights cannot be decoded.
    pub(super) fn misfit(&mut self, suffix: &str, detail: String) {
        self.spec.broken.push(format!("{} does not fit", plain(suffix)));
        self.faults.push(Fault::new(&kind::LAYER_PART_SHAPE, detail).part(suffix));
    }

    /// Notes a fault that leaves the weights readable.
    pub(super) fn fault(&mut self, kind: &'static ProblemKind, detail: String) {
        self.faults.push(Fault::new(kind, detail));
    }

    /// Notes faults that leave the weights readable.
    pub(super) fn faults(&mut self, found: impl IntoIterator<Item = Fault>) {
        self.faults.extend(found);
    }

    /// Notes a contradiction that leaves the weights unreadable, in a few words and in full.
    pub(super) fn broken(&mut self, words: &str, fault: Fault) {
        self.spec.broken.push(words.to_owned());
        self.faults.push(fault);
    }

    /// Sets the true shape, and the parameters with it. A linear's bias has the last but one dimension.
    pub(super) fn shape(&mut self, shape: &[u64]) {
        self.spec.parameters = elements(shape).unwrap_or(u64::MAX);
        self.spec.shape = shape.to_vec();
    }

    /// Notes that the files do not tell the shape.
    pub(super) fn shape_unknown(&mut self) {
        self.spec.shape_known = false;
    }

    /// Counts the bias in, and checks that it has the shape `expected`.
    pub(super) fn bias(&mut self, suffix: &str, expected: &[u64]) {
        let Some(bias) = self.parts.get(suffix) else { return };
        self.spec.bias = true;
        self.spec.parameters = self.spec.parameters.saturating_add(elements(bias.shape).unwrap_or(u64::MAX));
        if bias.shape != expected && self.spec.shape_known {
            let (has, needs) = (units::shape(bias.shape), units::shape(expected));
            self.misfit(suffix, format!("bias is {has}, the weight needs {needs}"));
        }
    }

    /// Looks at the values of a part that must be finite. `read_as` is the dtype that its bytes mean.
    pub(super) fn finite(&mut self, suffix: &str, read_as: Dtype) -> Looked {
        let Some(part) = self.parts.get(suffix) else { return Looked::Nothing };
        let looked = look(self.parts, part, read_as);
        match &looked {
            Looked::Pending => self.spec.pending = true,
            Looked::Values(seen) => {
                if let Some(what) = seen.not_finite() {
                    let detail = format!("{}: {what}", plain(suffix));
                    self.faults.push(Fault::new(&kind::BAD_SCALES, detail).part(suffix));
                }
            }
            Looked::Nothing | Looked::Unreadable(_) => {}
        }
        looked
    }

    /// Checks that the config, if it names a method, names one of this format's.
    pub(super) fn method(&mut self, accepts: fn(&str) -> bool, tensors_are: &str) {
        self.faults.extend(claims::method_faults(self.parts.config, accepts, tensors_are));
    }

    pub(super) fn finish(self) -> Recognized {
        Recognized { spec: self.spec, faults: self.faults }
    }
}

/// Returns a suffix as words have it: `scales` for `*_scales`.
pub(super) fn plain(suffix: &str) -> &str {
    match suffix.strip_prefix('*') {
        Some("") => "weight",
        Some(rest) => rest.trim_start_matches('_'),
        None => suffix,
    }
}

/// Returns a place in a config file: `config.json quantization_config`.
pub(super) fn place(file: &str, key: &str) -> String {
    if key.is_empty() { file.to_owned() } else { format!("{file} {}", crate::name::escape(key)) }
}
