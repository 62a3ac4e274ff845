//! Tests of guests: where they stand, what folds, what is found and what shows.

use super::super::tests::model;
use super::super::{Expand, FoldText};
use super::*;
use crate::checkpoint::made::Made;
use crate::tensor::Dtype;

/// Draws the tree as text, guests with a `+` and how many they are.
fn draw(tree: &Tree, checkpoint: &Checkpoint) -> String {
    let line = |(at, row): (usize, &Row)| {
        let text = tree.describe(checkpoint, at);
        let sign = match (text.state, text.expand) {
            (State::Guest, _) => '+',
            (_, Expand::Open) => 'v',
            (_, Expand::Closed) => '>',
            (_, Expand::Leaf) => '.',
        };
        let fold =
            text.fold.as_ref().map_or_else(String::new, |FoldText { members, .. }| format!(" {members}"));
        let count = if text.state == State::Guest && text.alike > 1 {
            format!(" x{}", text.alike)
        } else {
            String::new()
        };
        let cursor = if at == tree.cursor() { " <" } else { "" };
        format!("{}{sign} {}{fold}{count}{cursor}", "  ".repeat(usize::from(row.depth)), text.label)
    };
    tree.rows().iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
}

/// A model of layers, and guests: one below each of some layers, two layers more, one at the top.
fn with_guests() -> (Checkpoint, Tree) {
    let checkpoint = model(6, None).checkpoint();
    let mut made = Made::default();
    let layers = |range: Range<u32>, part: &str| -> Vec<String> {
        range.map(|layer| format!("model.layers.{layer}.{part}")).collect()
    };
    let mut names = layers(2..5, "self_attn.k_norm");
    names.extend(layers(6..8, "mlp.up_proj"));
    names.extend(["model.norm_2".to_owned(), "head".to_owned()]);
    for name in &names {
        made = made.add(&format!("{name}.weight"), Dtype::F16, &[8, 8]);
    }
    let of = Arc::new(made.checkpoint());
    let guest = |name: &String| {
        let mut above = name.as_str();
        let node = loop {
            let Some((before, _)) = above.rsplit_once('.') else { break None };
            above = before;
            if let Some(node) = checkpoint.files.names.find(above) {
                break Some(node);
            }
        };
        let label = if node.is_some() { name[above.len() + 1..].to_owned() } else { name.clone() };
        let layer = of.layers.find_name(&of.files.names, name).expect("it was made");
        Guest { layer, name: name.clone(), above: node.unwrap_or(NONE), label }
    };
    let mut tree = Tree::new(&checkpoint);
    tree.set_guests(&checkpoint, Guests::of(&of, names.iter().map(guest).collect()));
    (checkpoint, tree)
}

