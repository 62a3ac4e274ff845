//! N003 name-deep: a tensor name with more parts than the tree shows.

use crate::diagnose::rule::Rule;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "Names of tensors with more than 64 parts between dots; those of real models have about \
                twelve.",
    why: "A name of that depth is of no model. The tree joins what lies deeper into one part, so that no \
          name is lost.",
    remedy: "Ask where the file comes from before you load it.",
    sources: "measured with transformers 5.23",
    ..Rule::new(&kind::NAME_DEEP)
};
