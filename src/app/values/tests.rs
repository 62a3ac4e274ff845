//! Tests of what the tab asks for, what it does with answers, and where the cursor of the map goes.

use super::figures::Energy;
use super::words::{energy, share};
use super::*;
use crate::app::tests::Robot;
use crate::app::{Event, Overlay};
use crate::stats::Summary;
use crate::stats::counts::{Counts, Keys};
use crate::stats::summary::Sides;
use crate::tensor::Dtype;

/// What is said of a matrix of a name, as far as the tab cares.
fn figures(name: &str, [rows, columns]: [u64; 2], parts: &[Part]) -> Arc<Figures> {
    let [high, wide] = [rows, columns].map(|count| count.min(256) as usize);
    let cells = (0..high * wide).map(|at| at as f32).collect();
    let norms = |count: u64| vec![1.0; count as usize];
    let summary = Summary {
        shape: vec![rows, columns],
        dtype: Dtype::F16,
        count: rows * columns,
        nan: 0,
        infinite: 0,
        zeros: 0,
        min: None,
        max: None,
        mean: None,
        std: None,
        quantiles: Vec::new(),
        is_exact: true,
        outliers: Vec::new(),
        rows_zero: Some(0),
        rows,
        counts: Counts::new(Keys::of(Dtype::F16)),
        histogram: None,
        sides: Some(Sides {
            rows: norms(rows),
            columns: norms(columns),
            map: Map { rows: high, columns: wide, cells },
        }),
    };
    Arc::new(Figures::of(name.into(), (parts[0], parts.to_vec()), rows * columns, summary))
}

fn done(name: &str) -> Seen {
    Seen::Done(figures(name, [1000, 600], &[Part::Weights, Part::Codes]))
}

/// Opens the tab with all rows open, on the first of two layers.
fn robot() -> Robot {
    let mut robot = Robot::new(&["made"], &[]);
    let ready = robot.app.ready_mut().expect("it is open");
    let checkpoint = Arc::clone(&ready.checkpoint);
    ready.tree.open_all(&checkpoint);
    // Two layers stand one below the other there.
    while robot.app.ready().and_then(super::super::Ready::layer) != Some(1) {
        robot.press("j");
    }
    robot.press("v");
    robot
}

/// The numbers of the scans that were asked for.
fn scans(robot: &Robot) -> Vec<u32> {
    let number = |effect: &Effect| if let Effect::ScanValues(number) = effect { Some(*number) } else { None };
    robot.asked.iter().filter_map(number).collect()
}

fn name_shown(robot: &Robot) -> Option<&str> {
    match robot.app.values_looked() {
        Looked::Seen(figures) => Some(&figures.name),
        _ => None,
    }
}

#[test]
fn opening_the_tab_asks_at_once_and_a_moving_cursor_is_waited_for() {
    let mut robot = robot();
    assert_eq!(scans(&robot), [1]);
    assert!(!robot.app.values_request(1).expect("it is wanted").rests);
    robot.press("j");
    assert_eq!(scans(&robot), [2]);
    assert!(robot.app.values_request(1).is_none(), "the first is no longer wanted");
    assert!(robot.app.values_request(2).expect("it is wanted").rests);
    // Any key that moves the row asks, also from the filter and the palette.
    assert_eq!(scans(robot.press("G")), [3]);
    assert!(scans(robot.press("v")).is_empty(), "a second press does nothing");
}

#[test]
fn answers_of_a_question_that_was_overtaken_are_dropped() {
    let mut robot = robot();
    robot.press("j");
    robot.app.update(Event::ValuesSeen(1, Box::new(done("old"))));
    assert!(matches!(robot.app.values_looked(), Looked::Reading(None)));
    robot
        .app
        .update(Event::ValuesSeen(2, Box::new(Seen::SoFar(figures("so far", [9, 9], &[Part::Weights])))));
    assert!(matches!(robot.app.values_looked(), Looked::Reading(Some(figures)) if figures.name == "so far"));
    robot.app.update(Event::ValuesSeen(2, Box::new(done("new"))));
    assert_eq!(name_shown(&robot), Some("new"));
    // What comes after the end is of no question.
    robot.app.update(Event::ValuesSeen(2, Box::new(done("again"))));
    assert_eq!(name_shown(&robot), Some("new"));
}

