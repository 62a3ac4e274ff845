//! Each edit on a folder that needs it, and several in one pass.

use super::*;

#[test]
fn a_value_of_a_config_changes_and_no_other_byte() {
    let mut folder = Folder::model();
    let config = "{\n    \"model_type\": \"llama\",\n    \"eps\": 1e-06,\n    \"q\": {\"use_exllama\": true, \"x\": 1e400}\n}";
    let config = config.replace("1e400", "12345678901234567890123");
    folder.raw.insert("config.json".into(), config.clone().into_bytes());
    folder.raw.insert("notes/deep.txt".into(), b"kept".to_vec());
    folder.raw.insert("optimizer.pt".into(), b"kept too".to_vec());
    folder.raw.insert(".gitattributes".into(), b"hidden".to_vec());
    let edits = [
        ("Q012", json_edit("config.json", "q.use_exllama", Some(json!(false)))),
        ("C001", json_edit("config.json", "torch_dtype", Some(json!("bfloat16")))),
        ("C002", json_edit("generation_config.json", "eos_token_id", Some(json!(2)))),
    ];
    let (fixing, made) = fix(&folder, &edits);
    let wanted = config
        .replace("\"use_exllama\": true", "\"use_exllama\": false")
        .replace("\n}", ",\n    \"torch_dtype\": \"bfloat16\"\n}");
    assert_eq!(String::from_utf8(made["config.json"].clone()).unwrap(), wanted);
    let new: Value = serde_json::from_slice(&made["generation_config.json"]).unwrap();
    assert_eq!(new, json!({"eos_token_id": 2}));
    let before = files(&folder.path());
    for name in ["model.safetensors", "notes/deep.txt", "optimizer.pt", ".gitattributes"] {
        assert_eq!(made[name], before[name], "{name}");
    }
    assert_eq!(made.len(), before.len() + 1);
    let said: Vec<(&str, &str, &str)> = fixing
        .fixed
        .changes
        .iter()
        .map(|change| (change.what.as_str(), change.before.as_str(), change.after.as_str()))
        .collect();
    assert_eq!(
        said,
        [
            ("q.use_exllama", "true", "false"),
            ("torch_dtype", "not set", "\"bfloat16\""),
            ("eos_token_id", "no such file", "2")
        ]
    );
}

#[test]
fn an_edit_that_changes_nothing_is_said_and_nothing_is_planned() {
    let folder = Folder::model();
    folder.write();
    let edits = [
        ("C001", json_edit("config.json", "tie_word_embeddings", Some(json!(false)))),
        ("C002", json_edit("config.json", "quantization_config", None)),
        ("K001", strip("module.")),
        ("K002", Edit::Rewrite),
        ("K003", Edit::KeepWhole),
    ];
    let fixed = plan(&folder, &edits).unwrap().fixed;
    assert_eq!(fixed.changes, []);
    assert_eq!(fixed.idle.len(), edits.len(), "{:?}", fixed.idle);
    assert!(fixed.obstacle().is_some());
    assert!(
        fixed.idle.iter().any(|words| words.contains("tie_word_embeddings is false already")),
        "{:?}",
        fixed.idle
    );
}

#[test]
fn names_change_and_the_data_is_copied_in_one_run() {
    let mut folder = Folder::model();
    let wanted = bytes_of(&folder.shards["model.safetensors"]);
    folder.rename(|name| format!("module.{}", name.replace(".q_proj.", ".q_proj.base_layer.")));
    folder.shards.get_mut("model.safetensors").unwrap().metadata = Some(json!({"format": "pt", "own": "é"}));
    let part = Rename::Part { from: "base_layer".into(), to: String::new() };
    let (fixing, made) = fix(&folder, &[("K101", strip("module.")), ("K102", Edit::Rename(part))]);
    assert!(fixing.fixed.plan.shards[0].run.is_some(), "only the header is new");
    let (metadata, is) = tensors(&made["model.safetensors"]);
    assert_eq!(is, wanted);
    assert_eq!(metadata["own"], "é");
    assert_eq!(fixing.fixed.changes.len(), 2);
    assert!(
        fixing.fixed.changes[0].before.contains("module.lm_head.weight (and 20 more)"),
        "{:?}",
        fixing.fixed.changes
    );
}

