//! N006 extra-model-prefix: names begin with `model.model.`.

use super::top;
use crate::checkpoint::expected::modules_of;
use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::plan::edit::{Edit, Rename};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "N006", name: "extra-model-prefix", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    milder: &[Purpose::Load, Purpose::Merge],
    is_silent: true,
    looks_for: "`model.model.layers` in a Llama, Mistral, Qwen, Phi-3 or Gemma, whose layers are under \
                `model.layers`.",
    why: "The state dict of a module that holds the model was saved. transformers up to 4.57 finds none of \
          the names and loads random weights without an exception; version 5 sees the prefix and takes it \
          off.",
    messages: &[
        message(
            "Some weights of the model checkpoint at {any} were not used when initializing {class}: \
             ['model.model.{any}",
            "transformers up to 4.57",
        ),
        message("Unexpected key(s) in state_dict: \"model.model.{key}\"", "torch load_state_dict"),
    ],
    remedy: "Take one `model.` off all names.",
    sources: "measured: random on 4.37, 4.46, 4.57, right on 5.23",
    look,
    fixes,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let Some(model) = subject.model() else { return Vec::new() };
    let files = &model.files;
    let is_known = files.configs.architecture().is_some_and(|name| modules_of(name).is_some());
    let (true, Some(node), Some(_)) = (is_known, files.names.find("model.model.layers"), top(files, "model"))
    else {
        return Vec::new();
    };
    let first = files.within(node, files.names.end(node)).next().map(|tensor| files.tensor_name(tensor));
    let all = files.tensors.len();
    let title = format!("The {all} names begin with model.model., one model. too many.");
    vec![Finding::new(rule, title).seen(Seen::tensors(first, format!("{all} tensors")))]
}

fn fixes(_: &Subject<'_>, _: &Finding) -> Vec<Fix> {
    let strip = Edit::Rename(Rename::Strip("model.".into()));
    vec![Fix::new("take one model. off all names", Act::Edit(vec![strip]))]
}