#[test]
fn what_was_read_is_there_when_the_cursor_comes_back() {
    let mut robot = robot();
    robot.app.update(Event::ValuesSeen(1, Box::new(done("first"))));
    assert_eq!(scans(robot.press("j")), [2]);
    // The way back ends what is still being read.
    assert!(robot.press("k").asked.contains(&Effect::StopValues));
    assert_eq!(name_shown(&robot), Some("first"));
    assert_eq!(scans(robot.press("j")), [3]);
    robot.app.update(Event::ValuesSeen(3, Box::new(done("second"))));
    assert!(scans(robot.press("k j")).is_empty());
    assert_eq!(name_shown(&robot), Some("second"));
    // A checkpoint that is read again is another.
    robot.press("R");
    let again = crate::checkpoint::made::Made::default().checkpoint();
    robot.app.update(Event::Opened(0, Box::new(Ok(again))));
    assert!(robot.app.values.seen.is_empty());
}

#[test]
fn only_so_many_rows_are_kept() {
    let mut values = Values::default();
    for at in 0..20 {
        let key = Key { id: 0, of: Of::Layer(at), part: Part::Weights };
        assert_eq!(values.want(Some(key)), Some(Effect::ScanValues(at + 1)));
        values.take(at + 1, done("any"));
    }
    assert_eq!(values.seen.len(), KEPT);
    let key = |at| Some(Key { id: 0, of: Of::Layer(at), part: Part::Weights });
    assert_eq!(values.want(key(19 - 7)), None, "the eighth before is kept");
    assert_eq!(values.want(key(3)), Some(Effect::ScanValues(21)), "an older one is not");
}

#[test]
fn another_tab_stops_reading_and_a_form_does_too() {
    assert_eq!(robot().press("3").asked, [Effect::StopValues]);
    assert_eq!(robot().press("esc").asked, [Effect::StopValues]);
    let mut robot = robot();
    robot.app.update(Event::ValuesSeen(1, Box::new(done("first"))));
    assert_eq!(robot.press("3").asked, [], "nothing ran");
    assert!(scans(robot.press("2")).is_empty());
    assert_eq!(name_shown(&robot), Some("first"));
}

#[test]
fn x_stops_and_reads_on() {
    let mut robot = robot();
    assert_eq!(robot.press("x").asked, [Effect::StopValues]);
    assert!(matches!(robot.app.values_looked(), Looked::Stopped(None)));
    robot.app.update(Event::ValuesSeen(1, Box::new(done("late"))));
    assert!(matches!(robot.app.values_looked(), Looked::Stopped(None)));
    assert_eq!(scans(robot.press("x")), [2]);
    robot.app.update(Event::ValuesSeen(2, Box::new(done("all"))));
    assert_eq!(name_shown(&robot), Some("all"));
    robot.press("x");
    assert!(robot.toast().contains("no job runs") || robot.toast().contains("nothing"), "{}", robot.toast());
}

#[test]
fn a_failure_is_kept_in_words_and_does_not_ask_again() {
    let mut robot = robot();
    robot.app.update(Event::ValuesSeen(1, Box::new(Seen::Failed("w: missing scales".into()))));
    assert!(matches!(robot.app.values_looked(), Looked::Failed("w: missing scales")));
    robot.press("j");
    assert!(scans(robot.press("k")).is_empty());
    assert!(matches!(robot.app.values_looked(), Looked::Failed(_)));
    assert_eq!(robot.press("tab").toast(), "no values are read yet");
}

#[test]
fn a_group_says_what_to_select_and_asks_for_nothing() {
    let mut robot = Robot::new(&["made"], &[]);
    while robot.app.values_of_row().is_ok() {
        robot.press("j");
    }
    robot.press("2");
    assert!(scans(&robot).is_empty());
    assert!(
        matches!(robot.app.values_looked(), Looked::Nothing(why) if why.contains("Enter opens this row"))
    );
}

