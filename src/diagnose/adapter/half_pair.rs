//! A002 adapter-half-pair: a module with one of its two factors.

use super::views;
use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    is_silent: true,
    looks_for: "Modules of which only lora_A or only lora_B is in the file (or one factor of another method).",
    why: "A delta is the product of both factors. PEFT leaves the missing one as it was made: with lora_B missing the \
          module has no effect, with lora_A missing a random matrix is applied. Since PEFT 0.14 one warning names the \
          missing keys.",
    messages: &[
        message(
            "Found missing adapter keys while loading the checkpoint: {any}",
            "PEFT since 0.14, a warning",
        ),
        message("LoRA tensor pair for '{key}' is missing one component", "llama.cpp, for GGUF adapters"),
    ],
    remedy: "The other half is in another file of the run, or lost: take the adapter of an earlier step, or save it \
             again. `ckpt align` lists the modules; nothing here can make up a factor.",
    sources: "measured on PEFT 0.21.2; llama.cpp `src/llama-adapter.cpp`",
    ..Rule::new(&kind::ADAPTER_HALF_PAIR)
};
