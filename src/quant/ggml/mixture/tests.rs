//! What llama.cpp's rules make of names and shapes.

use super::*;
use crate::quant::ggml::encode;

const PLAIN: Model<'_> =
    Model { arch: "llama", has_head: true, blocks: 32, experts: 0, heads: [32, 8], values: 32 };

fn plain(base: &'static str) -> Mixture {
    Mixture { name: base, base, mix: Mix::Plain, file_type: 0 }
}

fn of(base: &'static str, name: &str, shape: &[u64], model: Model<'_>) -> (String, bool) {
    let choice = plain(base).choose(name, shape, (&model, &mut Before::default())).unwrap();
    (choice.dtype.name().to_owned(), choice.note.is_some())
}

#[test]
fn norms_routers_and_rows_stay() {
    for (name, shape, is) in [
        ("blk.0.attn_q.weight", &[64, 64][..], true),
        ("blk.0.ffn_down_exps.weight", &[8, 64, 64], true),
        ("blk.0.attn_norm.weight", &[64, 64], false),
        ("blk.0.attn_q.weight", &[64], false),
        ("blk.0.attn_q.weight", &[1, 64], false),
        ("blk.0.attn_q.weight", &[1, 1, 64], false),
        ("blk.0.attn_q.weight", &[2, 1, 64], true),
        ("blk.0.attn_q.bias", &[64, 64], false),
        ("blk.0.ffn_gate_inp.weight", &[8, 64], false),
        ("position_embd.weight", &[64, 64], false),
        ("v.patch_embd.weight", &[64, 3, 14, 14], false),
        ("output.weight", &[64, 64], true),
        ("blk.0.ssm_conv1d.weight", &[64, 4], false),
    ] {
        assert_eq!(is_quantized(name, shape, "llama"), is, "{name} {shape:?}");
    }
    let glm = |arch| is_quantized("blk.0.attn_k_b.weight", &[64, 64], arch);
    assert_eq!((glm("llama"), glm("glm5-next")), (true, false));
}

#[test]
fn heads_are_wider() {
    let tied = Model { has_head: false, ..PLAIN };
    let falcon = Model { arch: "falcon", ..PLAIN };
    let name = "Q6_K".to_owned();
    assert_eq!(of("Q4_K", "output.weight", &[512, 256], PLAIN), (name.clone(), true));
    assert_eq!(of("Q4_0", "output.weight", &[512, 256], PLAIN), (name.clone(), true));
    assert_eq!(of("Q6_K", "output.weight", &[512, 256], PLAIN), (name.clone(), false));
    assert_eq!(of("Q8_0", "output.weight", &[512, 256], PLAIN), ("Q8_0".into(), false));
    assert_eq!(of("Q8_0", "output.weight", &[512, 250], PLAIN), ("F16".into(), true));
    assert_eq!(of("MXFP4", "output.weight", &[512, 256], PLAIN), ("Q8_0".into(), true));
    assert_eq!(of("Q4_K", "output.weight", &[512, 96], PLAIN), ("Q8_0".into(), true));
    // Q6_K that does not fit becomes Q8_0.
    assert_eq!(of("Q4_0", "output.weight", &[512, 96], PLAIN), ("Q8_0".into(), true));
    assert_eq!(of("Q4_K", "output.weight", &[512, 256], falcon), ("Q8_0".into(), true));
    assert_eq!(of("Q4_K", "token_embd.weight", &[512, 256], PLAIN), ("Q4_K".into(), false));
    assert_eq!(of("Q4_K", "token_embd.weight", &[512, 256], tied), (name.clone(), true));
    assert_eq!(of("TQ1_0", "token_embd.weight", &[512, 256], PLAIN), ("Q4_K".into(), true));
    assert_eq!(of("TQ1_0", "token_embd.weight", &[512, 256], tied), (name, true));
}

