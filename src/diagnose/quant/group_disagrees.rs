//! Q011 quant-group-disagrees: the config gives another group or block size than the tensors have.

use super::{common, config_of_tensors};
use crate::diagnose::finding::{Act, Finding, Fix};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
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
    fixes,
    ..Rule::new(&kind::QUANT_GROUP_DISAGREES)
};

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let edits = config_of_tensors::replace_blocks(subject);
    let written =
        edits.map(|edits| Fix::new("write the numbers of the tensors into the config", Act::Edit(edits)));
    let decoded = common::dequantize(subject, "by what the tensors are");
    common::or_advice(written.into_iter().chain(decoded), finding)
}
