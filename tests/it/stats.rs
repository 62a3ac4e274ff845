//! `ckpt stats`, by the real binary: every figure against numpy's, and words where there is none.
//!
//! `stats/numpy.json` is what `samples/make/stats.py` made of the reference libraries' decoded layers, `stats/norms.json`
//! what `norms.py` did.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use serde_json::Value;

use crate::sample;

fn stats(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ckpt"))
        .arg("stats")
        .args(args)
        .env_remove("HF_HOME")
        .env("HF_HUB_CACHE", sample("no-such-cache"))
        .output()
        .unwrap()
}

fn path(of: &str) -> String {
    sample(of).display().to_string()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// Runs `ckpt stats --json`; returns the entries by name, and the exit code.
fn json(of: &str, more: &[&str]) -> (BTreeMap<String, Value>, i32) {
    let output = stats(&[&[&*path(of), "--json"], more].concat());
    let text = text(output.stdout);
    assert_eq!(text.lines().count(), 1, "{of}: one line of JSON");
    let list: Vec<Value> = serde_json::from_str(&text).unwrap();
    let entries = list.into_iter().map(|entry| (entry["name"].as_str().unwrap().to_owned(), entry));
    (entries.collect(), output.status.code().unwrap())
}

/// Holds the figures of a layer against numpy's: moments within 1e-12 of the deviation, all else exact.
fn hold(is: &Value, numpy: &Value, what: &str) {
    for key in ["count", "nan", "inf", "zeros", "shape"] {
        assert_eq!(is[key], numpy[key], "{what}: {key}");
    }
    assert_eq!(is["rows_zero"], numpy["rows_zero"], "{what}: rows of zeros");
    assert!(
        numpy["dtype"].is_null() || is["dtype"] == numpy["dtype"],
        "{what}: {} {}",
        is["dtype"],
        numpy["dtype"]
    );
    let Some(std) = numpy["std"].as_f64() else {
        for key in ["min", "max", "mean", "std", "histogram"] {
            assert!(is[key].is_null(), "{what}: {key}");
        }
        return;
    };
    for key in ["min", "max"] {
        assert_eq!(is[key].as_f64(), numpy[key].as_f64(), "{what}: {key}");
        assert_eq!(is[format!("{key}_at")], numpy[format!("{key}_at")], "{what}: place of {key}");
    }
    for key in ["mean", "std"] {
        let far = (is[key].as_f64().unwrap() - numpy[key].as_f64().unwrap()).abs();
        assert!(far <= 1e-12 * std, "{what}: {key} is {far} away");
    }
    let quantiles = ["0.01", "0.25", "0.5", "0.75", "0.99"];
    assert_eq!(is["quantiles"].as_object().unwrap().len(), quantiles.len());
    for (at, key) in quantiles.into_iter().enumerate() {
        let (is, numpy) = (is["quantiles"][key].as_f64(), numpy["quantiles"][at].as_f64());
        assert_eq!(is, numpy, "{what}: quantile {key}");
    }
    let edges = is["histogram"]["edges"].as_array().unwrap();
    assert_eq!((edges.len(), edges[21].as_f64()), (65, numpy["edge"].as_f64()), "{what}: edges");
    if std > 0.0 {
        assert_eq!((&edges[0], &edges[64]), (&is["min"], &is["max"]), "{what}: edges");
    }
    assert_eq!(is["histogram"]["counts"], numpy["histogram"], "{what}: counts");
    let outliers = is["outliers"].as_array().unwrap();
    let outliers: Vec<Value> = outliers
        .iter()
        .map(|of| Value::from(vec![of["value"].clone(), of["at"][0].clone(), of["at"][1].clone()]))
        .collect();
    let numpy: Vec<Value> = numpy["outliers"].as_array().unwrap().clone();
    assert_eq!(outliers, numpy, "{what}: outliers");
}

#[test]
fn figures_are_those_of_numpy_over_what_the_libraries_decode() {
    let numpy: BTreeMap<String, BTreeMap<String, Value>> =
        serde_json::from_str(include_str!("stats/numpy.json")).unwrap();
    let mut held = 0;
    for (checkpoint, layers) in &numpy {
        let is_bare = ["casts", "bin-variants"].iter().any(|bare| checkpoint.starts_with(bare));
        let (is, code) = json(checkpoint, if is_bare { &["--tensors"] } else { &[] });
        assert_eq!(code, 0, "{checkpoint}");
        assert!(is.len() >= layers.len(), "{checkpoint}");
        for (name, numpy) in layers {
            hold(&is[name], numpy, &format!("{checkpoint} {name}"));
            held += 1;
        }
    }
    println!("{held} layers of {} checkpoints", numpy.len());
    assert!(held >= 295, "only {held} layers");
}

#[test]
fn norms_of_rows_and_columns_are_those_of_numpy() {
    let numpy: BTreeMap<String, BTreeMap<String, BTreeMap<String, Vec<f64>>>> =
        serde_json::from_str(include_str!("stats/norms.json")).unwrap();
    let mut held = 0;
    for (checkpoint, layers) in &numpy {
        for (name, axes) in layers {
            for (axis, numpy) in axes {
                let (is, code) = json(checkpoint, &[name, "--norms", axis]);
                let norms: Vec<f64> = serde_json::from_value(is[name]["norms"].clone()).unwrap();
                assert_eq!((code, norms.len()), (0, numpy.len()), "{checkpoint} {name} {axis}");
                assert_eq!(is[name]["axis"], axis.as_str());
                let csv = text(stats(&[&path(checkpoint), name, "--norms", axis, "--csv"]).stdout);
                let mut lines = csv.split_terminator("\r\n");
                assert_eq!(lines.next(), Some("name,axis,index,norm,error"));
                let table = text(stats(&[&path(checkpoint), name, "--norms", axis]).stdout);
                let mut rows = table.lines().skip(2);
                for (at, (is, numpy)) in norms.iter().zip(numpy).enumerate() {
                    let what = format!("{checkpoint} {name}: {axis} {at}");
                    assert!((is - numpy).abs() <= 1e-14 * numpy, "{what}: {is} {numpy}");
                    // serde_json reads numbers of many digits a bit off.
                    let cells = cells_of(lines.next().unwrap());
                    assert_eq!(cells[..3], [name.as_str(), axis, &at.to_string()], "{what}");
                    assert!((cells[3].parse::<f64>().unwrap() - numpy).abs() <= 1e-14 * numpy, "{what}");
                    let row: Vec<&str> = rows.next().unwrap().split_whitespace().collect();
                    assert_eq!(row[..2], [at.to_string(), ckpt::units::value(*numpy)], "{what}");
                    held += 1;
                }
                assert_eq!((lines.next(), rows.next()), (None, Some("")), "{checkpoint} {name} {axis}");
            }
        }
    }
    println!("{held} norms of {} layers", numpy.len());
    assert!(numpy.len() == 8 && held >= 1500, "{held} norms");
}

#[test]
fn what_has_no_norms_is_said_and_they_are_of_the_part_that_is_asked_for() {
    let of = "gptq-w4-g128-sym-v1-A/model";
    let (some, code) = json(of, &["*.0.*.q_proj", "model.norm", "--norms", "columns", "--part", "codes"]);
    assert_eq!(code, 0, "a vector is no fault");
    assert_eq!(some["model.norm"]["error"], "its values are not packed");
    let codes = &some["model.layers.0.self_attn.q_proj"];
    let first = codes["norms"][0].as_f64().unwrap();
    assert!(codes["part"] == "codes" && (first * first).fract().min(1.0 - (first * first).fract()) < 1e-9);
    let output = stats(&[&path(of), "model.norm", "--norms", "rows"]);
    assert_eq!(output.status.code(), Some(2), "there is none");
    let said = text(output.stdout);
    assert!(said.contains("· model.norm  a vector has no rows and columns\n"), "{said}");
    // What is not finite is left out of its norms.
    let (broken, code) = json("bad-quantized/gptq-inf-scale", &["*q_proj", "--norms", "rows"]);
    let norms = broken["model.layers.0.self_attn.q_proj"]["norms"].as_array().unwrap();
    assert!(code == 0 && norms.len() == 128 && norms.iter().all(|norm| norm.as_f64().unwrap() > 0.0));
    let refused = stats(&[&path(of), "--norms", "rows", "-a", "x"]);
    assert_eq!(refused.status.code(), Some(2));
}

/// Returns the lines of the table's body: the name and the rest of each row.
fn rows(text: &str) -> Vec<(&str, &str)> {
    let body = text.lines().skip(1).take_while(|line| !line.is_empty());
    body.filter_map(|line| line.split_once(' ')).collect()
}

#[test]
fn what_looks_wrong_stands_first_and_says_why() {
    let output = stats(&[&path("bad-quantized/gptq-inf-scale")]);
    assert_eq!(output.status.code(), Some(0), "all could be read");
    let text = text(output.stdout);
    let rows = rows(&text);
    assert_eq!(rows[0].0, "model.layers.0.self_attn.q_proj");
    assert!(rows[0].1.ends_with("▲ 5 NaN, 27 infinite"), "{text}");
    assert_eq!(rows[1].0, "model.norm");
    assert!(text.contains("▲ nan        1 layer: values that are no numbers"), "{text}");
    assert!(text.ends_with("2 of 2 layers, 16.5K values\n"), "{text}");
}

#[test]
fn what_cannot_be_read_is_listed_with_its_reason() {
    for (of, name, why, last) in [
        ("bad-quantized/bnb-missing-absmax", "q_proj", "missing absmax", "1 of 2 layers, 128 values, 1 not"),
        ("bad-quantized/gptq-qzeros-wrong-shape", "q_proj", "qzeros does not fit", "1 of 2 layers"),
        ("bad-quantized/bnb-blocksize-zero", "q_proj", "✗ quant state damaged\n", "1 of 2 layers"),
        ("bad-folders/one-shard-truncated", "model.norm", "256 bytes at 107528 of", "9 of 12 layers"),
        (
            "bad-gguf/truncated.gguf",
            "a ",
            "512 bytes at 128 of truncated.gguf, which has 590",
            "0 of 1 layer",
        ),
        ("bad-safetensors/files/offset-out-of-file.safetensors", "a ", "1099511627776 bytes", "0 of 1 layer"),
        ("bad-safetensors/files/shape-size-mismatch.safetensors", "a ", "bytes, its shape", "0 of 1 layer"),
    ] {
        let output = stats(&[&path(of)]);
        assert_eq!(output.status.code(), Some(2), "{of}");
        let text = text(output.stdout);
        for part in [name, why, last] {
            assert!(text.contains(part), "{of}: no {part:?} in\n{text}");
        }
        let (entries, code) = json(of, &[]);
        assert!(code == 2 && entries.values().any(|entry| entry["error"].is_string()), "{of}");
    }
    for (of, file) in [("missing-shard", "model-00002-of-00004"), ("lfs-shard", "model-00001-of-00004")] {
        let output = stats(&[&path(&format!("bad-folders/{of}"))]);
        let said = text(output.stdout);
        assert!(output.status.code() == Some(2) && said.contains(&format!("{file}.safetensors")), "{said}");
    }
}

#[test]
fn hostile_files_are_words_and_never_a_panic() {
    let mut seen = 0;
    for folder in ["bad-safetensors/files", "bad-gguf", "bad-folders", "bad-quantized"] {
        for entry in std::fs::read_dir(sample(folder)).unwrap() {
            let file = entry.unwrap().path().display().to_string();
            if file.ends_with("case.json") {
                continue;
            }
            for more in [&["--tensors", "--csv"][..], &["--part", "scales"]] {
                let output = stats(&[&[&*file], more].concat());
                let code = output.status.code();
                let said = [output.stdout, output.stderr].map(text).concat();
                assert!(matches!(code, Some(0 | 2)) && !said.is_empty(), "{file} {more:?}: {code:?}\n{said}");
                assert!(!said.contains("panicked") && !said.contains('\x1b'), "{file} {more:?}:\n{said}");
                seen += 1;
            }
        }
    }
    assert!(seen >= 140, "only {seen} runs");
}

#[test]
fn patterns_choose_layers_and_one_of_none_names_the_nearest() {
    let of = "gptq-w4-g128-sym-v1-A/model";
    let (chosen, code) = json(of, &["*.1.*.q_proj", "*.0.mlp.down_proj"]);
    let names: Vec<&str> = chosen.keys().map(String::as_str).collect();
    assert_eq!(names, ["model.layers.0.mlp.down_proj", "model.layers.1.self_attn.q_proj"]);
    assert_eq!(code, 0);
    for (pattern, nearest) in [
        ("*self_atn.q_proj", "nearest: model.layers.0.self_attn.q_proj, "),
        ("q_proj", "nearest: model.layers.0.self_attn.q_proj, "),
        ("model.nrom", "nearest: model.norm, "),
    ] {
        // One that names something beside it does not help.
        let output = stats(&[&path(of), pattern, "*norm"]);
        let said = text(output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(nearest), "{pattern}: {said}");
    }
    assert!(text(stats(&[&path(of), "q_proj"]).stderr).contains("a pattern is of whole names: '*q_proj*'"));
}

#[test]
fn parts_are_what_is_stored_and_layers_without_them_are_no_fault() {
    let of = "gptq-w4-g128-sym-v1-A/model";
    let (codes, code) = json(of, &["--part", "codes"]);
    let q = &codes["model.layers.0.self_attn.q_proj"];
    assert_eq!((code, &q["part"], &q["dtype"]), (0, &"codes".into(), &"U8".into()));
    assert_eq!((&q["count"], &q["min"], &q["max"]), (&16384.into(), &0.0.into(), &15.0.into()));
    assert_eq!(codes["model.norm"]["error"], "its values are not packed");
    let scales = text(stats(&[&path(of), "--part", "scales"]).stdout);
    assert!(
        scales.ends_with("scales of 14 of 21 layers, 2.30K values, 7 not: its values are not packed ×7\n")
    );
    // Nothing has terms: what was asked for is not there.
    assert_eq!(stats(&[&path(of), "--part", "terms"]).status.code(), Some(2));
    let (tensors, code) = json(of, &["--tensors", "*q_proj.qweight"]);
    let words = &tensors["model.layers.0.self_attn.q_proj.qweight"];
    assert_eq!((code, &words["format"], &words["count"]), (0, &"I32".into(), &2048.into()));
}

/// Returns the cells of a line of CSV (RFC 4180); no cell of a sample has quotes in it.
fn cells_of(line: &str) -> Vec<String> {
    let (mut cells, mut is_quoted) = (vec![String::new()], false);
    for c in line.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => cells.push(String::new()),
            c => cells.last_mut().unwrap().push(c),
        }
    }
    cells
}

