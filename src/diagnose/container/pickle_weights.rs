//! K021 pickle-weights: weights are stored as a pickle.

use crate::diagnose::finding::{Act, Finding, Fix};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::plan::edit::Edit;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "Weight files that torch.save wrote (.bin, .pt, .pth), with no safetensors beside them.",
    why: "Loading a pickle can run code. transformers since 4.50 refuses to load one with torch before 2.6, \
          even where it is harmless; every rank of a launch reads all of it into memory.",
    messages: &[
        message(
            "Due to a serious vulnerability issue in `torch.load`, even with `weights_only=True`, we now \
             require users to upgrade torch to at least v2.6",
            "transformers since 4.50 with torch before 2.6",
        ),
        message(
            "{any} does not appear to have a file named {file} or {file} and thus cannot be loaded with \
             `safetensors`",
            "transformers with use_safetensors=True",
        ),
    ],
    outside: "The message about torch 2.6 also comes for `optimizer.pt` and other trainer states when a run \
              is resumed.",
    remedy: "Convert the weights to safetensors. The values stay the same to the bit.",
    sources: "LlamaFactory#8379, autogluon#5270; CVE-2025-32434",
    fixes,
    ..Rule::new(&kind::PICKLE_WEIGHTS)
};

fn fixes(subject: &Subject<'_>, _: &Finding) -> Vec<Fix> {
    let damaged =
        [&kind::PICKLE_DAMAGED, &kind::UNSAFE_PICKLE, &kind::BAD_OFFSETS, &kind::UNSUPPORTED_CONTAINER];
    if subject.model().is_none() || subject.has_problem(&damaged) {
        return vec![Fix::advice("upgrade torch to 2.6 or later, or convert the weights to safetensors")];
    }
    vec![
        Fix::new("write the weights as safetensors in a new folder", Act::Edit(vec![Edit::Rewrite])),
        Fix::advice("upgrade torch to 2.6 or later"),
    ]
}
