//! Names of adapters: how their paths split, translate and differ.

use super::*;

#[test]
fn paths_split_before_their_stack() {
    for (path, prefix, rest) in [
        ("model.layers.0.mlp.up_proj", "model", "layers.0.mlp.up_proj"),
        ("h.0.attn.c_attn", "", "h.0.attn.c_attn"),
        ("base_model.model.lm_head", "base_model.model", "lm_head"),
        ("lm_head", "", "lm_head"),
        ("model.layers.0.mlp.experts.3.w1", "model", "layers.0.mlp.experts.3.w1"),
        ("0.a", "0", "a"),
        ("", "", ""),
    ] {
        assert_eq!(split(path), (prefix, rest), "{path}");
    }
}

#[test]
fn vision_transformers_keep_their_older_names_in_files() {
    for (own, of_file) in [
        ("vit.layers.0.attention.q_proj", Some("vit.encoder.layer.0.attention.attention.query")),
        ("layers.11.mlp.fc2", Some("encoder.layer.11.output.dense")),
        ("model.layers.0.self_attn.q_proj", None),
        ("model.layers.0.mlp.up_proj", None),
        ("lm_head", None),
    ] {
        assert_eq!(vision_name(own).as_deref(), of_file, "{own}");
    }
}

#[test]
fn prefixes_may_differ_by_known_wrappers_only() {
    assert!(differ_by_wrappers("base_model.model.model.language_model", "model"));
    assert!(differ_by_wrappers("module.base_model.model.model", "model"));
    assert!(differ_by_wrappers("", "model"));
    assert!(!differ_by_wrappers("vision_tower.encoder", "model"));
    assert!(!differ_by_wrappers("base_model.model.encoder", "decoder"));
}

#[test]
fn a_change_is_said_at_the_edge_of_components() {
    assert_eq!(change("model.layers.0.q", "model.layers.0.q"), "nothing becomes \"base_model.model.\"");
    let from = "base_model.model.layers.0.q";
    assert_eq!(change(from, "model.layers.0.q"), "\"base_model.\" becomes \"base_model.model.\"");
    let lm = "base_model.model.language_model.model.layers.0.q";
    assert!(change(lm, "model.layers.0.q").contains("language_model"));
    for (from, to) in [("", ""), ("é", "è"), ("a.é", "b.é")] {
        let _ = change(from, to);
    }
}
