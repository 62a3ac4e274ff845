//! Layers matched by their names.

use serde_json::json;

use super::{Matched, NameMap, Pair, Side};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::made::Made;
use crate::quant::change::Change;
use crate::tensor::Dtype;

fn of(names: &[(&str, &[u64])]) -> Checkpoint {
    let add = |made: Made, (name, shape): &(&str, &[u64])| made.add(name, Dtype::BF16, shape);
    names.iter().fold(Made::default(), add).checkpoint()
}

fn names(pairs: &[Pair]) -> Vec<&str> {
    pairs.iter().map(|pair| pair.name.as_str()).collect()
}

fn map(strip_a: &[&str], strip_b: &[&str], renames: &[&str]) -> NameMap {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    NameMap::parse(&texts(strip_a), &texts(strip_b), &texts(renames)).expect("a map")
}

#[test]
fn biases_are_pairs_of_their_own_and_lone_ones_are_told() {
    let a = of(&[("x.weight", &[2, 2]), ("x.bias", &[2]), ("y.weight", &[2, 2]), ("y.bias", &[2])]);
    let b = of(&[("x.weight", &[2, 2]), ("x.bias", &[3]), ("y.weight", &[2, 2])]);
    let matched = Matched::of(&a, &b, &NameMap::default());
    assert_eq!(names(&matched.pairs), ["x", "x.bias", "y"]);
    assert_eq!((matched.only_a.len(), matched.only_b.len()), (0, 0));
    let lone: Vec<(Side, String)> =
        matched.lone_biases.iter().map(|(side, tensor)| (*side, a.files.tensor_name(*tensor))).collect();
    assert_eq!(lone, [(Side::A, "y.bias".to_owned())]);
    let differs = matched.pairs[1].differs(&a, &b);
    assert_eq!(differs.shape, Some((vec![2], vec![3])));
    assert!(matched.pairs[0].differs(&a, &b).is_nothing());
}

#[test]
fn prefixes_end_at_a_dot_and_the_first_that_fits_counts() {
    let a = of(&[("model.x.weight", &[2]), ("modelled.y.weight", &[2]), ("model.weight", &[2])]);
    let b = of(&[("x.weight", &[2]), ("led.y.weight", &[2])]);
    let matched = Matched::of(&a, &b, &map(&["model", "mod"], &[], &[]));
    assert_eq!(names(&matched.pairs), ["x"]);
    // A name that is all prefix keeps it.
    let only = |layers: &[u32], of: &Checkpoint| -> Vec<String> {
        layers.iter().map(|layer| of.layers.name(&of.files.names, *layer)).collect()
    };
    assert_eq!(only(&matched.only_a, &a), ["model", "modelled.y"]);
    assert_eq!(only(&matched.only_b, &b), ["led.y"]);
    assert_eq!(matched.notes, ["no name of A begins with mod"]);
}

#[test]
fn names_that_become_the_same_are_paired_once() {
    let a = of(&[("m.x.weight", &[2]), ("x.weight", &[2])]);
    let b = of(&[("x.weight", &[2])]);
    let matched = Matched::of(&a, &b, &map(&["m"], &[], &[]));
    assert_eq!((names(&matched.pairs), matched.only_a.len(), matched.only_b.len()), (vec!["x"], 1, 0));
    assert_eq!(matched.notes, ["2 layers of A are called x: each is matched once, in their order"]);
}

#[test]
fn a_star_stands_for_the_same_text() {
    let renames = map(&[], &[], &["h.*.ln=layers.*.norm", "h.*=other.*", "q=r"]);
    let a = of(&[("h.12.ln.weight", &[2]), ("h.12.mlp.weight", &[2])]);
    let b = of(&[("layers.12.norm.weight", &[2]), ("other.12.mlp.weight", &[2])]);
    let matched = Matched::of(&a, &b, &renames);
    assert_eq!(names(&matched.pairs), ["layers.12.norm", "other.12.mlp"]);
    assert_eq!(matched.notes, ["no name of A is q"]);
    // What is before and behind the star may not lie over each other.
    let over =
        Matched::of(&of(&[("aba.weight", &[2])]), &of(&[("x.weight", &[2])]), &map(&[], &[], &["ab*ba=x*"]));
    assert!(over.pairs.is_empty());
}

