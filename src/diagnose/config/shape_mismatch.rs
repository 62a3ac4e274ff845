//! C003 config-shape-mismatch: shapes of tensors are not those that the config gives.

use serde_json::json;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::checks::misfits;
use crate::checkpoint::config::Configs;
use crate::diagnose::finding::{Act, Finding, Fix};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::shards::padded_vocabulary;
use crate::diagnose::subject::Subject;
use crate::plan::edit::Edit;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "Embeddings, attention and MLP of Llama, Mistral, Qwen2 and Qwen3, and the embeddings of other known \
                text models, against the numbers of config.json.",
    why: "The model is built by the config, and each tensor must have the shape of its parameter. A config \
          of another size, or embeddings that were resized without it, do not fit, and loading stops.",
    messages: &[
        message(
            "You set `ignore_mismatched_sizes` to `False`, thus raising an error. For details look at the \
             above report!",
            "transformers 5",
        ),
        message("Reinit due to size mismatch - ckpt: {shape} vs model:{shape}", "transformers 5"),
        message(
            "size mismatch for {key}: copying a param with shape {shape} from checkpoint, the \
             shape in current model is {shape}.",
            "transformers up to 4.57",
        ),
        message(
            "You may consider adding `ignore_mismatched_sizes=True` in the model `from_pretrained` method.",
            "transformers 4",
        ),
        message(
            "Trying to set a tensor of shape {shape} in \"{key}\" (which has shape \
             {shape}), this looks incorrect.",
            "accelerate, transformers 4 with low_cpu_mem_usage",
        ),
    ],
    outside: "With ignore_mismatched_sizes=True the load goes on and these weights are random.",
    remedy: "Write the numbers of the tensors into config.json.",
    sources: "measured with transformers 4.37 to 5.23",
    look,
    fixes,
    ..Rule::new(&kind::CONFIG_SHAPE)
};

/// Padding of the vocabulary is a rule of its own, where it explains all that does not fit.
fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    if padded_vocabulary::padding(subject).is_some() {
        return Vec::new();
    }
    let mut findings = Finding::of_problems(rule, subject);
    let Some(model) = subject.model() else { return findings };
    let shapes = &model.files.configs.quant.shapes;
    if let (Some(&(layer, ..)), [finding]) =
        (misfits(&model.files, &model.layers, shapes).first(), findings.as_mut_slice())
    {
        finding.fills.push(("key", format!("{}.weight", model.layers.name(&model.files.names, layer))));
    }
    findings
}

/// Numbers of the config that follow from the tensors.
const KEYS: [&str; 5] = ["hidden_size", "intermediate_size", "head_dim", "num_key_value_heads", "vocab_size"];

/// Returns the numbers that the tensors give, in the order of `KEYS`; the number of heads stays that of the
/// config.
fn measured(model: &Checkpoint) -> Option<[u64; 5]> {
    let (files, layers) = (&model.files, &model.layers);
    let shape = |label: &str| {
        let mut all = 0..layers.len() as u32;
        let layer =
            all.find(|&layer| layers.label(&files.names, layer) == label && layers.spec(layer).shape_known)?;
        match layers.spec(layer).shape.as_slice() {
            &[rows, columns] => Some((rows, columns)),
            _ => None,
        }
    };
    let heads = files.configs.model_int("num_attention_heads").filter(|&heads| heads > 0)?;
    let (vocab, hidden) = shape("embed_tokens")?;
    let (inner, _) = shape("gate_proj")?;
    let (queries, _) = shape("q_proj")?;
    let (keys, _) = shape("k_proj")?;
    let head =
        (queries % heads == 0).then_some(queries / heads).filter(|&head| head > 0 && keys % head == 0)?;
    Some([hidden, inner, head, keys / head, vocab])
}

/// Offers the numbers of the tensors only where with them every shape fits.
fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let otherwise = || vec![Fix::advice("take config.json from the model that the weights come from")];
    let Some(model) = subject.model() else { return otherwise() };
    let Some(measured) = measured(model) else { return otherwise() };
    let configs = &model.files.configs;
    let new = |key: &str| KEYS.iter().position(|known| *known == key).map(|at| measured[at]);
    let shapes = Configs::shapes_by(|key| new(key).or_else(|| configs.model_int(key)));
    if !shapes.is_some_and(|shapes| misfits(&model.files, &model.layers, &shapes).is_empty()) {
        return otherwise();
    }
    let heads = configs.model_int("num_attention_heads").unwrap_or(1);
    let says = |key: &str| match (configs.model_int(key), key) {
        (None, "head_dim") => measured[0].checked_div(heads),
        (None, "num_key_value_heads") => Some(heads),
        (said, _) => said,
    };
    let changed: Vec<(&str, u64)> =
        KEYS.iter().copied().zip(measured).filter(|(key, value)| says(key) != Some(*value)).collect();
    if changed.is_empty() {
        return vec![Fix::advice(finding.rule.remedy)];
    }
    let set = |(key, value): &(&str, u64)| Edit::Json {
        file: "config.json".into(),
        path: vec![(*key).into()],
        value: Some(json!(value)),
    };
    let words: Vec<String> = changed.iter().map(|(key, value)| format!("{key} {value}")).collect();
    let summary = format!("write what the tensors have into config.json: {}", words.join(", "));
    vec![Fix::new(summary, Act::Edit(changed.iter().map(set).collect()))]
}
