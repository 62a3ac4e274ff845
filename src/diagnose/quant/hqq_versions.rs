//! Q034 hqq-versions: HQQ layers load only with the hqq and transformers that fit the way they were saved.

use super::remedies;
use crate::diagnose::finding::{Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind = ProblemKind { code: "Q034", name: "hqq-versions", severity: Severity::Info };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Load],
    looks_for: "HQQ layers: `W_q` with `scale`, `zero` and `meta`.",
    why: "The way in which transformers and hqq store these layers changed several times, and transformers \
          4.51 could not read its own. A mismatch of versions shows as attributes or parameters that do not \
          exist.",
    messages: &[
        message("'HQQLinear' object has no attribute '{any}'", "transformers 4.41 to 4.5x"),
        message(".quant_scale` is neither a parameter nor a buffer.", "transformers 4.51"),
    ],
    remedy: "Take the versions of hqq and transformers that wrote it, or dequantize: 16-bit weights need \
             neither.",
    sources: "hqq#151, hqq#31, transformers#30727, transformers#37263",
    look,
    fixes,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let (count, first) = subject.layers_of(|format| format == "hqq");
    if count == 0 || subject.model().is_none() {
        return Vec::new();
    }
    let layers = units::plural(count, "HQQ layer");
    let said = subject.json("config.json").and_then(|config| config.get("transformers_version"));
    let wrote = said.and_then(|said| said.as_str()).map_or_else(
        || "no config says which version wrote them".to_owned(),
        |version| format!("written by transformers {}", crate::name::escape(version)),
    );
    let title = format!("{layers}, {wrote}: other versions may not read them.");
    vec![Finding::new(rule, title).seen(Seen::tensors(first, layers))]
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let decoded = remedies::dequantize(subject, "which any version loads");
    [Fix::advice(finding.rule.remedy)].into_iter().chain(decoded).collect()
}
