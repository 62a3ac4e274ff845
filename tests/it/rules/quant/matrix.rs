//! The compatibility matrix, on checkpoints: which row speaks, and that what is not in it is said.

use ckpt::checkpoint::Checkpoint;
use ckpt::diagnose::{RULES, matrix};
use ckpt::problem::KINDS;
use serde_json::json;

use super::made::{awq, block, fp8, gptq, mlx, mxfp4, nf4};
use crate::rules::folder::Folder;

/// Returns the format of the row of a folder, and the lines.
fn row(make: fn(&mut Folder)) -> (Option<&'static str>, Vec<String>) {
    let mut folder = Folder::model();
    make(&mut folder);
    folder.write();
    let checkpoint = Checkpoint::open_examined(folder.path().to_str().unwrap()).unwrap();
    (matrix::row_of(&checkpoint).map(|row| row.format), matrix::lines(&checkpoint))
}

#[test]
fn the_tensors_choose_the_row_and_the_config_where_they_cannot() {
    assert_eq!(row(|_| ()).0, Some("16- or 32-bit weights"));
    assert_eq!(row(|folder| nf4(folder, "U8")).0, Some("bitsandbytes 4-bit"));
    assert_eq!(row(gptq).0, Some("GPTQ"));
    assert_eq!(row(awq).0, Some("AWQ"));
    assert_eq!(row(fp8).0, Some("FP8 in blocks (DeepSeek, Qwen)"));
    assert_eq!(row(mxfp4).0, Some("MXFP4 (gpt-oss)"));
    let of_intel = |folder: &mut Folder| {
        gptq(folder);
        block(folder, "quant_method", json!("auto-round"));
    };
    assert_eq!(row(of_intel).0, Some("auto-round"));
    // A block over plain weights does not make them packed.
    let left = |folder: &mut Folder| {
        folder.config().insert("quantization_config".into(), json!({"quant_method": "fbgemm_fp8"}));
    };
    assert_eq!(row(left).0, Some("16- or 32-bit weights"));
}

#[test]
fn a_format_that_was_not_looked_at_is_answered_in_words() {
    let (format, lines) = row(mlx);
    assert_eq!(format, None);
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with("mlx: not in the table"), "{lines:?}");
    let (_, lines) = row(gptq);
    assert!(lines.iter().any(|line| line == "PEFT merges into it: no"), "{lines:?}");
    assert!(
        lines.iter().any(|line| line.starts_with("trains adapters, transformers 5.23: yes")),
        "{lines:?}"
    );
}

#[test]
fn every_kind_of_problem_of_quantization_has_a_rule() {
    for kind in KINDS.iter().filter(|kind| kind.code.starts_with('Q')) {
        let rule = RULES.iter().find(|rule| std::ptr::eq(rule.kind, *kind));
        assert!(rule.is_some(), "{} {}", kind.code, kind.name);
    }
}
