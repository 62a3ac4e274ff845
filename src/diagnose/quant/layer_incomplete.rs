//! Q020 layer-incomplete: a packed layer lacks a part that its format needs.

use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "Packed weights without their scales, zero points, absmax or quant state, in any shard.",
    why: "The codes alone are no weights. A loader stops, or leaves the layer on the meta device, or fills \
          what is missing with random numbers.",
    messages: &[
        message(
            "Cannot copy out of meta tensor; no data!",
            "transformers up to 4.57, a packed weight without its quant state",
        ),
        message(
            "We encountered some issues during automatic conversion of the weights.",
            "transformers 5, bitsandbytes layers without quant state",
        ),
        message(
            "Missing quantization component `SCB`",
            "transformers up to 4.5x, diffusers; bitsandbytes 8-bit without scales",
        ),
        message("{any} is on the meta device, we need a `value` to put in on {any}.", "accelerate"),
        message("Expected packed or unpacked quant_state items, found neither", "bitsandbytes"),
        message("packed uint8 weight {any} with no quant_state", "unsloth"),
    ],
    outside: "Offloading by `device_map`, and DeepSpeed ZeRO-3, leave tensors on the meta device though the \
              files are right.",
    remedy: "Get the missing tensors from where the checkpoint came from. Scales cannot be computed from \
             codes; only a quant state can be written anew, if the shape is known.",
    sources: "bnb-missing cases; unsloth-zoo#1132, transformers#23895; reproduced on 4.57 and 5.23",
    ..Rule::new(&kind::LAYER_INCOMPLETE)
};
