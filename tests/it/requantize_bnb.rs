//! `ckpt convert --to bnb-*`: the bytes that bitsandbytes and transformers write, whatever the threads and slots.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ckpt::checkpoint::Checkpoint;
use ckpt::engine::{Options, peak_memory};
use ckpt::plan::{Order, Plan, To};
use ckpt::quant::target::{Aim, Wishes};
use half::{bf16, f16};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::convert::{Scratch, done, put, tensors};
use crate::references::{Tensor, folder};
use crate::sample;

type Tensors = BTreeMap<String, (String, Vec<usize>, Vec<u8>)>;

fn command(input: &Path, out: &Path, to: &str, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ckpt"));
    command.args(["convert", "--to", to, "-o"]).arg(out).arg(input).args(more);
    command
}

fn pack(input: &Path, out: &Path, to: &str, more: &[&str]) -> Output {
    command(input, out, to, more).output().unwrap()
}

fn config(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap()
}

/// The hash of all tensors: names, dtypes, shapes and bytes.
fn digest(tensors: &Tensors) -> String {
    let mut hash = Sha256::new();
    for (name, (dtype, shape, bytes)) in tensors {
        hash.update(format!("{name}\0{dtype}\0{shape:?}\0"));
        hash.update(bytes);
    }
    format!("{:016x}", u64::from_be_bytes(*hash.finalize().first_chunk().unwrap()))
}

/// Cuts in which the same has to come out.
const CUTS: [&[&str]; 3] = [
    &["--threads", "1"],
    &["--slot-size", "900", "--verify", "full"],
    &["--threads", "3", "--slot-size", "1"],
];

/// What `save_pretrained` wrote of the same model: all tensors, quant states too, and the config's block, keys in order.
#[test]
fn a_model_is_packed_to_the_bytes_of_transformers() {
    let scratch = Scratch::new("to-bnb");
    let mut compared = 0;
    for (case, base, to, more) in [
        ("bnb-nf4-A", "base-A-bf16", "bnb-nf4", &[][..]),
        ("bnb-nf4-dq-A", "base-A-bf16", "bnb-nf4", &["--double-quant"]),
        ("bnb-nf4-dq-A", "base-A-bf16-sharded", "bnb-nf4", &["--double-quant"]),
        ("bnb-nf4-dq-B", "base-B-bf16", "bnb-nf4", &["--double-quant"]),
        ("bnb-int8-B", "base-B-bf16", "bnb-int8", &[]),
        ("bnb-nf4-lmheadtoo-A", "base-A-bf16", "bnb-nf4", &["--also", "lm_head", "--keep", "*.o_proj"]),
    ] {
        let want = sample(case).join("model");
        for (cut, flags) in CUTS.iter().enumerate() {
            let out = scratch.join(&format!("{case}-{base}-{cut}"));
            done(&pack(&sample(base).join("model"), &out, to, &[more, flags].concat()));
            let (is, should) = (tensors(&out), tensors(&want));
            assert!(is.keys().eq(should.keys()), "{case}: {:?}", is.keys());
            for (name, tensor) in &is {
                assert!(*tensor == should[name], "{case}: {name} differs");
                compared += 1;
            }
            let block = |folder: &Path| config(folder)["quantization_config"].clone();
            let (mut is, should) = (block(&out), block(&want));
            if case.contains("lmheadtoo") {
                // One name stood for all of them; ours are the names themselves.
                let kept = [0, 1].map(|layer| format!("model.layers.{layer}.self_attn.o_proj"));
                assert_eq!(is["llm_int8_skip_modules"], json!(kept));
                is["llm_int8_skip_modules"].clone_from(&should["llm_int8_skip_modules"]);
            }
            assert_eq!(is.to_string(), should.to_string(), "{case}");
        }
    }
    assert!(compared > 1000, "{compared} tensors");
    // fp4 with nested absmax, as transformers wrote it of the same base.
    let out = scratch.join("fp4");
    done(&pack(&sample("base-A-bf16/model"), &out, "bnb-fp4", &["--double-quant"]));
    assert_eq!((tensors(&out).len(), digest(&tensors(&out)).as_str()), (91, "fc1bb9df41217722"));
}

