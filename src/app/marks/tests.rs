//! Tests of marks: which layers they are, the patterns that they become, and what forms make of those.

use super::*;
use crate::app::Effect;
use crate::app::tests::Robot;
use crate::checkpoint::made::Made;
use crate::tensor::Dtype;

fn checkpoint(names: &[&str]) -> Checkpoint {
    let made = names.iter().fold(Made::default(), |made, name| made.add(name, Dtype::F16, &[8, 8]));
    Checkpoint { examined: true, ..made.checkpoint() }
}

/// Marks layers by their names.
fn marked(checkpoint: &Checkpoint, names: &[&str]) -> Marks {
    let mut marks = Marks::default();
    for name in names {
        let layer = checkpoint.layers.find_name(&checkpoint.files.names, name).expect("a layer of this name");
        marks.toggle(std::slice::from_ref(&(layer..layer + 1)));
    }
    marks
}

#[test]
fn marking_all_that_is_marked_takes_the_marks_away() {
    let mut marks = Marks::default();
    // None of 6 and 7, all of 8.
    let (all, some) = ([0..10, 20..30], [3..6, 8..9]);
    marks.toggle(&[2..4, 8..9]);
    assert_eq!((marks.len(), marks.among(&all), marks.among(&some)), (3, [3, 20], [2, 4]));
    marks.toggle(&some);
    assert_eq!((marks.len(), marks.among(&some), marks.among(&[6..8, 20..21])), (5, [4, 4], [0, 3]));
    marks.toggle(&[3..4, 8..9]);
    assert_eq!((marks.len(), marks.among(&all)), (3, [3, 20]));
    marks.toggle(&[2..3, 4..6]);
    assert!(marks.is_empty());
}

#[test]
fn patterns_match_what_is_marked_and_nothing_else() {
    let names = ["0.mlp.up", "0.q", "1.mlp.up", "1.q", "10.q", "10.x.q", "head", "a b", "a*b"];
    let weights: Vec<String> = names.iter().map(|name| format!("l.{name}.weight")).collect();
    let checkpoint = checkpoint(&weights.iter().map(String::as_str).collect::<Vec<_>>());
    let of = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| format!("l.{name}")).collect();
        let marks = marked(&checkpoint, &names.iter().map(String::as_str).collect::<Vec<_>>());
        let others = marks.patterns_of_others(&checkpoint).expect("few patterns");
        let patterns = marks.patterns(&checkpoint).expect("few patterns");
        // Whatever they are: each layer is taken by one of both.
        let [is_in, is_out] = [&patterns, &others].map(|list| Selection::only(list).expect("patterns"));
        for layer in 0..checkpoint.layers.len() as u32 {
            let name = checkpoint.layers.name(&checkpoint.files.names, layer);
            let is_blank = name.contains([' ', '*']);
            let is_marked = marks.among(std::slice::from_ref(&(layer..layer + 1)))[0] == 1;
            assert!(is_blank || is_in.takes(&name) == is_marked, "{name} by {patterns:?}");
            assert!(is_blank || is_out.takes(&name) != is_marked, "{name} by {others:?}");
        }
        patterns
    };
    assert_eq!(of(&["0.mlp.up", "1.mlp.up"]), ["l.*.mlp.up"]);
    assert_eq!(of(&["0.mlp.up"]), ["l.0.mlp.up"]);
    // `l.*.q` would take `l.10.x.q` too.
    assert_eq!(of(&["0.q", "1.q", "10.q"]), ["l.0.q", "l.1.q", "l.10.q"]);
    assert_eq!(of(&["0.q", "1.q", "10.q", "10.x.q"]), ["l.*.q", "l.10.x.q"]);
    assert_eq!(of(&["a b"]), ["l.a?b"]);
}

#[test]
fn too_many_patterns_are_refused_in_words() {
    let names: Vec<String> = (0..500).map(|at| format!("l{at}.w{at}.weight")).collect();
    let checkpoint = checkpoint(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut marks = Marks::default();
    marks.toggle(std::slice::from_ref(&(0..checkpoint.layers.len() as u32)));
    let why = marks.patterns(&checkpoint).expect_err("each has a name of its own");
    assert_eq!(why, "500 layers need more than 200 patterns: mark whole groups, or type a pattern");
}

/// Returns the text of a field of the form.
fn field(app: &App, name: &str) -> String {
    let form = app.form.as_ref().expect("a form is open");
    let at = form.fields.iter().position(|field| field.name == name).expect("a field of this name");
    form.values[at].text.value().to_owned()
}

#[test]
fn a_form_takes_the_marks_and_keeps_what_was_typed_until_they_change() {
    let mut robot = Robot::new(&["made"], &[]);
    let ready = robot.app.ready_mut().expect("it is open");
    let open = std::sync::Arc::clone(&ready.checkpoint);
    ready.tree.open_all(&open);
    let name = |app: &App| {
        let ready = app.ready().expect("it is open");
        ready.layer().map(|layer| ready.checkpoint.layers.name(&ready.files().names, layer))
    };
    for wanted in ["layers.0.up", "layers.1.up"] {
        while name(&robot.app).as_deref() != Some(wanted) {
            robot.press("j");
        }
        robot.press("space");
    }
    robot.press("c");
    assert_eq!(field(&robot.app, "only"), "layers.*.up");
    assert_eq!(field(&robot.app, "keep"), "embed layers.*.down layers.1.norm");
    assert!(robot.asked.iter().any(|effect| matches!(effect, Effect::Plan(_))));
    // What a person types is kept while the marks are the same, and gives way to others.
    robot.app.form.as_mut().expect("a form is open").set_globs("only", "mine");
    robot.press("esc c");
    assert_eq!(field(&robot.app, "only"), "mine");
    robot.press("esc home space c");
    assert_eq!(field(&robot.app, "only"), "embed layers.*.up");
    let unmark = crate::app::command::COMMANDS.iter().find(|command| command.name == "unmark");
    robot.press("esc").app.run(unmark.expect("a command"));
    robot.press("c");
    assert_eq!(field(&robot.app, "only"), "");
}

#[test]
fn rows_without_layers_say_why() {
    let mut robot = Robot::new(&["made"], &[]);
    robot.press("t");
    let ready = robot.app.ready_mut().expect("it is open");
    let open = std::sync::Arc::clone(&ready.checkpoint);
    ready.tree.open_all(&open);
    robot.press("G space");
    let toast = robot.app.toast.clone().expect("a reason");
    assert!(toast.contains("marks are of layers"), "{toast}");
    assert!(robot.app.ready().is_some_and(|ready| ready.marks.is_empty()));
}