#[test]
fn rows_that_are_no_whole_blocks_become_another_type() {
    let of = |mixture, inputs| of(mixture, "blk.0.ffn_up.weight", &[7, inputs], PLAIN).0;
    for (mixture, of_96) in [
        ("Q2_K", "Q4_0"),
        ("Q3_K", "Q4_0"),
        ("Q4_K", "Q5_0"),
        ("Q5_K", "Q5_1"),
        ("Q6_K", "Q8_0"),
        ("IQ4_XS", "IQ4_NL"),
        ("TQ1_0", "Q4_0"),
        ("TQ2_0", "Q4_0"),
        ("Q8_0", "Q8_0"),
        ("Q4_0", "Q4_0"),
        ("IQ4_NL", "IQ4_NL"),
        ("MXFP4", "MXFP4"),
    ] {
        assert_eq!(of(mixture, 96), of_96, "{mixture}");
        assert_eq!(of(mixture, 256), mixture);
        assert_eq!(of(mixture, 80), "F16", "{mixture}");
    }
    let choice =
        plain("Q4_K").choose("blk.0.ffn_up.weight", &[7, 96], (&PLAIN, &mut Before::default())).unwrap();
    assert_eq!(choice.note.unwrap(), "rows of 96 are not whole blocks of 256 Q4_K: Q5_0 instead");
}

#[test]
fn every_type_that_is_written_has_a_target() {
    for row in crate::quant::target::TARGETS {
        let target = (row.make)(&crate::quant::target::Wishes::default());
        let Some(mixture) = target.ok().and_then(|target| target.gguf()) else { continue };
        let is_plain = super::plain(mixture.base).is_some();
        assert_eq!(row.name.trim_start_matches("gguf-"), mixture.name.to_lowercase());
        assert_eq!(row.name.starts_with("gguf-"), is_plain);
        assert!(is_plain || encode::kind(mixture.base).is_some(), "{}", row.name);
    }
}

/// What llama.cpp's own code says of whole models, mixture by mixture: `tests/ggml/mixtures.txt`.
#[test]
fn mixtures_are_those_of_llama_quantize() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ggml/mixtures.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let number = |word: &str| word.parse::<u64>().unwrap();
    let mut model = PLAIN;
    let mut tensors: Vec<(&str, Vec<u64>)> = Vec::new();
    let (mut held, mut raised) = (0, 0);
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["model", arch, blocks, experts, heads, kv_heads] => {
                tensors.clear();
                let heads = [number(heads), number(kv_heads)];
                model = Model { arch, blocks: number(blocks), experts: number(experts), heads, ..PLAIN };
            }
            ["tensor", name, ref shape @ ..] => {
                tensors.push((name, shape.iter().map(|n| number(n)).collect()));
            }
            [name, ref types @ ..] => {
                model.has_head = tensors.iter().any(|(name, _)| *name == "output.weight");
                model.values = tensors.iter().filter(|(name, _)| is_values(name)).count() as u64;
                let (base, mix) = match name.rsplit_once('_') {
                    Some((base, "S")) => (base, Mix::Small),
                    Some((base, "M")) => (base, Mix::Medium),
                    Some((base, "L")) => (base, Mix::Large),
                    _ => (name, Mix::Plain),
                };
                let base = ["Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"]
                    .into_iter()
                    .find(|known| *known == base)
                    .unwrap();
                let mixture = Mixture { name: base, base, mix, file_type: 0 };
                let mut before = Before::default();
                assert_eq!(types.len(), tensors.len());
                for ((tensor, shape), should) in tensors.iter().zip(types) {
                    let is = is_quantized(tensor, shape, model.arch)
                        .then(|| mixture.choose(tensor, shape, (&model, &mut before)).unwrap());
                    let is = is.as_ref().map_or("-", |choice| choice.dtype.name());
                    assert_eq!(is, *should, "{} of {} blocks, {name}: {tensor}", model.arch, model.blocks);
                    held += 1;
                    raised += usize::from(is != "-" && is != base);
                }
            }
            [] => {}
        }
    }
    assert!(held > 5000 && raised > 1000, "{held} {raised}");
}
