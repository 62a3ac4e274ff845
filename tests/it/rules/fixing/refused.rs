//! What is refused, by name, before anything is written.

use super::*;

/// Refuses edits of a model that `make` changed; returns the words.
fn refused(make: impl FnOnce(&mut Folder), edits: &[(Code, Edit)]) -> String {
    let mut folder = Folder::model();
    make(&mut folder);
    folder.write();
    let error = plan(&folder, edits).map(|fixing| fixing.fixed.changes).unwrap_err();
    assert!(!out(&folder).exists());
    error.message
}

fn each(pairs: &[(&str, &str)]) -> Edit {
    let pairs = pairs.iter().map(|(from, to)| ((*from).into(), (*to).into())).collect();
    Edit::Rename(Rename::Each(pairs))
}

#[test]
fn a_file_name_that_is_a_path_is_refused() {
    for file in
        ["../config.json", "/etc/passwd", "a/b.json", "..", ".", "", "a\\b", "a\0b", ".lock", ".journal"]
    {
        let said = refused(|_| (), &[("C001", json_edit(file, "a", Some(json!(1))))]);
        assert!(said.contains("no name of a file in the folder"), "{file:?}: {said}");
        let from = std::env::current_exe().unwrap();
        let said = refused(|_| (), &[("C001", Edit::Bring { from, file: file.into() })]);
        assert!(said.contains("no name of a file in the folder"), "{file:?}: {said}");
        let said = refused(|_| (), &[("C001", Edit::LeaveOut { file: file.into() })]);
        assert!(said.contains("there is no file"), "{file:?}: {said}");
    }
}

#[test]
fn what_an_edit_names_and_is_not_there_is_refused_by_name() {
    let said = refused(|_| (), &[("K001", each(&[("nowhere.weight", "x"), ("lm_head.weight", "y")]))]);
    assert_eq!(said, "K001: no such tensor: nowhere.weight");
    let said = refused(|_| (), &[("K001", Edit::Drop { tensors: vec![3, 21] })]);
    assert_eq!(said, "K001: there is no tensor 21; there are 21");
    let said = refused(|_| (), &[("K001", Edit::Bring { from: "/nowhere/x".into(), file: "x".into() })]);
    assert!(said.contains("/nowhere/x"), "{said}");
    let said = refused(|_| (), &[("K001", json_edit("config.json", "architectures.first", Some(json!(1))))]);
    assert_eq!(said, "K001: config.json: architectures is no object with keys");
    let broken = |folder: &mut Folder| drop(folder.raw.insert("config.json".into(), b"{,}".to_vec()));
    let said = refused(broken, &[("C001", json_edit("config.json", "a", Some(json!(1))))]);
    assert!(said.starts_with("C001: config.json: not JSON"), "{said}");
    let said = refused(|_| (), &[("C001", json_edit("model.safetensors", "a", Some(json!(1))))]);
    assert!(said.contains("holds tensors"), "{said}");
}

#[test]
fn two_edits_of_one_thing_are_refused() {
    let set = |path: &str, value: i64| json_edit("config.json", path, Some(json!(value)));
    let said = refused(|_| (), &[("C001", set("a.b", 1)), ("C002", set("a.b", 2))]);
    assert_eq!(
        said,
        "config.json: C001 and C002 make different things of a.b; fix C001 first, then C002 in its result"
    );
    let said = refused(|_| (), &[("C001", set("a.b", 1)), ("C002", json_edit("config.json", "a", None))]);
    assert!(said.contains("a.b and a"), "{said}");
    let said = refused(
        |_| (),
        &[
            ("K001", each(&[("lm_head.weight", "a.weight")])),
            ("K002", each(&[("lm_head.weight", "b.weight")])),
        ],
    );
    assert!(said.starts_with("lm_head.weight: K001 and K002"), "{said}");
    let said =
        refused(|_| (), &[("K001", each(&[("lm_head.weight", "a.weight")])), ("K002", strip("lm_head."))]);
    assert!(said.starts_with("lm_head.weight:"), "{said}");
    // The same twice is once.
    let folder = Folder::model();
    folder.write();
    let fixed = plan(&folder, &[("C001", set("a.b", 1)), ("C002", set("a.b", 1))]).unwrap().fixed;
    assert_eq!(fixed.changes.len(), 1);
}