#[test]
fn escape_goes_from_the_map_to_the_tree_and_then_to_details() {
    let mut robot = robot();
    assert_eq!(robot.press("tab").toast(), "no values are read yet");
    robot.app.update(Event::ValuesSeen(1, Box::new(done("first"))));
    robot.press("tab");
    assert_eq!((robot.app.tab, robot.app.focus), (Tab::Values, Focus::Side));
    robot.press("2");
    assert_eq!(robot.app.focus, Focus::Side, "a second press does nothing");
    robot.press("esc");
    assert_eq!((robot.app.tab, robot.app.focus), (Tab::Values, Focus::Tree));
    robot.press("esc");
    assert_eq!(robot.app.tab, Tab::Detail);
}

#[test]
fn the_part_is_chosen_from_a_menu_and_asked_for_at_once() {
    let mut robot = robot();
    robot.app.update(Event::ValuesSeen(1, Box::new(done("first"))));
    robot.press("f");
    assert!(matches!(robot.app.overlay, Some(Overlay::PartMenu(0))));
    assert_eq!(scans(robot.press("j enter")), [2]);
    let request = robot.app.values_request(2).expect("it is wanted");
    assert_eq!((request.key.part, request.rests), (Part::Codes, false));
    robot.press("f");
    assert!(robot.toast().contains("no values are read yet"), "{}", robot.toast());
}

#[test]
fn the_cursor_of_the_map_asks_for_the_numbers_around_it() {
    let mut robot = robot();
    robot.app.values.map_room = [10, 50];
    robot.app.values.number_room = [5, 4];
    robot.app.update(Event::ValuesSeen(1, Box::new(done("first"))));
    let region = |robot: &Robot| {
        let Some(Effect::ReadRegion(number)) = robot.asked.last() else { panic!("{:?}", robot.asked) };
        let (request, region) = robot.app.region_request(*number).expect("it is wanted");
        assert_eq!(request.number, *number);
        (*number, region)
    };
    robot.press("tab");
    let (first, wanted) = region(&robot);
    assert_eq!(wanted, Region { cells: None, numbers: [0..5, 0..4] });
    robot.press("j l");
    let (second, wanted) = region(&robot);
    let [row, column] = robot.app.values.view.cursor;
    assert!(row > 90 && column > 10, "{row} {column}");
    assert!(wanted.numbers[0].contains(&row) && wanted.numbers[1].contains(&column), "{wanted:?}");
    let numbers = RegionRead { cells: None, numbers: vec![0.5; 20] };
    robot
        .app
        .update(Event::RegionRead(first, Box::new(Ok(RegionRead { cells: None, numbers: vec![9.0; 20] }))));
    assert_eq!(robot.app.values.under_cursor(), None, "the first was overtaken");
    robot.app.update(Event::RegionRead(second, Box::new(Ok(numbers))));
    assert_eq!(robot.app.values.under_cursor(), Some(0.5));
    // Closer than the cells of the scan's map, the region is read.
    robot.press("+ + + +");
    let (number, wanted) = region(&robot);
    assert!(wanted.cells.is_some() && robot.app.values.is_reading_cells());
    robot.app.update(Event::RegionRead(number, Box::new(Err("read w: gone".into()))));
    assert_eq!(robot.app.values.region_failure(), Some("read w: gone"));
    for _ in 0..20 {
        robot.press("+");
    }
    assert_eq!(robot.toast(), "a cell is a value here: there is nothing closer");
}

/// A vector of so many values.
fn vector(name: &str, count: u64) -> Seen {
    let mut figures = Arc::unwrap_or_clone(figures(name, [1, count], &[Part::Weights]));
    (figures.summary.shape, figures.summary.sides) = (vec![count], None);
    Seen::Done(Arc::new(figures))
}

