//! Q037 dora-on-quantized: the adapter is a DoRA, and PEFT has none for layers of this format.

use super::remedies;
use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{ProblemKind, Severity};
use crate::units;

static KIND: ProblemKind = ProblemKind { code: "Q037", name: "dora-on-quantized", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Load, Purpose::Qlora, Purpose::Merge],
    milder: &[Purpose::Merge],
    looks_for: "`use_dora` of an attached adapter, on GPTQ, AWQ, AQLM or EETQ layers.",
    why: "DoRA needs the norm of the whole weight, which these packed layers do not give. The layer class \
          of PEFT refuses when it is built, so the adapter cannot be loaded on this base at all.",
    messages: &[
        message("{class} does not support DoRA yet, please set it to False", "PEFT"),
        message("DoRA is not compatible with PTQ-quantized models.", "LLaMA-Factory"),
    ],
    remedy: "Merge the adapter here, where layers are decoded first, or load it on the dequantized base.",
    sources: "PEFT 0.21 source (`lora/gptq.py`, `awq.py`, `aqlm.py`, `eetq.py`); LLaMA-Factory `adapter.py`",
    look,
    fixes,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let (count, first) = subject.layers_of(|format| matches!(format, "gptq" | "awq" | "aqlm" | "eetq"));
    if count == 0 || subject.model().is_none() {
        return Vec::new();
    }
    let doras = subject.adapters().filter(|view| view.flag("use_dora"));
    let finding = |view: crate::diagnose::subject::AdapterView<'_>| {
        let layers = units::plural(count, "packed layer");
        let title = format!(
            "The adapter {} is a DoRA, and PEFT refuses DoRA on the {layers} of this base.",
            crate::name::escape(&view.checkpoint.files.title),
        );
        let place = Seen::config("adapter_config.json", "use_dora", "true");
        Finding::new(rule, title).about(view.about).seen(place).seen(Seen::tensors(first.clone(), layers))
    };
    doras.map(finding).collect()
}

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let merge =
        Fix::new("merge the adapter; packed layers are decoded first", Act::Merge).loss(remedies::LOSS);
    let decoded = remedies::dequantize(subject, "then load the adapter on that");
    remedies::or_advice([merge].into_iter().chain(decoded), finding)
}
