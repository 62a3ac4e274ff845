//! What layers become, as fields of a form: the formats that can be written, and their options.

use super::convert::{ANY, AS_IS};
use super::form::{Choice, Field, Kind, Seen};
use crate::plan::{Order, To};
use crate::quant::target::{Aim, GptqFiles, GroupSize, Search, Wishes};

/// The name of the field that says what layers become.
pub const FORMAT: &str = "format";

/// Plain values.
pub(super) const DENSE: Choice = Choice {
    word: "dense",
    about: "Every quantized layer is decoded to plain 16- or 32-bit values; the rest goes over byte for byte. Loads anywhere, trains, quantizes again.",
    flag: "--to dense",
    ..AS_IS
};

/// Layers as they are.
pub(super) const SAME: Choice = Choice {
    word: "same",
    about: "Layers that are merged into are packed again in their own format; all others stay as they are. What that leaves of the adapter is measured and said at the end.",
    flag: "--to same",
    set: |order, _| order.to = To::Same,
    ..AS_IS
};

/// Returns the choice of a format.
macro_rules! format {
    ($name:literal, $about:literal) => {
        Choice {
            word: $name,
            about: $about,
            flag: concat!("--to ", $name),
            set: |order, _| order.to = To::Packed(Aim { name: $name.into(), wishes: Wishes::default() }),
            ..AS_IS
        }
    };
}

/// Returns the choice of a scheme.
macro_rules! scheme {
    ($name:literal, $about:literal) => {
        Choice {
            word: $name,
            about: $about,
            flag: concat!("--scheme ", $name),
            set: |order, _| wish(order, |wishes| wishes.scheme = Some($name.into())),
            ..AS_IS
        }
    };
}

const BNB_NF4: Choice = format!(
    "bnb-nf4",
    "bitsandbytes 4-bit: what QLoRA trains on. Equal to what transformers and bitsandbytes save."
);
const BNB_FP4: Choice = format!(
    "bnb-fp4",
    "bitsandbytes 4-bit floating point. Equal to what transformers and bitsandbytes save."
);
const BNB_INT8: Choice = format!(
    "bnb-int8",
    "bitsandbytes int8, a scale for each row. Equal to what transformers and bitsandbytes save."
);
const GPTQ: Choice = format!(
    "gptq",
    "Codes and scales as GPTQModel packs them, read by vLLM and transformers. Round-to-nearest: without data nothing is calibrated."
);
const AWQ: Choice = format!(
    "awq",
    "4 bits with zero points, as AutoAWQ packs them (gemm). Round-to-nearest: no activations are looked at."
);
const COMPRESSED: Choice = format!(
    "compressed-tensors",
    "What vLLM and llm-compressor write: int4, int8, fp8 and fp4 by scheme. Round-to-nearest."
);
const FP8: Choice = format!(
    "fp8",
    "fp8 with one scale for 128 by 128 values, as DeepSeek and Qwen publish it: vLLM and transformers compute in it."
);
const MXFP4: Choice = format!(
    "mxfp4",
    "Stacks of experts as gpt-oss stores them: fp4 in groups of 32 with powers of two as scales. All else stays plain."
);
const NVFP4: Choice = format!(
    "nvfp4",
    "fp4 in groups of 16 with fp8 scales and one scale a layer (compressed-tensors nvfp4a16): for Blackwell GPUs."
);
const Q8_0: Choice = format!("q8_0", "ggml: 8 bits in blocks of 32. Nearly nothing is lost.");
const Q6_K: Choice = format!("q6_k", "ggml: 6 bits in blocks of 16.");
const Q5_K: Choice = format!("q5_k", "ggml: 5 bits in blocks of 32.");
const Q4_K: Choice = format!("q4_k", "ggml: 4 bits in blocks of 32 with searched scales: the usual choice.");
const Q4_0: Choice = format!("q4_0", "ggml: 4 bits in blocks of 32, one scale each.");
const Q3_K: Choice = format!("q3_k", "ggml: 3 bits in blocks of 16.");
const Q2_K: Choice = format!("q2_k", "ggml: 2 bits in blocks of 16: little is left of small models.");

/// What a checkpoint of tensors can become.
pub(super) static FORMATS: [Choice; 10] =
    [DENSE, BNB_NF4, BNB_FP4, BNB_INT8, GPTQ, AWQ, COMPRESSED, FP8, NVFP4, MXFP4];