/// Single values, odd widths, a row and a tensor of zeros, denormal values, an outlier; three dtypes.
fn edges(path: &Path) {
    let list: Vec<Tensor> = [
        ("BF16", [1, 1], 1.0),
        ("F16", [5, 13], 0.25),
        ("F32", [17, 251], 0.5),
        ("BF16", [3, 4097], 2.0),
        ("F32", [16, 64], 0.0),
        ("BF16", [33, 96], 0.125),
        ("F16", [64, 128], 0.03125),
        // A denormal number, of which few bits are left.
        ("F32", [40, 100], f32::from_bits(1 << 9)),
        ("BF16", [8, 64], -1.0),
    ]
    .into_iter()
    .enumerate()
    .map(|(number, (dtype, [rows, columns], scale))| {
        let value = |at: usize| match (number, at) {
            (5, at) if at / columns == 3 => 0.0,
            (8, 0) => 60_000.0,
            _ => ((at * 37 % 255) as f32 - 127.0) / 128.0 * scale,
        };
        let values = (0..rows * columns).map(value);
        let bytes: Vec<u8> = match dtype {
            "BF16" => values.flat_map(|value| bf16::from_f32(value).to_le_bytes()).collect(),
            "F16" => values.flat_map(|value| f16::from_f32(value).to_le_bytes()).collect(),
            _ => values.flat_map(f32::to_le_bytes).collect(),
        };
        (format!("model.layers.{number}.self_attn.q_proj.weight"), vec![rows, columns], dtype, bytes)
    })
    .collect();
    folder(path, &json!({"model_type": "llama"}), json!({"format": "pt"}), &list);
}

/// Hashes of what `quantize_4bit` and `int8_vectorwise_quant` of bitsandbytes 0.50.2 make of the same, with the quant
/// states of `QuantState.as_dict(packed=True)`.
#[test]
fn edges_are_packed_to_the_bytes_of_bitsandbytes() {
    let scratch = Scratch::new("bnb-edges");
    let base = scratch.join("base");
    edges(&base);
    assert_eq!(digest(&tensors(&base)), "471d78b6ee7dcda1", "these are not the values that were packed");
    let nested = "--double-quant";
    for (to, more, count, want) in [
        ("bnb-nf4", &[][..], 36, "619827e144248f98"),
        ("bnb-nf4", &[nested], 54, "922689f2ae0f72dd"),
        ("bnb-fp4", &[], 36, "e8f5229f3dbe5e2d"),
        ("bnb-fp4", &[nested], 54, "f597da6777227531"),
        ("bnb-nf4", &[nested, "--block-size", "32"], 54, "fc701cd3e07da956"),
        ("bnb-nf4", &["--block-size", "4096"], 36, "2d5fdd2acd98a30b"),
        ("bnb-fp4", &[nested, "--block-size", "256"], 54, "16294d4625596da8"),
        ("bnb-int8", &[], 27, "3d8f70fb87ad55d3"),
    ] {
        for (cut, flags) in CUTS.iter().enumerate() {
            let out = scratch.join(&format!("{to}{}-{cut}", more.join("")));
            done(&pack(&base, &out, to, &[more, flags].concat()));
            let made = tensors(&out);
            assert_eq!((made.len(), digest(&made).as_str()), (count, want), "{to} {more:?} {flags:?}");
        }
    }
}

#[test]
fn what_int8_cannot_hold_is_refused_by_name() {
    let scratch = Scratch::new("bnb-large");
    let name = "model.layers.0.mlp.up_proj.weight".to_owned();
    let bytes = [1.0f32, 65_520.0, 0.0, 2.0].into_iter().flat_map(f32::to_le_bytes).collect();
    folder(
        &scratch.join("base"),
        &json!({"model_type": "llama"}),
        json!({"format": "pt"}),
        &[(name, vec![2, 2], "F32", bytes)],
    );
    let out = scratch.join("out");
    let ran = pack(&scratch.join("base"), &out, "bnb-int8", &[]);
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(2), "{told}");
    assert!(told.contains("model.layers.0.mlp.up_proj") && told.contains("65504"), "{told}");
    assert!(!out.exists());
    let ran = pack(&scratch.join("base"), &out, "bnb-int8", &["--block-size", "64"]);
    assert!(String::from_utf8_lossy(&ran.stderr).contains("bnb-int8 has no options"));
}

/// Returns the header of a file of tensors and how many bytes follow it.
fn header(path: &Path) -> (serde_json::Map<String, Value>, u64) {
    let bytes = fs::read(path).unwrap();
    let (length, rest) = bytes.split_at(8);
    let length = u64::from_le_bytes(length.try_into().unwrap());
    assert_eq!(length % 8, 0, "data begin where they are not aligned");
    let (text, data) = rest.split_at(length as usize);
    (serde_json::from_slice(text).unwrap(), data.len() as u64)
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect()
}

