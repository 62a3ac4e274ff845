//! R006 no-gpu: the format needs a GPU, and torch sees none.

use crate::diagnose::rule::{Purpose, Rule, message};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind = ProblemKind { code: "R006", name: "no-gpu", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Load, Purpose::Qlora],
    looks_for: "Nothing in the files: the message alone tells.",
    why: "Kernels of these formats exist for GPUs alone. torch sees none where there is none, where it is \
          built for the CPU, where the driver is too old, or where `CUDA_VISIBLE_DEVICES` is empty.",
    messages: &[
        message(
            "No GPU or XPU found. A GPU or XPU is needed for FP8 quantization.",
            "transformers 4.49 and newer",
        ),
        message("GPU is required to run AWQ quantized model.", "transformers 4.35 to 4.57"),
        message("GPU is required to quantize or run quantize model.", "transformers 4.32 and newer, GPTQ"),
        message("No GPU found. A GPU is needed for quantization.", "transformers 4.30 to 4.45, EETQ since"),
        message("Using fbgemm fp8 quantization requires a GPU or XPU", "transformers 5"),
    ],
    outside: "`python -c \"import torch; print(torch.cuda.is_available())\"` tells whether torch sees a GPU.",
    remedy: "Make the GPU visible to torch, or dequantize: 16-bit weights run on the CPU too.",
    sources: "`validate_environment` of the quantizers; reproduced on 4.37 and 4.57",
    ..Rule::of_message(&KIND)
};
