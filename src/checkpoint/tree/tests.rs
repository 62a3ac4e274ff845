//! Tests of the tree: claims about folds, chains, marks and the filter.

use super::*;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::made::Made;
use crate::problem::{Problem, kind};
use crate::tensor::Dtype;

/// A small dense model; `odd` is the layer whose `up_proj` is F32.
pub(super) fn model(layers: usize, odd: Option<usize>) -> Made {
    let mut made = Made::default().add("model.embed_tokens.weight", Dtype::F16, &[100, 8]);
    for layer in 0..layers {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        let dtype = if odd == Some(layer) { Dtype::F32 } else { Dtype::F16 };
        made = made
            .add(&name("self_attn.q_proj.weight"), Dtype::F16, &[8, 8])
            .add(&name("self_attn.q_proj.bias"), Dtype::F16, &[8])
            .add(&name("mlp.up_proj.weight"), dtype, &[16, 8])
            .add(&name("norm.weight"), Dtype::F16, &[8]);
    }
    made.add("model.norm.weight", Dtype::F16, &[8]).add("lm_head.weight", Dtype::F16, &[100, 8])
}

/// Draws the tree as text: `v` open, `>` closed.
fn draw(tree: &Tree, checkpoint: &Checkpoint) -> String {
    let mut lines = Vec::new();
    for (index, row) in tree.rows().iter().enumerate() {
        let text = tree.describe(checkpoint, index);
        let sign = match text.expand {
            Expand::Open => 'v',
            Expand::Closed => '>',
            Expand::Leaf => '.',
        };
        let mark = match text.mark {
            Mark::Error => " X",
            Mark::Warning => " !",
            Mark::None => "",
        };
        let odd = if text.is_odd { " odd" } else { "" };
        let bias = if text.bias { " +bias" } else { "" };
        let indent = "  ".repeat(usize::from(row.depth));
        let line = format!("{indent}{sign} {}{bias} {}{mark}{odd}", text.full(), text.format);
        lines.push(line.trim_end().to_owned());
    }
    lines.join("\n")
}

pub(super) fn row_of(tree: &Tree, checkpoint: &Checkpoint, name: &str) -> usize {
    tree.row_of(checkpoint, tree.find(checkpoint, name).unwrap()).unwrap()
}

