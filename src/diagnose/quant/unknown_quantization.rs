//! Q021 unknown-quantization: packed weights whose format is not known here.

use crate::diagnose::rule::Rule;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "Integer or narrow float tensors whose names, dtypes and shapes fit no known format.",
    why: "What the numbers mean is not known, so nothing here decodes, merges or converts these layers. A \
          loader of that very format may still read them.",
    remedy: "Say which tool wrote it; `ckpt inspect` lists the parts of such a layer.",
    sources: "the table of formats",
    ..Rule::new(&kind::UNKNOWN_QUANT)
};
