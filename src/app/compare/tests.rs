//! Tests of comparing: what is asked for, what is dropped, what keys do. Figures are put in.

use super::*;
use crate::app::tests::Robot;
use crate::app::{Event, Overlay};
use crate::checkpoint::made::Made;
use crate::error::Error;
use crate::tensor::Dtype;
use figures::Figures;

/// Four alike layers of two, and a head.
fn model(prefix: &str, head: bool) -> Checkpoint {
    let mut made = Made::default();
    for layer in 0..4 {
        for part in ["norm", "up"] {
            made = made.add(&format!("{prefix}layers.{layer}.{part}.weight"), Dtype::F16, &[8, 8]);
        }
    }
    if head {
        made = made.add(&format!("{prefix}lm_head.weight"), Dtype::F16, &[8, 8]);
    }
    Checkpoint { examined: true, ..made.checkpoint() }
}

/// A robot with A and B open.
fn robot(a: Checkpoint, b: Checkpoint) -> Robot {
    let mut robot = Robot::new(&["a", "b"], &[]);
    for (id, checkpoint) in [(0, a), (1, b)] {
        robot.app.update(Event::Opened(id, Box::new(Ok(checkpoint))));
    }
    robot
}

/// Figures of values that lie so far apart.
fn far(relative: f64) -> Figures {
    Figures {
        count: 64,
        changed: if relative > 0.0 { 60 } else { 0 },
        relative_l2: Some(relative),
        cosine: Some(1.0 - relative),
        max_abs: Some((relative, [1, 2])),
        is_vector: false,
        mean_abs: Some(relative / 2.0),
        nan: [0; 2],
        infinite: [0; 2],
        left_out: 0,
    }
}

/// Returns the number of the comparison that was asked for last.
fn asked(robot: &Robot) -> u32 {
    let mut numbers = robot.asked.iter().filter_map(|effect| match effect {
        Effect::Compare(number) => Some(*number),
        _ => None,
    });
    numbers.next_back().expect("a comparison was asked for")
}

/// Tells the app what a job has found.
fn tell(robot: &mut Robot, number: u32, news: News) -> Vec<Effect> {
    robot.app.update(Event::Compared(number, Box::new(news)))
}

/// Begins to compare what is shown with the other, and matches both; returns the number.
fn begin(robot: &mut Robot) -> u32 {
    robot.press("b enter");
    begin_matched(robot)
}

/// Matches the two of the comparison that was asked for last; returns the number.
fn begin_matched(robot: &mut Robot) -> u32 {
    let number = asked(robot);
    let (a, b) = (robot.app.checkpoint_of(0).unwrap(), robot.app.checkpoint_of(1).unwrap());
    let matched = Matched::of(a, b, &robot.app.compare().unwrap().names);
    let facts = Facts::new([Arc::clone(a), Arc::clone(b)], matched);
    tell(robot, number, News::Matched(Box::new(facts)));
    number
}

fn name(robot: &Robot) -> String {
    let ready = robot.app.ready().unwrap();
    ready.files().names.name(ready.tree.current().unwrap().node)
}

fn stage(robot: &Robot) -> &Stage {
    &robot.app.compare().unwrap().stage
}

#[test]
fn what_comes_late_is_dropped() {
    let mut robot = robot(model("", true), model("", true));
    let first = begin(&mut robot);
    assert_eq!(*stage(&robot), Stage::Running);
    tell(&mut robot, first, News::Figures(vec![(0, Ok(far(0.1)))]));
    assert_eq!(robot.app.compare().unwrap().table.done(), 1);
    robot.press("esc");
    assert!(robot.app.compare.is_none(), "it has ended");
    assert_eq!(robot.app.opens.len(), 2, "B stays open");
    tell(&mut robot, first, News::Figures(vec![(1, Ok(far(0.1)))]));
    tell(&mut robot, first, News::Ended(None));
    assert!(robot.app.compare.is_none());
    let second = begin(&mut robot);
    assert_ne!(first, second);
    tell(&mut robot, first, News::Figures(vec![(2, Ok(far(0.1)))]));
    tell(&mut robot, first, News::Ended(None));
    assert_eq!((robot.app.compare().unwrap().table.done(), stage(&robot)), (0, &Stage::Running));
    tell(&mut robot, second, News::Figures(vec![(99, Ok(far(0.1)))]));
    assert_eq!(robot.app.compare().unwrap().table.done(), 0, "there is no such pair");
    assert!(robot.app.compare_request(first).is_none() && robot.app.close_request(first).is_none());
}