/// What a GGUF file can become.
pub(super) static GGUF: [Choice; 8] = [DENSE, Q8_0, Q6_K, Q5_K, Q4_K, Q4_0, Q3_K, Q2_K];
/// What a merge into a GGUF file can make.
pub(super) static GGUF_MERGED: [Choice; 9] = [DENSE, SAME, Q8_0, Q6_K, Q5_K, Q4_K, Q4_0, Q3_K, Q2_K];
/// What a merge into a base whose format can be written can make.
pub(super) static MERGED_SAME: [Choice; 11] =
    [DENSE, SAME, BNB_NF4, BNB_FP4, BNB_INT8, GPTQ, AWQ, COMPRESSED, FP8, NVFP4, MXFP4];

/// Returns true if layers are packed anew.
pub(super) fn is_packed(seen: &Seen) -> bool {
    !matches!(seen.to, "" | "dense" | "same")
}

/// Returns true if layers become plain, or stay what they are.
pub(super) fn is_not_packed(seen: &Seen) -> bool {
    !is_packed(seen)
}

/// Options of the formats, in the order in which they show.
pub(super) static OPTIONS: [Field; 9] = [BITS, SCHEME, GROUP, ZEROS, FILES, SEARCH, ABSMAX, KEEP, ALSO];

const BITS: Field =
    Field { name: "bits", kind: Kind::Choice(&BITS_CHOICES), applies: |seen| seen.to == "gptq", ..ANY };
const SCHEME: Field = Field {
    name: "scheme",
    kind: Kind::Choice(&SCHEMES),
    applies: |seen| seen.to == "compressed-tensors",
    ..ANY
};
const GROUP: Field = Field {
    name: "group",
    kind: Kind::Choice(&GROUPS),
    applies: |seen| matches!(seen.to, "gptq" | "awq" | "compressed-tensors"),
    ..ANY
};
const ZEROS: Field = Field {
    name: "zeros",
    kind: Kind::Choice(&ZERO_POINTS),
    applies: |seen| matches!(seen.to, "gptq" | "compressed-tensors"),
    ..ANY
};
const FILES: Field =
    Field { name: "files", kind: Kind::Choice(&GPTQ_FILES), applies: |seen| seen.to == "gptq", ..ANY };
const SEARCH: Field = Field {
    name: "search",
    kind: Kind::Choice(&SEARCHES),
    applies: |seen| matches!(seen.to, "gptq" | "awq" | "compressed-tensors"),
    ..ANY
};
const ABSMAX: Field = Field {
    name: "absmax",
    kind: Kind::Choice(&ABSMAXES),
    applies: |seen| matches!(seen.to, "bnb-nf4" | "bnb-fp4"),
    ..ANY
};
const KEEP: Field = Field {
    name: "keep",
    kind: Kind::Globs { empty: "as loaders do", flag: "--keep", set: |order, globs| order.keep = globs },
    about: "Layers whose whole name matches stay plain, beside those that loaders of the format leave plain. * is any text, a blank separates: *.down_proj",
    applies: is_packed,
    ..ANY
};
const ALSO: Field = Field {
    name: "also",
    kind: Kind::Globs { empty: "none", flag: "--also", set: |order, globs| order.also = globs },
    about: "Layers whose whole name matches are packed although loaders of the format leave them plain by default. * is any text, a blank separates: lm_head",
    applies: is_packed,
    ..ANY
};

static BITS_CHOICES: [Choice; 4] = [
    Choice { word: "4", about: "Four bits a code: what most loaders and kernels are made for.", ..AS_IS },
    Choice {
        word: "8",
        about: "Eight bits a code: nearly nothing is lost, twice the size.",
        flag: "--bits 8",
        set: |order, _| wish(order, |wishes| wishes.bits = Some(8)),
        ..AS_IS
    },
    Choice {
        word: "3",
        about: "Three bits a code: few loaders have a kernel for it.",
        flag: "--bits 3",
        set: |order, _| wish(order, |wishes| wishes.bits = Some(3)),
        ..AS_IS
    },
    Choice {
        word: "2",
        about: "Two bits a code: without calibration little is left of most models.",
        flag: "--bits 2",
        set: |order, _| wish(order, |wishes| wishes.bits = Some(2)),
        ..AS_IS
    },
];