#[test]
fn a_vector_asks_for_the_lines_around_its_cursor() {
    let mut robot = robot();
    robot.app.values.number_room = [3, 10];
    robot.app.update(Event::ValuesSeen(1, Box::new(vector("bias", 1000))));
    let region = |robot: &Robot| {
        let Some(Effect::ReadRegion(number)) = robot.asked.last() else { panic!("{:?}", robot.asked) };
        robot.app.region_request(*number).expect("it is wanted").1
    };
    robot.press("tab");
    assert_eq!(region(&robot), Region { cells: None, numbers: [0..1, 0..30] });
    robot.press("j j j l l");
    assert_eq!((robot.app.values.view.cursor, region(&robot).numbers), ([0, 32], [0..1, 20..50]));
    robot.press("G");
    assert_eq!((robot.app.values.view.cursor, region(&robot).numbers), ([0, 999], [0..1, 970..1000]));
    assert_eq!(robot.press("enter").toast(), "a vector has no map: its numbers stand in a row");
    assert_eq!(robot.press("f").toast(), "values-part: there are just these values: nothing is packed");
}

#[test]
fn norms_are_a_list_that_is_sorted_and_leads_to_the_map() {
    let mut robot = robot();
    let mut seen = Arc::unwrap_or_clone(figures("first", [4, 3], &[Part::Weights]));
    let sides = seen.summary.sides.as_mut().expect("it has them");
    (sides.rows, sides.columns) = (vec![2.0, 0.0, 7.0, 2.0], vec![1.0, 3.0, 2.0]);
    robot.app.update(Event::ValuesSeen(1, Box::new(Seen::Done(Arc::new(seen)))));
    let sorted = |robot: &Robot| robot.app.values.list.as_ref().expect("it shows").sorted().to_vec();
    robot.press("f j enter");
    assert_eq!((robot.app.focus, sorted(&robot)), (Focus::Side, vec![2, 0, 3, 1]), "of equal ones the first");
    let [Effect::Copy(command)] = &robot.press("Y").asked[..] else { panic!("{:?}", robot.asked) };
    assert!(command.ends_with(" --norms rows"), "{command}");
    robot.press("s j enter");
    assert_eq!(sorted(&robot), [1, 0, 3, 2]);
    assert_eq!(
        robot.press("s j j enter j j j j").app.values.list.as_ref().expect("it shows").current(),
        Some(3)
    );
    assert!(robot.press("enter").app.values.list.is_none());
    assert_eq!((robot.app.values.view.cursor, robot.app.focus), ([3, 0], Focus::Side));
    robot.press("f j j enter");
    assert_eq!(sorted(&robot), [1, 2, 0], "columns, the largest first");
    // Another row has other norms, once they are read.
    let number = scans(robot.press("tab j"))[0];
    assert!(sorted(&robot).is_empty() && robot.app.focus == Focus::Tree);
    robot.app.update(Event::ValuesSeen(number, Box::new(done("second"))));
    assert_eq!(sorted(&robot).len(), 600);
    robot.press("tab esc");
    assert!(robot.app.values.list.is_none() && robot.app.tab == Tab::Values);
}

#[test]
fn an_export_needs_values_that_are_read_and_a_name_of_a_kind() {
    let mut robot = robot();
    let press = |robot: &mut Robot, name: &str| {
        robot.press(":").write("export").press("enter");
        if robot.app.overlay.is_some() {
            robot.press("ctrl-u").write(name).press("enter");
        }
        robot.toast().to_owned()
    };
    assert_eq!(press(&mut robot, "a.json"), "export: not all values are read");
    robot.app.update(Event::ValuesSeen(1, Box::new(done("first"))));
    assert_eq!(press(&mut robot, "a.txt"), "its name is to end in .json or .csv");
    assert!(matches!(&robot.app.overlay, Some(Overlay::Export(input)) if input.value() == "a.txt"));
    robot.press("ctrl-u").write("b$c.csv").press("enter");
    let [Effect::Export(path, text)] = &robot.asked[..] else { panic!("{:?}", robot.asked) };
    assert!(path == "b$c.csv" && text.starts_with("name,format,shape,"), "{path} {text}");
    let logged = robot.app.log.last().expect("it is logged");
    assert!(logged.ends_with(" --csv > 'b$c.csv'"), "{logged}");
    assert_eq!(press(robot.press("1"), "a.csv"), "export: only in Values (2)");
}