/// Sizes of quant states are known only when they are made.
#[test]
fn headers_and_index_have_the_bytes_that_were_written() {
    let scratch = Scratch::new("bnb-sizes");
    for limit in ["5GB", "30KB"] {
        let out = scratch.join(limit);
        let flags = ["--double-quant", "--max-shard-size", limit, "--json"];
        let told = done(&pack(&sample("base-A-bf16/model"), &out, "bnb-nf4", &flags));
        let result: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
        let (mut total, mut states, mut shards) = (0, 0, 0);
        for path in fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path()) {
            if path.extension().is_none_or(|extension| extension != "safetensors") {
                continue;
            }
            let (header, bytes) = header(&path);
            let mut at = 0;
            for (name, entry) in header.iter().filter(|(name, _)| *name != "__metadata__") {
                let offsets: [u64; 2] = serde_json::from_value(entry["data_offsets"].clone()).unwrap();
                assert_eq!(offsets[0], at, "{name}: a hole");
                let width = match entry["dtype"].as_str().unwrap() {
                    "F32" => 4,
                    "BF16" => 2,
                    _ => 1,
                };
                assert_eq!(at % width, 0, "{name} is not aligned");
                at = offsets[1];
                if name.contains("quant_state") {
                    assert_eq!(entry["shape"], json!([offsets[1] - offsets[0]]));
                    states += 1;
                }
            }
            assert_eq!(at, bytes);
            (total, shards) = (total + bytes, shards + 1);
        }
        assert_eq!(states, 14);
        let index = out.join("model.safetensors.index.json");
        if shards > 1 {
            let index: Value = serde_json::from_slice(&fs::read(index).unwrap()).unwrap();
            assert_eq!(index["metadata"]["total_size"], total);
        }
        assert_eq!(shards > 1, limit == "30KB");
        let texts: u64 = files(&out)
            .iter()
            .filter(|(name, _)| Path::new(name).extension().is_some_and(|end| end == "json"))
            .map(|(_, bytes)| bytes.len() as u64)
            .sum();
        let written = result["bytes_written"].as_u64().unwrap();
        assert_eq!(written, total + texts, "what is said to be written is what was");
    }
}

