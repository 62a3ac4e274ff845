//! Tests of the tree against a naive model: rows by recursion over children, hits by full names, folds
//! by comparing every pair of numbered siblings; whatever a person does, in any order.

use proptest::prelude::*;

use super::tests::{model, row_of};
use super::*;
use crate::checkpoint::made::Made;
use crate::tensor::Dtype;

#[test]
fn an_empty_checkpoint_has_no_rows_and_no_way_to_fail() {
    let checkpoint = Made::default().checkpoint();
    let mut tree = Tree::new(&checkpoint);
    for step in 0..OPS {
        apply(&mut tree, &checkpoint, step, 7);
    }
    assert!(tree.rows().is_empty());
    assert_eq!(tree.describe(&checkpoint, 0).label, "");
}

#[test]
fn members_that_match_differently_do_not_fold_while_filtered() {
    let checkpoint = model(28, None).checkpoint();
    let mut tree = Tree::new(&checkpoint);
    tree.set_filter(&checkpoint, Some(filter("layers.17")));
    let up_proj = row_of(&tree, &checkpoint, "model.layers.17.mlp.up_proj");
    // Its first member is not left by the filter: nothing could stand for the fold.
    assert!(!tree.toggle_unfold(&checkpoint, up_proj));
    tree.toggle_unfold_all(&checkpoint);
    check_rows(&tree, &checkpoint);
    check_counts(&tree, &checkpoint, 3);
}

/// Returns the filter of words that make one.
fn filter(words: &str) -> Filter {
    Filter::parse(words).expect("the filters of these tests are well formed")
}

/// Operations that the fuzz knows.
const OPS: u8 = 17;

fn apply(tree: &mut Tree, checkpoint: &Checkpoint, op: u8, pick: usize) {
    let row = pick % tree.rows().len().max(1);
    match op % OPS {
        0 | 1 => drop(tree.toggle(checkpoint, row)),
        2 => drop(tree.close(checkpoint, row)),
        3 => tree.set_cursor(row),
        4 => tree.close_or_parent(checkpoint),
        5 => drop(tree.toggle_unfold(checkpoint, row)),
        6 => tree.toggle_unfold_all(checkpoint),
        7 => tree.set_filter(checkpoint, Some(filter(FILTERS[pick % FILTERS.len()]))),
        8 => tree.set_filter(checkpoint, None),
        9 => drop(tree.select_node(checkpoint, (pick % (checkpoint.files.names.len() + 1)) as u32)),
        10 => drop(tree.next_marked(checkpoint, row, pick.is_multiple_of(2))),
        11 => tree.set_mode(checkpoint, if pick.is_multiple_of(2) { Mode::Layers } else { Mode::Tensors }),
        12 => tree.set_sort(checkpoint, Sort::ALL[pick % 2 * (pick % 6)]),
        13 => tree.open_all(checkpoint),
        14 => tree.refresh(checkpoint),
        15 => tree.reopen(checkpoint, checkpoint),
        _ => tree.close_all(checkpoint),
    }
}

const FILTERS: [&str; 8] = ["a", "0", "a.0", "-a", ".w", "~wt b", "dtype:F16 1", "weight"];

/// What a filter of `FILTERS` should leave, by the full names of an item's tensors.
fn naive_hit(filter: &str, names: &[String], dtypes: &[Dtype]) -> bool {
    let has = |text: &str| names.iter().any(|name| name.split('.').any(|part| part.contains(text)));
    match filter {
        "a.0" | ".w" => names.iter().any(|name| name.contains(filter)),
        "-a" => !has("a"),
        // Of the labels that the fuzz uses.
        "~wt b" => has("weight") && has("b"),
        "dtype:F16 1" => dtypes.contains(&Dtype::F16) && has("1"),
        word => has(word),
    }
}

