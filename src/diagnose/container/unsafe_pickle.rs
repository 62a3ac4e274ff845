//! K017 unsafe-pickle: a pickle names a global that could run code.

use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "A pickle that calls something other than the makers of tensors: the name of the global is in \
                the finding.",
    why: "A pickle is a program: loading it calls the functions it names. This one names a function that is \
          not needed for tensors. torch 2.6 and later refuse it; older versions, or `weights_only=False`, \
          run it.",
    messages: &[
        message("Weights only load failed", "torch 2.4 and later"),
        message("WeightsUnpickler error: Unsupported {any}", "torch 2.4 and later"),
        message("GLOBAL {any} was not an allowed global by default", "torch 2.4 and later"),
    ],
    outside: "Optimizer and trainer states (`optimizer.pt`, `rng_state.pth`, `training_args.bin`) hold such \
              objects too, and torch 2.6 stops at them while the weights are fine.",
    remedy: "Do not load it with `weights_only=False` unless you made it. Ask for safetensors from its \
             source.",
    sources: "torch 2.15 source; measured",
    ..Rule::new(&kind::UNSAFE_PICKLE)
};