#[test]
fn csv_has_the_figures_of_json() {
    let of = "base-A-bf16/model";
    let (entries, _) = json(of, &[]);
    let text = text(stats(&[&path(of), "--csv"]).stdout);
    // serde_json reads numbers of many digits a bit off.
    let is_same = |cell: &str, json: &Value| {
        let (cell, json) = (cell.parse::<f64>().unwrap(), json.as_f64().unwrap());
        (cell - json).abs() <= 1e-15 * cell.abs()
    };
    let mut lines = text.split_terminator("\r\n");
    let head: Vec<&str> = lines.next().unwrap().split(',').collect();
    let mut seen = 0;
    for line in lines {
        let line = cells_of(line);
        assert_eq!(line.len(), head.len(), "{line:?}");
        let cells: BTreeMap<&str, &str> = head.iter().copied().zip(line.iter().map(String::as_str)).collect();
        let entry = &entries[cells["name"]];
        for key in ["count", "min", "max", "mean", "std", "zeros", "nan", "inf", "rows", "rows_zero"] {
            assert!(is_same(cells[key], &entry[key]), "{key} of {line:?}");
        }
        for key in ["0.01", "0.25", "0.5", "0.75", "0.99"] {
            assert!(is_same(cells[key], &entry["quantiles"][key]), "{key} of {line:?}");
        }
        let counts: Vec<u64> = cells["counts"].split(' ').map(|count| count.parse().unwrap()).collect();
        assert_eq!(serde_json::json!(counts), entry["histogram"]["counts"]);
        let outlier = entry["outliers"][0].as_object().unwrap();
        let [row, column] = [0, 1].map(|at| outlier["at"][at].as_u64().unwrap());
        assert!(cells["outliers"].contains(&format!("[{row}:{column}]")), "{line:?}");
        // What is said of an outlier has a comma in its place.
        assert_eq!(cells["odd"].contains("lies"), !entry["odd"].as_array().unwrap().is_empty());
        seen += 1;
    }
    assert_eq!(seen, entries.len());
}

#[test]
fn alike_layers_are_one_row_and_json_has_them_all() {
    let of = "peft-lora-all-A/adapter";
    let text = text(stats(&[&path(of)]).stdout);
    let rows = rows(&text);
    let folded = rows.iter().find(|(name, _)| name.ends_with("layers.0-1.self_attn.q_proj.lora_A")).unwrap();
    assert!(folded.1.starts_with("×2"), "{text}");
    let (entries, _) = json(of, &[]);
    assert!(rows.len() < entries.len() && text.contains("28 of 28 layers"), "{text}");
    let alike: Vec<&Value> =
        entries.iter().filter(|(name, _)| name.ends_with("q_proj.lora_A")).map(|(_, entry)| entry).collect();
    let least = alike.iter().filter_map(|entry| entry["min"].as_f64()).fold(f64::MAX, f64::min);
    assert!(folded.1.contains(&ckpt::units::value(least)), "{folded:?}");
}
