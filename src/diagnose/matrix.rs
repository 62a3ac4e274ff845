//! Matrix: which quantized base a LoRA trains on and merges into, by versions of transformers and PEFT.
//!
//! One row a base format. What a version says is taken from its quantizers (`is_trainable`) and from PEFT's layer
//! classes; sources stand in each row. A format that was not looked at is answered in words, not by a guess.

use crate::checkpoint::Checkpoint;
use crate::name::escape;

/// The versions of transformers that were looked at, one a column.
pub const VERSIONS: [&str; 3] = ["4.46", "4.52 to 4.57", "5.23"];

/// What is known of one base format.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// The format's name for people: `AWQ`.
    pub format: &'static str,
    /// Names of our formats that this is; empty for formats that the config's method tells.
    formats: &'static [&'static str],
    /// Methods of configs that this is, where the tensors alone do not tell it.
    methods: &'static [&'static str],
    /// Whether transformers lets a Trainer train adapters on it, by the columns of `VERSIONS`: begins with `yes`,
    /// `no` or `partly`; `unknown` if the version does not have the method.
    pub trains: [&'static str; 3],
    /// The version of PEFT that got a layer for it.
    pub layer_since: &'static str,
    /// What PEFT's `merge_and_unload` does.
    pub merges: &'static str,
    /// Whether PEFT trains `DoRA` on it.
    pub dora: &'static str,
    /// What upstream says where it fails; empty if it does not fail.
    pub error: &'static str,
    /// Where the facts come from.
    pub sources: &'static str,
}

impl Row {
    /// Returns true if the newest version that was looked at trains adapters on it.
    #[must_use]
    pub fn trains_now(&self) -> bool {
        self.trains[VERSIONS.len() - 1].starts_with("yes")
    }

    /// Returns what it says, as lines of text.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("base: {}", self.format)];
        for (version, trains) in VERSIONS.iter().zip(self.trains) {
            let words = if trains == "unknown" {
                "the method is not in this version, or was not looked at"
            } else {
                trains
            };
            lines.push(format!("trains adapters, transformers {version}: {words}"));
        }
        lines.push(format!("PEFT has a layer for it since: {}", self.layer_since));
        lines.push(format!("PEFT merges into it: {}", self.merges));
        lines.push(format!("DoRA: {}", self.dora));
        if !self.error.is_empty() {
            lines.push(format!("where it fails: {}", self.error));
        }
        lines.push(format!("source: {}", self.sources));
        lines
    }

    /// Returns true if the newest version that was looked at refuses.
    #[must_use]
    pub fn refuses_now(&self) -> bool {
        self.trains[VERSIONS.len() - 1].starts_with("no")
    }
}

const SOURCES: &str = "quantizers of transformers 4.46.3, 4.52.4, 4.57.1, 5.23.0; layers of PEFT 0.21.2";
const REFUSED: &str = "is quantized with … but that quantization method do not support training";