#[test]
fn of_two_files_only_the_one_with_other_names_is_written_and_the_index_follows() {
    let mut folder = Folder::model();
    split(&mut folder);
    let shard = folder.shards.get_mut(TWO).unwrap();
    let odd = shard.tensors.remove("model.norm.weight").unwrap();
    shard.tensors.insert("model.norm.gamma".into(), odd);
    let map = folder.json.get_mut(INDEX).unwrap()["weight_map"].as_object_mut().unwrap();
    map.remove("model.norm.weight");
    map.insert("model.norm.gamma".into(), json!(TWO));
    let each = Rename::Each(vec![("model.norm.gamma".into(), "model.norm.weight".into())]);
    let (fixing, made) = fix(&folder, &[("K103", Edit::Rename(each))]);
    assert_eq!(fixing.fixed.plan.shards.len(), 1);
    assert_eq!(fixing.fixed.plan.whole.len(), 1);
    assert_eq!(made[ONE], folder.shards[ONE].bytes());
    let (map, total) = index(&made);
    assert_eq!(map.len(), 21);
    assert_eq!(map["model.norm.weight"], TWO);
    assert!(!map.contains_key("model.norm.gamma"));
    let all: usize =
        folder.shards.values().flat_map(|shard| shard.tensors.values()).map(|t| t.bytes.len()).sum();
    assert_eq!(total, all as u64);
    let text: Value = serde_json::from_slice(&made[INDEX]).unwrap();
    assert_eq!(text["metadata"]["kept"], "x");
}

#[test]
fn tensors_that_are_dropped_go_and_the_rest_is_packed() {
    let mut folder = Folder::model();
    folder.tensors().insert("lm_head.weight_copy".into(), a_tensor(7, &[3, 1]));
    folder.write();
    let opened = Checkpoint::open(folder.path().to_str().unwrap()).unwrap();
    let drop = ["lm_head.weight", "lm_head.weight_copy"].map(|name| opened.files.find(name).unwrap());
    let mut wanted = bytes_of(&folder.shards["model.safetensors"]);
    wanted.retain(|name, _| !name.starts_with("lm_head"));
    let edits = [
        ("C101", Edit::Drop { tensors: drop.to_vec() }),
        ("C101", json_edit("config.json", "tie_word_embeddings", Some(json!(true)))),
    ];
    let (fixing, made) = fix(&folder, &edits);
    assert_eq!(tensors(&made["model.safetensors"]).1, wanted);
    assert_eq!(fixing.fixed.plan.count(ckpt::plan::Action::Drop), 2);
    assert!(codes(&out(&folder)).is_empty(), "{:?}", codes(&out(&folder)));
}

#[test]
fn trailing_bytes_are_cut_and_the_format_is_written() {
    let mut folder = Folder::model();
    let shard = folder.shards.get_mut("model.safetensors").unwrap();
    shard.metadata = None;
    let wanted = bytes_of(shard);
    let mut bytes = shard.bytes();
    bytes.extend([0xAB; 77]);
    folder.raw.insert("model.safetensors".into(), bytes);
    let (fixing, made) = fix(&folder, &[("K008", Edit::Rewrite)]);
    assert!(fixing.fixed.plan.shards[0].run.is_some());
    let (metadata, is) = tensors(&made["model.safetensors"]);
    assert_eq!(is, wanted);
    assert_eq!(metadata, BTreeMap::from([("format".into(), "pt".into())]));
    let said: Vec<&str> = fixing.fixed.changes.iter().map(|change| change.before.as_str()).collect();
    assert_eq!(said, ["not set", "77 bytes behind the last tensor"]);
}

#[test]
fn a_lone_file_gets_the_name_that_loaders_look_for() {
    let mut folder = Folder::model();
    let all = folder.shards.remove("model.safetensors").unwrap();
    let wanted = bytes_of(&all);
    folder.shards.insert("gptq_model-4bit-128g.safetensors".into(), all);
    let (fixing, made) = fix(&folder, &[("S012", Edit::Rewrite)]);
    assert_eq!(made.keys().cloned().collect::<Vec<_>>(), ["config.json", "model.safetensors"]);
    assert_eq!(tensors(&made["model.safetensors"]).1, wanted);
    assert_eq!(fixing.fixed.changes[0].after, "model.safetensors");
}

#[test]
fn data_that_is_not_aligned_or_has_holes_is_packed() {
    let mut folder = Folder::model();
    folder.tensors().insert("a_first".into(), Tensor::new("U8", &[3]));
    let wanted = bytes_of(&folder.shards["model.safetensors"]);
    let (fixing, made) = fix(&folder, &[("K009", Edit::Rewrite)]);
    assert!(fixing.fixed.plan.shards[0].run.is_none());
    assert_eq!(tensors(&made["model.safetensors"]).1, wanted);
    assert_eq!(fixing.fixed.changes[0].after, "aligned");
}

