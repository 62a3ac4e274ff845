//! Q017 scale-dtype: the scales are F16 and the config says the model runs in BF16, or the other way round.

use super::{config_of_tensors, remedies};
use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::plan::edit::Edit;
use crate::problem::kind;
use crate::tensor::Dtype;
use crate::units;

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Qlora, Purpose::Vllm],
    looks_for: "The dtype of the scales of GPTQ and AWQ layers, against the dtype of `config.json`.",
    why: "The kernels of AWQ and older ones of GPTQ run in F16 only. vLLM refuses a BF16 model of such \
          layers; transformers casts, and scales that are cast to BF16 lose three of their eleven bits.",
    messages: &[message(
        "torch.bfloat16 is not supported for quantization method {method}. Supported dtypes: {any}",
        "vLLM",
    )],
    remedy: "Run it in the dtype of the scales: set it in the config, or give vLLM `--dtype half`.",
    sources: "vLLM source (`get_supported_act_dtypes`); transformers `quantizer_awq.py`",
    look,
    fixes,
    ..Rule::new(&kind::SCALE_DTYPE)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let Some(said) = subject.model().and_then(|model| model.files.configs.dtype()) else { return Vec::new() };
    let Some((scales, count, first)) = scales(subject) else { return Vec::new() };
    if scales == said || said.bits() != Some(16.0) || scales.bits() != Some(16.0) {
        return Vec::new();
    }
    let count = units::plural(count, "packed layer");
    let title = format!(
        "config.json says dtype {}, and the scales of {count} are {}: their kernels run in {}.",
        said.name(),
        scales.name(),
        scales.name(),
    );
    let seen = Seen::config("config.json", key(subject), said.name());
    let method = subject.quant_method().unwrap_or("gptq").to_owned();
    let counted = format!("{} scales", scales.name());
    vec![Finding::new(rule, title).fill("method", method).seen(seen).seen(Seen::tensors(first, counted))]
}

/// Returns the dtype of the scales of all GPTQ and AWQ layers if they have one, how many, and the first layer.
fn scales(subject: &Subject<'_>) -> Option<(Dtype, usize, Option<String>)> {
    let is_ours = |name: &str| matches!(name, "gptq" | "awq");
    let mut dtypes = subject.checkpoint.layers.specs().iter().filter(|s| is_ours(s.format.get().name()));
    let dtype = dtypes.next()?.dtype?;
    let (count, first) = subject.layers_of(is_ours);
    dtypes.all(|spec| spec.dtype == Some(dtype)).then_some((dtype, count, first))
}

/// Returns the key under which the config has the dtype.
fn key(subject: &Subject<'_>) -> &'static str {
    let has = |key| subject.json("config.json").is_some_and(|config| config.get(key).is_some());
    if has("dtype") { "dtype" } else { "torch_dtype" }
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let key = key(subject);
    let is_on_top = subject.json("config.json").is_some_and(|config| config.get(key).is_some());
    let word = scales(subject).and_then(|(dtype, ..)| config_of_tensors::torch_name(dtype));
    let edit = word.filter(|_| is_on_top).map(|word| {
        let set = Edit::Json { file: "config.json".into(), path: vec![key.into()], value: Some(word.into()) };
        Fix::new(format!("set {key} to {word} in the config"), Act::Edit(vec![set]))
    });
    let decoded = remedies::dequantize(subject, "in the dtype that you need");
    edit.into_iter().chain(decoded).chain([Fix::advice(finding.rule.remedy)]).collect()
}
