//! T002 gpu-too-old-for-dtype: the GPU has no kernels for the dtype of the weights.

use crate::diagnose::rule::{Purpose, Rule, message};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "T002", name: "gpu-too-old-for-dtype", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: &[Purpose::Load, Purpose::Qlora, Purpose::Vllm],
    looks_for: "Nothing in the files: the message alone tells.",
    why: "BF16 needs compute capability 8.0 (Ampere), FP8 needs 8.9 (Ada) or 9.0 (Hopper). Older GPUs have \
          F16 and F32.",
    messages: &[
        message("Bfloat16 is only supported on GPUs with compute capability of at least {n}.", "vLLM"),
        message(
            "Your setup doesn't support bf16/gpu. You need torch>=1.10, using Ampere GPU with cuda>=11.0",
            "transformers up to 4.5x",
        ),
        message("Your setup doesn't support bf16/gpu.", "transformers"),
        message(
            "FP8 quantized models is only supported on GPUs with compute capability >= {n}",
            "transformers",
        ),
    ],
    outside: "`nvidia-smi` names the GPU; a T4 or V100 has no BF16.",
    remedy: "Load with `dtype=torch.float16` (vLLM: `--dtype half`); FP8 layers can be dequantized here.",
    sources: "vLLM and transformers source",
    ..Rule::of_message(&KIND)
};
