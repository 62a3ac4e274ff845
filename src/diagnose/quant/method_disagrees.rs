//! Q008 quant-method-disagrees: the config names one quantization method, the tensors are of another.

use super::{config_of_tensors, remedies};
use crate::diagnose::finding::{Act, Finding, Fix};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "The first block that names a method, against the names, dtypes and shapes of the packed \
                tensors.",
    why: "A loader builds the layers that the config names and looks for their tensors. Tensors of another \
          method are not used; the layers stay without values, on the meta device or filled with random \
          numbers.",
    messages: &[
        message("Cannot copy out of meta tensor; no data!", "torch, layers that no tensor filled"),
        message("{key}.qweight is on the meta device, we need a `value` to put in on {any}.", "accelerate"),
    ],
    outside: "A `device_map` that offloads, and DeepSpeed ZeRO-3, leave tensors on the meta device though \
              the files are right.",
    remedy: "Write the method that the tensors have into the config, or dequantize, which goes by the \
             tensors.",
    sources: "bad-quantized cases; MiniCPM-V#635, AutoAWQ#222, LlamaFactory#2940; reproduced on 4.57",
    fixes,
    ..Rule::new(&kind::QUANT_METHOD_DISAGREES)
};

fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    let edits = config_of_tensors::replace_blocks(subject);
    let written =
        edits.map(|edits| Fix::new("write a config that says what the tensors are", Act::Edit(edits)));
    let decoded = remedies::dequantize(subject, "by what the tensors are");
    remedies::or_advice(written.into_iter().chain(decoded), finding)
}