#[test]
fn no_way_over_the_map_leaves_it_and_no_cell_is_lost() {
    let all = [(1000, 600), (256, 300), (7, 5), (1, 90_000), (151_936, 3), (257, 255), (1, 1)];
    let keys: [fn(&mut View, [Side; 2]); 8] = [
        |view, sides| view.step(sides, [1, 0]),
        |view, sides| view.step(sides, [-3, 0]),
        |view, sides| view.step(sides, [0, 7]),
        |view, sides| view.step(sides, [0, -1]),
        |view, sides| view.zoom(sides, true),
        |view, sides| view.zoom(sides, false),
        |view, sides| view.step(sides, [isize::MAX, isize::MAX]),
        |view, sides| view.step(sides, [-isize::MAX, 0]),
    ];
    let mut state = 1u64;
    for (rows, columns) in all {
        for room in [[1, 1], [9, 60], [40, 300]] {
            let [high, wide] = [rows, columns].map(|count: u64| count.min(256) as usize);
            let map = Map { rows: high, columns: wide, cells: vec![1.0; high * wide] };
            let sides = sides([rows, columns], &map, room).expect("a map");
            let mut view = View::default();
            for _ in 0..400 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                keys[(state >> 33) as usize % keys.len()](&mut view, sides);
                let cut = view.cut(sides);
                let [lines, cells] = cut.size();
                assert!(cut.cell(view.cursor).is_some(), "{rows} x {columns}: {view:?} {cut:?}");
                assert!(lines <= room[0].max(1) && cells <= room[1].max(1), "{cut:?}");
                assert!(
                    cut.rows.is_sorted_by(|a, b| a < b) && cut.columns.is_sorted_by(|a, b| a < b),
                    "{cut:?}"
                );
                assert!(
                    *cut.rows.last().unwrap() <= rows && *cut.columns.last().unwrap() <= columns,
                    "{cut:?}"
                );
                assert_eq!(cut.pooled(sides, &map), vec![1.0; lines * cells]);
            }
            let mut view = View::default();
            assert_eq!(view.cut(sides).rows.last(), Some(&rows), "all shows first");
            view.step(sides, [isize::MAX, isize::MAX]);
            let cut = view.cut(sides);
            assert_eq!((cut.rows.last(), cut.columns.last()), (Some(&rows), Some(&columns)));
        }
    }
}

#[test]
fn cells_are_put_together_of_whole_ones_of_the_map() {
    let (rows, columns) = (1000, 600);
    let map = Map { rows: 256, columns: 256, cells: vec![0.0; 256 * 256] };
    let sides = sides([rows, columns], &map, [10, 50]).expect("a map");
    let mut view = View::default();
    for _ in 0..2 {
        let cut = view.cut(sides);
        assert!(cut.is_of_map);
        for (ends, count) in [(&cut.rows, rows), (&cut.columns, columns)] {
            for end in ends {
                // A cell of the map begins here: the value before lies in another one.
                let cell = |value: u64| value * 256 / count;
                assert!(*end == 0 || *end == count || cell(*end) != cell(end - 1), "{end}");
            }
        }
        view.zoom(sides, true);
    }
    view.zoom(sides, true);
    assert!(!view.cut(sides).is_of_map);
}

#[test]
fn energy_names_what_stands_out() {
    let mut norms = vec![1.0; 100];
    assert_eq!(
        energy(&Energy::of(&norms).unwrap(), "row", true),
        "none stands out; largest 0, 1, 2: 3.0% of energy"
    );
    norms[7] = 10.0;
    norms[40] = 0.0;
    let of = Energy::of(&norms).unwrap();
    assert_eq!((of.standing_out, of.zero, of.largest[0]), (1, 1, 7));
    assert_eq!(energy(&of, "column", false), "1 column carries 51% of energy: 7; 1 all zero");
    assert_eq!(Energy::of(&[0.0, 0.0]), None);
    assert_eq!(Energy::of(&[1.0]), None);
}

#[test]
fn a_share_is_never_said_to_be_nothing_or_all_when_it_is_not() {
    let cases = [
        (0, 5, "0%"),
        (5, 5, "100%"),
        (1, 1_000_000, "<0.1%"),
        (999_999, 1_000_000, "99%"),
        (63, 1000, "6.3%"),
        (17, 100, "17%"),
    ];
    for (part, whole, want) in cases {
        assert_eq!(share(part, whole), want);
    }
}
