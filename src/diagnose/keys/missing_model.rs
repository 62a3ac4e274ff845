//! N007 model-prefix-missing: names lack the `model.` that a causal language model puts before its backbone.

use super::top;
use crate::checkpoint::expected::modules_of;
use crate::checkpoint::names::NONE;
use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::plan::edit::{Edit, Rename};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "N007", name: "model-prefix-missing", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    milder: &[Purpose::Load, Purpose::Merge],
    looks_for: "`layers.0.self_attn` at the top of the names, and the architecture of a causal language \
                model.",
    why: "The backbone (LlamaModel) was saved and the config names the model with a head. transformers up to \
          4.57 refuses it as corrupted, version 5 adds the prefix by itself.",
    messages: &[
        message(
            "The state dictionary of the model you are trying to load is corrupted. Are you sure it was \
             properly saved?",
            "transformers up to 4.57",
        ),
        message("KeyError: 'layers.{n}.{any}'", "vLLM"),
    ],
    remedy: "Put `model.` before the names of the backbone.",
    sources: "measured: ValueError on 4.37, 4.46, 4.57, right on 5.23",
    look,
    fixes,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let Some(model) = subject.model() else { return Vec::new() };
    let files = &model.files;
    let is_causal = files.configs.architecture().is_some_and(|name| modules_of(name).is_some());
    let names = &files.names;
    let layers = names.find("layers.0.self_attn").and_then(|_| top(files, "layers"));
    let (true, Some(layers), None) = (is_causal, layers, names.find("model.layers")) else {
        return Vec::new();
    };
    let tensors = files.within(layers, names.end(layers));
    let first = tensors.clone().next().map(|tensor| files.tensor_name(tensor));
    let title = format!("{} tensors are under layers. and not under model.layers.", tensors.len());
    vec![Finding::new(rule, title).seen(Seen::tensors(first, format!("{} tensors", tensors.len())))]
}

fn fixes(subject: &Subject<'_>, _: &Finding) -> Vec<Fix> {
    const BACKBONE: [&str; 5] = ["layers", "embed_tokens", "norm", "rotary_emb", "final_layernorm"];
    let names = &subject.files().names;
    let tops = names.children(NONE).map(|node| names.label(node));
    let heads: Vec<String> = tops.filter(|label| BACKBONE.contains(label)).map(str::to_owned).collect();
    let words = heads.join(", ");
    let add = Edit::Rename(Rename::Add { prefix: "model.".into(), heads });
    vec![Fix::new(format!("put model. before {words}"), Act::Edit(vec![add]))]
}
