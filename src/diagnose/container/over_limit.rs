//! K019 over-limit: something is larger than what is read here.

use crate::diagnose::rule::Rule;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "Counts, sizes or depths above the bounds of this program, which are far above those of real \
                models.",
    why: "The file claims more than any real checkpoint has: that is a damaged or hostile header. What lies \
          beyond the bound was not read, so what is said about the rest is not complete.",
    remedy: "Download the file again. If it is right as it is, the other findings cover only the part that \
             was read.",
    sources: "bounds of this program",
    ..Rule::new(&kind::OVER_LIMIT)
};
