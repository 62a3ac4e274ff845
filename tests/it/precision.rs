//! Right folders have no error finding for loading, and broken ones the right finding first.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ckpt::adapter::Adapter;
use ckpt::adapter::held::Held;
use ckpt::checkpoint::Checkpoint;
use ckpt::diagnose::{Diagnosis, Purpose, Subject};
use ckpt::problem::Severity;

use crate::sample;

/// What is found for loading: code, whether it is an error, title.
fn found(path: &Path, adapter: Option<&Path>) -> Vec<(&'static str, bool, String)> {
    let checkpoint = Arc::new(Checkpoint::open_examined(path.to_str().unwrap()).unwrap());
    let facts = Adapter::of(&checkpoint);
    let held =
        adapter.map(|adapter| Held::open(Arc::clone(&checkpoint), adapter.to_str().unwrap(), None).unwrap());
    let held: Vec<&Held> = held.iter().collect();
    let subject = Subject { checkpoint: &checkpoint, facts: facts.as_ref(), held: &held, deep: &[] };
    let diagnosis = Diagnosis::of(&subject);
    let line = |(finding, severity): (&ckpt::diagnose::Finding, Severity)| {
        (finding.rule.code(), severity == Severity::Error, finding.title.clone())
    };
    diagnosis.for_purpose(Purpose::Load).map(line).collect()
}

/// Every folder of a good sample that can be opened: models, adapters with the base they lie on.
fn good() -> Vec<(PathBuf, Option<PathBuf>)> {
    let mut all = Vec::new();
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(sample("")).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for case in names {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        let is_bad = name.starts_with("bad-")
            || ["bin-malicious", "load-errors", "peft-bad-keys"].contains(&name.as_str());
        // One module each, to show a layout: not whole models.
        if is_bad || name.starts_with("layout-") || !case.join("case.json").exists() {
            continue;
        }
        for folder in ["model", "base", "adapter", "adapter_a", "adapter_b"] {
            let path = case.join(folder);
            if !path.is_dir() {
                continue;
            }
            all.push((path.clone(), None));
            let base = match (case.join("base").is_dir(), name.ends_with("-B")) {
                (true, _) => case.join("base"),
                (_, true) => sample("base-B-bf16/model"),
                _ => sample("base-A-bf16/model"),
            };
            if folder.starts_with("adapter") {
                all.push((base, Some(path)));
            }
        }
    }
    all
}

