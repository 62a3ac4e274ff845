//! Q011 quant-group-disagrees: the config gives another group or block size than the tensors have.

use super::remedies;
use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "`group_size` or `weight_block_size` of the config, against the rows of the scales.",
    why: "The group size tells which scale belongs to which weight. With another one, loaders stop because \
          the scales do not fit, or multiply weights by scales of their neighbors.",
    messages: &[
        message(
            "size mismatch for {key}.scales: copying a param with shape {shape} from checkpoint, the shape \
             in current model is {shape}.",
            "transformers, AutoGPTQ",
        ),
        message(
            "size mismatch for {key}.qzeros: copying a param with shape {shape} from checkpoint, the shape \
             in current model is {shape}.",
            "transformers, AutoGPTQ",
        ),
    ],
    remedy: "Write the group size that the tensors have, or dequantize, which goes by the tensors.",
    sources: "measured on a changed config",
    fixes: remedies::numbers_of_tensors,
    ..Rule::new(&kind::QUANT_GROUP_DISAGREES)
};
