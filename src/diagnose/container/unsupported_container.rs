//! K025 unsupported-container: a type or layout that is recognized and not supported.

use crate::diagnose::rule::{Rule, message};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "GGUF types that llama.cpp removed or that only a fork has, TorchScript archives, tensors \
                that load lazily.",
    why: "What it is, is known, and current readers do not take it: llama.cpp dropped the type, or the file \
          is a program and not a state dict.",
    messages: &[
        message("tensor '{key}' has invalid ggml type {n}", "llama.cpp"),
        message("'{any}' is deprecated", "llama.cpp"),
        message("Cannot use ``weights_only=True`` with TorchScript archives", "torch.load"),
    ],
    remedy: "Convert the model again from its 16-bit source, or save its `state_dict()` in the program that \
             made it.",
    sources: "llama.cpp source; torch 2.15 source",
    ..Rule::new(&kind::UNSUPPORTED_CONTAINER)
};