#[test]
fn stopping_ends_the_job_and_keeps_what_was_found() {
    let mut robot = robot(model("", true), model("", true));
    let number = begin(&mut robot);
    let request = robot.app.compare_request(number).unwrap();
    tell(&mut robot, number, News::Figures(vec![(0, Ok(far(0.1)))]));
    robot.press("x");
    let mut told = 0;
    request.run(1, &mut |news| {
        told += usize::from(matches!(news, News::Figures(_)));
        true
    });
    assert_eq!(told, 0, "nothing is compared any more");
    tell(&mut robot, number, News::Ended(None));
    assert_eq!((stage(&robot), robot.app.compare().unwrap().table.done()), (&Stage::Stopped(None), 1));
    assert_eq!(robot.press("x").toast(), "cancel-job: no job runs");
    robot.press("esc");
    assert!(robot.app.compare.is_none());
}

#[test]
fn a_job_ends_with_the_comparison() {
    let mut robot = robot(model("", true), model("", true));
    let number = begin(&mut robot);
    let request = robot.app.compare_request(number).unwrap();
    robot.press("esc");
    let mut told = 0;
    request.run(1, &mut |news| {
        told += usize::from(matches!(news, News::Figures(_)));
        true
    });
    assert_eq!(told, 0);
}

#[test]
fn a_b_that_does_not_open_says_why() {
    let mut robot = Robot::new(&["a"], &[]);
    robot.press("b").write("/gone").press("enter");
    assert_eq!(robot.app.current, 0, "A stays on screen");
    let opened = robot.asked.iter().find_map(|effect| match effect {
        Effect::Open(id, path) => Some((*id, path.clone())),
        _ => None,
    });
    let (id, path) = opened.expect("B is opened");
    assert_eq!((path.as_str(), stage(&robot)), ("/gone", &Stage::Opening));
    let effects = robot.app.update(Event::Opened(id, Box::new(Err(Error::input("/gone: no such folder")))));
    assert_eq!(effects, [], "nothing is compared");
    assert_eq!(*stage(&robot), Stage::Failed("/gone: no such folder".into()));
    robot.app.update(Event::Opened(id, Box::new(Ok(model("", true)))));
    assert_eq!(*stage(&robot), Stage::Matching, "it can be read again");
    robot.press("esc");
    assert!(robot.app.compare.is_none());
}

#[test]
fn a_fault_ends_it_once() {
    let mut robot = robot(model("", true), model("", true));
    robot.press("b enter");
    let number = asked(&robot);
    let effects = tell(&mut robot, number, News::Ended(Some("a fault".into())));
    assert_eq!(effects, [], "it is not tried again");
    assert_eq!(*stage(&robot), Stage::Stopped(Some("a fault".into())));
}

#[test]
fn what_is_read_again_is_compared_anew() {
    let mut robot = robot(model("", true), model("", true));
    let first = begin(&mut robot);
    tell(&mut robot, first, News::Figures(vec![(0, Ok(far(0.1)))]));
    let effects = robot.app.update(Event::Opened(1, Box::new(Ok(model("", false)))));
    let Some(Effect::Compare(second)) = effects.iter().find(|effect| matches!(effect, Effect::Compare(_)))
    else {
        panic!("{effects:?}")
    };
    assert_ne!(first, *second);
    assert_eq!(*stage(&robot), Stage::Matching);
    assert!(robot.app.compare().unwrap().facts.is_none(), "what was matched is of other files");
}

