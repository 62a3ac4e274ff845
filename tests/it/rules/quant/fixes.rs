//! Edits of configs, done to the folder of each case: the finding goes, and no error takes its place.

use std::collections::BTreeMap;
use std::sync::Arc;

use ckpt::adapter::Adapter;
use ckpt::adapter::held::Held;
use ckpt::checkpoint::Checkpoint;
use ckpt::diagnose::{Act, Diagnosis, Fix, Subject};
use ckpt::plan::edit::Edit;
use serde_json::{Map, Value};

use super::super::Case;
use super::CASES;
use super::made::{awq, gptq, nf4};
use crate::rules::folder::Folder;

/// Does the edits of JSON files; returns false if there are others.
fn apply(edits: &[Edit], json: &mut BTreeMap<String, Value>) -> bool {
    for edit in edits {
        match edit {
            Edit::LeaveOut { file } => {
                assert!(json.remove(file).is_some(), "{file} is left out and is not there");
            }
            Edit::Json { file, path, value } => {
                let file = json.entry(file.clone()).or_insert_with(|| Value::Object(Map::new()));
                let (last, above) = path.split_last().unwrap();
                let place = above.iter().fold(file, |at, key| &mut at[key.as_str()]).as_object_mut().unwrap();
                match value {
                    Some(value) => place.insert(last.clone(), value.clone()),
                    None => place.remove(last),
                };
            }
            _ => return false,
        }
    }
    true
}

/// What the rules see in a folder without an adapter: codes, whether it is an error, and fixes.
fn seen(folder: &Folder) -> Vec<(&'static str, bool, Vec<Fix>)> {
    let checkpoint = Checkpoint::open_examined(folder.path().to_str().unwrap()).unwrap();
    let subject = Subject { checkpoint: &checkpoint, facts: None, held: &[], deep: &[] };
    let findings = Diagnosis::of(&subject).findings;
    findings.into_iter().map(|found| (found.rule.code(), found.is_error(), found.fixes)).collect()
}

fn made(make: fn(&mut Folder)) -> Folder {
    let mut folder = Folder::model();
    make(&mut folder);
    folder.write();
    folder
}

#[test]
fn an_edit_of_the_config_takes_the_finding_away_and_brings_no_error() {
    let mut wrong = Vec::new();
    let mut done = Vec::new();
    for Case { code, hit, .. } in CASES {
        let before = seen(&made(*hit));
        let Some((_, _, fixes)) = before.iter().find(|(found, ..)| found == code) else { continue };
        for fix in fixes {
            let Act::Edit(edits) = &fix.act else { continue };
            let mut folder = Folder::model();
            hit(&mut folder);
            if !apply(edits, &mut folder.json) {
                continue;
            }
            folder.write();
            done.push(*code);
            for (found, is_error, _) in seen(&folder) {
                let is_new = is_error && !before.iter().any(|(known, ..)| *known == found);
                if found == *code || is_new {
                    wrong.push(format!("{code}, \"{}\": {found} is there afterwards", fix.summary));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    done.dedup();
    let offered = [
        "Q003", "Q007", "Q008", "Q009", "Q010", "Q011", "Q012", "Q013", "Q017", "Q018", "Q022", "Q024",
        "Q025",
    ];
    assert!(offered.iter().all(|code| done.contains(code)), "only {done:?} offer an edit");
    assert!(["Q028", "Q040", "T001"].iter().all(|code| done.contains(code)), "only {done:?} offer an edit");
}

#[test]
fn a_lost_block_is_written_as_the_library_would() {
    let mut folder = Folder::model();
    awq(&mut folder);
    let block = folder.config().remove("quantization_config").unwrap();
    folder.write();
    let found = seen(&folder);
    let (.., fixes) = found.iter().find(|(code, ..)| *code == "Q007").unwrap();
    let Act::Edit(edits) = &fixes[0].act else { panic!("{:?}", fixes[0]) };
    assert!(apply(edits, &mut folder.json));
    let written = folder.config().get("quantization_config").unwrap();
    for (key, value) in block.as_object().unwrap() {
        assert_eq!(written.get(key), Some(value), "{key}");
    }
    // Plain matrices are named, or loaders would look for packed ones.
    assert_eq!(written["modules_to_not_convert"].as_array().unwrap().len(), 12);
}

#[test]
fn a_packed_base_is_merged_into_if_an_adapter_is_attached_and_decoded_if_none_is() {
    for make in [gptq as fn(&mut Folder), awq, |folder| nf4(folder, "U8")] {
        let mut folder = Folder::model();
        make(&mut folder);
        folder.attach_lora();
        folder.write();
        let found = seen(&folder);
        let (.., fixes) = found.iter().find(|(code, ..)| *code == "Q014").unwrap();
        assert_eq!(fixes[0].act, Act::Dequantize);
        let base = Arc::new(Checkpoint::open_examined(folder.path().to_str().unwrap()).unwrap());
        let adapter = folder.adapter_path().unwrap();
        let held = Held::open(Arc::clone(&base), adapter.to_str().unwrap(), None).unwrap();
        let subject = Subject { checkpoint: &base, facts: None, held: &[&held], deep: &[] };
        let diagnosis = Diagnosis::of(&subject);
        let found = diagnosis.findings.iter().find(|found| found.rule.code() == "Q014").unwrap();
        assert_eq!(found.fixes[0].act, Act::Merge);
        assert!(
            found.title.contains("2 of 21 layers") && found.title.contains("1 adapter"),
            "{}",
            found.title
        );
    }
}

#[test]
fn an_adapter_by_itself_tells_of_a_packed_base_by_its_name() {
    for (base, is_found) in
        [("org/Llama-3-8B-bnb-4bit", true), ("org/Qwen2-7B-GPTQ-Int4/", true), ("org/Awq", false)]
    {
        let mut folder = Folder::model();
        folder.adapter_config().insert("base_model_name_or_path".into(), base.into());
        folder.write();
        let opened =
            Arc::new(Checkpoint::open_examined(folder.adapter_path().unwrap().to_str().unwrap()).unwrap());
        let facts = Adapter::of(&opened);
        let subject = Subject { checkpoint: &opened, facts: facts.as_ref(), held: &[], deep: &[] };
        let found = Diagnosis::of(&subject).findings;
        assert_eq!(found.iter().any(|found| found.rule.code() == "Q014"), is_found, "{base}");
    }
}
