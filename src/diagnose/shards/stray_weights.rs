//! S011 stray-weights: weight files beside the set that loaders ignore.

use crate::diagnose::finding::{Act, Finding, Fix};
use crate::diagnose::rule::Rule;
use crate::diagnose::subject::Subject;
use crate::plan::edit::Edit;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "Weight files in the folder that the index does not name or that are not of the numbered set.",
    why: "They are left from an earlier save or from another model. Loaders that read every weight file of a \
          folder, as vLLM does without an index, take them too.",
    remedy: "Leave them out of the folder.",
    sources: "measured with transformers 5.23",
    fixes,
    ..Rule::new(&kind::STRAY_WEIGHTS)
};

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let stray: Vec<String> = finding.seen.iter().filter_map(|seen| seen.file.clone()).collect();
    if stray.is_empty() || stray.iter().any(|file| !subject.has_file(file)) {
        return vec![Fix::advice(finding.rule.remedy)];
    }
    // Of several that the index does not name the problem names the first: all go.
    let is_stray = |name: &&(String, u64)| {
        let container = crate::checkpoint::folder::container_of(&name.0);
        container.is_some_and(|c| c.name() == subject.files().container.name())
    };
    let edits: Vec<Edit> = subject
        .files()
        .others
        .iter()
        .filter(is_stray)
        .map(|(file, _)| Edit::LeaveOut { file: file.clone() })
        .collect();
    vec![Fix::new("leave the stray weight files out of a new folder", Act::Edit(edits))]
}
