//! An adapter in the workbench: its repair, its base, its order on the board, and several merged at once.

use ckpt::adapter::base::Search;
use ckpt::app::board::weighed::Question;
use ckpt::app::board::{Order, Row};
use ckpt::app::picker::Purpose;
use ckpt::app::{Effect, Event, Overlay, Tab};

use crate::convert::{Scratch, put};
use crate::jobs::{LARGE, Robot, SMALL, outcome};
use crate::sample;

#[test]
fn a_repaired_adapter_takes_the_place_of_the_other() {
    let mut robot = Robot::attach("no-prefix");
    robot.press("r enter");
    let job = &robot.app.jobs.list[0];
    let wanted = "ckpt align samples/base-A-bf16/model -a samples/peft-bad-keys/no-prefix --repair -o samples/peft-bad-keys/no-prefix-repaired";
    assert_eq!((job.verb, job.command.as_str()), ("repair", wanted));
    assert_eq!(job.subject, "no-prefix → no-prefix-repaired");
    robot.press("1").end(Ok(outcome())).press("6 enter");
    let attached = robot.app.opens[0].attached.as_ref().unwrap();
    assert_eq!(attached.path, "samples/peft-bad-keys/no-prefix-repaired");
    assert_eq!((robot.app.tab, robot.app.opens.len()), (Tab::Adapter, 1), "the same base, on its board");
}

#[test]
fn nothing_starts_that_cannot_be_repaired_or_needs_no_repair() {
    for (adapter, keys, why) in [
        ("missing-lora-B", "r enter", "not everything can be repaired: nothing is written"),
        ("wrong-shape", "r enter", "not everything can be repaired: nothing is written"),
        ("good", "r enter", "nothing to repair"),
        ("no-prefix", "r up type:x down enter", "not everything can be repaired: nothing is written"),
        (
            "no-prefix",
            "r up up ctrl-u type:/there/x down down down enter",
            "/there/x: is there already; type another name, or say in exists what becomes of it",
        ),
    ] {
        let mut robot = Robot::attach(adapter);
        robot.press(keys);
        assert_eq!(robot.app.toast.as_deref(), Some(why), "{adapter} {keys}");
        assert!(robot.started.is_empty(), "{adapter} {keys}");
    }
}

#[test]
fn the_list_of_a_repair_scrolls_under_its_button() {
    let mut robot = Robot::attach("base-layer-infix");
    robot.press("r");
    assert!(robot.draw(SMALL).contains("12 keys renamed"));
    robot.press("down");
    assert!(!robot.draw(SMALL).contains("12 keys renamed"));
    for _ in 0..9 {
        robot.press("pgdn");
        robot.draw(SMALL);
    }
    // What lies beyond the end is no way to go back.
    assert!(robot.draw(SMALL).contains("--repair"));
    robot.press("up");
    let above = robot.draw(SMALL);
    assert!(!above.contains("base-layer-infix-repaired │") && above.contains("1 more"), "{above}");
    robot.press("pgup pgup pgup pgup pgup up x");
    assert!(robot.app.form().unwrap().output().ends_with("-repaired"), "the field above is PEFT");
}

#[test]
fn several_adapters_are_merged_each_with_its_scale() {
    let mut robot = Robot::attach("good");
    robot.press("m a type:samples/peft-lora-all-A/adapter enter ctrl-u type:0.5x");
    let form = robot.app.form().unwrap();
    assert_eq!(form.used.len(), 1, "x took it out again, for no number has one");
    robot.press("a type:samples/peft-lora-all-A/adapter enter ctrl-u type:0.5 up ctrl-u type:1e-1");
    let form = robot.app.form().unwrap();
    let wanted = "ckpt merge samples/base-A-bf16/model -a samples/peft-bad-keys/good=1e-1 -a samples/peft-lora-all-A/adapter=0.5 --to dense -o samples/base-A-bf16/model-good";
    assert_eq!(form.command().join(" "), wanted);
    let planned = form.startable().unwrap();
    let scales: Vec<f64> =
        planned.plan.order.merging.as_ref().unwrap().adapters.iter().map(|a| a.1).collect();
    assert_eq!(scales, [0.1, 0.5]);
    assert_eq!((planned.adapters.len(), planned.plan.coverage.as_ref().unwrap().merged), (2, 20));
    robot.press("a type:samples/peft-bad-keys/good/ enter");
    assert_eq!(
        robot.app.toast.as_deref(),
        Some("this adapter is merged already: its scale says how much of it")
    );
    robot.press("x");
    assert!(robot.app.toast.as_deref().unwrap().starts_with("this adapter is the one that is attached"));
    robot.press("down down down down down down down enter");
    assert_eq!(robot.app.jobs.list[0].subject, "base-A-bf16/model + good + adapter → model-good");
}

