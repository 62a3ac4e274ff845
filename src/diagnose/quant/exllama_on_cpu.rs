//! Q022 exllama-needs-gpu: the exllama kernels of GPTQ are on, and they take layers on the GPU only and do not
//! train.

use super::{config_blocks, remedies};
use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Purpose, Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::{ProblemKind, Severity};
use crate::quant::QuantBlock;
use crate::units;

static KIND: ProblemKind =
    ProblemKind { code: "Q022", name: "exllama-needs-gpu", severity: Severity::Warning };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Qlora],
    looks_for: "GPTQ of 4 bits, and a config without `use_exllama: false` or `disable_exllama: true`.",
    why: "With 4 bits, exllama is switched on unless the config says otherwise. Its layers are set up right \
          after loading, and that stops where a layer is still on the CPU: without `device_map`, or under \
          DeepSpeed. Its kernels have no backward pass either.",
    messages: &[
        message("assert self.qweight.device.type == \"cuda\"", "AutoGPTQ 0.4.0 to 0.7.1"),
        message(
            "Found modules on cpu/disk. Using Exllama or Exllamav2 backend requires all the modules to be \
             on GPU.",
            "transformers 4.32 to 4.56, optimum",
        ),
    ],
    outside: "The files are right for a load with `device_map={\"\": 0}` on a GPU that is large enough.",
    remedy: "Switch exllama off in the config, dequantize, or load with `device_map={\"\": 0}`.",
    sources: "Qwen-VL#289, Qwen#465; AutoGPTQ `qlinear_exllama.py`; transformers `GPTQConfig` refuses a \
              config that has both keys",
    look,
    fixes,
    ..Rule::new(&KIND)
};

const OFF: [(&str, bool); 2] = [("use_exllama", false), ("disable_exllama", true)];

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    let (count, first) = four_bit_layers(subject);
    let Some(block) = block_of(subject).filter(|_| count > 0) else { return Vec::new() };
    let is_off = OFF.iter().any(|(key, value)| block.flag(&[key]) == Some(*value));
    if is_off {
        return Vec::new();
    }
    let layers = units::plural(count, "GPTQ layer");
    let title = format!(
        "{layers} of 4 bits, and {} does not switch exllama off: loading stops where a layer is not on the GPU.",
        block.file
    );
    let said = OFF.iter().find_map(|(key, _)| Some((*key, block.flag(&[key])?)));
    let (key, value) =
        said.map_or(("use_exllama", "absent".to_owned()), |(key, flag)| (key, flag.to_string()));
    let place = Seen::config(&block.file, config_blocks::key(block, key), value);
    vec![Finding::new(rule, title).seen(place).seen(Seen::tensors(first, layers))]
}

/// Returns how many GPTQ layers of 4 bits there are, and the first.
fn four_bit_layers(subject: &Subject<'_>) -> (usize, Option<String>) {
    let specs = subject.checkpoint.layers.specs();
    let has_others = specs.iter().any(|spec| spec.format.get().name() == "gptq" && spec.millibits != 4000);
    if has_others { (0, None) } else { subject.layers_of(|format| format == "gptq") }
}

/// Returns the block that transformers reads.
fn block_of<'a>(subject: &Subject<'a>) -> Option<&'a QuantBlock> {
    config_blocks::all(subject)
        .find(|block| block.file == "config.json" && block.method.as_deref() == Some("gptq"))
}

/// One key alone: transformers refuses a config that has both.
fn fixes(subject: &Subject<'_>, _: &Finding) -> Vec<Fix> {
    let mut fixes = Vec::new();
    if let Some(block) = block_of(subject) {
        let of_new = vec![
            config_blocks::set(block, "use_exllama", Some(false.into())),
            config_blocks::set(block, "disable_exllama", None),
        ];
        let what = "set use_exllama to false in the config (transformers 4.35 and newer)";
        fixes.push(Fix::new(what, Act::Edit(of_new)));
    }
    fixes.extend(remedies::dequantize(subject, "then train on the result"));
    fixes.extend(remedies::pack_nf4(subject));
    fixes.push(Fix::advice(
        "for transformers 4.32 to 4.34 write disable_exllama: true instead; a config with both keys is refused",
    ));
    fixes.push(Fix::advice(
        "load with device_map={\"\": 0}, so that every layer is on the GPU before exllama is set up",
    ));
    fixes
}
