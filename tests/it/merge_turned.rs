//! Merging into models of `Conv1D`, whose weights lie `[in, out]`, and are packed turned: with the real binary.

use std::path::Path;
use std::process::Command;

use crate::convert::{Scratch, convert, done, tensors};
use crate::merge::merge;
use crate::sample;

/// An adapter on the packed model is what it is on the plain model that is decoded of it: whose classes PEFT has merged.
#[test]
fn an_adapter_goes_the_same_way_into_what_was_turned_when_it_was_packed() {
    let (case, scratch) = (sample("peft-lora-conv1d-gpt2"), Scratch::new("merge-turned"));
    let adapter = case.join("adapter");
    for to in [&["bnb-nf4"][..], &["bnb-int8"], &["gptq", "--group-size", "32"]] {
        let at = |what: &str| scratch.join(&format!("{}-{what}", to[0]));
        let mut pack = Command::new(env!("CARGO_BIN_EXE_ckpt"));
        pack.arg("convert").arg(case.join("base")).arg("-o").arg(at("packed")).arg("--to").args(to);
        done(&pack.output().unwrap());
        done(&convert(&at("packed"), &at("plain"), &[]));
        done(&merge(&at("plain"), &[&adapter], &at("should"), &[]));
        done(&merge(&at("packed"), &[&adapter], &at("is"), &[]));
        let (plain, should, is) = (tensors(&at("plain")), tensors(&at("should")), tensors(&at("is")));
        let changed = should.iter().filter(|(name, tensor)| plain.get(*name) != Some(tensor));
        // The square one is none the other in its shape.
        assert_eq!(changed.count(), 4, "{to:?}");
        assert!(is == should, "{to:?}: another result on the packed model");
    }
}

/// Merged, turned and packed in one pass is what that is in two, of the dtype that the format packs of; and the proof, which
/// computes rows of every layer in f64, finds those of square weights too.
#[test]
fn what_is_merged_turned_and_packed_is_proven() {
    let (case, scratch) = (sample("peft-lora-conv1d-gpt2"), Scratch::new("merge-packed"));
    let (base, adapter) = (case.join("base"), case.join("adapter"));
    for (to, dtype) in
        [(&["bnb-nf4"][..], "bf16"), (&["bnb-int8"], "bf16"), (&["gptq", "--group-size", "32"], "f32")]
    {
        let [plain, should, is] =
            ["plain", "should", "is"].map(|what| scratch.join(&format!("{}-{what}", to[0])));
        let flags = [&["--to"], to].concat();
        let said = done(&merge(&base, &[&adapter], &is, &[&flags[..], &["--verify", "full"]].concat()));
        assert!(said.contains("in f64"), "{said}");
        done(&merge(&base, &[&adapter], &plain, &["--dtype", dtype]));
        let mut pack = Command::new(env!("CARGO_BIN_EXE_ckpt"));
        done(&pack.arg("convert").arg(&plain).arg("-o").arg(&should).args(flags).output().unwrap());
        // Codes alone: what stays plain has the dtype of its source, and formats write that down.
        let codes = |folder: &Path| {
            let mut tensors = tensors(folder);
            tensors.retain(|name, (dtype, ..)| {
                ["U8", "I8", "I32"].contains(&dtype.as_str()) && !name.contains("quant_state")
            });
            tensors
        };
        let is = codes(&is);
        assert!(is.len() >= 4 && is == codes(&should), "{to:?}");
    }
}