#[test]
fn alike_layers_are_one_row_that_shows_the_first() {
    let checkpoint = model(28, None).checkpoint();
    let mut tree = Tree::new(&checkpoint);
    insta::assert_snapshot!(draw(&tree, &checkpoint), @r"
    . lm_head F16
    v model
      . embed_tokens F16
      v layers 0-27 ×28 alike
        v mlp
          . up_proj F16
        . norm F16
        v self_attn
          . q_proj +bias F16
      . norm F16
    ");
    let fold = tree.describe(&checkpoint, 3);
    assert_eq!(fold.bytes, 28 * 2 * (64 + 8 + 128 + 8));
    assert_eq!(fold.parameters, Some(28 * (64 + 8 + 128 + 8)));
    let q_proj = row_of(&tree, &checkpoint, "model.layers.0.self_attn.q_proj");
    assert_eq!(tree.describe(&checkpoint, q_proj).alike, 28);
    tree.set_mode(&checkpoint, Mode::Tensors);
    insta::assert_snapshot!(draw(&tree, &checkpoint), @r"
    > lm_head
    v model
      > embed_tokens
      v layers 0-27 ×28 alike
        v mlp.up_proj
          . weight F16
        v norm
          . weight F16
        v self_attn.q_proj
          . bias F16
          . weight F16
      > norm
    ");
}

#[test]
fn the_odd_one_stands_alone_and_is_marked_down_to_the_layer() {
    let checkpoint = model(28, Some(5)).checkpoint();
    let mut tree = Tree::new(&checkpoint);
    let first = tree.next_marked(&checkpoint, 0, true).unwrap();
    assert_eq!(tree.describe(&checkpoint, first).label, "up_proj");
    assert_eq!(tree.next_marked(&checkpoint, first, true), Some(first), "the only one");
    insta::assert_snapshot!(draw(&tree, &checkpoint), @r"
    . lm_head F16
    v model
      . embed_tokens F16
      v layers
        v 0-4 6-27 ×27 alike
          v mlp
            . up_proj F16
          . norm F16
          v self_attn
            . q_proj +bias F16
        v 5  odd
          v mlp
            . up_proj F32 odd
          . norm F16
          > self_attn
      . norm F16
    ");
}

#[test]
fn a_missing_layer_and_an_extra_tensor_break_a_fold() {
    let mut made = Made::default();
    for layer in 0..9 {
        if layer != 4 {
            made = made.add(&format!("h.{layer}.a.weight"), Dtype::F16, &[4, 4]);
        }
        made = made.add(&format!("h.{layer}.b.weight"), Dtype::F16, &[4, 4]);
        if layer == 7 {
            made = made.add(&format!("h.{layer}.b.extra"), Dtype::F16, &[4]);
        }
    }
    let checkpoint = made.checkpoint();
    let mut tree = Tree::new(&checkpoint);
    tree.open_all(&checkpoint);
    insta::assert_snapshot!(draw(&tree, &checkpoint), @r"
    v h
      v 0-3 5-6 8 ×7 alike
        . a F16
        . b F16
      v 4  odd
        . b F16
      v 7  odd
        . a F16
        v b F16
          . extra F16 odd
    ");
}

#[test]
fn folds_nest_and_unfold_one_by_one_or_all() {
    let mut made = Made::default();
    for layer in 0..3 {
        for expert in 0..4 {
            made = made.add(&format!("layers.{layer}.experts.{expert}.up.weight"), Dtype::BF16, &[4, 4]);
        }
        made = made.add(&format!("layers.{layer}.norm.weight"), Dtype::BF16, &[4]);
    }
    let checkpoint = made.checkpoint();
    let mut tree = Tree::new(&checkpoint);
    tree.open_all(&checkpoint);
    insta::assert_snapshot!(draw(&tree, &checkpoint), @r"
    v layers 0-2 ×3 alike
      v experts 0-3 ×4 alike
        . up BF16
      . norm BF16
    ");
    let up = row_of(&tree, &checkpoint, "layers.0.experts.0.up");
    assert_eq!(tree.describe(&checkpoint, up).alike, 12);
    assert!(tree.toggle_unfold(&checkpoint, up));
    insta::assert_snapshot!(draw(&tree, &checkpoint), @r"
    v layers 0-2 ×3 alike
      v experts
        v 0
          . up BF16
        v 1
          . up BF16
        v 2
          . up BF16
        v 3
          . up BF16
      . norm BF16
    ");
    assert_eq!(tree.rows()[tree.cursor()].node, tree.find(&checkpoint, "layers.0.experts.0.up").unwrap());
    let third = tree.find(&checkpoint, "layers.0.experts.3.up").unwrap();
    tree.select_node(&checkpoint, third);
    assert!(tree.toggle_unfold(&checkpoint, tree.cursor()));
    let at = tree.current().unwrap().node;
    assert_eq!(checkpoint.files.names.name(at), "layers.0.experts.0.up", "the twin in the first member");
    tree.toggle_unfold_all(&checkpoint);
    assert_eq!(tree.rows().iter().filter(|row| matches!(row.kind, RowKind::Layer(_))).count(), 15);
    tree.toggle_unfold_all(&checkpoint);
    assert_eq!(tree.rows().iter().filter(|row| matches!(row.kind, RowKind::Layer(_))).count(), 2);
}

#[test]
fn chains_of_groups_are_one_row() {
    let mut made = Made::default();
    for layer in 0..2 {
        for part in ["lora_A", "lora_B"] {
            made =
                made.add(&format!("base_model.model.model.layers.{layer}.q.{part}.weight"), Dtype::F32, &[4]);
        }
    }
    made = made.add("base_model.model.model.norm.weight", Dtype::F32, &[4]);
    let checkpoint = made.checkpoint();
    let mut tree = Tree::new(&checkpoint);
    insta::assert_snapshot!(draw(&tree, &checkpoint), @r"
    v base_model.model.model
      v layers 0-1 ×2 alike
        v q
          . lora_A F32
          . lora_B F32
      . norm F32
    ");
    let middle = tree.find(&checkpoint, "base_model.model").unwrap();
    assert_eq!(tree.select_node(&checkpoint, middle), Some(0), "a node inside a chain is its row");
}

#[test]
fn a_problem_marks_its_layer_and_what_is_above_it() {
    let mut checkpoint = model(3, None).checkpoint();
    let problem = Problem::new(&kind::BAD_OFFSETS, "out of the file").tensor("model.layers.1.norm.weight");
    checkpoint.problems.push(problem);
    checkpoint.problems.push(Problem::new(&kind::NAME_LONG, "long").tensor("lm_head.weight"));
    let mut tree = Tree::new(&checkpoint);
    insta::assert_snapshot!(draw(&tree, &checkpoint), @r"
    . lm_head F16 !
    v model  X
      . embed_tokens F16
      v layers  X
        v 0 2 ×2 alike
          v mlp
            . up_proj F16
          . norm F16
          v self_attn
            . q_proj +bias F16
        > 1  X odd
      . norm F16
    ");
    let row = tree.next_marked(&checkpoint, 0, true).unwrap();
    assert_eq!(checkpoint.files.names.name(tree.rows()[row].node), "model.layers.1.norm");
    let round = tree.next_marked(&checkpoint, row, true).unwrap();
    assert_eq!(tree.describe(&checkpoint, round).label, "lm_head");
    let back = tree.next_marked(&checkpoint, row, false).unwrap();
    assert_eq!(tree.describe(&checkpoint, back).label, "lm_head");
}

#[test]
fn a_part_leads_to_its_layer_and_a_filtered_node_ends_the_filter() {
    let checkpoint = model(4, None).checkpoint();
    let mut tree = Tree::new(&checkpoint);
    tree.set_filter(&checkpoint, Some(Filter::parse("up_proj").unwrap()));
    let bias = tree.find(&checkpoint, "model.layers.2.self_attn.q_proj.bias").unwrap();
    let row = tree.select_node(&checkpoint, bias).unwrap();
    assert_eq!(tree.describe(&checkpoint, row).label, "q_proj");
    assert_eq!(tree.filter(), None);
    assert_eq!(checkpoint.files.names.name(tree.rows()[row].node), "model.layers.2.self_attn.q_proj");
}

#[test]
fn a_filter_opens_what_leads_to_hits_and_gives_back_what_was_open() {
    let checkpoint = model(28, Some(5)).checkpoint();
    let mut tree = Tree::new(&checkpoint);
    let before = draw(&tree, &checkpoint);
    let mut check = |text: &str, hits: usize, drawn: &str| {
        tree.set_filter(&checkpoint, Some(Filter::parse(text).unwrap()));
        assert_eq!(tree.hits(), Some(hits), "{text}");
        let names: Vec<String> = (0..tree.rows().len())
            .filter(|&row| tree.is_hit(&tree.rows()[row]))
            .map(|row| checkpoint.files.names.name(tree.rows()[row].node).replace("model.layers.", ""))
            .collect();
        assert_eq!(names.join(" "), drawn, "{text}");
    };
    check("up_proj", 28, "0.mlp.up_proj 5.mlp.up_proj");
    check("layers.17.mlp", 1, "17.mlp.up_proj");
    check("layers.1.n", 1, "1.norm");
    check("17 up", 1, "17.mlp.up_proj");
    check("NORM", 0, "");
    check("norm -layers", 1, "model.norm");
    check("dtype:f32", 1, "5.mlp.up_proj");
    check("shape:[8,8]", 28, "0.self_attn.q_proj 5.self_attn.q_proj");
    check("bits:32", 1, "5.mlp.up_proj");
    check("format:f16 up_proj", 27, "0.mlp.up_proj");
    check("is:odd", 1, "5.mlp.up_proj");
    check("bias", 28, "0.self_attn.q_proj 5.self_attn.q_proj");
    check("~lyr ~upr 3", 3, "3.mlp.up_proj 13.mlp.up_proj 23.mlp.up_proj");
    check("shard:1 lm_head", 1, "lm_head");
    check("shard:2", 0, "");
    check("shard:of-00001 embed", 1, "model.embed_tokens");
    tree.set_filter(&checkpoint, None);
    assert_eq!(tree.hits(), None);
    assert_eq!(draw(&tree, &checkpoint), before);
}

#[test]
fn the_cursor_stays_on_its_name() {
    let checkpoint = model(28, None).checkpoint();
    let mut tree = Tree::new(&checkpoint);
    let name = |tree: &Tree| checkpoint.files.names.name(tree.current().unwrap().node);
    tree.set_filter(&checkpoint, Some(Filter::parse("17 up").unwrap()));
    tree.next_marked(&checkpoint, 0, true).unwrap();
    assert_eq!(name(&tree), "model.layers.17.mlp.up_proj");
    tree.set_filter(&checkpoint, None);
    assert_eq!(name(&tree), "model.layers.17.mlp.up_proj");
    tree.set_mode(&checkpoint, Mode::Tensors);
    assert_eq!(name(&tree), "model.layers.17.mlp.up_proj");
    tree.set_sort(&checkpoint, Sort::Bytes);
    tree.set_mode(&checkpoint, Mode::Layers);
    assert_eq!(name(&tree), "model.layers.17.mlp.up_proj");
    tree.refresh(&checkpoint);
    assert_eq!(name(&tree), "model.layers.17.mlp.up_proj");
}

#[test]
fn reading_again_keeps_what_is_open_by_name() {
    let before = model(5, None).checkpoint();
    let mut tree = Tree::new(&before);
    let third = tree.find(&before, "model.layers.3.mlp.up_proj").unwrap();
    tree.select_node(&before, third);
    let after = model(7, Some(6)).checkpoint();
    tree.reopen(&before, &after);
    let name = |tree: &Tree| after.files.names.name(tree.current().unwrap().node);
    assert_eq!(name(&tree), "model.layers.3.mlp.up_proj");
    tree.set_filter(&after, Some(Filter::parse("6.mlp").unwrap()));
    let empty = Made::default().checkpoint();
    tree.reopen(&after, &empty);
    assert_eq!((tree.rows().len(), tree.cursor(), tree.hits()), (0, 0, Some(0)));
}

#[test]
fn a_node_knows_its_place_among_the_alike() {
    let checkpoint = model(28, Some(5)).checkpoint();
    let tree = Tree::new(&checkpoint);
    let place = |name: &str| tree.place_among_alike(&checkpoint, tree.find(&checkpoint, name).unwrap());
    assert_eq!(place("model.layers.0.mlp"), Some((1, 27)));
    assert_eq!(place("model.layers.6.mlp.up_proj"), Some((6, 27)));
    assert_eq!(place("model.layers.5.mlp.up_proj"), None);
    assert_eq!(tree.totals(), Totals { layers: 87, quantized: 0, dense: 87, broken: 0 });
}

#[test]
fn long_folds_spell_their_ends() {
    let mut made = Made::default();
    for index in 0..200 {
        let dtype = if index % 3 == 1 { Dtype::F32 } else { Dtype::F16 };
        made = made.add(&format!("x.{index}"), dtype, &[4]);
    }
    let checkpoint = made.checkpoint();
    let mut tree = Tree::new(&checkpoint);
    tree.open_all(&checkpoint);
    insta::assert_snapshot!(draw(&tree, &checkpoint), @r"
    v x
      . 0 2-3 5-6 8-9 … 198 ×133 alike F16
      . 1 4 7 10 … 199 ×67 alike F32
    ");
}

#[test]
fn a_sorted_list_is_flat_with_full_names() {
    let checkpoint = model(2, Some(1)).checkpoint();
    let mut tree = Tree::new(&checkpoint);
    tree.set_sort(&checkpoint, Sort::Bytes);
    insta::assert_snapshot!(draw(&tree, &checkpoint), @r"
    . lm_head F16
    . model.embed_tokens F16
    . model.layers.1.mlp.up_proj F32
    . model.layers.0.mlp.up_proj F16
    . model.layers.0.self_attn.q_proj +bias F16
    . model.layers.1.self_attn.q_proj +bias F16
    . model.layers.0.norm F16
    . model.layers.1.norm F16
    . model.norm F16
    ");
    tree.set_filter(&checkpoint, Some(Filter::parse("norm").unwrap()));
    assert_eq!(tree.rows().len(), 3);
    tree.set_sort(&checkpoint, Sort::Natural);
    assert_eq!(tree.hits(), Some(3));
}

#[test]
fn a_row_stands_for_the_layers_of_all_alike_members() {
    let checkpoint = model(3, None).checkpoint();
    let mut tree = Tree::new(&checkpoint);
    let names = |tree: &Tree, row: &str| -> Vec<String> {
        let layers = tree.alike_layers(&checkpoint, row_of(tree, &checkpoint, row));
        let name = |layer| checkpoint.layers.name(&checkpoint.files.names, layer);
        layers.into_iter().flatten().map(name).collect()
    };
    let up = |layer: u32| format!("model.layers.{layer}.mlp.up_proj");
    assert_eq!(names(&tree, "model.layers.0.mlp.up_proj"), [up(0), up(1), up(2)]);
    assert_eq!(names(&tree, "model.layers.0.mlp"), [up(0), up(1), up(2)], "a group is all that is below");
    assert_eq!(names(&tree, "model.layers.0").len(), 9);
    assert_eq!(names(&tree, "model").len(), 11);
    assert_eq!(names(&tree, "lm_head"), ["lm_head"]);
    let row = row_of(&tree, &checkpoint, "model.layers.0.mlp");
    tree.toggle_unfold(&checkpoint, row);
    tree.open_all(&checkpoint);
    assert_eq!(names(&tree, "model.layers.1.mlp.up_proj"), [up(1)], "unfolded, each stands for itself");
    tree.set_sort(&checkpoint, Sort::Bytes);
    assert_eq!(names(&tree, "model.layers.2.mlp.up_proj"), [up(2)]);
    tree.set_mode(&checkpoint, Mode::Tensors);
    assert_eq!(tree.alike_layers(&checkpoint, 0), []);
    assert_eq!(tree.alike_layers(&checkpoint, 999), []);
}

#[test]
fn folds_inside_folds_stand_for_all_of_them_in_order() {
    let mut made = Made::default();
    for (layer, expert) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
        made = made.add(&format!("layers.{layer}.experts.{expert}.up.weight"), Dtype::F16, &[8, 8]);
        made = made.add(&format!("layers.{layer}.experts.{expert}.down.weight"), Dtype::F16, &[8, 8]);
    }
    let checkpoint = made.checkpoint();
    let mut tree = Tree::new(&checkpoint);
    tree.open_all(&checkpoint);
    let row = row_of(&tree, &checkpoint, "layers.0.experts.0.up");
    let name = |layer| checkpoint.layers.name(&checkpoint.files.names, layer);
    let stands: Vec<String> = tree.alike_layers(&checkpoint, row).into_iter().flatten().map(name).collect();
    let wanted = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)];
    let wanted = wanted.map(|(layer, expert)| format!("layers.{layer}.experts.{expert}.up"));
    assert_eq!(stands, wanted);
}

#[test]
fn the_next_row_of_some_layers_is_the_one_that_stands_for_them() {
    let checkpoint = model(4, None).checkpoint();
    let mut tree = Tree::new(&checkpoint);
    let layer = |name: &str| checkpoint.layers.find_name(&checkpoint.files.names, name).unwrap();
    let wanted = [layer("model.layers.2.norm"), layer("model.norm")];
    let is_wanted = |layer: u32| wanted.contains(&layer);
    let name = |tree: &Tree| checkpoint.files.names.name(tree.current().unwrap().node);
    let all = row_of(&tree, &checkpoint, "model");
    tree.close(&checkpoint, all);
    tree.set_cursor(0);
    for wanted in ["model.layers.0.norm", "model.norm", "model.layers.0.norm"] {
        assert!(tree.next_of(&checkpoint, true, is_wanted).is_some());
        assert_eq!(name(&tree), wanted);
    }
    for wanted in ["model.norm", "model.layers.0.norm"] {
        assert!(tree.next_of(&checkpoint, false, is_wanted).is_some());
        assert_eq!(name(&tree), wanted);
    }
    assert_eq!(tree.next_of(&checkpoint, true, |_| false), None);
    let mut differences = vec![0.0; checkpoint.layers.len()];
    for (at, layer) in wanted.into_iter().enumerate() {
        differences[layer as usize] = 0.5 + at as f64;
    }
    tree.set_sort(&checkpoint, Sort::Difference);
    tree.set_differences(&checkpoint, differences, 0.0);
    assert_eq!(name(&tree), "model.layers.0.norm", "the cursor stays on its name");
    tree.set_cursor(0);
    assert_eq!(name(&tree), "model.norm", "what differs most is first");
    tree.next_of(&checkpoint, true, is_wanted).unwrap();
    assert_eq!(name(&tree), "model.layers.2.norm");
    tree.next_of(&checkpoint, true, is_wanted).unwrap();
    assert_eq!(name(&tree), "model.norm", "it goes round");
}
