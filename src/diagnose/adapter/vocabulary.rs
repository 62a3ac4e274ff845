//! A010 adapter-vocabulary: embeddings, head or tokenizer of the adapter are for another number of tokens.

use super::views;
use crate::adapter::align::{Aligned, EMBEDDINGS, State};
use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::name::escape;
use crate::problem::{Problem, Severity, kind};

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    milder: &[Purpose::Merge],
    looks_for: "Embeddings or a head in the adapter with another number of rows than the base's, or a tokenizer beside \
                the adapter with more tokens than there are rows.",
    why: "Tokens were added in training, and the embeddings grew. PEFT copies the rows into the base's modules and stops \
          where the sizes differ; before 0.13 the grown rows were not in the file, and the adapter was silently wrong.",
    messages: &[
        message(
            "size mismatch for {key}.modules_to_save.{any}.weight: copying a param with shape {shape} from \
             checkpoint, the shape in current model is {shape}.",
            "PEFT, all versions",
        ),
        message(
            "size mismatch for {key}.base_layer.weight: copying a param with shape {shape} from checkpoint, \
             the shape in current model is {shape}.",
            "PEFT since 0.7, embeddings among the targets",
        ),
        message(
            "size mismatch for {key}.embed_tokens.weight: copying a param with shape {shape} from \
             checkpoint, the shape in current model is {shape}.",
            "PEFT since 0.7, resized embeddings",
        ),
        message(
            "size mismatch for base_model.model.lm_head.weight: copying a param with shape {shape} from \
             checkpoint, the shape in current model is {shape}.",
            "PEFT since 0.7, a resized head",
        ),
    ],
    outside: "AutoPeftModel resized the base to the tokenizer beside the adapter (rule A029).",
    remedy: "Resize the base before the adapter is loaded: base.resize_token_embeddings(N), with N the rows that the \
             adapter has. Or merge: the rows that the adapter brings become the result's.",
    sources: "Qwen-VL#415, peft#2290, peft#1554, peft#1457; measured on PEFT 0.7.1 to 0.21.2",
    look,
    fixes,
    ..Rule::new(&kind::ADAPTER_VOCABULARY)
};

/// Files that tell how many tokens a tokenizer has.
const TOKENIZERS: [&str; 2] = ["tokenizer.json", "added_tokens.json"];

/// Returns the rows of embeddings or of a head that a module brings whole, and those of the base, where they differ.
fn rows(view: &AdapterView<'_>, module: &Aligned) -> Option<(u64, u64)> {
    let label = module.path.rsplit('.').next()?;
    let base = module.base_shape.as_ref().filter(|shape| shape.len() == 2 && EMBEDDINGS.contains(&label))?;
    let weight = module.part("weight").filter(|_| module.state != State::Shape)?;
    let files = &view.checkpoint.files;
    match *files.shape(&files.tensors[weight as usize]) {
        [rows, inputs] if inputs == base[1] && rows != base[0] => Some((rows, base[0])),
        _ => None,
    }
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, subject, &view)).collect()
}

fn one(rule: &'static Rule, subject: &Subject<'_>, view: &AdapterView<'_>) -> Option<Finding> {
    let of_tokenizer: Vec<&Problem> = subject
        .problems()
        .filter(|(about, problem)| *about == view.about && problem.kind == rule.kind)
        .map(|(_, problem)| problem)
        .filter(|problem| problem.file.as_deref().is_some_and(|file| TOKENIZERS.contains(&file)))
        .collect();
    let modules = view.alignment().map_or(&[][..], |alignment| &alignment.modules);
    let resized: Vec<&Aligned> = modules.iter().filter(|module| rows(view, module).is_some()).collect();
    let Some((first, (has, base))) = resized.first().and_then(|first| Some((first, rows(view, first)?)))
    else {
        let first = of_tokenizer.first()?;
        let mut finding =
            Finding::new(rule, escape(&first.message)).about(view.about).severity(Severity::Warning);
        finding.seen = of_tokenizer.into_iter().map(Seen::of).collect();
        return Some(finding);
    };
    let title = format!(
        "{} is for a vocabulary of {has}, and the base has {base}: PEFT stops with a size mismatch.",
        views::shown(&first.name)
    );
    let mut finding = Finding::new(rule, title).about(view.about).severity(Severity::Error);
    for module in &resized {
        let Some((has, base)) = rows(view, module) else { continue };
        let first = module.parts.first().map(|part| view.checkpoint.files.tensor_name(part.tensor));
        finding = finding.seen(Seen {
            file: views::weights(view),
            key: None,
            tensor: first.or_else(|| Some(module.name.clone())),
            value: format!("{has} rows, {base} in the base"),
        });
    }
    finding.seen.extend(of_tokenizer.into_iter().map(Seen::of));
    Some(finding.fill("key", first.name.clone()))
}

/// The merge, where it takes everything: modules that bring their rows whole.
fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let Some(view) = views::of(subject, finding.about) else { return Vec::new() };
    let modules = view.alignment().map_or(&[][..], |alignment| &alignment.modules);
    let resized: Vec<&Aligned> = modules.iter().filter(|module| rows(&view, module).is_some()).collect();
    let is_brought = |module: &&Aligned| module.part("weight").is_some() && module.state == State::Saved;
    let others = modules.iter().all(|m| m.is_applied || m.state == State::Saved);
    let mut fixes = Vec::new();
    if finding.is_error() && others && resized.iter().all(is_brought) {
        fixes.push(Fix::new("merge it: the rows that the adapter brings become the result's", Act::Merge));
    }
    fixes.push(Fix::advice(finding.rule.remedy));
    fixes
}