/// Makes the rows anew from what is open and folded, by recursion over children.
fn naive_rows(tree: &Tree, checkpoint: &Checkpoint, parent: u32, place: (u8, u8), rows: &mut Vec<Row>) {
    let names = &checkpoint.files.names;
    for node in names.children(parent) {
        let shows = tree.is_shown(node) && tree.matches.as_ref().is_none_or(|m| m.keeps(node));
        if !shows || tree.is_hidden_member(node) {
            continue;
        }
        let items: Vec<RowKind> = match tree.mode {
            Mode::Layers => (0..checkpoint.layers.len() as u32)
                .filter(|&l| checkpoint.layers.list()[l as usize].node == node)
                .map(RowKind::Layer)
                .collect(),
            Mode::Tensors => (0..checkpoint.files.tensors.len() as u32)
                .filter(|&t| checkpoint.files.tensors[t as usize].node == node)
                .map(RowKind::Tensor)
                .collect(),
        };
        let is_item = |node: u32| match tree.mode {
            Mode::Layers => checkpoint.layers.at(node).is_some(),
            Mode::Tensors => names.first_tensor(node) != NONE,
        };
        let children: Vec<u32> = names.children(node).filter(|&child| tree.is_shown(child)).collect();
        let numbered = structure::is_number(names.label(node));
        let one_fold = || {
            let fold = tree.structure.fold_of(children[0]);
            fold.is_some_and(|f| tree.structure.members(f) == children) && tree.folded.get(children[0])
        };
        let is_joined = match children.len() {
            _ if numbered || !items.is_empty() => false,
            0 => false,
            1 => !is_item(children[0]),
            _ => one_fold(),
        };
        if is_joined {
            naive_rows(tree, checkpoint, node, (place.0, place.1 + 1), rows);
            continue;
        }
        let (last, extras) =
            items.split_last().map_or((RowKind::Group, &[][..]), |(last, rest)| (*last, rest));
        let row = |kind| Row { node, kind, depth: place.0, joined: place.1 };
        rows.extend(
            extras.iter().map(|&kind| row(kind)).filter(|r| tree.matches.is_none() || tree.is_hit(r)),
        );
        rows.push(row(last));
        if tree.open.get(node) {
            naive_rows(tree, checkpoint, node, (place.0 + 1, 0), rows);
        }
    }
}

fn check_rows(tree: &Tree, checkpoint: &Checkpoint) {
    assert!(tree.cursor() < tree.rows().len().max(1));
    if tree.sort() != Sort::Natural {
        let all =
            if tree.mode == Mode::Layers { checkpoint.layers.len() } else { checkpoint.files.tensors.len() };
        assert_eq!(tree.rows().len(), tree.hits().unwrap_or(all));
        return;
    }
    let mut naive = Vec::new();
    naive_rows(tree, checkpoint, NONE, (0, 0), &mut naive);
    assert_eq!(tree.rows(), naive);
    let mut path: Vec<Row> = Vec::new();
    for (index, &row) in tree.rows().iter().enumerate() {
        path.truncate(usize::from(row.depth));
        assert_eq!(path.len(), usize::from(row.depth), "no level is left out");
        for above in &path {
            assert!(above.node < row.node && row.node < checkpoint.files.names.end(above.node));
            assert!(tree.open.get(above.node));
        }
        let next_is_below = tree.rows().get(index + 1).is_some_and(|next| next.depth > row.depth);
        assert_eq!(tree.expand(checkpoint, index) == Expand::Open, next_is_below);
        assert_eq!(tree.parent_row(index).map(|above| tree.rows()[above]), path.last().copied());
        path.push(row);
    }
}

/// Rows with their alike twins are all items, when everything is open.
fn check_counts(tree: &Tree, checkpoint: &Checkpoint, expected: usize) {
    let stands_for = |row: &Row| match row.kind {
        RowKind::Group => 0,
        _ if tree.matches.is_some() && !tree.is_hit(row) => 0,
        _ => tree.alike(checkpoint, row.node) as usize,
    };
    assert_eq!(tree.rows().iter().map(stands_for).sum::<usize>(), expected);
}

