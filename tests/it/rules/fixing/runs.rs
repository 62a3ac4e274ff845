//! How a fix is carried out: existing targets, cancelling, resuming, damage while it runs; and any mix of edits.

use proptest::prelude::*;
use std::sync::atomic::Ordering;

use super::*;

fn two_files() -> Folder {
    let mut folder = Folder::model();
    split(&mut folder);
    folder.write();
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn an_existing_target_is_refused_and_the_input_is_never_one() {
    let folder = two_files();
    let edits = [("C001", json_edit("config.json", "a", Some(json!(1))))];
    let fixing = plan(&folder, &edits).unwrap();
    fixing.run(&Options::default()).unwrap();
    let made = files(&out(&folder));
    let said = fixing.run(&Options::default()).unwrap_err().message;
    assert!(said.contains("is there already"), "{said}");
    assert_eq!(files(&out(&folder)), made);
    fixing.run(&Options { force: true, ..Options::default() }).unwrap();
    let own = order(folder.path().to_str().unwrap(), &folder.path(), &["C001".into()]);
    let fixed = Fixed::plan(&fixing.checkpoint, &edits, own).unwrap();
    let fixing = Fixing { fixed, ..fixing };
    assert!(fixing.run(&Options { force: true, ..Options::default() }).is_err());
    assert_eq!(names(folder.path().parent().unwrap()), ["fixed", "model"]);
}

#[test]
fn a_run_that_is_cancelled_leaves_nothing_under_its_name() {
    let folder = two_files();
    let fixing = plan(&folder, &[("K001", strip("model."))]).unwrap();
    let progress = Progress::default();
    progress.cancel.store(true, Ordering::Relaxed);
    let (plan, options) = (&fixing.fixed.plan, Options::default());
    let run = Run {
        checkpoint: &fixing.checkpoint,
        adapters: &[],
        plan,
        options: &options,
        device: &Cpu,
        progress: &progress,
    };
    assert_eq!(run.carry_out().unwrap_err().kind, ckpt::error::ErrorKind::Cancelled);
    assert_eq!(names(folder.path().parent().unwrap()), ["model"]);
}

#[test]
fn an_input_that_changes_before_or_while_it_is_read_is_refused() {
    let folder = two_files();
    let fixing = plan(&folder, &[("K001", strip("model."))]).unwrap();
    let shorter = &folder.shards[TWO].bytes()[..100];
    put(folder.path().join(TWO), shorter);
    let said = fixing.run(&Options::default()).unwrap_err().message;
    assert!(said.contains("changed"), "{said}");
    assert_eq!(names(folder.path().parent().unwrap()), ["model"]);
}

#[test]
fn what_is_done_is_taken_up_again_and_what_is_complete_is_compared() {
    let folder = two_files();
    let edits = [("K001", strip("model."))];
    let fixing = plan(&folder, &edits).unwrap();
    fixing.run(&Options::default()).unwrap();
    let resume = Options { resume: true, proof: Proof::Full, ..Options::default() };
    let outcome = fixing.run(&resume).unwrap();
    assert_eq!(outcome.bytes_written, 0);
    let path = out(&folder).join(ONE);
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    put(&path, bytes);
    let said = fixing.run(&resume).unwrap_err().message;
    assert!(said.contains("differs from byte"), "{said}");
}

#[test]
fn a_file_that_went_over_whole_is_compared_too() {
    let folder = two_files();
    let fixing = plan(&folder, &[("C001", json_edit("config.json", "a", Some(json!(1))))]).unwrap();
    let outcome = fixing.run(&Options::default()).unwrap();
    let proof = outcome.proof.unwrap();
    assert_eq!((proof.files, proof.whole), (2, 2));
    assert_eq!(proof.words(), "2 files checked, 2 files unchanged and compared byte by byte");
    let path = out(&folder).join(TWO);
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    put(&path, bytes);
    let said = fixing.run(&Options { resume: true, ..Options::default() }).unwrap_err().message;
    assert!(said.contains(TWO) && said.contains("differs"), "{said}");
}

#[test]
fn a_sample_compares_some_tensors_of_a_file_that_the_kernel_copied() {
    let mut folder = Folder::model();
    for number in 0..100 {
        folder.tensors().insert(format!("module.extra.{number}"), a_tensor(number, &[8]));
    }
    folder.write();
    let fixing = plan(&folder, &[("K001", strip("module."))]).unwrap();
    let proof = fixing.run(&Options::default()).unwrap().proof.unwrap();
    assert_eq!(proof.copied + proof.unsampled, 121);
    assert!((10..=17).contains(&proof.copied), "{proof:?}");
    assert!(proof.words().contains(&format!("{} of 121 tensors compared with the source", proof.copied)));
}

#[test]
fn a_large_file_keeps_its_place_within_blocks() {
    let mut folder = Folder::model();
    folder.tensors().insert("module.large".into(), Tensor::new("BF16", &[1 << 10, 1 << 10]));
    let wanted = folder.shards["model.safetensors"].tensors["module.large"].bytes.clone();
    let (_, made) = fix(&folder, &[("K001", strip("module."))]);
    let start = |file: &[u8]| 8 + u64::from_le_bytes(file[..8].try_into().unwrap());
    let (old, new) = (folder.shards["model.safetensors"].bytes(), &made["model.safetensors"]);
    assert_eq!(start(&old) % 4096, start(new) % 4096);
    assert_eq!(tensors(new).1["large"], wanted);
}

fn an_edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        "(model|model.layers|lm_head)\\.".prop_map(|prefix| strip(&prefix)),
        ("(a|b)\\.", prop::collection::vec("(model|lm_head|layers)", 0..2))
            .prop_map(|(prefix, heads)| Edit::Rename(Rename::Add { prefix, heads })),
        ("(layers|mlp|weight|self_attn.q_proj)", "(|x|y.z)")
            .prop_map(|(from, to)| Edit::Rename(Rename::Part { from, to })),
        prop::collection::vec(0u32..21, 0..6).prop_map(|tensors| Edit::Drop { tensors }),
        Just(Edit::Rewrite),
        Just(Edit::Index),
        Just(Edit::KeepWhole),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Any mix of renames and drops is refused, or gives every tensor that stays its own bytes.
    #[test]
    fn bytes_follow_their_names(edits in prop::collection::vec(an_edit(), 1..4), is_split: bool) {
        let mut folder = Folder::model();
        for (number, tensor) in folder.tensors().values_mut().enumerate() {
            tensor.bytes.fill(number as u8);
        }
        if is_split {
            split(&mut folder);
        }
        folder.write();
        let edits: Vec<(Code, Edit)> = edits.into_iter().map(|edit| ("K001", edit)).collect();
        let opened = Checkpoint::open(folder.path().to_str().unwrap()).unwrap();
        let gone: Vec<u32> = edits
            .iter()
            .flat_map(|(_, edit)| match edit { Edit::Drop { tensors } => tensors.clone(), _ => Vec::new() })
            .collect();
        let mut wanted: Vec<(String, Vec<u8>)> = Vec::new();
        for (tensor, record) in (0u32..).zip(&opened.files.tensors).filter(|(tensor, _)| !gone.contains(tensor)) {
            let own = opened.files.tensor_name(tensor);
            let mut name = own.clone();
            for (_, edit) in &edits {
                if let Edit::Rename(rename) = edit {
                    name = rename.apply(&name).unwrap_or(name);
                }
            }
            let shard = &folder.shards[&opened.files.shards[usize::from(record.shard)].name];
            wanted.push((name, shard.tensors[&own].bytes.clone()));
        }
        wanted.sort();
        let is_clash = wanted.windows(2).any(|pair| pair[0].0 == pair[1].0);
        let Ok(fixing) = plan(&folder, &edits) else {
            let is_nameless = wanted.iter().any(|(name, _)| name.split('.').any(str::is_empty));
            prop_assert!(is_clash || is_nameless, "{edits:?} is refused: {:?}", plan(&folder, &edits).err());
            return Ok(());
        };
        prop_assert!(!is_clash);
        fixing.run(&Options { threads: 2, proof: Proof::Full, ..Options::default() }).unwrap();
        let made = files(&out(&folder));
        let mut is: Vec<(String, Vec<u8>)> = made
            .iter()
            .filter(|(name, _)| name.ends_with(".safetensors"))
            .flat_map(|(_, bytes)| tensors(bytes).1)
            .collect();
        is.sort();
        prop_assert_eq!(is, wanted);
        let found = codes(&out(&folder));
        prop_assert!(!found.iter().any(|code| code.starts_with(['K', 'S'])), "{:?}", found);
    }
}

#[test]
fn a_fix_does_not_make_a_set_with_a_missing_shard_look_complete() {
    let scratch = std::env::temp_dir().join(format!("ckpt-missing-{}", std::process::id()));
    let input = crate::sample("bad-folders/missing-shard");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_ckpt"))
        .args(["fix", input.to_str().unwrap(), "S006", "S004", "-o", scratch.to_str().unwrap()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(!scratch.exists(), "{said}");
    // The edit itself, whatever rule asks for it.
    let checkpoint = ckpt::checkpoint::Checkpoint::open_examined(input.to_str().unwrap()).unwrap();
    let order = ckpt::plan::Order::new("x", &scratch);
    let planned =
        ckpt::plan::fixed::Fixed::plan(&checkpoint, &[("S006", ckpt::plan::edit::Edit::Index)], order);
    let refused = planned.err().map(|error| error.message).unwrap_or_default();
    assert!(refused.contains("would look complete"), "{refused}");
}