#[test]
fn guests_stand_at_the_end_of_what_they_belong_to() {
    let (checkpoint, mut tree) = with_guests();
    insta::assert_snapshot!(draw(&tree, &checkpoint), @r"
    . lm_head <
    v model
      . embed_tokens
      v layers 0-5
        v mlp
          . up_proj
        . norm
        v self_attn
          . q_proj
          + k_norm x3
      + layers.6-7.mlp.up_proj x2
      . norm
      + norm_2
    + head
    ");
    let fold = 3;
    assert_eq!((tree.guests_below(&checkpoint, 1), tree.guests_below(&checkpoint, fold)), (6, 3));
    let names: Vec<&str> = tree.guests(9).iter().map(|guest| guest.name.as_str()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    tree.set_cursor(9);
    assert!(tree.toggle_unfold(&checkpoint, 9));
    assert_eq!(tree.guests(tree.cursor()).len(), 1, "the first that it stood for");
    insta::assert_snapshot!(draw(&tree, &checkpoint), @r"
    . lm_head
    v model
      . embed_tokens
      v layers
        v 0
          v mlp
            . up_proj
          . norm
          v self_attn
            . q_proj
        > 1
        v 2
          > mlp
          . norm
          v self_attn
            . q_proj
            + k_norm <
        > 3
        > 4
        > 5
        + 6-7.mlp.up_proj x2
      . norm
      + norm_2
    + head
    ");
    assert!(tree.toggle_unfold(&checkpoint, tree.cursor()));
    assert!(tree.guests(tree.cursor()).len() == 3, "the cursor stays on what it was on");
    tree.close(&checkpoint, 1);
    insta::assert_snapshot!(draw(&tree, &checkpoint), @r"
    . lm_head
    > model <
    + head
    ");
    tree.open(&checkpoint, 1);
    let all = draw(&tree, &checkpoint);
    tree.close_all(&checkpoint);
    tree.open_all(&checkpoint);
    assert_eq!(all.replace(" <", ""), draw(&tree, &checkpoint).replace(" <", ""));
    tree.clear_guests(&checkpoint);
    assert!(tree.rows().iter().all(|row| !matches!(row.kind, RowKind::Guest(_))));
}

#[test]
fn guests_are_found_one_after_the_other() {
    let (checkpoint, mut tree) = with_guests();
    let none = |_: u32| false;
    tree.close_all(&checkpoint);
    for (forward, wanted) in [(true, [3, 2, 1, 1, 3]), (false, [1, 1, 2, 3, 1])] {
        for count in wanted {
            let row = tree.next_of(&checkpoint, forward, none).expect("there are guests");
            assert_eq!((tree.guests(row).len(), row), (count, tree.cursor()), "{}", draw(&tree, &checkpoint));
        }
        tree.set_cursor(0);
    }
}

#[test]
fn a_filter_and_what_shows_leave_guests_too() {
    let (checkpoint, mut tree) = with_guests();
    let filter = |text: &str| Some(Filter::parse(text).expect("a filter"));
    tree.set_filter(&checkpoint, filter("k_norm"));
    insta::assert_snapshot!(draw(&tree, &checkpoint), @r"
    v model <
      v layers
        v 2
          v self_attn
            + k_norm
        v 3
          v self_attn
            + k_norm
        v 4
          v self_attn
            + k_norm
    ");
    assert_eq!(tree.hits(), Some(3));
    tree.set_filter(&checkpoint, filter("layers.7"));
    assert_eq!((tree.hits(), draw(&tree, &checkpoint).lines().count()), (Some(1), 2));
    tree.set_filter(&checkpoint, None);
    let before = draw(&tree, &checkpoint);
    let mut layers = vec![false; checkpoint.layers.len()];
    layers[0] = true;
    tree.set_shown(&checkpoint, Some(Shown { layers: layers.clone(), guests: false }));
    assert_eq!((tree.hits(), tree.rows().len()), (Some(1), 1));
    tree.set_shown(&checkpoint, Some(Shown { layers, guests: true }));
    assert_eq!(tree.hits(), Some(8));
    tree.set_filter(&checkpoint, filter("-layers"));
    assert_eq!(tree.hits(), Some(3), "both hold");
    tree.set_filter(&checkpoint, None);
    assert_eq!(tree.hits(), Some(8));
    tree.set_shown(&checkpoint, None);
    assert_eq!((tree.hits(), draw(&tree, &checkpoint).replace(" <", "")), (None, before.replace(" <", "")));
    tree.set_sort(&checkpoint, Sort::Bytes);
    assert_eq!(tree.rows().len(), checkpoint.layers.len() + 7, "a row for each");
    tree.set_mode(&checkpoint, Mode::Tensors);
    assert_eq!(tree.rows().len(), checkpoint.files.tensors.len(), "no tensor of it is here");
}

#[test]
fn numbers_that_differ_become_their_ends() {
    let of = |labels: &[&str]| spanned(labels.iter().copied());
    assert_eq!(of(&["6.up", "10.up", "7.up"]), "6-10.up");
    assert_eq!(of(&["6.experts.0.up", "7.experts.0.up"]), "6-7.experts.0.up");
    assert_eq!(of(&["up"]), "up");
    assert_eq!(pattern("layers.6.up_2"), "layers.#.up_2");
}
