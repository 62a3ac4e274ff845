//! Q010 quant-bits-disagree: the config gives other bits than the tensors have.

use super::{common, config_of_tensors};
use crate::diagnose::finding::{Act, Finding, Fix};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
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
    fixes,
    ..Rule::new(&kind::QUANT_BITS_DISAGREE)
};

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let edits = config_of_tensors::replace_blocks(subject);
    let written =
        edits.map(|edits| Fix::new("write the numbers of the tensors into the config", Act::Edit(edits)));
    let decoded = common::dequantize(subject, "by what the tensors are");
    common::or_advice(written.into_iter().chain(decoded), finding)
}