#[test]
fn what_to_strip_is_said_if_no_name_is_in_both() {
    let long = of(&[("base_model.model.x.weight", &[2])]);
    let short = of(&[("a.weight", &[2]), ("x.weight", &[2])]);
    let hint = |a: &Checkpoint, b: &Checkpoint| Matched::of(a, b, &NameMap::default()).notes;
    let says =
        |flag: &str| vec![format!("no name is in both; {flag} base_model.model would make some the same")];
    assert_eq!(hint(&long, &short), says("--strip-prefix-a"));
    assert_eq!(hint(&short, &long), says("--strip-prefix-b"));
    assert!(hint(&of(&[("p.weight", &[2])]), &of(&[("q.weight", &[2])])).is_empty());
}

#[test]
fn a_packed_conv1d_is_turned_to_its_dense_one() {
    let config = json!({"model_type": "gpt2", "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 32}});
    let packed = Made::default()
        .add("h.0.attn.c_attn.qweight", Dtype::I32, &[8, 96])
        .add("h.0.attn.c_attn.qzeros", Dtype::I32, &[2, 12])
        .add("h.0.attn.c_attn.scales", Dtype::F16, &[2, 96])
        .add("h.0.attn.c_attn.g_idx", Dtype::I32, &[64])
        .checkpoint_with(config);
    let dense = Made::default().add("h.0.attn.c_attn.weight", Dtype::BF16, &[64, 96]).checkpoint();
    assert_eq!(packed.layers.spec(0).shape, [96, 64]);
    let matched = Matched::of(&packed, &dense, &NameMap::default());
    assert_eq!(matched.pairs[0].changes, [Change::Turned, Change::None]);
    let differs = matched.pairs[0].differs(&packed, &dense);
    assert_eq!(differs.shape, None);
    assert_eq!(differs.format, Some(("GPTQ4".to_owned(), "BF16".to_owned())));
    // Two that are turned both stand as they are.
    let matched = Matched::of(&packed, &packed, &NameMap::default());
    assert_eq!(matched.pairs[0].changes, [Change::None; 2]);
}

#[test]
fn what_only_b_has_finds_its_place_among_the_names_of_a() {
    let two = |prefix: &str| {
        of(&[
            (&format!("{prefix}layers.0.attn.q.weight"), &[2, 2]),
            (&format!("{prefix}layers.0.norm.weight"), &[2]),
            (&format!("{prefix}layers.1.attn.q.weight"), &[2, 2]),
        ])
    };
    let b = of(&[
        ("layers.0.attn.q.weight", &[2, 2]),
        ("layers.0.attn.k.weight", &[2, 2]),
        ("layers.0.bias.weight", &[2]),
        ("layers.2.attn.q.weight", &[2, 2]),
        ("head.weight", &[2]),
    ]);
    for (prefix, strip) in [("", &[][..]), ("base.model.", &["base.model"])] {
        let a = two(prefix);
        let matched = Matched::of(&a, &b, &map(strip, &[], &[]));
        let places: Vec<(String, String, String)> = matched
            .guests
            .iter()
            .map(|guest| {
                let is_top = guest.above == crate::checkpoint::names::NONE;
                let above = if is_top { String::new() } else { a.files.names.name(guest.above) };
                (guest.name.clone(), above.trim_start_matches(prefix).to_owned(), guest.label.clone())
            })
            .collect();
        let texts = |of: [&str; 3]| (of[0].to_owned(), of[1].to_owned(), of[2].to_owned());
        let wanted = [
            ["head", "", "head"],
            ["layers.0.attn.k", "layers.0.attn", "k"],
            ["layers.0.bias", "layers.0", "bias"],
            ["layers.2.attn.q", "layers", "2.attn.q"],
        ];
        assert_eq!(places, wanted.map(texts), "{prefix}");
        let layers: Vec<u32> = matched.guests.iter().map(|guest| guest.layer).collect();
        assert_eq!(layers, matched.only_b);
    }
}
