//! N005 peft-dump: the whole `PeftModel` was saved as if it were the base.

use super::{common_prefix, tensors_with};
use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::plan::edit::{Edit, Rename};
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind = ProblemKind { code: "N005", name: "peft-dump", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    milder: &[Purpose::Merge],
    is_silent: true,
    looks_for: "`base_model.model.` before all names of a model, or `base_layer` in them.",
    why: "The state dict of a PeftModel was saved where that of a merged model was meant. Loaders do not \
          find `…base_layer.weight` under the name of the layer: those layers are random, and nothing but a \
          line in the log says so.",
    messages: &[
        message(
            "Some weights of the model checkpoint at {any} were not used when initializing {class}: \
             {any}.base_layer.weight{any}",
            "transformers up to 4.57",
        ),
        message(
            "Some weights of the model checkpoint at {any} were not used when initializing {class}: \
             {any}base_model.model.{any}",
            "transformers up to 4.57",
        ),
        message(
            "base_layer.weight | UNEXPECTED{any}can be ignored when loading from different \
             task/architecture; not ok if you expect identical arch.",
            "transformers 5, LOAD REPORT",
        ),
        message(
            "base_model.model.{any} | UNEXPECTED{any}can be ignored when loading from different \
             task/architecture; not ok if you expect identical arch.",
            "transformers 5, LOAD REPORT",
        ),
        message("Unexpected key(s) in state_dict: \"base_model.model.{key}\"", "torch load_state_dict"),
    ],
    remedy: "Merge before saving (`merge_and_unload`). The base alone can be had from this folder by its \
             names.",
    sources: "open-instruct#427; measured on 4.37, 4.46, 4.57, 5.23: random layers on all",
    look,
    fixes,
    ..Rule::new(&KIND)
};

const WRAPPED: &str = "base_layer";
/// Parts in the names of what belongs to the adapter.
const ADAPTER: [&str; 6] =
    ["lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector", "lora_bias"];
/// Parts in the names of copies that PEFT trains: which of the two is meant cannot be told.
const COPIES: [&str; 3] = ["modules_to_save", "original_module", "token_adapter"];

/// The prefix of all names, and how many names have `base_layer`, with the first.
pub(super) struct Found {
    prefix: String,
    wrapped: usize,
    first: Option<String>,
}

pub(super) fn found(subject: &Subject<'_>) -> Option<Found> {
    let files = &subject.model()?.files;
    let prefix = common_prefix(files, &["base_model", "model"]);
    let prefix =
        if prefix.starts_with("base_model.model.") { "base_model.model.".to_owned() } else { String::new() };
    let (wrapped, first) = tensors_with(files, WRAPPED);
    let first = first.or_else(|| (!files.tensors.is_empty()).then(|| files.tensor_name(0)));
    (!prefix.is_empty() || wrapped > 0).then_some(Found { prefix, wrapped, first })
}

/// Returns the tensors of the adapter in the dump, ascending.
fn of_adapter(subject: &Subject<'_>) -> Vec<u32> {
    let files = subject.files();
    let nodes = ADAPTER.iter().flat_map(|part| super::nodes_of(files, part));
    let mut tensors: Vec<u32> = nodes.flat_map(|node| files.within(node, files.names.end(node))).collect();
    tensors.sort_unstable();
    tensors.dedup();
    tensors
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let Some(found) = found(subject) else { return Vec::new() };
    let all = subject.files().tensors.len();
    let adapter = of_adapter(subject).len();
    let mut words = Vec::new();
    if !found.prefix.is_empty() {
        words.push(format!("all {all} names begin with {}", found.prefix));
    }
    if found.wrapped > 0 {
        words.push(format!("{} of {all} tensors lie under {WRAPPED}", found.wrapped));
    }
    if adapter > 0 {
        words.push(format!("{adapter} are the adapter's own"));
    }
    let title = format!("This is the dump of a PeftModel: {}.", words.join(", "));
    let counted = format!("{} under {WRAPPED}", units::plural(found.wrapped, "tensor"));
    vec![Finding::new(rule, title).seen(Seen::tensors(found.first, counted))]
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let Some(found) = found(subject) else { return Vec::new() };
    let has_copies = COPIES.iter().any(|part| subject.files().names.find_label(part).is_some());
    if has_copies {
        return vec![Fix::advice(finding.rule.remedy)];
    }
    let mut edits = Vec::new();
    let adapter = of_adapter(subject);
    let is_left_out = !adapter.is_empty();
    if is_left_out {
        edits.push(Edit::Drop { tensors: adapter });
    }
    if !found.prefix.is_empty() {
        edits.push(Edit::Rename(Rename::Strip(found.prefix)));
    }
    if found.wrapped > 0 {
        edits.push(Edit::Rename(Rename::Part { from: WRAPPED.into(), to: String::new() }));
    }
    let names = Fix::new("give the base's tensors the names of the base", Act::Edit(edits));
    if is_left_out {
        let merge = "load it with PEFT where it was trained, merge_and_unload, and save that";
        return vec![Fix::advice(merge), names.loss("what the adapter learned is left out")];
    }
    vec![names]
}
