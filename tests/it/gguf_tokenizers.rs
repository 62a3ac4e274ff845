//! Tokenizers of GGUF files, with the real binary: what is written, and what is not and why. That they give the
//! tokens of the models' own was seen with the tokenizers library, which is not at hand here.

use serde_json::{Value, json};

use crate::convert::Scratch;
use crate::gguf_file::GgufFile;
use crate::gguf_names::{FOUR, SIZE, llama, named, read, written};

/// The alphabet of bytes has more: enough for the merges.
const TOKENS: [&str; 14] = [
    "<|end|>",
    "a",
    "b",
    "c",
    "\u{120}",
    "d",
    "e",
    "ab",
    "\u{120}ab",
    "abc",
    "<think>",
    "[PAD11]",
    "<|x|>",
    "f",
];
const TYPES: [i32; 14] = [3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 4, 5, 3, 1];

pub(crate) fn with_bytes() -> GgufFile {
    llama()
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "llama-bpe")
        .texts("tokenizer.ggml.tokens", &TOKENS)
        .ints("tokenizer.ggml.token_type", &TYPES)
        .texts("tokenizer.ggml.merges", &["a b", "\u{120} ab", "ab c"])
        .int("tokenizer.ggml.bos_token_id", 12)
        .int("tokenizer.ggml.eos_token_id", 0)
        .int("tokenizer.ggml.eot_token_id", 12)
}

#[test]
fn a_byte_level_tokenizer_is_written_whole() {
    let scratch = Scratch::new("hf-bytes");
    let template = format!("{{# {} #}}", "x".repeat(100_000));
    let out = scratch.join("out");
    let file = with_bytes().text("tokenizer.chat_template", &template);
    let (config, told) = named(&written(&scratch, "bytes", &file), &out, &[]);
    assert_eq!((told.as_str(), &config["bos_token_id"]), ("", &json!(12)));
    let tokenizer = read(&out.join("tokenizer.json"));
    let vocab = tokenizer["model"]["vocab"].as_object().unwrap();
    assert_eq!(vocab.len(), 13, "all but the filler");
    for (id, token) in TOKENS.iter().enumerate().filter(|(id, _)| *id != 11) {
        assert_eq!(vocab[*token], id, "{token}");
    }
    assert_eq!(tokenizer["model"]["merges"], json!(["a b", "\u{120} ab", "ab c"]));
    assert_eq!(tokenizer["model"]["ignore_merges"], true);
    let added: Vec<(u64, bool)> = tokenizer["added_tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|token| (token["id"].as_u64().unwrap(), token["special"].as_bool().unwrap()))
        .collect();
    assert_eq!(added, [(0, true), (10, false), (12, true)]);
    assert_eq!(tokenizer["pre_tokenizer"]["pretokenizers"][0]["type"], "Split");
    let plain = written(&scratch, "unmarked", &with_bytes().flag("tokenizer.ggml.add_bos_token", false));
    named(&plain, &scratch.join("unmarked"), &[]);
    assert_eq!(read(&scratch.join("unmarked/tokenizer.json"))["post_processor"]["type"], "ByteLevel");
    let template_of = &tokenizer["post_processor"]["processors"][1];
    assert_eq!(template_of["special_tokens"]["<|x|>"]["ids"], json!([12]));
    let settings = read(&out.join("tokenizer_config.json"));
    assert_eq!(settings["chat_template"], template.as_str());
    assert_eq!((&settings["eos_token"], &settings["unk_token"]), (&json!("<|end|>"), &Value::Null));
    assert_eq!(read(&out.join("generation_config.json"))["eos_token_id"], json!([0, 12]));
}

#[test]
fn a_tokenizer_that_cannot_be_right_is_not_written_and_said_so() {
    let scratch = Scratch::new("hf-tokenizer");
    let cases = [
        ("pre", with_bytes().text("tokenizer.ggml.pre", "a-new-one"), "tokenizer.ggml.pre) is a-new-one"),
        ("kind", with_bytes().text("tokenizer.ggml.model", "bert"), "tokenizer.ggml.model is bert"),
        ("merge", with_bytes().texts("tokenizer.ggml.merges", &["a f"]), "needs a token af"),
        ("twice", with_bytes().texts("tokenizer.ggml.tokens", &["a"; 14]), "a stands there twice"),
        ("types", with_bytes().ints("tokenizer.ggml.token_type", &[1]), "14 tokens, but 1 types"),
        (
            "type",
            with_bytes().floats("tokenizer.ggml.tokens", &[1.0]),
            "tokenizer.ggml.tokens is not of the type",
        ),
        ("none", llama(), "the file has no tokenizer.ggml.model"),
    ];
    for (name, file, words) in cases {
        let out = scratch.join(name);
        let (_, told) = named(&written(&scratch, name, &file), &out, &[]);
        assert!(told.contains("tokenizer.json is not written") && told.contains(words), "{name}: {told}");
        assert!(!out.join("tokenizer.json").exists());
    }
}

#[test]
fn merges_are_recovered_from_scores_and_from_order() {
    let scratch = Scratch::new("hf-pieces");
    let tokens = ["<unk>", "<s>", "<0x00>", "\u{2581}", "a", "b", "ab", "\u{2581}a", "\u{2581}ab", "  "];
    let pieces = |file: GgufFile| {
        file.text("tokenizer.ggml.model", "llama")
            .texts("tokenizer.ggml.tokens", &tokens)
            .ints("tokenizer.ggml.token_type", &[2, 3, 6, 1, 1, 1, 1, 1, 1, 4])
            .floats("tokenizer.ggml.scores", &[0., 0., 0., -9., -9., -9., -3., -1., -2., 0.])
            .int("tokenizer.ggml.bos_token_id", 1)
            .int("tokenizer.ggml.unknown_token_id", 0)
    };
    let input = written(&scratch, "llama", &pieces(llama()));
    named(&input, &scratch.join("llama"), &[]);
    let tokenizer = read(&scratch.join("llama").join("tokenizer.json"));
    let want = ["\u{2581} a", "\u{2581}a b", "\u{2581} ab", "a b"];
    assert_eq!(tokenizer["model"]["merges"], json!(want));
    assert_eq!(
        (&tokenizer["model"]["unk_token"], &tokenizer["model"]["byte_fallback"]),
        (&json!("<unk>"), &json!(true))
    );
    assert_eq!(tokenizer["normalizer"]["normalizers"][0], json!({"type": "Prepend", "prepend": "\u{2581}"}));
    assert_eq!(tokenizer["post_processor"]["special_tokens"]["<s>"]["ids"], json!([1]));
    // Two spaces are an added token, and stay as they are.
    assert_eq!(tokenizer["added_tokens"][2]["content"], "  ");

    let input = written(&scratch, "gemma", &pieces(GgufFile::new("gemma2").model(&SIZE, FOUR, false)));
    named(&input, &scratch.join("gemma"), &[]);
    let tokenizer = read(&scratch.join("gemma").join("tokenizer.json"));
    let want = ["a b", "\u{2581} a", "\u{2581}a b", "\u{2581} ab", "\u{2581} \u{2581}"];
    assert_eq!(tokenizer["model"]["merges"], json!(want));
    assert_eq!(tokenizer["model"]["vocab"]["\u{2581}\u{2581}"], 9);
    assert_eq!(tokenizer["added_tokens"].as_array().unwrap().len(), 2);
}
