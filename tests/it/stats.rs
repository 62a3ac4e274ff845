//! `ckpt stats`, by the real binary: every figure against numpy's, and words where there is none.
//!
//! `stats/numpy.json` is what `samples/make/stats.py` made of the reference libraries' decoded layers.

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