#[test]
fn a_merge_of_a_part_is_never_called_verified() {
    let mut robot = Robot::attach("missing-lora-B");
    robot.press("m tab tab tab tab tab right down down down down enter").end(Ok(outcome()));
    for size in [LARGE, SMALL, (50, 15)] {
        let text = robot.draw(size);
        assert!(text.contains("▲") && text.contains("5 of 6"), "{text}");
        assert!(!text.contains("✓ verified") && !text.contains("written and verified"), "{text}");
    }
    assert!(robot.app.toast.as_deref().unwrap().starts_with("merge done, 5 of 6 modules: "));
}

#[test]
fn an_adapter_opens_its_base_and_is_attached_to_it() {
    let mut robot = Robot::open("samples/peft-bad-keys/good");
    assert!(robot.draw(LARGE).contains("o open its base"));
    robot.press("m");
    assert_eq!(
        robot.app.toast.as_deref(),
        Some("merge: this is an adapter: it is merged into its base (o opens that, a chooses it)")
    );
    robot.press("o");
    let paths: Vec<&str> = robot.app.opens.iter().map(|open| open.path.as_str()).collect();
    assert_eq!(paths, ["samples/peft-bad-keys/good", "samples/base-A-bf16/model"]);
    assert!(robot.draw(LARGE).contains("6 of 6 modules aligned"));
    // Back on the adapter, the same base is not opened a second time.
    robot.press(", o");
    assert_eq!((robot.app.opens.len(), robot.app.current), (2, 1));
}

#[test]
fn a_base_that_is_not_here_says_where_it_was_looked_for() {
    let mut robot = Robot::open("samples/peft-bad-keys/good");
    let search = Search {
        named: Some("meta-llama/Llama-3.2-3B".into()),
        found: None,
        looked: vec![
            "the Hub cache: meta-llama/Llama-3.2-3B is not in the local cache (/c/hub)".into(),
            "/a/b".into(),
        ],
    };
    robot.app.update(Event::BaseFound(0, Box::new(search)));
    for size in [LARGE, SMALL] {
        insta::assert_snapshot!(format!("adapter-base-not-here-{}x{}", size.0, size.1), {
            robot.press("4");
            robot.draw(size)
        });
    }
    robot.press("o");
    assert!(matches!(robot.app.overlay, Some(Overlay::Picker(_))), "o chooses anything");
    robot.press("esc a type:./base enter");
    assert_eq!(robot.app.opens[1].path, "./base", "a chooses the base");
    assert_eq!(robot.app.opens[1].attached.as_ref().unwrap().path, "samples/peft-bad-keys/good");
}

#[test]
fn what_fits_and_cannot_be_merged_says_why_before_the_form() {
    let scratch = Scratch::new("board-pissa");
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        let bytes = std::fs::read(sample("peft-bad-keys/good").join(file)).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let changed = text.replace("\"init_lora_weights\": true", "\"init_lora_weights\": \"pissa_niter_4\"");
        let bytes = if file.ends_with("json") { changed.into_bytes() } else { bytes };
        put(&scratch.join(file), &bytes);
    }
    let mut robot = Robot::open("samples/base-A-bf16/model");
    let effects = robot.app.attach(&scratch.join("").display().to_string());
    robot.answer(effects);
    for size in [LARGE, SMALL] {
        let text = robot.draw(size);
        assert!(text.contains("✗ it cannot be merged: init_lora_weights is pissa_niter_4"), "{text}");
        assert!(text.contains("merge ✗") && !text.contains("ready to merge"), "{text}");
    }
    robot.press("m");
    assert!(robot.app.form().is_none());
    let toast = robot.app.toast.unwrap();
    assert!(toast.starts_with("merge: not possible: init_lora_weights is pissa_niter_4"), "{toast}");
}