#[test]
fn whole_tensors_of_a_truncated_file_are_kept() {
    let mut folder = Folder::model();
    split(&mut folder);
    folder.write();
    let bytes = folder.shards[TWO].bytes();
    let kept: Vec<String> = folder.shards[TWO].tensors.keys().take(3).cloned().collect();
    let room: usize = folder.shards[TWO].tensors.values().take(3).map(|tensor| tensor.bytes.len()).sum();
    let data = bytes.len() - folder.shards[TWO].tensors.values().map(|t| t.bytes.len()).sum::<usize>();
    folder.raw.insert(TWO.into(), bytes[..data + room + 10].to_vec());
    let (fixing, made) = fix(&folder, &[("K007", Edit::KeepWhole)]);
    let (_, is) = tensors(&made[TWO]);
    assert_eq!(is.keys().cloned().collect::<Vec<_>>(), kept);
    assert_eq!(made[ONE], folder.shards[ONE].bytes());
    let (map, _) = index(&made);
    assert_eq!(map.len(), folder.shards[ONE].tensors.len() + 3);
    let change = &fixing.fixed.changes[0];
    let all = folder.shards[TWO].tensors.len();
    assert_eq!(change.after, format!("{} tensors not whole left out, 3 kept", all - 3));
    assert!(change.before.contains("model.norm.weight"), "{change:?}");
    let warned = &fixing.fixed.plan.warnings;
    assert!(warned.iter().any(|words| words.contains("tensors will be missing")), "{warned:?}");
    assert!(!codes(&out(&folder)).iter().any(|code| code.starts_with(['K', 'S'])));
}

