//! Fixes that edit a config: applied to the folder of a case, they take its finding away.

use std::collections::BTreeMap;
use std::sync::Arc;

use ckpt::adapter::Adapter;
use ckpt::adapter::held::Held;
use ckpt::checkpoint::Checkpoint;
use ckpt::diagnose::{About, Act, Diagnosis, Finding, Subject};
use ckpt::plan::edit::Edit;
use serde_json::{Value, json};

use super::folder::Folder;
use super::{Case, adapter, serving};

/// Returns the findings of a rule on a folder, with its adapter attached if it has one.
fn of_rule(folder: &Folder, code: &str) -> Vec<Finding> {
    let base = Arc::new(Checkpoint::open_examined(folder.path().to_str().unwrap()).unwrap());
    let facts = Adapter::of(&base);
    let open =
        |path: std::path::PathBuf| Held::open(Arc::clone(&base), path.to_str().unwrap(), None).unwrap();
    let held = folder.adapter_path().map(open);
    let held: Vec<&Held> = held.iter().collect();
    let subject = Subject { checkpoint: &base, facts: facts.as_ref(), held: &held, deep: &[] };
    let findings = Diagnosis::of(&subject).findings;
    findings.into_iter().filter(|finding| finding.rule.code() == code).collect()
}

/// Makes the edits of JSON files; false if one is of another kind.
fn apply(files: &mut BTreeMap<String, Value>, edits: &[Edit]) -> bool {
    edits.iter().all(|edit| {
        let Edit::Json { file, path, value } = edit else { return false };
        let (last, holders) = path.split_last().unwrap();
        let mut at = files.entry(file.clone()).or_insert_with(|| json!({}));
        for holder in holders {
            at = &mut at[holder.as_str()];
        }
        let object = at.as_object_mut().unwrap();
        match value {
            Some(value) => object.insert(last.clone(), value.clone()),
            None => object.remove(last),
        };
        true
    })
}

/// Applies each edit of a case to a folder of its own; returns how many there were.
fn each_edit_mends(case: &Case) -> usize {
    let made = || {
        let mut folder = Folder::model();
        (case.hit)(&mut folder);
        folder
    };
    let faulty = made();
    faulty.write();
    let mut tried = 0;
    for finding in of_rule(&faulty, case.code) {
        for fix in &finding.fixes {
            let Act::Edit(edits) = &fix.act else { continue };
            let mut folder = made();
            let files = match finding.about {
                About::Checkpoint => &mut folder.json,
                About::Adapter(_) => &mut folder.adapter.as_mut().unwrap().0,
            };
            assert!(apply(files, edits), "{}: {} edits more than JSON", case.code, fix.summary);
            folder.write();
            let left: Vec<String> = of_rule(&folder, case.code).into_iter().map(|f| f.title).collect();
            assert!(left.is_empty(), "{}: {} leaves {left:?}", case.code, fix.summary);
            tried += 1;
        }
    }
    tried
}

#[test]
fn edits_of_configs_take_their_findings_away() {
    let tried: usize = adapter::CASES.iter().chain(serving::CASES).map(each_edit_mends).sum();
    assert!(tried > 10, "{tried} edits were tried");
}

#[test]
fn a_repair_is_offered_where_it_mends_and_not_elsewhere() {
    for (code, is_repaired) in [
        ("A001", true),
        ("A005", true),
        ("A008", true),
        ("A017", true),
        ("A021", true),
        ("A028", true),
        ("A035", true),
        // The factors of another size, and what is not in the files, no repair brings back.
        ("A002", false),
        ("A006", false),
        ("A016", false),
        ("A018", false),
        ("A046", false),
    ] {
        let case = adapter::CASES.iter().find(|case| case.code == code).unwrap();
        let mut folder = Folder::model();
        (case.hit)(&mut folder);
        folder.write();
        let findings = of_rule(&folder, code);
        let offered = findings.iter().flat_map(|finding| &finding.fixes).any(|fix| fix.act == Act::Repair);
        assert_eq!(offered, is_repaired, "{code}: {findings:?}");
    }
}

/// Makes a folder another one.
type Change = fn(&mut Folder);

#[test]
fn a_merge_is_offered_for_what_can_be_merged() {
    let without_bias = |folder: &mut Folder| {
        let adapter = folder.adapter_config();
        adapter.insert("lora_bias".into(), json!(true));
        let key = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias";
        folder.adapter_tensors().insert(key.into(), super::Tensor::new("F32", &[super::folder::HIDDEN]));
    };
    let head = |folder: &mut Folder| (serving::CASES[0].hit)(folder);
    let pissa = |folder: &mut Folder| {
        folder.adapter_config().insert("init_lora_weights".into(), json!("pissa"));
    };
    let cases: [(&str, Change, bool); 3] =
        [("E001", head, true), ("E003", without_bias, false), ("E003", pissa, false)];
    for (code, make, is_offered) in cases {
        let mut folder = Folder::model();
        make(&mut folder);
        folder.write();
        let findings = of_rule(&folder, code);
        assert!(!findings.is_empty(), "{code}");
        let offered = findings.iter().flat_map(|finding| &finding.fixes).any(|fix| fix.act == Act::Merge);
        assert_eq!(offered, is_offered, "{code}: {findings:?}");
    }
}