#[test]
fn the_cells_of_a_strip_are_walked() {
    let mut robot = robot(model("", true), model("", false));
    let number = begin(&mut robot);
    let found: Vec<_> = (0..8).map(|pair| (pair, Ok(far(f64::from(pair) / 100.0)))).collect();
    tell(&mut robot, number, News::Figures(found[..7].to_vec()));
    while name(&robot) != "layers.0.up" {
        robot.press("j");
    }
    assert_eq!(robot.app.focused(), None, "one of the four is not known");
    tell(&mut robot, number, News::Figures(found));
    let of = |layer, place, is_walked| Some(Focused { layer, place, of: 4, is_walked });
    assert_eq!(robot.app.focused(), of(7, 3, false), "the last differs most");
    let mut before = 7;
    for (key, place, layer) in
        [("right", 0, 1), ("l", 1, 3), ("right", 2, 5), ("right", 3, 7), ("right", 3, 7), ("h", 2, 5)]
    {
        robot.press(key);
        assert_eq!(robot.app.focused(), of(layer, place, true), "{key}");
        let is_same = std::mem::replace(&mut before, layer) == layer;
        let wanted = if is_same { vec![] } else { vec![Effect::LookAtPair(number)] };
        assert_eq!(robot.asked, wanted, "a close look at what is new, once");
    }
    robot.press("esc");
    assert_eq!(robot.app.focused(), of(7, 3, false), "the walk is over");
    assert!(robot.app.compare().is_some(), "the comparison is not");
    robot.press("right k j");
    assert_eq!(robot.app.focused(), of(7, 3, false), "another row ends the walk for now");
    while name(&robot) != "layers.0" {
        robot.press("k");
    }
    robot.press("right");
    assert_eq!(robot.app.focused(), None, "a group has no strip");
    robot.press("h");
    assert!(robot.app.compare().is_some());
}

#[test]
fn what_differs_is_next_and_first() {
    let mut robot = robot(model("", true), model("", false));
    let number = begin(&mut robot);
    assert_eq!(robot.press("n").app.compare().unwrap().table.whole().only_a, 1);
    assert_eq!(name(&robot), "lm_head", "only A has it");
    let mut found: Vec<_> = (0..8).map(|pair| (pair, Ok(far(0.0)))).collect();
    found[5].1 = Ok(far(0.3));
    found[0].1 = Ok(far(0.1));
    found[2].1 = Err("no values".into());
    tell(&mut robot, number, News::Figures(found));
    tell(&mut robot, number, News::Ended(None));
    for wanted in ["layers.0.norm", "layers.0.up", "lm_head"] {
        assert_eq!(name(robot.press("n")), wanted);
    }
    assert_eq!(name(robot.press("N")), "layers.0.up");
    robot.press("s j j j j j j");
    assert!(matches!(robot.app.overlay, Some(Overlay::SortMenu(6))));
    robot.press("enter home");
    assert_eq!(robot.app.ready().unwrap().tree.sort(), Sort::Difference);
    assert_eq!(name(&robot), "layers.2.up");
    for wanted in ["layers.0.norm", "lm_head", "layers.1.norm"] {
        assert_eq!(name(robot.press("n")), wanted);
    }
    robot.press("esc");
    assert_eq!(robot.app.ready().unwrap().tree.sort(), Sort::Natural, "there is nothing to sort by any more");
    assert!(!robot.app.sorts().contains(&Sort::Difference));
}

#[test]
fn a_prefix_is_stripped_by_one_key() {
    let mut robot = robot(model("base.model.", true), model("", true));
    begin(&mut robot);
    assert_eq!(robot.app.compare().unwrap().strippable(), Some((Side::A, "base.model")));
    assert_eq!(robot.press("Y").toast(), "copied ckpt diff a b --values");
    robot.press("enter");
    let number = asked(&robot);
    let mut matched = 0;
    robot.app.compare_request(number).unwrap().run(1, &mut |news| {
        if let News::Matched(facts) = news {
            matched = facts.matched.pairs.len();
        }
        false
    });
    assert_eq!(matched, 9);
    assert_eq!(robot.press("Y").toast(), "copied ckpt diff a b --values --strip-prefix-a base.model");
}

#[test]
fn another_checkpoint_on_screen_is_not_compared() {
    let mut robot = robot(model("", true), model("", true));
    begin(&mut robot);
    robot.press(".");
    assert!(robot.app.compare().is_none());
    assert_eq!(robot.press("x").toast(), "cancel-job: no job runs");
    robot.press(",");
    assert!(robot.app.compare().is_some());
}

/// Tells the values that stand beside each other what a job has found.
fn answer(robot: &mut Robot, number: u32, question: u32, answer: beside::Answer) {
    tell(robot, number, News::Beside(question, answer));
}