#[test]
fn good_models_and_adapters_have_no_error_for_loading() {
    let all = good();
    let mut wrong = Vec::new();
    for (path, adapter) in &all {
        let errors: Vec<_> =
            found(path, adapter.as_deref()).into_iter().filter(|(_, is_error, _)| *is_error).collect();
        if !errors.is_empty() {
            wrong.push(format!("{} {adapter:?}: {errors:?}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), all.len(), wrong.join("\n"));
    assert!(all.len() >= 90, "only {} good folders", all.len());
}

/// A broken folder, the adapter that is attached, and the code that comes first (and whether it is an error).
type Broken = (&'static str, &'static str, &'static str, bool);

/// What the reference readers say of each stands in the `case.json` beside it, and in the README of `load-errors`.
const BROKEN: &[Broken] = &[
    ("bad-folders/config-missing", "", "C001", true),
    ("bad-folders/config-shape-mismatch", "", "C003", true),
    ("bad-folders/config-truncated", "", "C002", true),
    ("bad-folders/index-names-absent-tensor", "", "S004", false),
    ("bad-folders/index-path-traversal", "", "S003", true),
    ("bad-folders/index-truncated-json", "", "S002", true),
    ("bad-folders/index-wrong-shard", "", "S005", false),
    ("bad-folders/lfs-shard", "", "K002", true),
    ("bad-folders/missing-shard", "", "S001", true),
    ("bad-folders/one-shard-truncated", "", "K007", true),
    ("bad-quantized/bnb-blocksize-zero", "", "Q015", true),
    ("bad-quantized/bnb-missing-absmax", "", "Q020", true),
    ("bad-quantized/bnb-missing-quant-state", "", "Q020", true),
    ("bad-quantized/bnb-quant-state-not-json", "", "Q015", true),
    ("bad-quantized/bnb-quant-state-wrong-shape", "", "Q015", true),
    ("bad-quantized/bnb-short-absmax", "", "Q002", true),
    ("bad-quantized/gptq-gidx-out-of-range", "", "Q005", true),
    ("bad-quantized/gptq-inf-scale", "", "Q004", true),
    ("bad-quantized/gptq-missing-scales", "", "Q020", true),
    ("bad-quantized/gptq-nan-scale", "", "Q004", true),
    ("bad-quantized/gptq-plus-bnb-config", "", "Q008", true),
    ("bad-quantized/gptq-qzeros-wrong-shape", "", "Q002", true),
    ("bad-quantized/gptq-unknown-method", "", "Q009", true),
    ("bad-quantized/gptq-wrong-bits-in-config", "", "Q010", true),
    ("bad-quantized/gptq-wrong-group-in-config", "", "Q011", true),
    ("load-errors/ae/base", "load-errors/ae/bl", "A001", true),
    ("load-errors/ae/base", "load-errors/ae/def", "A035", false),
    ("load-errors/ae/base", "load-errors/ae/dora", "A019", true),
    ("load-errors/ae/base", "load-errors/ae/dora2", "A020", true),
    ("load-errors/ae/base", "load-errors/ae/emb", "A046", true),
    ("load-errors/ae/base", "load-errors/ae/empty", "A006", true),
    ("load-errors/ae/base", "load-errors/ae/koh", "A001", true),
    ("load-errors/ae/base", "load-errors/ae/less", "A001", true),
    ("load-errors/ae/base", "load-errors/ae/lfs", "K002", true),
    ("load-errors/ae/base", "load-errors/ae/lm", "A001", true),
    ("load-errors/ae/base", "load-errors/ae/lt", "A017", true),
    ("load-errors/ae/base", "load-errors/ae/ms", "A021", true),
    ("load-errors/ae/base", "load-errors/ae/nan", "V001", true),
    ("load-errors/ae/base", "load-errors/ae/nocfg", "A005", true),
    ("load-errors/ae/base", "load-errors/ae/nop", "A001", true),
    ("load-errors/ae/base", "load-errors/ae/np", "A005", true),
    ("load-errors/ae/base", "load-errors/ae/pt", "A004", true),
    ("load-errors/ae/base", "load-errors/ae/r8", "A003", true),
    ("load-errors/ae/base", "load-errors/ae/res", "A010", true),
    ("load-errors/ae/base", "load-errors/ae/rs", "C006", true),
    ("load-errors/ae/base", "load-errors/ae/tm", "A017", true),
    ("load-errors/ae/base", "load-errors/ae/tn", "A008", true),
    ("load-errors/ae/base", "load-errors/ae/tp", "A009", false),
    ("load-errors/ae/base", "load-errors/ae/tparam", "A008", false),
    ("load-errors/ae/base", "load-errors/ae/tr", "A008", true),
    ("load-errors/ae/base", "load-errors/ae/uk", "A013", false),
    ("load-errors/ae/base", "load-errors/ae/up", "A004", true),
    ("load-errors/ae/base", "load-errors/ae/z", "A006", true),
    ("base-A-bf16/model", "peft-bad-keys/base-layer-infix", "A001", true),
    ("base-A-bf16/model", "peft-bad-keys/default-infix", "A035", false),
    ("base-A-bf16/model", "peft-bad-keys/double-prefix", "A001", true),
    ("base-A-bf16/model", "peft-bad-keys/extra-layer", "A018", true),
    ("base-A-bf16/model", "peft-bad-keys/full-state-with-base_layer", "A012", false),
    ("base-A-bf16/model", "peft-bad-keys/missing-lora-B", "A002", true),
    ("base-A-bf16/model", "peft-bad-keys/module-prefix", "A001", true),
    ("base-A-bf16/model", "peft-bad-keys/no-prefix", "A001", true),
    ("base-A-bf16/model", "peft-bad-keys/orig-mod", "A001", true),
    ("base-A-bf16/model", "peft-bad-keys/vl-language-model", "A001", true),
    ("base-A-bf16/model", "peft-bad-keys/vl-old-language-model", "A001", true),
    ("base-A-bf16/model", "peft-bad-keys/wrong-shape", "A016", true),
];

#[test]
fn broken_folders_have_the_right_finding_first() {
    let mut wrong = Vec::new();
    for (path, adapter, code, is_error) in BROKEN {
        let adapter = (!adapter.is_empty()).then(|| sample(adapter));
        let found = found(&sample(path), adapter.as_deref());
        let first = found.first().map(|(code, is_error, _)| (*code, *is_error));
        if first != Some((*code, *is_error)) {
            wrong.push(format!("{path} {adapter:?}: {code} is not first of {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), BROKEN.len(), wrong.join("\n"));
}

#[test]
fn a_deep_examination_sees_what_the_bounded_one_sees() {
    let mut count = 0;
    for (path, adapter) in good().into_iter().filter(|(_, adapter)| adapter.is_none()) {
        let opened = Checkpoint::open(path.to_str().unwrap()).unwrap();
        let (bounded, deep) = (opened.examine(), opened.examine_deep());
        assert_eq!(bounded.problems, deep.problems, "{} {adapter:?}", path.display());
        assert_eq!(bounded.headline(), deep.headline());
        count += 1;
    }
    assert!(count >= 60, "only {count} folders");
}

#[test]
fn an_adapter_that_is_a_config_alone_is_a_finding() {
    let (base, adapter) = (sample("load-errors/ae/base"), sample("load-errors/ae/now"));
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_ckpt"))
        .args(["diagnose", base.to_str().unwrap(), "-a", adapter.to_str().unwrap(), "--json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let first = &said["findings"][0];
    assert_eq!(first["code"], "A006", "{said}");
    assert!(first["title"].as_str().unwrap().contains("no weights"), "{said}");
}
