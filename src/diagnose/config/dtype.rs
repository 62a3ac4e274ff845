//! C005 config-dtype: the config's dtype is not that of most weights.

use serde_json::Value;

use super::{config_of, set_config};
use crate::diagnose::finding::{Finding, Fix};
use crate::diagnose::rule::Rule;
use crate::diagnose::subject::Subject;
use crate::problem::kind;
use crate::tensor::Dtype;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "`dtype` (or `torch_dtype`) of config.json against the dtype of most parameters.",
    why: "With dtype=\"auto\" the weights are cast to what the config says: to F16 they can overflow, to F32 \
          they take twice the memory. No loader says that it casts.",
    remedy: "Set dtype to what is stored, or pass the dtype that you want when you load.",
    sources: "transformers source",
    fixes,
    ..Rule::new(&kind::CONFIG_DTYPE)
};

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let otherwise = || vec![Fix::advice(finding.rule.remedy)];
    let (Some(model), Some(config)) = (subject.model(), config_of(subject)) else { return otherwise() };
    let parameters = |dtype: Dtype| {
        let layers = 0..model.layers.len() as u32;
        let specs = layers.map(|layer| model.layers.spec(layer)).filter(|spec| spec.dtype == Some(dtype));
        specs.fold(0u64, |sum, spec| sum.saturating_add(spec.parameters))
    };
    let known = [
        (Dtype::BF16, "bfloat16"),
        (Dtype::F16, "float16"),
        (Dtype::F32, "float32"),
        (Dtype::F64, "float64"),
    ];
    let most = known.into_iter().max_by_key(|(dtype, _)| parameters(*dtype));
    let key = ["dtype", "torch_dtype"].into_iter().find(|key| config.get(*key).is_some_and(Value::is_string));
    match (most, key) {
        (Some((dtype, word)), Some(key)) if parameters(dtype) > 0 => {
            vec![set_config(
                format!("set {key} to {word}, what most weights are stored in"),
                key,
                word.into(),
            )]
        }
        _ => otherwise(),
    }
}
