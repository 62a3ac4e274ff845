//! Tests of `names`.

use super::*;
use crate::container::Header;
use crate::tensor::Dtype;

fn tree(names: &[&str]) -> (Names, Vec<String>) {
    let mut header = Header::default();
    for name in names {
        header.push(name, Dtype::F32, &[1], 0, 4);
    }
    let (tree, origins) = Names::build(&[header]);
    let order = origins.iter().map(|o| tree.name(o.node)).collect();
    (tree, order)
}

#[test]
fn tensors_come_in_natural_order_and_names_are_rebuilt() {
    let (tree, order) = tree(&["a.layers.10.w", "a.layers.2.w", "a.layers.2.w.absmax", "", ".", "b..c"]);
    assert_eq!(order, ["", ".", "a.layers.2.w", "a.layers.2.w.absmax", "a.layers.10.w", "b..c"]);
    let w = tree.find("a.layers.2.w").unwrap();
    assert_ne!(tree.first_tensor(w), NONE, "a tensor and a parent at once");
    assert_eq!(tree.end(w) - w, 2);
    assert_eq!(tree.find("a.layers.3"), None);
    assert_eq!(tree.label_text(tree.find_label("layers").unwrap()), "layers");
}

#[test]
fn names_written_in_a_row_are_the_names() {
    let (tree, order) = tree(&["a.b.c", "a.b", "d", "a.b.e.f", "", "a..g"]);
    let mut writer = NameWriter::new(&tree);
    let nodes: Vec<NodeId> = (0..tree.len() as u32).filter(|&n| tree.first_tensor(n) != NONE).collect();
    let written: Vec<String> = nodes.iter().map(|&node| writer.name(node).to_owned()).collect();
    assert_eq!(written, order);
}

#[test]
fn equal_names_share_a_node() {
    let (tree, order) = tree(&["x.w", "x.w"]);
    assert_eq!(order, ["x.w", "x.w"]);
    assert_eq!(tree.len(), 2);
}

#[test]
fn a_name_of_a_million_dots_is_capped_and_kept() {
    let deep = ".".repeat(1_000_000);
    let (tree, order) = tree(&[&deep, &format!("{deep}x")]);
    assert_eq!(order[0], deep);
    assert!(tree.len() <= 2 * DEPTH_MAX);
}