/// The table.
pub static ROWS: &[Row] = &[
    Row {
        format: "16- or 32-bit weights",
        formats: &["dense"],
        methods: &[],
        trains: ["yes", "yes", "yes"],
        layer_since: "0.1",
        merges: "yes",
        dora: "yes",
        error: "",
        sources: SOURCES,
    },
    Row {
        format: "bitsandbytes 4-bit",
        formats: &["bnb-nf4", "bnb-fp4"],
        methods: &[],
        trains: ["yes", "yes", "yes"],
        layer_since: "0.3",
        merges: "yes, since PEFT 0.6",
        dora: "yes",
        error: "up to PEFT 0.5: Cannot merge LORA layers when the model is loaded in 8-bit mode",
        sources: SOURCES,
    },
    Row {
        format: "bitsandbytes 8-bit",
        formats: &["bnb-int8"],
        methods: &[],
        trains: ["yes, bitsandbytes 0.37 or newer", "yes", "yes"],
        layer_since: "0.1",
        merges: "yes; bitsandbytes 0.45 or newer needs PEFT 0.14",
        dora: "yes",
        error: "up to PEFT 0.5: Cannot merge LORA layers when the model is loaded in 8-bit mode",
        sources: SOURCES,
    },
    Row {
        format: "auto-round",
        formats: &[],
        methods: &["auto-round", "auto_round", "intel/auto-round"],
        trains: ["unknown", "no", "no"],
        layer_since: "none",
        merges: "no",
        dora: "no",
        error: REFUSED,
        sources: SOURCES,
    },
    Row {
        format: "GPTQ",
        formats: &["gptq"],
        methods: &[],
        trains: ["yes, with auto-gptq and optimum", "yes, with gptqmodel", "yes, with gptqmodel and optimum"],
        layer_since: "0.5 for auto-gptq (removed in 0.19), 0.15 for gptqmodel",
        merges: "no",
        dora: "no: the layer refuses it",
        error: "Cannot merge LORA layers when the model is gptq quantized",
        sources: SOURCES,
    },
    Row {
        format: "AWQ",
        formats: &["awq"],
        methods: &[],
        trains: ["yes, with autoawq", "yes, with autoawq or ipex", "yes, with gptqmodel 5.0 or newer"],
        layer_since: "0.9",
        merges: "no: NotImplementedError",
        dora: "no",
        error: "Loading an AWQ quantized model requires …",
        sources: SOURCES,
    },
    Row {
        format: "AQLM",
        formats: &["aqlm"],
        methods: &[],
        trains: ["yes, aqlm 1.0.2 or newer", "yes, aqlm 1.0.2 or newer", "yes, aqlm 1.0.2 or newer"],
        layer_since: "0.9",
        merges: "no: NotImplementedError",
        dora: "no",
        error: "",
        sources: SOURCES,
    },
    Row {
        format: "HQQ",
        formats: &["hqq"],
        methods: &[],
        trains: ["yes", "yes", "yes"],
        layer_since: "0.11",
        merges: "yes",
        dora: "yes",
        error: "",
        sources: SOURCES,
    },
    Row {
        format: "EETQ (int8)",
        formats: &["eetq"],
        methods: &[],
        trains: ["yes", "yes", "yes"],
        layer_since: "0.11",
        merges: "no: AttributeError",
        dora: "no",
        error: "Merging LoRA layers is not supported for Eetq layers.",
        sources: SOURCES,
    },
    Row {
        format: "torchao",
        formats: &["torchao"],
        methods: &[],
        trains: ["partly: int8, weights only", "partly: int8", "partly: int8"],
        layer_since: "0.14",
        merges: "int8 only",
        dora: "no",
        error: "only supports int8 weights for now",
        sources: SOURCES,
    },
    Row {
        format: "quanto",
        formats: &["quanto"],
        methods: &[],
        trains: ["yes, and cannot be saved", "yes", "yes"],
        layer_since: "none of its own: its layers are subclasses of Linear (a guess from the source)",
        merges: "not looked at",
        dora: "not looked at",
        error: "saving is refused",
        sources: SOURCES,
    },
    Row {
        format: "compressed-tensors",
        formats: &["compressed-tensors"],
        methods: &[],
        trains: ["no", "yes, except where FP8 kernels run", "yes, except where FP8 kernels run"],
        layer_since: "none of its own: taken as Linear (a guess from the source)",
        merges: "no",
        dora: "not looked at",
        error: REFUSED,
        sources: SOURCES,
    },
    Row {
        format: "FBGEMM FP8",
        formats: &[],
        methods: &["fbgemm_fp8"],
        trains: ["no", "no", "no"],
        layer_since: "none",
        merges: "no",
        dora: "no",
        error: REFUSED,
        sources: SOURCES,
    },
    Row {
        format: "FP8 in blocks (DeepSeek, Qwen)",
        formats: &["fp8"],
        methods: &[],
        trains: ["unknown", "no", "yes"],
        layer_since: "none of its own",
        merges: "no",
        dora: "not looked at",
        error: "Promotion for Float8 Types is not supported; addmm … not implemented for 'Float8_e4m3fn'",
        sources: SOURCES,
    },
    Row {
        format: "MXFP4 (gpt-oss)",
        formats: &["mxfp4"],
        methods: &[],
        trains: ["unknown", "no, only with dequantize=True", "no, only with dequantize=True"],
        layer_since: "none: only decoded to BF16",
        merges: "after decoding",
        dora: "not looked at",
        error: REFUSED,
        sources: SOURCES,
    },
    Row {
        format: "BitNet",
        formats: &["bitnet"],
        methods: &[],
        trains: ["no", "partly: online mode only", "partly: online mode only"],
        layer_since: "none",
        merges: "no",
        dora: "no",
        error: REFUSED,
        sources: SOURCES,
    },
    Row {
        format: "HIGGS, VPTQ, SpQR, Quark and NVFP4",
        formats: &["higgs", "vptq", "spqr", "quark", "modelopt"],
        methods: &["metal", "gemma", "nvfp4"],
        trains: ["unknown", "no", "no"],
        layer_since: "none",
        merges: "no",
        dora: "no",
        error: REFUSED,
        sources: SOURCES,
    },
    Row {
        format: "FP-Quant and Four Over Six",
        formats: &[],
        methods: &["fp_quant", "fouroversix"],
        trains: ["unknown", "partly", "partly: with master weights kept"],
        layer_since: "none",
        merges: "not looked at",
        dora: "not looked at",
        error: "",
        sources: SOURCES,
    },
    Row {
        format: "SINQ",
        formats: &[],
        methods: &["sinq"],
        trains: ["unknown", "unknown", "yes"],
        layer_since: "not looked at",
        merges: "not looked at",
        dora: "not looked at",
        error: "",
        sources: SOURCES,
    },
    Row {
        format: "INC",
        formats: &[],
        methods: &["inc"],
        trains: ["unknown", "unknown", "unknown"],
        layer_since: "0.16",
        merges: "no: NotImplementedError",
        dora: "not looked at",
        error: "Merging LoRA with INC layers is not yet implemented",
        sources: SOURCES,
    },
    Row {
        format: "GGUF",
        formats: &["ggml"],
        methods: &["gguf"],
        trains: [
            "yes: gguf_file= decodes it on loading",
            "yes: gguf_file= decodes it on loading",
            "yes: gguf_file= decodes it on loading",
        ],
        layer_since: "0.1, on the decoded weights",
        merges: "yes, after decoding",
        dora: "yes, after decoding",
        error: "",
        sources: SOURCES,
    },
];

