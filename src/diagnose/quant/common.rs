//! What rules about quantized checkpoints have in common: counts of layers, places and edits of the blocks that
//! describe a quantization.

use serde_json::Value;

use crate::diagnose::finding::{Act, Finding, Fix};
use crate::diagnose::subject::Subject;
use crate::name::escape;
use crate::plan::edit::Edit;
use crate::problem::ProblemKind;
use crate::quant::{LayerSpec, QuantBlock};
use crate::units;

/// What dequantizing costs.
pub(in crate::diagnose) const LOSS: &str =
    "what quantization lost stays lost: values are those of the packed layers";

/// Returns the fix that decodes every packed layer, if each of them is whole and of a known format.
pub(in crate::diagnose) fn dequantize(subject: &Subject<'_>, then: &str) -> Option<Fix> {
    let specs = subject.checkpoint.layers.specs();
    let is_bad = |spec: &LayerSpec| !spec.broken.is_empty() || spec.format.get().name() == "unknown";
    let works = specs.iter().any(LayerSpec::is_quantized) && !specs.iter().any(is_bad);
    let summary = if then.is_empty() {
        "dequantize to 16-bit in a new folder".to_owned()
    } else {
        format!("dequantize to 16-bit in a new folder, {then}")
    };
    works.then(|| Fix::new(summary, Act::Dequantize).loss(LOSS))
}

/// Returns these fixes, or the rule's remedy as advice where none of them can be carried out.
pub(in crate::diagnose) fn or_advice(fixes: impl IntoIterator<Item = Fix>, finding: &Finding) -> Vec<Fix> {
    let mut fixes: Vec<Fix> = fixes.into_iter().collect();
    if !fixes.iter().any(Fix::applies) {
        fixes.push(Fix::advice(finding.rule.remedy));
    }
    fixes
}

/// Returns the blocks that describe the quantization and stand in a JSON file of the folder.
pub(in crate::diagnose) fn blocks<'a>(subject: &Subject<'a>) -> impl Iterator<Item = &'a QuantBlock> {
    let files = subject.files();
    files.configs.quant.blocks.iter().filter(|block| files.configs.has(&block.file))
}

/// Returns the keys from the top of the file to a value of a block.
pub(in crate::diagnose) fn path(block: &QuantBlock, key: &str) -> Vec<String> {
    let above = block.key.split('.').filter(|part| !part.is_empty());
    above.chain([key]).map(str::to_owned).collect()
}

/// Returns the place of a value of a block: `quantization_config.bits`.
pub(in crate::diagnose) fn key(block: &QuantBlock, key: &str) -> String {
    path(block, key).join(".")
}

/// Returns the edit that sets a value of a block, or takes it out.
pub(in crate::diagnose) fn set(block: &QuantBlock, key: &str, value: Option<Value>) -> Edit {
    Edit::Json { file: block.file.clone(), path: path(block, key), value }
}

/// Returns the edit that takes a block out: its key, or the file that is nothing else.
pub(in crate::diagnose) fn take_out(block: &QuantBlock) -> Edit {
    if block.key.is_empty() {
        return Edit::LeaveOut { file: block.file.clone() };
    }
    let path = block.key.split('.').map(str::to_owned).collect();
    Edit::Json { file: block.file.clone(), path, value: None }
}

/// Returns the edits that take all blocks out, so that loaders take the weights as they are.
pub(in crate::diagnose) fn take_all_out(subject: &Subject<'_>) -> Vec<Edit> {
    blocks(subject).map(take_out).collect()
}

/// Returns true if opening saw a problem of this kind in the checkpoint.
pub(in crate::diagnose) fn has_problem(subject: &Subject<'_>, kind: &'static ProblemKind) -> bool {
    subject.checkpoint.problems.iter().any(|problem| problem.kind == kind)
}

/// Returns `14 of 21 layers` and the format's words: `14 of 21 layers are AWQ4 g128`.
pub(in crate::diagnose) fn packed_words(subject: &Subject<'_>, packed: usize) -> String {
    let checkpoint = subject.checkpoint;
    let all = units::exact(checkpoint.layers.len() as u64);
    let are = if packed == 1 { "is" } else { "are" };
    format!("{} of {all} layers {are} {}", units::exact(packed as u64), escape(&checkpoint.headline()))
}

/// Returns the name of the config class that transformers has for a method.
pub(in crate::diagnose) fn class_of(method: &str) -> Option<&'static str> {
    let class = match method {
        "gptq" => "GPTQConfig",
        "awq" => "AwqConfig",
        "fp8" => "FineGrainedFP8Config",
        "fbgemm_fp8" => "FbgemmFp8Config",
        "compressed-tensors" => "CompressedTensorsConfig",
        "mxfp4" => "Mxfp4Config",
        "bitsandbytes" => "BitsAndBytesConfig",
        "hqq" => "HqqConfig",
        "aqlm" => "AqlmConfig",
        "eetq" => "EetqConfig",
        "quanto" => "QuantoConfig",
        "torchao" => "TorchAoConfig",
        "bitnet" => "BitNetQuantConfig",
        "vptq" => "VptqConfig",
        "spqr" => "SpQRConfig",
        "higgs" => "HiggsConfig",
        "quark" => "QuarkConfig",
        "auto-round" | "auto_round" | "intel/auto-round" => "AutoRoundConfig",
        _ => return None,
    };
    Some(class)
}