/// Ends a run when it has finished so many files.
fn ended_after(count: usize, input: &Path, out: &Path, flags: &[&str]) {
    let journal = out.with_file_name(".out.ckpt-partial").join(".journal");
    let mut child =
        command(input, out, "bnb-nf4", flags).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    loop {
        let lines = fs::read_to_string(&journal).map_or(0, |text| text.lines().count());
        if lines > count {
            break;
        }
        assert!(child.try_wait().unwrap().is_none(), "it was done before it was ended");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Codes, absmax and quant states of a layer stand in different files here: what one of them needs may be done.
#[test]
fn a_run_goes_on_where_it_ended_to_the_same_files() {
    let scratch = Scratch::new("bnb-resume");
    let list: Vec<Tensor> = (0..24)
        .map(|layer| {
            let value = |at: usize| bf16::from_f32(((at * 37 + layer) % 255) as f32 / 128.0).to_le_bytes();
            let bytes = (0..256 * 192).flat_map(value).collect();
            (format!("model.layers.{layer}.self_attn.q_proj.weight"), vec![256, 192], "BF16", bytes)
        })
        .collect();
    let base = scratch.join("base");
    folder(&base, &json!({"model_type": "llama"}), json!({"format": "pt"}), &list);
    let flags = ["--double-quant", "--max-shard-size", "1KB", "--slot-size", "300"];
    let undisturbed = scratch.join("undisturbed");
    done(&pack(&base, &undisturbed, "bnb-nf4", &flags));
    let out: PathBuf = scratch.join("out");
    for count in [1, 2, 5, 20, 40] {
        ended_after(count, &base, &out, &flags);
        assert!(!out.exists());
        let told =
            done(&pack(&base, &out, "bnb-nf4", &[&flags[..], &["--resume", "--verify", "full"]].concat()));
        assert!(told.contains("24 of 24 packed layers made again"), "{told}");
        assert!(files(&out) == files(&undisturbed), "not as if undisturbed");
        let again = pack(&base, &out, "bnb-nf4", &[&flags[..], &["--resume"]].concat());
        let told = done(&again) + &String::from_utf8_lossy(&again.stderr);
        assert!(told.contains("nothing to resume"), "{told}");
        fs::remove_dir_all(&out).unwrap();
    }
}

/// Writes a model of one layer of so many rows whose values are zeros; they take no room on the disk.
fn sparse(path: &Path, rows: u64) {
    let shape = [rows, 32_768];
    let bytes = shape[0] * shape[1] * 2;
    let name = "model.layers.0.mlp.up_proj.weight";
    let header = json!({name: {"dtype": "BF16", "shape": shape, "data_offsets": [0, bytes]}}).to_string();
    fs::create_dir(path).unwrap();
    let head = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    put(&path.join("model.safetensors"), &head);
    let file = fs::OpenOptions::new().write(true).open(path.join("model.safetensors")).unwrap();
    file.set_len(head.len() as u64 + bytes).unwrap();
    put(&path.join("config.json"), br#"{"model_type": "llama"}"#);
}

/// The codes of a layer are never held: one of 32 MB takes no more memory than one of 1 MB, proof and all.
#[cfg(target_os = "linux")]
#[test]
fn a_large_layer_takes_no_more_memory_than_a_small_one() {
    let scratch = Scratch::new("bnb-large-layer");
    let measure = |rows: u64| -> [u64; 2] {
        let (base, out) = (scratch.join(&format!("base-{rows}")), scratch.join(&format!("out-{rows}")));
        sparse(&base, rows);
        let flags = ["--threads", "1", "--slot-size", "256KiB", "--verify", "full", "--json"];
        let told = done(&pack(&base, &out, "bnb-int8", &flags));
        let result: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
        let (header, _) = header(&out.join("model.safetensors"));
        assert_eq!(header["model.layers.0.mlp.up_proj.SCB"]["shape"], json!([rows]));
        let path = base.display().to_string();
        let checkpoint = Checkpoint::open_examined(&path).unwrap();
        let aim = Aim { name: "bnb-int8".into(), wishes: Wishes::default() };
        let order = Order { to: To::Packed(aim), ..Order::new(&path, &scratch.join("none")) };
        let plan = Plan::convert(&checkpoint, order).unwrap();
        let options = Options { threads: 1, slot_bytes: 256 << 10, ..Options::default() };
        [result["peak_memory"].as_u64().unwrap(), peak_memory(&plan, &options)]
    };
    let ([small, planned_small], [large, planned_large]) = (measure(32), measure(1024));
    println!("{small} and {large} bytes held, {planned_small} and {planned_large} planned");
    assert!(large < small + (8 << 20), "{large} bytes are held, {small} of a layer a thirtieth of it");
    assert!(planned_large < planned_small + (1 << 20), "{planned_large} and {planned_small} bytes planned");
}

/// Loaders take a list as all there is to leave plain: heads have to be in it, and what is packed against their default
/// must not be.
#[test]
fn lists_name_all_that_loaders_must_leave_plain() {
    let scratch = Scratch::new("bnb-lists");
    let weight = |name: &str, shape: [usize; 2]| -> Tensor {
        (format!("{name}.weight"), shape.to_vec(), "BF16", vec![0x3c; shape[0] * shape[1] * 2])
    };
    let list = [
        weight("model.embed_tokens", [8, 4]),
        weight("model.layers.0.mlp.gate", [2, 4]),
        weight("model.layers.0.mlp.experts.0.up_proj", [4, 4]),
        weight("model.layers.0.self_attn.q_proj", [4, 4]),
        weight("model.layers.1.self_attn.q_proj", [4, 4]),
        weight("lm_head", [8, 4]),
    ];
    let skipped = |list: &[Tensor], name: &str, more: &[&str]| {
        let (base, out) = (scratch.join(&format!("{name}-base")), scratch.join(name));
        folder(&base, &json!({"model_type": "llama"}), json!({"format": "pt"}), list);
        done(&pack(&base, &out, "bnb-nf4", more));
        config(&out)["quantization_config"]["llm_int8_skip_modules"].clone()
    };
    let (gate, expert) = ("model.layers.0.mlp.gate", "model.layers.0.mlp.experts.0.up_proj");
    assert_eq!(skipped(&list, "moe", &[]), json!([gate, expert, "lm_head"]));
    let also = ["--also", "*experts*", "--also", "lm_head"];
    assert_eq!(skipped(&list, "moe-also", &also), json!([gate]));
    let plain = [&list[..1], &list[3..]].concat();
    assert_eq!(skipped(&plain, "default", &[]), Value::Null);
    assert_eq!(skipped(&plain, "also", &["--also", "lm_head"]), json!([]));
    let kept = "model.layers.1.self_attn.q_proj";
    assert_eq!(skipped(&plain, "keep", &["--keep", "*.1.*"]), json!([kept, "lm_head"]));
    // A head that is tied is not in the file, and would be packed.
    assert_eq!(skipped(&plain[..3], "tied", &["--keep", "*.1.*"]), json!([kept, "lm_head"]));
}
