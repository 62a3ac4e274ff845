//! Q027 needs-backend: transformers loads this format only with another package installed.

use super::remedies;
use crate::diagnose::finding::{Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind = ProblemKind { code: "Q027", name: "needs-backend", severity: Severity::Info };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Load, Purpose::Qlora],
    looks_for: "The format of the packed layers, against the packages that the loaders of transformers ask \
                for.",
    why: "transformers has only the frame for most formats; the layers come from a package of their own, \
          and which one changed with the versions. Without it the load stops before a tensor is read.",
    messages: &[
        message(
            "Loading an AWQ quantized model requires gptqmodel. Please install it with `pip install \
             gptqmodel`",
            "transformers 5",
        ),
        message(
            "Loading an AWQ quantized model requires auto-awq library (`pip install autoawq`)",
            "transformers 4.35 to 4.57",
        ),
        message(
            "Loading a GPTQ quantized model requires optimum (`pip install optimum`)",
            "transformers 4.38 and newer",
        ),
        message("Loading a GPTQ quantized model requires optimum", "transformers 4.32 and newer"),
        message(
            "Loading a GPTQ quantized model requires gptqmodel (`pip install gptqmodel`) library.",
            "transformers 5",
        ),
        message("Loading a GPTQ quantized model requires gptqmodel", "transformers 4.48 and newer"),
        message("Using `compressed_tensors` quantized models requires", "transformers 4.45 and newer"),
        message("Using `bitsandbytes` 4-bit quantization requires", "transformers 4.38 and newer"),
        message("Using `bitsandbytes` 8-bit quantization requires", "transformers 4.38 and newer"),
        message("Using `aqlm` quantization requires", "transformers 4.38 and newer"),
        message("Loading an EETQ quantized model requires", "transformers 4.41 and newer"),
        message(
            "Loading an AutoRound quantized model requires auto-round library",
            "transformers 4.52 and newer",
        ),
    ],
    remedy: "Install the package, or dequantize: 16-bit weights need none.",
    sources: "`validate_environment` of the quantizers of transformers 4.37 to 5.23; reproduced",
    look,
    fixes,
    ..Rule::new(&KIND)
};

/// Formats and the packages that transformers 5 and 4 ask for.
const PACKAGES: [(&str, &str); 9] = [
    ("gptq", "gptqmodel and optimum (transformers before 4.48: auto-gptq and optimum)"),
    ("awq", "gptqmodel 5.0 or newer (transformers 4: autoawq)"),
    ("bnb-", "bitsandbytes and accelerate"),
    ("compressed-tensors", "compressed-tensors 0.15 or newer"),
    ("hqq", "hqq"),
    ("aqlm", "aqlm and accelerate"),
    ("eetq", "kernels and accelerate (transformers 4: eetq)"),
    ("torchao", "torchao"),
    ("quanto", "optimum-quanto"),
];

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    if subject.model().is_none() {
        return Vec::new();
    }
    let found = PACKAGES.iter().filter_map(|(format, packages)| {
        let (count, first) = subject.layers_of(|name| name == *format || name.starts_with(format));
        let words = units::plural(count, "layer");
        let label = format.trim_end_matches('-');
        (count > 0).then(|| {
            let title = format!("{words} of {label}: transformers loads them with {packages}.");
            let method = if label == "bnb" { "bitsandbytes" } else { label };
            Finding::new(rule, title).fill("method", method).seen(Seen::tensors(first, words.clone()))
        })
    });
    found.collect()
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let install = Fix::advice(finding.title.rsplit_once("with ").map_or_else(
        || finding.rule.remedy.to_owned(),
        |(_, packages)| format!("install {}", packages.trim_end_matches('.')),
    ));
    [install].into_iter().chain(remedies::dequantize(subject, "which needs no package")).collect()
}
