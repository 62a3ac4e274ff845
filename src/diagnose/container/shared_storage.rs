//! K027 shared-storage: saving stopped because two parameters are one storage.

use crate::diagnose::rule::{Rule, message};
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind = ProblemKind { code: "K027", name: "shared-storage", severity: Severity::Error };

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "Nothing in files: the message comes while saving, before a file is complete.",
    why: "safetensors stores every tensor by itself and refuses two parameters that share memory, as tied \
          embeddings do. save_pretrained leaves the tied copy out by itself; `save_file` on a plain state \
          dict does not.",
    messages: &[
        message(
            "Some tensors share memory, this will lead to duplicate memory on disk and potential differences \
             when loading them again: {any}.",
            "safetensors.torch.save_file",
        ),
        message(
            "The weights trying to be saved contained shared tensors {any} that are mismatching the \
             transformers base configuration",
            "transformers 4.3x and later",
        ),
    ],
    outside: "The model in memory ties two parameters that its config does not tie, or a trainer saves the \
              plain state dict.",
    remedy: "Save with `save_pretrained`, or `safetensors.torch.save_model`; or set tie_word_embeddings to \
             what the model does.",
    sources: "safetensors 0.8 source, torch_shared_tensors in its documentation",
    ..Rule::of_message(&KIND)
};