/// What a training project or an engine takes as a base.
#[derive(Debug, PartialEq, Eq)]
pub struct Stack {
    /// Its name and version.
    pub name: &'static str,
    /// What it trains on.
    pub trains: &'static str,
    /// What it merges.
    pub merges: &'static str,
    /// What else there is to know.
    pub notes: &'static str,
}

/// The projects.
pub static STACKS: &[Stack] = &[
    Stack {
        name: "PEFT with Trainer",
        trains: "what the table says",
        merges: "what the table says",
        notes: "refuses to train a quantized model without adapters",
    },
    Stack {
        name: "LLaMA-Factory 0.9.5",
        trains: "bitsandbytes 4 and 8 bit, GPTQ (gptqmodel 2.0 or newer), AWQ (autoawq), AQLM (2 bit, 1.1.0 or newer), \
                 HQQ (1 to 8 bit, axis 0), EETQ (8 bit); FP8 and MXFP4 are decoded on loading",
        merges: "16-bit base only",
        notes: "one adapter on a quantized base, no DoRA, no ZeRO-3",
    },
    Stack {
        name: "ms-swift up to 3.6",
        trains: "bitsandbytes, GPTQ, AWQ, HQQ, EETQ",
        merges: "not on a quantized base",
        notes: "since 3.7 it merges on a 16-bit base where quant_method is not set",
    },
    Stack {
        name: "axolotl",
        trains: "bitsandbytes, GPTQ, HQQ and FP8 as options",
        merges: "16-bit base",
        notes: "new tokens need lora_modules_to_save",
    },
    Stack {
        name: "unsloth",
        trains: "bitsandbytes 4 and 8 bit, 16-bit; FP8, MXFP4, NVFP4 and packed layers are decoded at the merge",
        merges: "merged_16bit from the 16-bit base, forced_merged_4bit",
        notes: "refuses a 4-bit base for merged_16bit",
    },
    Stack {
        name: "vLLM",
        trains: "nothing, and serves LoRA on any base that it loads",
        merges: "nothing",
        notes: "see the serving rules",
    },
    Stack {
        name: "llama.cpp",
        trains: "nothing, and takes a GGUF base with a GGUF adapter",
        merges: "llama-export-lora",
        notes: "on quantized bases not looked at",
    },
];

/// Returns the format that most packed layers have, or `dense` if none is packed; `None` if there is no layer.
fn format_of(checkpoint: &Checkpoint) -> Option<&'static str> {
    let (layers, specs) = (&checkpoint.layers, checkpoint.layers.specs());
    let mut counts = vec![0usize; specs.len()];
    for layer in layers.list() {
        counts[layer.spec as usize] += 1;
    }
    let mut formats: Vec<(&'static str, usize)> = Vec::new();
    for (spec, count) in specs.iter().zip(counts) {
        let name = spec.format.get().name();
        match formats.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += count,
            None => formats.push((name, count)),
        }
    }
    let is_packed = |format: &&(&'static str, usize)| !matches!(format.0, "dense" | "unknown");
    let packed = formats.iter().filter(is_packed).max_by_key(|(_, count)| *count);
    let dense = || formats.iter().find(|(name, _)| *name == "dense");
    packed.or_else(dense).or(formats.first()).map(|(name, _)| *name)
}

/// Returns the row of a checkpoint, by its tensors, and by its config where they do not tell it. `None` for formats
/// that are not in the table.
#[must_use]
pub fn row_of(checkpoint: &Checkpoint) -> Option<&'static Row> {
    let format = format_of(checkpoint)?;
    let method = checkpoint.files.configs.quant.method().filter(|_| format != "dense");
    let by_method = method.and_then(|method| ROWS.iter().find(|row| row.methods.contains(&method)));
    by_method.or_else(|| ROWS.iter().find(|row| row.formats.contains(&format)))
}

/// Returns what the table says of a checkpoint, as lines of text.
#[must_use]
pub fn lines(checkpoint: &Checkpoint) -> Vec<String> {
    let Some(row) = row_of(checkpoint) else {
        let format = format_of(checkpoint).unwrap_or("a checkpoint without tensors");
        return vec![format!(
            "{}: not in the table. Whether anything trains on it or merges into it was not looked at.",
            escape(format)
        )];
    };
    row.lines()
}

/// Returns what the projects take and merge, as lines of text.
#[must_use]
pub fn stack_lines() -> Vec<String> {
    let line = |stack: &Stack| {
        format!("{}: trains on {}; merges: {}; {}", stack.name, stack.trains, stack.merges, stack.notes)
    };
    STACKS.iter().map(line).collect()
}

#[cfg(test)]
mod tests;