#[test]
fn two_tensors_never_get_one_name() {
    let said = refused(|_| (), &[("K001", each(&[("lm_head.weight", "model.norm.weight")]))]);
    assert_eq!(
        said.split(": ").nth(1).unwrap_or_default(),
        "model.norm.weight (twice in model.safetensors)",
        "{said}"
    );
    let said = refused(split, &[("K001", each(&[("lm_head.weight", "model.norm.weight")]))]);
    assert!(said.contains(&format!("model.norm.weight (in {ONE} and {TWO})")), "{said}");
    let said = refused(
        |folder| {
            split(folder);
            let twin = folder.shards[ONE].tensors["lm_head.weight"].clone();
            folder.shards.get_mut(TWO).unwrap().tensors.insert("lm_head.weight".into(), twin);
        },
        &[("S007", Edit::Index)],
    );
    assert!(said.contains("lm_head.weight (in"), "{said}");
    let said = refused(|_| (), &[("K001", each(&[("lm_head.weight", "")]))]);
    assert!(said.contains("no name for a tensor"), "{said}");
    let said = refused(|_| (), &[("K001", each(&[("lm_head.weight", "__metadata__")]))]);
    assert!(said.contains("no name for a tensor"), "{said}");
}

#[test]
fn two_files_never_get_one_name() {
    let pickles = Path::new("samples/bin-sharded-A/model");
    let said = refused(
        |folder| {
            folder.shards.clear();
            for (name, bytes) in files(pickles) {
                folder.raw.insert(name, bytes);
            }
            folder.raw.insert(TWO.into(), b"in the way".to_vec());
        },
        &[("K021", Edit::Rewrite)],
    );
    assert_eq!(said, format!("two files of the result would have the name {TWO}"));
}

#[test]
fn a_damaged_file_is_not_written_anew_unless_what_is_whole_is_asked_for() {
    let cut = |folder: &mut Folder| {
        let bytes = folder.shards["model.safetensors"].bytes();
        folder.raw.insert("model.safetensors".into(), bytes[..bytes.len() - 9].to_vec());
    };
    for edit in [Edit::Rewrite, each(&[("lm_head.weight", "head.weight")])] {
        let said = refused(cut, &[("K001", edit)]);
        assert!(said.contains("1 tensor not whole in the file: model.norm.weight"), "{said}");
    }
    let garbled = |folder: &mut Folder| {
        let mut bytes = folder.shards["model.safetensors"].bytes();
        bytes[100] = b'\n';
        bytes[101] = 7;
        folder.raw.insert("model.safetensors".into(), bytes);
    };
    let said = refused(garbled, &[("K001", Edit::Rewrite)]);
    assert!(said.contains("cannot be written anew: K0"), "{said}");
    let said = refused(|_| (), &[("K001", Edit::Drop { tensors: (0..21).collect() })]);
    assert_eq!(said, "no tensor would be left");
    let torchao = |folder: &mut Folder| {
        folder.shards.get_mut("model.safetensors").unwrap().metadata =
            Some(json!({"format": "pt", "tensor_names": "[\"lm_head.weight\"]"}));
    };
    let said = refused(torchao, &[("K001", strip("model."))]);
    assert!(said.contains("torchao"), "{said}");
}

#[test]
fn an_index_that_is_made_anew_is_not_edited_or_left_out() {
    let set = json_edit(INDEX, "metadata.total_size", Some(json!(1)));
    let said = refused(split, &[("S001", Edit::Index), ("S008", set)]);
    assert!(said.starts_with("S008: model.safetensors.index.json is made anew"), "{said}");
    let said = refused(split, &[("S001", Edit::Index), ("S008", Edit::LeaveOut { file: INDEX.into() })]);
    assert!(said.contains("another code leaves it out"), "{said}");
}
