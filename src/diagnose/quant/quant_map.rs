//! Q019 quant-map-differs: the table of codes in the file is not the one that the kernels use.

use crate::diagnose::rule::Rule;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    is_silent: true,
    looks_for: "The 16 values of `quant_map`, against those of NF4 and FP4 in bitsandbytes.",
    why: "The kernels of bitsandbytes have the table built in and do not read the one in the file. If the \
          layer was made with another table, every weight comes out wrong, and nothing is said.",
    remedy: "Find out with which table the layer was quantized. If with the usual one, the tensor can be \
             ignored.",
    sources: "bitsandbytes source: kernels.cu has its own table",
    ..Rule::new(&kind::QUANT_MAP)
};
