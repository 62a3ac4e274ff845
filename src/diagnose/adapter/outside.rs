//! Messages about adapters that no file shows: names of adapters, offloading, launchers, other tools.

use crate::diagnose::rule::{Rule, message};
use crate::problem::{ProblemKind, Severity};

const fn kind(code: &'static str, name: &'static str) -> ProblemKind {
    ProblemKind { code, name, severity: Severity::Error }
}

static TOKENIZER: ProblemKind = kind("A029", "adapter-resized-to-tokenizer");
static NAME: ProblemKind = kind("A036", "adapter-name-reserved");
static OFFLOADED: ProblemKind = kind("A037", "adapter-on-offloaded-base");
static PARTITIONED: ProblemKind = kind("A038", "merge-into-partitioned-base");
static RESUMED: ProblemKind = kind("A039", "adapter-resumed-as-model");
static NO_SPLIT: ProblemKind = kind("A040", "remote-code-without-split-modules");
static CONVOLUTION: ProblemKind = kind("A042", "merged-into-empty-convolution");

/// A029: older `AutoPeftModel` shrinks padded embeddings to the tokenizer's length.
pub(in crate::diagnose) static RESIZED_TO_TOKENIZER: Rule = Rule {
    looks_for: "Nothing in the files: a resize of the embeddings while an adapter is loaded.",
    why: "AutoPeftModel of older PEFT resizes the base to the tokenizer that lies beside the adapter. Embeddings are often \
          padded beyond the tokenizer (151936 rows for 151665 tokens), so they shrink, and the adapter's own embeddings no \
          longer fit.",
    messages: &[
        message(
            "You are resizing the embedding layer without providing a `pad_to_multiple_of` parameter. This means that the \
             new embedding dimension will be {n}.",
            "transformers since 4.33, a warning",
        ),
        message(
            "size mismatch for {key}.modules_to_save.default.weight: copying a param with shape {shape} from \
             checkpoint, the shape in current model is {shape}.",
            "PEFT, all versions",
        ),
    ],
    remedy: "Upgrade PEFT: current versions only grow the embeddings. Or load the base yourself, never shrink it, and put \
             the adapter on it with PeftModel.from_pretrained.",
    outside: "PEFT with the AutoPeftModel of before peft#2415.",
    sources: "peft#2415, LlamaFactory#8046, lm-evaluation-harness#1828; PEFT 0.21 `auto.py`",
    ..Rule::of_message(&TOKENIZER)
};

/// A036: the name that an adapter is given on loading.
pub(in crate::diagnose) static NAME_RESERVED: Rule = Rule {
    looks_for: "Nothing in the files: the adapter_name of the call, or a folder's name that a tool takes for it.",
    why: "PEFT puts the name into the keys of the state dict. A name that is a part of the prefix (lora, lo, a) makes keys \
          that it takes apart wrongly, and the weights stay as they were made; a dot cannot be in a module's name.",
    messages: &[
        message(
            "Adapter name '{any}' should not be contained in the prefix '{any}'. This may lead to reinitialization of the \
             adapter weights during loading.",
            "PEFT since 0.14, a warning",
        ),
        message(
            "Adapter name '{any}' should not be contained in the prefix '{any}'. This could be the potential reason for \
             missing adapter keys.",
            "PEFT since 0.14, a warning",
        ),
        message("KeyError: 'module name can\\'t contain \".\", got: {any}'", "PyTorch, all versions"),
        message("module name can't contain \".\", got: {any}", "PyTorch, all versions"),
    ],
    remedy: "Load it under another name: adapter_name=\"default\", or rename the folder where a tool takes its name.",
    outside: "The name in the call to from_pretrained or load_adapter.",
    sources: "peft#2699; PEFT 0.21 `peft_model.py`; measured on PEFT 0.7.1 to 0.21.2",
    ..Rule::of_message(&NAME)
};

