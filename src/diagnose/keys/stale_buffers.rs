//! N008 stale-buffers: buffers that the model computes by itself are stored.

use super::nodes_of;
use crate::checkpoint::names::NONE;
use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::plan::edit::Edit;
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind = ProblemKind { code: "N008", name: "stale-buffers", severity: Severity::Info };

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "Tensors named `rotary_emb.inv_freq`, `masked_bias` or `position_ids`.",
    why: "Older versions stored these buffers; newer ones compute them. transformers ignores them, and \
          strict loaders stop at keys they do not expect.",
    messages: &[
        message("Unexpected key(s) in state_dict: {any}rotary_emb.inv_freq", "torch load_state_dict"),
        message("Unexpected key(s) in state_dict: {any}masked_bias", "torch load_state_dict"),
        message("Unexpected key(s) in state_dict: {any}position_ids", "torch load_state_dict"),
        message(
            "rotary_emb.inv_freq | UNEXPECTED{any}can be ignored when loading from different \
             task/architecture; not ok if you expect identical arch.",
            "transformers 5, LOAD REPORT",
        ),
        message("KeyError: '{any}rotary_emb.inv_freq'", "vLLM and engines that load strictly"),
    ],
    remedy: "Leave them out. The model computes the same values.",
    sources: "measured with transformers 4.37 to 5.23",
    look,
    fixes,
    ..Rule::new(&KIND)
};

const BUFFERS: [&str; 3] = ["inv_freq", "masked_bias", "position_ids"];

/// Types whose models store `position_ids` to this day and miss them if they are left out. Source: transformers
/// 5.23, all types that save a tensor of this name.
const KEEPING_TYPES: [&str; 3] = ["bros", "mra", "videoprism"];

/// Returns the tensors, ascending.
fn buffers(subject: &Subject<'_>) -> Vec<u32> {
    let files = subject.files();
    if subject.model().is_none() {
        return Vec::new();
    }
    let keeps = files.configs.model_type().is_some_and(|kind| KEEPING_TYPES.contains(&kind));
    let is_stale = |label: &str, node: u32| match label {
        "inv_freq" => {
            let parent = files.names.parent(node);
            parent != NONE && files.names.label(parent) == "rotary_emb"
        }
        "position_ids" => !keeps,
        _ => true,
    };
    let nodes =
        BUFFERS.iter().flat_map(|label| nodes_of(files, label).into_iter().map(move |node| (*label, node)));
    let nodes = nodes.filter(|&(label, node)| is_stale(label, node)).map(|(_, node)| node);
    let mut tensors: Vec<u32> = nodes.flat_map(|node| files.within(node, node + 1)).collect();
    tensors.sort_unstable();
    tensors
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let buffers = buffers(subject);
    let Some(&first) = buffers.first() else { return Vec::new() };
    let first = subject.files().tensor_name(first);
    let count = units::plural(buffers.len(), "buffer");
    let title = format!("{count} that the model computes by itself, first {}.", crate::name::escape(&first));
    vec![Finding::new(rule, title).seen(Seen::tensors(Some(first), count))]
}

fn fixes(subject: &Subject<'_>, _: &Finding) -> Vec<Fix> {
    let tensors = buffers(subject);
    vec![Fix::new("leave the buffers out", Act::Edit(vec![Edit::Drop { tensors }]))]
}
