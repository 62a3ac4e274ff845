//! Q010 quant-bits-disagree: the config gives other bits than the tensors have.

use super::remedies;
use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "`bits` of the config, against the packed widths and scales of each layer.",
    why: "Loaders make room for the packed weights by the bits of the config. The tensors then do not fit, \
          or codes are taken apart at the wrong places and the weights are noise.",
    messages: &[message(
        "size mismatch for {key}.qweight: copying a param with shape {shape} from checkpoint, the shape \
             in current model is {shape}.",
        "transformers, AutoGPTQ",
    )],
    remedy: "Write the bits that the tensors have, or dequantize, which goes by the tensors.",
    sources: "measured on a changed config",
    fixes: remedies::numbers_of_tensors,
    ..Rule::new(&kind::QUANT_BITS_DISAGREE)
};
