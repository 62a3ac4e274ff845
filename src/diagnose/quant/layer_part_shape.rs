//! Q002 layer-part-shape: a part of a packed layer has a shape or dtype that its other parts cannot have.

use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "Scales, zero points, indices and packed weights of one layer whose shapes do not belong \
                together.",
    why: "The parts of a packed layer are read together: the number of groups, of rows and of packed words \
          follows from each of them. Where they disagree, kernels read beside the data or loaders stop with \
          a size mismatch.",
    messages: &[message("Attempted to load weight ({shape}) into parameter ({shape})", "vLLM")],
    remedy: "Download the shard again, or quantize the layer again: what the tensors were meant to be \
             cannot be told from them.",
    sources: "unsloth refuses tiles that do not fit; measured on damaged layers",
    ..Rule::new(&kind::LAYER_PART_SHAPE)
};