#[test]
fn a_file_of_which_nothing_is_left_goes_with_its_entries() {
    for content in
        [Vec::new(), b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n".to_vec()]
    {
        let mut folder = Folder::model();
        split(&mut folder);
        folder.raw.insert(TWO.into(), content);
        let (_, made) = fix(&folder, &[("K001", Edit::KeepWhole)]);
        assert!(!made.contains_key(TWO));
        let (map, _) = index(&made);
        assert_eq!(map.len(), folder.shards[ONE].tensors.len());
    }
}

#[test]
fn the_index_is_made_from_the_headers_with_files_that_it_forgot() {
    let mut folder = Folder::model();
    split(&mut folder);
    folder.raw.insert(INDEX.into(), b"{not json".to_vec());
    let (_, made) = fix(&folder, &[("S002", Edit::Index)]);
    assert_eq!(index(&made).0.len(), 21);
    let mut folder = Folder::model();
    split(&mut folder);
    let map = folder.json.get_mut(INDEX).unwrap()["weight_map"].as_object_mut().unwrap();
    map.retain(|_, file| file == ONE);
    let (fixing, made) = fix(&folder, &[("S011", Edit::Index)]);
    let (map, _) = index(&made);
    assert_eq!(map.len(), 21);
    assert_eq!(made[TWO], folder.shards[TWO].bytes());
    assert_eq!(fixing.fixed.changes[1].before, "not there");
    let last = &fixing.fixed.changes[3].what;
    assert!(last.ends_with(" (and 9 more)"), "{last}");
    assert!(codes(&out(&folder)).is_empty());
    let mut folder = Folder::model();
    split(&mut folder);
    let [one, two] = [1, 2].map(|number| format!("model-0000{number}-of-00003.safetensors"));
    let shards: Vec<Shard> = std::mem::take(&mut folder.shards).into_values().collect();
    let map: serde_json::Map<String, Value> =
        shards[0].tensors.keys().map(|name| (name.clone(), json!(one))).collect();
    folder.json.insert(INDEX.into(), json!({"metadata": {}, "weight_map": map}));
    folder.shards = [one.clone(), two.clone()].into_iter().zip(shards).collect();
    let (fixing, made) = fix(&folder, &[("S011", Edit::Index)]);
    assert_eq!(index(&made).0["model.norm.weight"], two);
    let warned = &fixing.fixed.plan.warnings;
    assert!(warned.iter().any(|words| words.contains("12 tensors that no index named")), "{warned:?}");
    let mut folder = Folder::model();
    split(&mut folder);
    let index_before = folder.json.remove(INDEX).unwrap();
    let (_, made) = fix(&folder, &[("S010", Edit::Index)]);
    let is: Value = serde_json::from_slice(&made[INDEX]).unwrap();
    assert_eq!(is["weight_map"], index_before["weight_map"]);
}

#[test]
fn files_are_left_out_and_brought() {
    let mut folder = Folder::model();
    folder.raw.insert("quantize_config.json".into(), b"{}".to_vec());
    folder.raw.insert("tokenizer.json".into(), b"old".to_vec());
    folder.raw.insert("../lost/tokenizer.json".into(), b"new".to_vec());
    folder.raw.insert("../lost/vocab.json".into(), b"{\"a\": 1}".to_vec());
    let from = |name: &str| folder.path().parent().unwrap().join("lost").join(name);
    let edits = [
        ("Q101", Edit::LeaveOut { file: "quantize_config.json".into() }),
        ("A101", Edit::Bring { from: from("tokenizer.json"), file: "tokenizer.json".into() }),
        ("A102", Edit::Bring { from: from("vocab.json"), file: "vocab.json".into() }),
        ("A102", json_edit("vocab.json", "b", Some(json!(2)))),
    ];
    let (_, made) = fix(&folder, &edits);
    assert!(!made.contains_key("quantize_config.json"));
    assert_eq!(made["tokenizer.json"], b"new");
    assert_eq!(serde_json::from_slice::<Value>(&made["vocab.json"]).unwrap(), json!({"a": 1, "b": 2}));
}

#[test]
fn a_file_of_tensors_is_left_out_with_its_entries() {
    let mut folder = Folder::model();
    split(&mut folder);
    let (_, made) = fix(&folder, &[("S101", Edit::LeaveOut { file: TWO.into() })]);
    assert!(!made.contains_key(TWO));
    assert_eq!(index(&made).0.len(), folder.shards[ONE].tensors.len());
    // One file of the usual name needs no index.
    let mut folder = Folder::model();
    let map: serde_json::Map<String, Value> =
        folder.tensors().keys().map(|name| (name.clone(), json!("other.safetensors"))).collect();
    folder.json.insert(INDEX.into(), json!({"metadata": {}, "weight_map": map}));
    let (_, made) = fix(&folder, &[("S102", Edit::Index)]);
    assert!(!made.contains_key(INDEX));
    assert!(codes(&out(&folder)).is_empty());
}

/// Copies the files of a sample beside each other, in the place of the model.
fn of_sample(path: &str) -> Folder {
    let mut folder = Folder::model();
    folder.shards.clear();
    folder.json.clear();
    for (name, bytes) in files(Path::new(path)) {
        folder.raw.insert(name, bytes);
    }
    folder
}

#[test]
fn a_pickle_becomes_safetensors_and_stays_one_where_only_a_config_changes() {
    let folder = of_sample("samples/bin-sharded-A/model");
    let (_, made) = fix(&folder, &[("C001", json_edit("config.json", "use_cache", Some(json!(false))))]);
    let before = files(&folder.path());
    for name in before.keys().filter(|name| *name != "config.json") {
        assert_eq!(made[name], before[name], "{name}");
    }
    std::fs::remove_dir_all(out(&folder)).unwrap();
    let (fixing, made) = fix(&folder, &[("K021", Edit::Rewrite)]);
    assert!(made.keys().all(|name| !name.contains(".bin")), "{:?}", made.keys());
    let opened = Checkpoint::open(folder.path().to_str().unwrap()).unwrap();
    let data = ckpt::checkpoint::side::FileSide::whole(&opened.files);
    let (map, _) = index(&made);
    assert_eq!(map.len(), opened.files.tensors.len());
    for (name, file) in map {
        let (metadata, is) = tensors(&made[&file]);
        assert_eq!(metadata["format"], "pt");
        let mut should = vec![0; is[&name].len()];
        data.fill(opened.files.find(&name).unwrap(), 0, &mut should).unwrap();
        assert_eq!(is[&name], should, "{name}");
    }
    assert!(fixing.fixed.changes[0].before.starts_with("a pickle of"), "{:?}", fixing.fixed.changes);
    assert!(codes(&out(&folder)).is_empty(), "{:?}", codes(&out(&folder)));
}

#[test]
fn an_adapter_that_is_a_pickle_gets_the_names_of_one_that_is_not() {
    let mut folder = of_sample("samples/peft-lora-bin-A/adapter");
    folder.raw.retain(|name, _| name != "README.md");
    let (_, made) = fix(&folder, &[("K021", Edit::Rewrite)]);
    assert_eq!(
        made.keys().cloned().collect::<Vec<_>>(),
        ["adapter_config.json", "adapter_model.safetensors"]
    );
}
