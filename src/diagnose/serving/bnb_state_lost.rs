//! R002 bnb-state-lost: a bitsandbytes layer lost its quant state in memory, and its packed bytes are taken for
//! a weight.

use crate::diagnose::rule::{Purpose, Rule, message};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind = ProblemKind { code: "R002", name: "bnb-state-lost", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Load, Purpose::Qlora],
    looks_for: "Nothing in the files: the message alone tells.",
    why: "The quant state lives beside the packed bytes. Offloading to the CPU, DataParallel, a second move \
          to the GPU and old versions of PEFT lose it or quantize the bytes again: the packed weight of \
          shape [n, 1] then meets a plain product.",
    messages: &[
        message("Blockwise quantization only supports 16/32-bit floats, but got torch.uint8", "bitsandbytes"),
        message(
            "Blockwise 4bit quantization only supports 16/32-bit floats, but got torch.uint8",
            "bitsandbytes since 0.43",
        ),
        message(
            "FP4 quantization state not initialized. Please call .cuda() or .to(device) on the LinearFP4 \
             layer first.",
            "bitsandbytes",
        ),
        message(
            "mat1 and mat2 shapes cannot be multiplied ({shape} and 1x{n})",
            "torch, packed weight in a plain product",
        ),
    ],
    outside: "It does not come from the files as long as each packed weight has its quant state, which is \
              checked as layer-incomplete.",
    remedy: "Load on one GPU without offload, with current bitsandbytes, PEFT and accelerate; or \
             dequantize, which leaves nothing to lose.",
    sources: "bitsandbytes#1525, #600, #1310, transformers#23839, diffusers#10800, unsloth#1599, \
              litgpt#1325, LlamaFactory#321, Baichuan2#218",
    ..Rule::of_message(&KIND)
};