fn check_filters(checkpoint: &Checkpoint, mode: Mode) {
    let mut tree = Tree::new(checkpoint);
    tree.set_mode(checkpoint, mode);
    let (files, layers) = (&checkpoint.files, &checkpoint.layers);
    let of_tensor = |t: u32| (files.tensor_name(t), files.tensors[t as usize].dtype);
    let items: Vec<(Vec<String>, Vec<Dtype>)> = match mode {
        Mode::Layers => (0..layers.len() as u32)
            .map(|layer| layers.tensors(layer).iter().map(|&t| of_tensor(t)).unzip())
            .collect(),
        Mode::Tensors => {
            (0..files.tensors.len() as u32).map(|t| [of_tensor(t)].into_iter().unzip()).collect()
        }
    };
    for words in FILTERS {
        tree.set_filter(checkpoint, Some(filter(words)));
        let naive = items.iter().filter(|(names, dtypes)| naive_hit(words, names, dtypes)).count();
        assert_eq!(tree.hits(), Some(naive), "{words}");
        check_rows(&tree, checkpoint);
        check_counts(&tree, checkpoint, naive);
    }
    tree.set_filter(checkpoint, None);
    tree.open_all(checkpoint);
    check_counts(&tree, checkpoint, items.len());
}

/// Numbered siblings are in one fold exactly if their subtrees read alike.
fn check_folds(checkpoint: &Checkpoint) {
    let tree = Tree::new(checkpoint);
    let (files, layers) = (&checkpoint.files, &checkpoint.layers);
    let names = &files.names;
    let portrait = |node: u32| {
        let name = names.name(node);
        let cut = |full: String| full[name.len()..].to_owned();
        let tensors = files.within(node, names.end(node));
        let tensors: Vec<_> =
            tensors.map(|t| (cut(files.tensor_name(t)), files.tensors[t as usize].dtype)).collect();
        let below = layers.within(node, names.end(node));
        let below: Vec<_> = below
            .map(|l| (cut(names.name(layers.list()[l as usize].node)), layers.spec(l).clone()))
            .collect();
        (tensors, below)
    };
    for parent in std::iter::once(NONE).chain(0..names.len() as u32) {
        let numbered: Vec<u32> =
            names.children(parent).filter(|&child| structure::is_number(names.label(child))).collect();
        for &a in &numbered {
            for &b in &numbered {
                let together = a == b
                    || tree.structure.owner(a).is_some_and(|fold| tree.structure.members(fold).contains(&b));
                assert_eq!(together, portrait(a) == portrait(b), "{} {}", names.name(a), names.name(b));
            }
        }
    }
}

fn names() -> impl Strategy<Value = Vec<(String, bool)>> {
    let label = prop::sample::select(vec!["0", "1", "2", "10", "02", "", "a", "ab", "weight", "bias"]);
    let name = prop::collection::vec(label, 1..6).prop_map(|labels| labels.join("."));
    prop::collection::vec((name, any::<bool>()), 1..24)
}

fn made_of(names: &[(String, bool)], repeats: usize) -> Checkpoint {
    let mut made = Made::default();
    for repeat in 0..repeats {
        for (name, is_half) in names {
            let dtype = if *is_half { Dtype::F16 } else { Dtype::F32 };
            let name = if repeat == 0 { name.clone() } else { format!("a.{repeat}.{name}") };
            made = made.add(&name, dtype, &[2, 2]);
        }
    }
    made.checkpoint()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_are_those_of_a_naive_model_whatever_is_done(
        names in names(),
        repeats in 1usize..4,
        ops in prop::collection::vec((0..OPS, any::<u16>()), 200),
    ) {
        let checkpoint = made_of(&names, repeats);
        let mut tree = Tree::new(&checkpoint);
        check_rows(&tree, &checkpoint);
        for (op, pick) in ops {
            apply(&mut tree, &checkpoint, op, usize::from(pick));
            check_rows(&tree, &checkpoint);
        }
    }

    #[test]
    fn filters_and_folds_are_those_of_a_naive_model(names in names(), repeats in 1usize..5) {
        let checkpoint = made_of(&names, repeats);
        check_filters(&checkpoint, Mode::Layers);
        check_filters(&checkpoint, Mode::Tensors);
        check_folds(&checkpoint);
    }
}
