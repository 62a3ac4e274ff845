//! S012 custom-weight-name: the only weight file has a name that transformers does not look for.

use crate::diagnose::finding::{Act, Finding, Fix, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::Subject;
use crate::name::escape;
use crate::plan::edit::Edit;
use crate::problem::{ProblemKind, Severity};

static KIND: ProblemKind =
    ProblemKind { code: "S012", name: "custom-weight-name", severity: Severity::Warning };

pub(in crate::diagnose) static RULE: Rule = Rule {
    looks_for: "A folder with config.json and one weight file that is not named model.safetensors or \
                pytorch_model.bin.",
    why: "transformers looks for fixed names and does not find the file. AutoGPTQ wrote names such as \
          `gptq_model-4bit-128g.safetensors` and finds them by quantize_config.json; vLLM and exllama take \
          any .safetensors of the folder.",
    messages: &[
        message(
            "Error no file named model.safetensors, or pytorch_model.bin, found in directory {any}",
            "transformers 5",
        ),
        message(
            "Error no file named model.safetensors found in directory {any}",
            "transformers with use_safetensors",
        ),
        message("Error no file named pytorch_model.bin, model.safetensors, {any}", "transformers 4"),
        message("Error no file named pytorch_model.bin, tf_model.h5, {any}", "transformers up to 4.4x"),
        message("FileNotFoundError: Could not find model in {any}", "AutoGPTQ"),
    ],
    remedy: "Name the file model.safetensors: rename or link it, or write it anew in a new folder.",
    sources: "textgen#2306, AutoGPTQ#133; transformers source; measured",
    look,
    fixes,
    ..Rule::new(&KIND)
};

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    const USUAL: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];
    let files = subject.files();
    let is_folder = files.path == files.folder && files.index.is_none();
    let ([shard], true, Some(_)) = (files.shards.as_slice(), is_folder, subject.model()) else {
        return Vec::new();
    };
    let is_variant = shard.name.starts_with("model.") || shard.name.starts_with("pytorch_model.");
    let is_found = USUAL.contains(&shard.name.as_str()) || is_variant;
    let is_numbered = crate::checkpoint::folder::shard_number(&shard.name).is_some();
    if is_found || is_numbered || files.container.name() == "gguf" || subject.json("config.json").is_none() {
        return Vec::new();
    }
    let usual = if files.container.name() == "pytorch" { USUAL[1] } else { USUAL[0] };
    let title = format!("The weights are in {}, and transformers looks for {usual}.", escape(&shard.name));
    let seen = Seen::file(&shard.name, crate::units::bytes(shard.bytes));
    vec![Finding::new(rule, title).fill("file", &*shard.name).seen(seen)]
}

fn fixes(_: &Subject<'_>, _: &Finding) -> Vec<Fix> {
    vec![
        Fix::new("write the weights as model.safetensors in a new folder", Act::Edit(vec![Edit::Rewrite])),
        Fix::advice("rename the file, or link it under the usual name"),
    ]
}
