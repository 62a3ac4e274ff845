//! N009 old-norm-names: norms are named `gamma` and `beta`, as in the time of TensorFlow.

use super::nodes_of;
use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::plan::edit::{Edit, Rename};
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind = ProblemKind { code: "N009", name: "old-norm-names", severity: Severity::Info };

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "`LayerNorm.gamma` and `LayerNorm.beta`.",
    why: "The weights were converted from TensorFlow, where a norm has gamma and beta. transformers renames \
          them while loading; loaders that go by the names in the file do not.",
    messages: &[
        message(
            "A parameter name that contains `gamma` will be renamed internally to `weight`. Please use a \
             different name to suppress this warning.",
            "transformers 4.4x",
        ),
        message(
            "A parameter name that contains `beta` will be renamed internally to `bias`. Please use a \
             different name to suppress this warning.",
            "transformers 4.4x",
        ),
    ],
    remedy: "Rename them to weight and bias.",
    sources: "transformers source; logged since 4.46",
    look,
    fixes,
    ..Rule::new(&KIND)
};

/// Returns old and new names.
fn renames(subject: &Subject<'_>) -> Vec<(String, String)> {
    let Some(model) = subject.model() else { return Vec::new() };
    let names = &model.files.names;
    let of = |from: &'static str, to: &'static str| {
        let nodes = nodes_of(&model.files, from).into_iter();
        let of_norm = nodes.filter(|&node| {
            let parent = names.parent(node);
            parent != crate::checkpoint::names::NONE && names.label(parent) == "LayerNorm"
        });
        of_norm.map(move |node| {
            let name = names.name(node);
            let module = name.strip_suffix(from).unwrap_or(&name).to_owned();
            (name, format!("{module}{to}"))
        })
    };
    of("gamma", "weight").chain(of("beta", "bias")).collect()
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let renames = renames(subject);
    let Some((first, _)) = renames.first() else { return Vec::new() };
    let count = units::plural(renames.len(), "tensor");
    let title = format!("{count} of norms are named gamma or beta, first {}.", crate::name::escape(first));
    vec![Finding::new(rule, title).seen(Seen::tensors(Some(first.clone()), count))]
}

fn fixes(subject: &Subject<'_>, _: &Finding) -> Vec<Fix> {
    let edit = Edit::Rename(Rename::Each(renames(subject)));
    vec![Fix::new("rename gamma to weight and beta to bias", Act::Edit(vec![edit]))]
}