#[test]
fn what_does_not_fit_leaves_no_merge() {
    let mut robot = Robot::attach("wrong-shape");
    robot.press("m");
    assert_eq!(
        robot.app.toast.as_deref(),
        Some("merge: no module of the adapter fits this base: 4 says why")
    );
}

#[test]
fn a_key_leads_to_the_base_and_the_command_of_its_name_to_anything() {
    let mut robot = Robot::open("samples/peft-bad-keys/good");
    robot.press(": type:open enter");
    assert!(matches!(robot.app.overlay, Some(Overlay::Picker(_))), "the palette opens what is chosen there");
    robot.press("esc : type:attach enter");
    assert_eq!(
        robot.app.toast.as_deref(),
        Some("attach: this is an adapter itself: o opens its base, a chooses it")
    );
    robot.press("a");
    let Some(Overlay::Picker(picker)) = &robot.app.overlay else { panic!("no picker") };
    assert_eq!(picker.purpose, Purpose::Base);
}

#[test]
fn the_rows_of_a_board_are_sorted_and_the_cursor_stays_on_its_row() {
    let mut robot = Robot::attach("good");
    let modules = |robot: &Robot| -> Vec<String> {
        let board = robot.app.board().unwrap();
        let name = |row: &Row| board.module_of(*row).map(|module| module.name.clone());
        board.rows.iter().filter_map(name).map(|name| name.rsplit('.').next().unwrap().to_owned()).collect()
    };
    assert_eq!(modules(&robot), ["down_proj", "q_proj", "v_proj"]);
    robot.press("j j");
    let row = robot.app.board().unwrap().row();
    robot.press("s j j enter");
    assert_eq!(robot.app.board().unwrap().order, Order::Delta);
    // [128, 256], [128, 128], [64, 128].
    assert_eq!(modules(&robot), ["down_proj", "q_proj", "v_proj"]);
    assert_eq!(robot.app.board().unwrap().row(), row);
    assert!(robot.draw(SMALL).contains("by delta"));
    robot.press("3 s");
    assert_eq!(
        robot.app.toast.as_deref(),
        Some("sort: only in the layer tree (1) and on the adapter board (4)")
    );
}

#[test]
fn how_much_an_adapter_changes_is_looked_at_when_asked_and_an_answer_too_late_is_dropped() {
    let mut robot = Robot::attach_to("samples/base-A-bf16/model", "samples/peft-lora-all-A/adapter");
    assert!(robot.draw(LARGE).contains("w weigh"));
    let ask = |robot: &mut Robot| {
        let asked = robot.app.update(Event::Key("w".into()));
        let [Effect::Weigh(id, number)] = asked[..] else { panic!("{asked:?}") };
        (number, Question::of(&robot.app, id, number).unwrap())
    };
    let (number, question) = ask(&mut robot);
    robot.app.update(Event::Weighing(number, 5));
    assert!(robot.draw(SMALL).contains("weighing: 5 layers done"));
    // The same key ends it, and then there is nobody who waits.
    assert!(robot.app.update(Event::Key("w".into())).is_empty());
    assert!(robot.draw(LARGE).contains("not weighed: it was ended; w begins again"));
    let late = question.answer(&|_| {});
    assert_eq!(late.as_ref().err().unwrap().message, "it was ended");
    robot.app.update(Event::Weighed(number, Box::new(late)));
    let (number, question) = ask(&mut robot);
    let done = std::sync::atomic::AtomicUsize::new(0);
    let found = question.answer(&|_| {
        done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(done.into_inner(), 14);
    robot.app.update(Event::Weighed(number, Box::new(found)));
    for (name, keys) in [("fold", ""), ("module", "enter j")] {
        robot.press(keys);
        for size in [LARGE, SMALL] {
            insta::assert_snapshot!(format!("weighed-{name}-{}x{}", size.0, size.1), robot.draw(size));
        }
    }
}