static SCHEMES: [Choice; 8] = [
    Choice { word: "w4a16", about: "Four bits in groups, 16-bit activations: small, read by vLLM.", ..AS_IS },
    scheme!("w8a16", "Eight bits a row, 16-bit activations."),
    scheme!("w8a8", "int8 weights, one scale a row; activations are quantized as they come."),
    scheme!("fp8-channel", "fp8 weights, one scale a row; activations are quantized as they come."),
    scheme!("fp8-tensor", "fp8 weights, one scale a layer."),
    scheme!("fp8-block", "fp8 weights, one scale for 128 by 128 values."),
    scheme!("nvfp4a16", "fp4 weights in groups of 16 with fp8 scales: for Blackwell GPUs."),
    scheme!("mxfp4", "fp4 weights in groups of 32 with powers of two as scales."),
];

static GROUPS: [Choice; 4] = [
    Choice {
        word: "128",
        about: "128 columns share a scale, where the format has groups: what loaders expect most.",
        ..AS_IS
    },
    Choice {
        word: "64",
        about: "64 columns share a scale: less is lost, a little larger.",
        flag: "--group-size 64",
        set: |order, _| wish(order, |wishes| wishes.group_size = Some(GroupSize::Of(64))),
        ..AS_IS
    },
    Choice {
        word: "32",
        about: "32 columns share a scale: still less is lost, larger.",
        flag: "--group-size 32",
        set: |order, _| wish(order, |wishes| wishes.group_size = Some(GroupSize::Of(32))),
        ..AS_IS
    },
    Choice {
        word: "row",
        about: "A whole row shares a scale: smallest, most is lost.",
        flag: "--group-size -1",
        set: |order, _| wish(order, |wishes| wishes.group_size = Some(GroupSize::Row)),
        ..AS_IS
    },
];

static ZERO_POINTS: [Choice; 2] = [
    Choice {
        word: "symmetric",
        about: "Ranges around zero, no zero points: what most kernels take.",
        ..AS_IS
    },
    Choice {
        word: "asymmetric",
        about: "A zero point beside each scale: less is lost where values are not around zero.",
        flag: "--asym",
        set: |order, _| wish(order, |wishes| wishes.asymmetric = true),
        ..AS_IS
    },
];

static GPTQ_FILES: [Choice; 3] = [
    Choice {
        word: "auto",
        about: "v1 where zero points are all the same (symmetric), v2 where they are not: v1 cannot hold all of those.",
        ..AS_IS
    },
    Choice {
        word: "v1",
        about: "Zero points stored less one: what most loaders read.",
        flag: "--gptq-format v1",
        set: |order, _| wish(order, |wishes| wishes.gptq = Some(GptqFiles::V1)),
        ..AS_IS
    },
    Choice {
        word: "v2",
        about: "Zero points stored as they are: GPTQModel and newer loaders.",
        flag: "--gptq-format v2",
        set: |order, _| wish(order, |wishes| wishes.gptq = Some(GptqFiles::V2)),
        ..AS_IS
    },
];

static SEARCHES: [Choice; 3] = [
    Choice {
        word: "none",
        about: "Scales by the range of each group: round-to-nearest, without calibration.",
        ..AS_IS
    },
    Choice {
        word: "mse",
        about: "Of each group the scale with the least squared error of its weights. No data is used: not calibrated.",
        flag: "--search mse",
        set: |order, _| wish(order, |wishes| wishes.search = Search::Mse),
        ..AS_IS
    },
    Choice {
        word: "hqq",
        about: "Half-quadratic splitting, as HQQ does: large weights count less. No data is used: not calibrated.",
        flag: "--search hqq",
        set: |order, _| wish(order, |wishes| wishes.search = Search::Hqq),
        ..AS_IS
    },
];

static ABSMAXES: [Choice; 2] = [
    Choice { word: "plain", about: "An f32 for 64 values: half a bit a weight.", ..AS_IS },
    Choice {
        word: "double",
        about: "The absmax are quantized too (double quantization): 0.4 bits less a weight, a little more is lost.",
        flag: "--double-quant",
        set: |order, _| wish(order, |wishes| wishes.double_quant = true),
        ..AS_IS
    },
];

/// Adds a wish to what layers become.
fn wish(order: &mut Order, set: fn(&mut Wishes)) {
    if let To::Packed(aim) = &mut order.to {
        set(&mut aim.wishes);
    }
}
