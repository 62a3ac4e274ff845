//! Q015 quant-state-damaged: a quant state cannot be read, or contradicts its tensors.

use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "The JSON in `quant_state.bitsandbytes__nf4` and its like: whether it can be read, and \
                whether its shape, block size and dtype fit the packed weight and the absmax.",
    why: "The quant state is the only place that says what shape the packed bytes have. Without it \
          bitsandbytes cannot unpack the layer.",
    messages: &[
        message("Expected packed or unpacked quant_state items, found neither", "bitsandbytes"),
        message(
            "There should be exactly one `quant_state` item with ending from {any}",
            "bitsandbytes, two states of one weight",
        ),
        message("shape '{shape}' is invalid for input of size {n}", "torch, a shape that does not fit"),
    ],
    outside: "An old bitsandbytes says the first of states that a newer one wrote.",
    remedy: "Download the shard again. A lost quant state can be written anew only if shape and block size \
             are known from elsewhere.",
    sources: "bitsandbytes source (`QuantState.from_dict`); measured on damaged layers",
    ..Rule::new(&kind::QUANT_STATE)
};