/// A037: parts of the base lie on the CPU or the disk.
pub(in crate::diagnose) static BASE_OFFLOADED: Rule = Rule {
    looks_for: "Nothing in the files: a base that device_map=\"auto\" put partly on the CPU or the disk.",
    why: "For modules on the disk PEFT rewrites the offload index, and looks up module names that the wrapped model does \
          not have. The adapter is fine; the base does not fit into the GPU's memory.",
    messages: &[
        message("in _update_offload{any}KeyError: '{key}'", "PEFT since 0.7"),
        message("KeyError: 'base_model.model.model.model.{key}'", "PEFT since 0.7"),
        message(
            "We need an `offload_dir` to dispatch this model according to this `device_map`",
            "accelerate, all versions",
        ),
        message("Disk offloading currently only supported for safetensors", "PEFT since 0.7"),
    ],
    remedy: "Load the base with device_map={\"\": 0} or on the CPU alone (device_map=None), or merge the files without \
             loading them: `ckpt merge`.",
    outside: "device_map=\"auto\" with less free memory than the base needs.",
    sources: "peft#2213, peft#662, peft#1096",
    ..Rule::of_message(&OFFLOADED)
};

/// A038: base weights that ZeRO-3 holds in parts.
pub(in crate::diagnose) static BASE_PARTITIONED: Rule = Rule {
    looks_for: "Nothing in the files: a merge inside a ZeRO-3 run.",
    why: "ZeRO-3 keeps each weight in parts over the processes and leaves an empty one in its place. A merge then adds a \
          delta to a tensor without elements.",
    messages: &[message(
        "The size of tensor a (0) must match the size of tensor b ({n}) at non-singleton dimension {n}",
        "PyTorch, all versions",
    )],
    remedy: "Merge outside of the training run: from the files of base and adapter (`ckpt merge`), or without DeepSpeed.",
    outside: "DeepSpeed ZeRO-3 in the process that merges.",
    sources: "LlamaFactory#2081",
    ..Rule::of_message(&PARTITIONED)
};

/// A039: a trainer that looks for a whole model in an adapter's folder.
pub(in crate::diagnose) static RESUMED_AS_MODEL: Rule = Rule {
    looks_for: "Nothing in the files: a trainer that resumes from an adapter's folder as from a whole model.",
    why: "Trainers that do not know PEFT look for the model's weights in the checkpoint and find those of the adapter \
          alone, or load the adapter with strict keys into the whole model.",
    messages: &[
        message("Can't find a valid checkpoint at {file}", "transformers, resume_from_checkpoint"),
        message(
            "Error(s) in loading state_dict for {class}: Missing key(s) in state_dict: \"base_model.model.{key}\"",
            "PyTorch, strict loading",
        ),
    ],
    remedy: "Load base and adapter yourself with is_trainable=True and start the trainer without resume_from_checkpoint, or \
             use a trainer that saves and resumes PEFT models.",
    outside: "A wrong path brings the first message too.",
    sources: "peft#1453, sentence-transformers#3402",
    ..Rule::of_message(&RESUMED)
};

/// A040: remote code that cannot be split over devices.
pub(in crate::diagnose) static WITHOUT_SPLIT_MODULES: Rule = Rule {
    looks_for: "Nothing in the files: remote code of a model whose parts do not say where they may be split.",
    why: "device_map=\"auto\" asks each submodel for _no_split_modules, and the vision tower of this remote code has none. \
          It comes up when an adapter is merged, because the merge loads the base in this way.",
    messages: &[
        message("{class} does not support `device_map='{any}'`", "transformers 4.2x to 4.5x"),
        message("{class} does not support device_map='{any}'", "as users cite it"),
    ],
    remedy: "Load it with device_map={\"\": 0} or on the CPU, or merge the files without loading them: `ckpt merge`.",
    outside: "The model's remote code, with device_map=\"auto\".",
    sources: "ms-swift#1731",
    ..Rule::of_message(&NO_SPLIT)
};

/// A042: convolutions of a vision tower that ZeRO-3 partitioned.
pub(in crate::diagnose) static EMPTY_CONVOLUTION: Rule = Rule {
    looks_for: "Nothing in the files: a merged vision language model that is trained again under ZeRO-3.",
    why: "The convolution that cuts images into patches is empty in this process: ZeRO-3 partitioned it, and remote code \
          calls it outside of the modules that gather weights.",
    messages: &[message(
        "RuntimeError: weight should have at least three dimensions",
        "PyTorch, all versions",
    )],
    remedy: "Train with ZeRO-2, or keep the vision tower out of ZeRO-3; the merged files are right if their patch embedding \
             has four dimensions (`ckpt inspect`).",
    outside: "DeepSpeed ZeRO-3 with remote code.",
    sources: "ms-swift#1778",
    ..Rule::of_message(&CONVOLUTION)
};
