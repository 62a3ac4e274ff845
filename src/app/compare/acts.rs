//! Acts: choosing B, stopping, ending, stripping a prefix.

use std::sync::atomic::Ordering;

use super::show::Show;
use super::{App, Compare, Effect, Stage};
use crate::app::picker::{Facts, Group, Picker, Place, Purpose};
use crate::app::{Focus, OpenState, Overlay, Tab};
use crate::stats::matched::Side;

/// Opens the picker of what to compare with; what is open stands first.
pub(in crate::app) fn pick(app: &mut App) -> Vec<Effect> {
    let shown = app.opens.get(app.current).map(|open| open.id);
    let others = app.opens.iter().filter(|open| Some(open.id) != shown);
    let place = |open: &crate::app::Open| {
        let facts = match &open.state {
            OpenState::Ready(ready) => Facts::Known {
                format: ready.headline.clone(),
                bytes: ready.summary.bytes,
                shards: ready.files().shards.len(),
                errors: ready.problems.iter().filter(|problem| problem.is_error()).count(),
            },
            OpenState::Failed(error) => Facts::Gone(error.message.clone()),
            OpenState::Opening(_) => Facts::Unknown,
        };
        let (path, label) = (open.path.clone(), open.path.clone());
        Place { group: Group::Open, path, label, note: String::new(), facts }
    };
    let open: Vec<Place> = others.map(place).collect();
    let mut picker = Picker { purpose: Purpose::Compare, open, ..Picker::default() };
    if let Some(compare) = app.compare() {
        picker.fill_names(&compare.names);
        let b = app.opens.iter().find(|open| open.id == compare.b).map(|open| open.path.as_str());
        picker.cursor = picker.open.iter().position(|place| Some(place.path.as_str()) == b).unwrap_or(0);
    }
    app.overlay = Some(Overlay::Picker(Box::new(picker)));
    vec![Effect::FindPlaces]
}

pub(in crate::app) fn can_compare(app: &App) -> Result<(), String> {
    crate::app::command::has_checkpoint(app)?;
    if app.is_readable() { Ok(()) } else { Err("nothing of this checkpoint could be read".into()) }
}

/// Two are compared, and the tree of A shows.
pub(in crate::app) fn on_screen(app: &App) -> bool {
    app.tab == Tab::Detail && app.compare().is_some_and(|compare| compare.beside.is_none())
}

/// There is something to see of the comparison.
pub(in crate::app) fn is_matched(app: &App) -> bool {
    on_screen(app) && app.compare().is_some_and(|compare| compare.facts.is_some())
}

/// Values are being compared.
pub(in crate::app) fn is_running(app: &App) -> bool {
    let runs = |compare: &Compare| matches!(compare.stage, Stage::Running | Stage::Matching);
    app.tab == Tab::Detail && app.compare().is_some_and(runs)
}

/// Stops; what was found stays.
pub(in crate::app) fn stop(app: &mut App) -> Vec<Effect> {
    if let Some(compare) = app.compare_mut() {
        compare.cancel.store(true, Ordering::Relaxed);
        compare.stage = Stage::Stopped(None);
    }
    app.rank();
    Vec::new()
}

/// One step back: out of the walk along a strip, to the tree, out of the filter, then out of the comparison.
pub(in crate::app) fn end(app: &mut App) -> Vec<Effect> {
    if app.return_from_jump() {
        return Vec::new();
    }
    if super::is_walking(app) {
        if let Some(compare) = app.compare_mut() {
            compare.walk = None;
        }
    } else if app.focus == Focus::Side {
        app.show(Tab::Detail);
    } else if app.ready().is_some_and(|ready| ready.tree.filter().is_some()) {
        app.set_filter("");
    } else if app.compare().is_some_and(|compare| compare.show != Show::All) {
        app.set_show(Show::All);
    } else {
        app.end_compare();
    }
    Vec::new()
}

/// No name is in both, but for a prefix.
pub(in crate::app) fn is_strippable(app: &App) -> bool {
    on_screen(app) && app.compare().is_some_and(|compare| compare.strippable().is_some())
}

/// The key that goes in has a meaning of its own.
pub(in crate::app) fn takes_enter(app: &App) -> bool {
    is_strippable(app) || super::is_on_layer(app) || super::in_beside(app)
}

/// Matches again without the prefix that stands in the way.
pub(in crate::app) fn strip(app: &mut App) -> Vec<Effect> {
    let Some(compare) = app.compare_mut() else { return Vec::new() };
    let Some((side, prefix)) = compare.strippable().map(|(side, prefix)| (side, prefix.to_owned())) else {
        return Vec::new();
    };
    match side {
        Side::A => compare.names.strip_a.push(prefix),
        Side::B => compare.names.strip_b.push(prefix),
    }
    if let Some(command) = app.diff_command() {
        app.log.push(command);
    }
    app.match_again().into_iter().collect()
}

/// Opens the menu of orders, with what is known of the differences.
pub(in crate::app) fn sort(app: &mut App) -> Vec<Effect> {
    app.rank();
    let sort = app.ready().map(|ready| ready.tree.sort());
    let at = app.sorts().into_iter().position(|known| Some(known) == sort).unwrap_or(0);
    app.overlay = Some(Overlay::SortMenu(at));
    Vec::new()
}

/// Copies the row under the cursor with its figures.
pub(in crate::app) fn copy_row(app: &mut App) -> Vec<Effect> {
    row_in_words(app).map_or_else(Vec::new, |text| crate::app::copy::copied(app, text))
}

fn row_in_words(app: &App) -> Option<String> {
    let (compare, ready) = (app.compare()?, app.ready()?);
    let row = ready.tree.current()?;
    let names = &ready.files().names;
    if let Some(guest) = app.guests().first() {
        return Some(format!("{}  only in B", guest.name));
    }
    let Some(focused) = app.focused() else {
        let sum = compare.table.sum(app.row_layers(ready.tree.cursor()));
        let mean = sum.mean().map_or_else(|| "none".to_owned(), |mean| format!("{mean}"));
        return Some(format!("{}  mean relative L2 {mean} of {} layers", names.name(row.node), sum.compared));
    };
    let own = ready.checkpoint.layers.name(names, focused.layer);
    let Some(number) = compare.table.worst_pair(focused.layer) else {
        return Some(format!("{own}  only in A"));
    };
    let (pair, of) = compare.pair(number)?;
    let [a, b] = pair.labels(of[0], of[1]);
    let name = if pair.bias.is_some() { &pair.name } else { &own };
    let found = match compare.table.known.get(number as usize)? {
        None => "not compared yet".to_owned(),
        Some(Err(why)) => format!("values cannot be compared: {why}"),
        Some(Ok(figures)) => super::figures::in_words(figures),
    };
    Some(format!("{name}  A {a}  B {b}  {found}"))
}

/// Copies the command line of the comparison.
pub(in crate::app) fn copy_command(app: &mut App) -> Vec<Effect> {
    let Some(command) = app.diff_command() else { return Vec::new() };
    app.toast = Some(format!("copied {command}"));
    if app.log.last() != Some(&command) {
        app.log.push(command.clone());
    }
    vec![Effect::Copy(command)]
}