#[test]
fn enter_puts_values_beside_each_other_at_the_largest_difference() {
    let mut robot = robot(model("", true), model("", false));
    let number = begin(&mut robot);
    let found: Vec<_> = (0..8).map(|pair| (pair, Ok(far(f64::from(pair) / 100.0)))).collect();
    tell(&mut robot, number, News::Figures(found));
    while name(&robot) != "layers.0.up" {
        robot.press("j");
    }
    robot.press("enter");
    let cursor = |robot: &Robot| robot.app.beside().map(|beside| beside.cursor);
    assert_eq!(cursor(&robot), Some([1, 2]));
    assert_eq!(robot.app.ask_beside(), None, "nobody knows yet how many there is room for");
    robot.app.beside_mut().expect("it shows").make_room([3, 2]);
    assert_eq!(robot.app.ask_beside(), Some(Effect::ReadBeside(number)));
    assert_eq!(robot.app.ask_beside(), None, "it was asked for");
    let asked =
        |robot: &Robot| robot.app.beside().and_then(beside::Beside::asked).map(|(q, ask)| (q, ask.clone()));
    let (first, ask) = asked(&robot).expect("a window");
    assert_eq!(ask, beside::Ask::Window([0..3, 2..4]));
    let cancelled = robot.app.beside_request(number).expect("it is asked");
    robot.press("l l l l l l l l pgdn");
    assert_eq!(cursor(&robot), Some([4, 7]));
    assert!(cancelled.read().is_none(), "nobody waits for it");
    let (second, ask) = asked(&robot).expect("a window");
    assert_eq!(ask, beside::Ask::Window([2..5, 6..8]));
    answer(&mut robot, number, first, beside::Answer::Window(Ok([vec![9.0; 6], vec![9.0; 6]])));
    assert!(robot.app.beside().expect("it shows").read().is_none(), "what comes late is dropped");
    let values = |from: i32| (from..from + 6).map(f64::from).collect::<Vec<_>>();
    answer(&mut robot, number, second, beside::Answer::Window(Ok([values(0), values(10)])));
    let beside = robot.app.beside().expect("it shows");
    assert_eq!(
        (beside.under_cursor(), beside.at([2, 6]), beside.at([1, 6])),
        (Some([5.0, 15.0]), Some([0.0, 10.0]), None)
    );
    assert_eq!(robot.press("y").toast(), "copied layers.3.up [4, 7] A 5.0 B 15.0 A-B -10.0");
    assert_eq!(cursor(robot.press("enter")), Some([1, 2]), "the largest difference");
    robot.press("esc");
    assert!(robot.app.beside().is_none() && robot.app.compare().is_some(), "one step back");
    let copied = match &robot.press("y").asked[..] {
        [Effect::Copy(text)] => text.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        copied,
        "layers.3.up  A F16  B F16  relative L2 0.07  cosine 0.9299999999999999  max abs 0.07 at [1, 2]  \
         mean abs 0.035  changed 60 of 64"
    );
    robot.press("enter 1");
    assert!(robot.app.beside().is_none(), "1 brings the tree back");
}

#[test]
fn the_next_value_that_differs_is_looked_for() {
    let mut robot = robot(model("", true), model("", false));
    let number = begin(&mut robot);
    let mut found: Vec<_> = (0..8).map(|pair| (pair, Ok(far(0.1)))).collect();
    found[0].1 = Ok(far(0.0));
    found[2].1 = Ok(far(0.0));
    found[4].1 = Ok(far(0.0));
    found[6].1 = Ok(far(0.0));
    tell(&mut robot, number, News::Figures(found));
    while name(&robot) != "layers.0.norm" {
        robot.press("j");
    }
    assert_eq!(robot.press("enter n").toast(), "no value differs");
    robot.press("esc j enter n");
    let seek =
        |robot: &Robot| robot.app.beside().and_then(beside::Beside::asked).map(|(q, ask)| (q, ask.clone()));
    let from = |place, forward| beside::Ask::Next(crate::stats::seek::From { place, forward });
    let (question, ask) = seek(&robot).expect("it is looked for");
    assert_eq!(ask, from([1, 2], true));
    answer(&mut robot, number, question, beside::Answer::Next(Ok(Some([6, 0]))));
    assert_eq!(robot.app.beside().map(|beside| beside.cursor), Some([6, 0]));
    robot.press("N");
    let (question, ask) = seek(&robot).expect("it is looked for");
    assert_eq!(ask, from([6, 0], false));
    robot.press("x");
    assert!(!robot.app.beside().expect("it shows").is_seeking(), "it was stopped");
    answer(&mut robot, number, question, beside::Answer::Next(Ok(Some([0, 0]))));
    assert_eq!(robot.app.beside().map(|beside| beside.cursor), Some([6, 0]), "what comes late is dropped");
    robot.press("esc");
    while name(&robot) != "lm_head" {
        robot.press("j");
    }
    assert_eq!(robot.press("enter").toast(), "compare-values: only A has it: nothing stands beside it");
}

