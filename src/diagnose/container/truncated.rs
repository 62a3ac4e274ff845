//! K007 truncated: the file ends before the data that its header names.

use super::{files_of, is_safetensors};
use crate::diagnose::finding::{Act, Finding, Fix};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::name::escape;
use crate::plan::edit::Edit;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "A header whose last tensor ends behind the end of the file.",
    why: "A download or a copy stopped before the end. The header is whole, so names and shapes are known, \
          and the data of the last tensors is not here. Loaders refuse the whole file.",
    messages: &[
        message("Error while deserializing header: MetadataIncompleteBuffer", "safetensors before 0.6"),
        message(
            "Error while deserializing header: incomplete metadata, file not fully covered",
            "safetensors since 0.6",
        ),
        message(
            "tensor '{key}' data is not within the file bounds, model is corrupted or incomplete",
            "llama.cpp",
        ),
        message(
            "PytorchStreamReader failed reading zip archive: failed finding central directory",
            "torch.load, .bin files",
        ),
    ],
    remedy: "Download the file again. The tensors before the cut can be kept in a new folder.",
    sources: "airllm#137, llama.cpp#6733; measured",
    look,
    fixes,
    ..Rule::new(&kind::TRUNCATED)
};

/// Of a file that was told of twice, the longer sentence has the numbers.
fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let mut findings = Finding::of_problems(rule, subject);
    for finding in &mut findings {
        let file = finding.seen.first().and_then(|seen| seen.file.clone());
        let same = finding.seen.iter().filter(|seen| seen.file.is_some() && seen.file == file);
        if let (Some(longest), true) = (same.clone().max_by_key(|seen| seen.value.len()), same.count() > 1) {
            finding.title = escape(&longest.value).into_owned();
        }
    }
    findings
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let files = subject.files();
    let again = format!("download {} again: the data behind the cut is nowhere else", files_of(finding));
    let is_whole = |t: &crate::checkpoint::files::TensorRecord| {
        t.begin.checked_add(t.bytes).is_some_and(|end| end <= files.shards[usize::from(t.shard)].bytes)
    };
    let whole = files.tensors.iter().filter(|tensor| is_whole(tensor)).count();
    let mut fixes = vec![Fix::advice(again)];
    if is_safetensors(subject) && whole > 0 {
        let summary = format!("keep the {whole} of {} tensors that are whole", files.tensors.len());
        fixes.push(
            Fix::new(summary, Act::Edit(vec![Edit::KeepWhole, Edit::Index]))
                .loss("the tensors that were cut off are missing; loaders fill them with random values"),
        );
    }
    fixes
}
