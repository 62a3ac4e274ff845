//! Every rule on a folder that shows its fault, and on one that nearly does.
//!
//! A case begins with a small model that is right (or with a right adapter on it) and makes one change. `hit` must
//! give the finding, `miss` (a near miss) must not. A rule that no file shows (`is_outside`) needs no case.

mod adapter;
mod config;
mod container;
mod fixes;
mod fixing;
mod folder;
mod keys;
mod lora;
mod quant;
mod serving;
mod shards;
mod values;

use ckpt::adapter::Adapter;
use ckpt::adapter::held::Held;
use ckpt::checkpoint::Checkpoint;
use ckpt::checkpoint::deep;
use ckpt::diagnose::{Diagnosis, RULES, Subject};

use self::folder::{Folder, Tensor};

/// A rule on a folder that shows its fault, and on one that nearly does.
struct Case {
    /// The rule's code.
    code: &'static str,
    /// Makes the fault.
    hit: fn(&mut Folder),
    /// Makes something that is like it and is none.
    miss: fn(&mut Folder),
}

/// Returns the findings of a folder, with its adapter attached if it has one: code, title.
fn findings(folder: &Folder, is_deep: bool) -> Vec<(String, String)> {
    let opened = Checkpoint::open_examined(folder.path().to_str().unwrap()).unwrap();
    let read = if is_deep { deep::verify(&opened, &|_| ()).problems } else { Vec::new() };
    let checkpoint = std::sync::Arc::new(opened);
    let facts = Adapter::of(&checkpoint);
    let held = folder
        .adapter_path()
        .map(|path| Held::open(std::sync::Arc::clone(&checkpoint), path.to_str().unwrap(), None).unwrap());
    let held: Vec<&Held> = held.iter().collect();
    let subject = Subject { checkpoint: &checkpoint, facts: facts.as_ref(), held: &held, deep: &read };
    let diagnosis = Diagnosis::of(&subject);
    diagnosis.findings.iter().map(|f| (f.rule.code().to_owned(), f.title.clone())).collect()
}

#[test]
fn every_rule_sees_its_fault_and_not_what_is_like_it() {
    let groups: [&[Case]; 8] = [
        container::CASES,
        shards::CASES,
        config::CASES,
        quant::CASES,
        adapter::CASES,
        keys::CASES,
        values::CASES,
        serving::CASES,
    ];
    let cases: Vec<&Case> = groups.into_iter().flatten().collect();
    let mut wrong = Vec::new();
    for case in &cases {
        for (make, wanted) in [(case.hit, true), (case.miss, false)] {
            let mut folder = Folder::model();
            make(&mut folder);
            folder.write();
            let found = findings(&folder, folder.is_deep);
            if found.iter().any(|(code, _)| code == case.code) != wanted {
                let what = if wanted { "is not found" } else { "is found in its near miss" };
                wrong.push(format!("{} {what}: {found:?}", case.code));
            }
        }
    }
    for rule in RULES.iter().filter(|rule| !rule.is_outside) {
        if !cases.iter().any(|case| case.code == rule.code()) {
            wrong.push(format!("{rule:?} has no case"));
        }
    }
    for case in &cases {
        if ckpt::diagnose::find(case.code).is_none() {
            wrong.push(format!("{}: no such rule", case.code));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn a_right_model_and_a_right_adapter_have_no_finding() {
    let folder = Folder::model();
    folder.write();
    assert_eq!(findings(&folder, true), []);
    let mut folder = Folder::model();
    folder.attach_lora();
    folder.write();
    assert_eq!(findings(&folder, true), []);
}

#[test]
fn the_table_of_codes_is_the_one_that_the_rules_make() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/diagnose/CODES.md");
    let text = std::fs::read_to_string(path).unwrap();
    let made = ckpt::cli::explain::markdown();
    assert_eq!(text, made, "ckpt explain --markdown > src/diagnose/CODES.md");
}

#[test]
fn every_problem_that_opening_reports_has_a_rule() {
    let has_rule = |code: &str| RULES.iter().any(|rule| rule.code() == code);
    let without: Vec<&str> =
        ckpt::problem::KINDS.iter().map(|kind| kind.code).filter(|code| !has_rule(code)).collect();
    assert_eq!(without, [""; 0]);
    assert!(RULES.len() >= 80, "only {} rules", RULES.len());
}