#[test]
fn names_are_matched_as_the_picker_says() {
    let mut robot = robot(model("base.", true), model("", true));
    robot
        .press("b tab")
        .write("base")
        .press("tab tab")
        .write("lm_head=head")
        .press("space")
        .write("layers*=x");
    assert_eq!(robot.press("enter").asked, [], "it is refused");
    let picker = |robot: &Robot| match &robot.app.overlay {
        Some(Overlay::Picker(picker)) => picker.refused.clone(),
        _ => panic!("the picker is gone"),
    };
    assert_eq!(picker(&robot).as_deref(), Some("--map layers*=x: one * on each side, or none"));
    robot.press("ctrl-u");
    assert_eq!(picker(&robot), None, "the next key takes it away");
    robot.write("lm_head=head").press("enter");
    let names = &robot.app.compare().unwrap().names;
    assert_eq!((&names.strip_a[..], names.strip_b.len()), (&["base".to_owned()][..], 0));
    assert_eq!(names.renames, [("lm_head".to_owned(), "head".to_owned())]);
    let command = "ckpt diff a b --values --strip-prefix-a base --map lm_head=head";
    assert_eq!(robot.app.diff_command().as_deref(), Some(command));
    assert_eq!(robot.app.log.last().map(String::as_str), Some(command));
    begin_matched(&mut robot);
    assert_eq!(robot.app.compare().unwrap().matched().unwrap().pairs.len(), 8);
    robot.press("b");
    let Some(Overlay::Picker(picker)) = &robot.app.overlay else { panic!("no picker") };
    assert_eq!(picker.names.each_ref().map(|input| input.value().to_owned()), ["base", "", "lm_head=head"]);
    robot.press("backtab ctrl-u enter");
    begin_matched(&mut robot);
    assert_eq!(robot.app.compare().unwrap().matched().unwrap().pairs.len(), 9, "without the map");
}

#[test]
fn what_only_b_has_is_a_row_and_what_shows_is_chosen() {
    let mut robot = robot(model("", false), model("", true));
    let number = begin(&mut robot);
    let mut found: Vec<_> = (0..8).map(|pair| (pair, Ok(far(0.0)))).collect();
    found[3].1 = Ok(far(0.1));
    found[4].1 = Err("no values".into());
    tell(&mut robot, number, News::Figures(found[..3].to_vec()));
    let rows = |robot: &Robot| {
        let ready = robot.app.ready().unwrap();
        let text = |row| ready.tree.describe(&ready.checkpoint, row).full();
        (0..ready.tree.rows().len()).map(text).collect::<Vec<_>>()
    };
    assert_eq!(rows(&robot).last().map(String::as_str), Some("lm_head"));
    assert_eq!(robot.press("end y").toast(), "copied lm_head  only in B");
    assert_eq!(robot.app.guests().len(), 1);
    assert_eq!(robot.app.focused(), None);
    assert_eq!(
        robot.press("2").app.values_of_row().err(),
        Some("Only B has it: . turns to B, whose values can be looked at.")
    );
    robot.press("1 f j enter");
    assert_eq!(rows(&robot), ["lm_head"], "nothing else is known to differ");
    tell(&mut robot, number, News::Figures(found[3..].to_vec()));
    let shown = rows(&robot);
    assert_eq!(shown, ["layers", "1", "up", "2", "norm", "lm_head"], "what was found since");
    for (keys, count) in [("f j j enter", 6), ("f j j j enter", 1), ("f j j j j enter", 1), ("f esc", 1)] {
        robot.press("f k k k k").press(keys.trim_start_matches("f "));
        assert_eq!(robot.app.ready().unwrap().tree.hits(), Some(count), "{keys}");
    }
    robot.press("esc");
    assert!(robot.app.compare().is_some_and(|compare| compare.show == show::Show::All), "one step back");
    robot.press("esc");
    assert!(robot.app.compare.is_none());
    assert!(!rows(&robot).contains(&"lm_head".to_owned()), "it goes with the comparison");
}
