//! C007 tied-head-stored: the head is stored though the config ties it.

use crate::diagnose::finding::{Act, Finding, Fix};
use crate::diagnose::rule::Rule;
use crate::diagnose::subject::Subject;
use crate::plan::edit::Edit;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "A head in the files of a config with tie_word_embeddings true, whose bytes are those of the \
                embeddings.",
    why: "Loaders use the embeddings for the head and drop the stored copy. It does no harm and takes room.",
    remedy: "Leave the copy out.",
    sources: "measured with transformers 4.37 to 5.23",
    fixes,
    ..Rule::new(&kind::TIED_STORED)
};

/// Only a copy that was compared is left out.
fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let files = subject.files();
    let head = finding.seen.first().and_then(|seen| files.find(seen.tensor.as_deref()?));
    let is_equal = subject
        .problems()
        .any(|(_, p)| *p.kind == kind::TIED_STORED && p.message.contains("bytes are equal"));
    match head {
        Some(head) if is_equal => {
            vec![Fix::new(
                "leave the copy of the embeddings out",
                Act::Edit(vec![Edit::Drop { tensors: vec![head] }]),
            )]
        }
        _ => vec![Fix::advice("compare the head with the embeddings before you leave it out")],
    }
}
