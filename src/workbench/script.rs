//! The workbench without a terminal: driven by a key script, what is read is read at once, nothing is
//! written, the last screen returned.

use std::io::Write;
use std::path::Path;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;

use super::values::{Attention, region_of, seen};
use super::{checkpoint_of, comparing, evidence, open_path, places, work};
use crate::app::board::weighed;
use crate::app::{App, Effect, Event, Tab, keys};
use crate::checkpoint::Progress;
use crate::engine::cuda::probe::probe;
use crate::error::{Error, ErrorKind, Result};
use crate::gauges::Sampler;
use crate::ui::degrade::{ColorFlag, Degrade, Environment, decide};
use crate::ui::theme::Theme;
use crate::ui::{self, Look, Scroll};

/// What a headless run of the workbench is given.
pub struct Script<'a> {
    /// What to open.
    pub paths: &'a [String],
    /// The adapter to attach to the first of them.
    pub adapter: Option<&'a str>,
    /// Keys separated by blanks; `type:TEXT` types a text, `paste:FILE` pastes that of a file.
    pub keys: &'a str,
    /// Cells of the screen.
    pub size: (u16, u16),
    /// The theme.
    pub theme: &'a Theme,
    /// What the terminal is said to show.
    pub degrade: Degrade,
}

/// Drives the workbench by a key script and returns its last screen. What it shows is read and planned at
/// once; what would write is not started.
///
/// # Errors
/// The size is not one, or a key has no such name.
pub fn screenshot(script: &Script<'_>) -> Result<Buffer> {
    let keymap = keys::keymap(None).map_err(Error::input)?;
    let (mut app, mut effects) = App::new(script.paths, keymap);
    effects.extend(script.adapter.iter().flat_map(|path| app.attach(path)));
    run_jobs(&mut app, effects);
    let look = Look { theme: script.theme, degrade: script.degrade };
    let mut stage = Stage::new(script.size, &look)?;
    let mut draw = |app: &mut App| -> Result<()> {
        stage.draw(app)?;
        // How many values there is room for is known once they were drawn.
        let effects = app.ask_for_room();
        run_jobs(app, effects);
        Ok(())
    };
    for word in script.keys.split_whitespace() {
        let events: Vec<Event> = if let Some(text) = word.strip_prefix("type:") {
            text.chars().map(|c| Event::Key(c.to_string())).collect()
        } else if let Some(file) = word.strip_prefix("paste:") {
            let path = Path::new(file);
            let text = std::fs::read(path).map_err(|e| Error::io("read", path, &e))?;
            vec![Event::Paste(String::from_utf8_lossy(&text).into_owned())]
        } else {
            keys::check(word).map_err(|why| Error::input(format!("--keys: {why}")))?;
            vec![Event::Key(word.to_owned())]
        };
        for event in events {
            app.update(Event::ToastRead);
            let effects = app.update(event);
            run_jobs(&mut app, effects);
            if app.tab == Tab::Values || app.beside().is_some() {
                // Where a cursor goes depends on how many cells there are.
                draw(&mut app)?;
            }
        }
    }
    // Twice: what scrolls settles in the second frame.
    draw(&mut app)?;
    draw(&mut app)?;
    Ok(stage.terminal.backend().buffer().clone())
}

/// A screen of its own, on which the app is drawn.
struct Stage<'a> {
    terminal: Terminal<TestBackend>,
    scroll: Scroll,
    look: &'a Look<'a>,
}

impl<'a> Stage<'a> {
    fn new((width, height): (u16, u16), look: &'a Look<'a>) -> Result<Self> {
        let terminal = Terminal::new(TestBackend::new(width, height));
        let terminal = terminal.map_err(|e| Error::input(format!("a screen of {width}x{height}: {e}")))?;
        Ok(Self { terminal, scroll: Scroll::default(), look })
    }

    fn draw(&mut self, app: &mut App) -> Result<()> {
        let Self { terminal, scroll, look } = self;
        let drawn = terminal.draw(|frame| ui::draw(frame, app, scroll, look));
        drawn.map(|_| ()).map_err(|e| Error::input(format!("draw a screen: {e}")))
    }
}

/// Draws the app as it is now, for a picture in all colors, else for text, which has none.
///
/// # Errors
/// The size is none.
pub(super) fn as_it_is(app: &mut App, size: (u16, u16), theme: &Theme, is_picture: bool) -> Result<Buffer> {
    let look = Look { theme, degrade: degrade(is_picture, false) };
    let mut stage = Stage::new(size, &look)?;
    stage.draw(app)?;
    stage.draw(app)?;
    Ok(stage.terminal.backend().buffer().clone())
}

/// Returns how a screen is drawn that is written to a file, whatever terminal it is made in: a picture has all colors,
/// text has none, and says with glyphs what they would.
#[must_use]
pub fn degrade(is_picture: bool, is_ascii: bool) -> Degrade {
    let anywhere = Environment { lang: Some("C.UTF-8".into()), ..Environment::default() };
    let colors = if is_picture { ColorFlag::TrueColor } else { ColorFlag::Never };
    decide(&anywhere, colors, is_ascii)
}

/// Runs what effects ask for, one after the other, until nothing is left.
fn run_jobs(app: &mut App, effects: Vec<Effect>) {
    let mut waiting: std::collections::VecDeque<Effect> = effects.into();
    while let Some(effect) = waiting.pop_front() {
        let event = match effect {
            Effect::Open(id, path) => Event::Opened(id, Box::new(open_path(&path, &Progress::default()))),
            Effect::Examine(id) => match checkpoint_of(app, id) {
                Some(checkpoint) => Event::Examined(id, Box::new(checkpoint.examine())),
                None => continue,
            },
            Effect::Explain(id, layer) => match checkpoint_of(app, id) {
                Some(checkpoint) => Event::Explained(id, layer, evidence(&checkpoint, layer)),
                None => continue,
            },
            Effect::Attach(id, number) => match work::pair(app, id) {
                Some((base, path)) => Event::Attached(id, number, work::held(base, &path)),
                None => continue,
            },
            Effect::Diagnose(id, number) => match checkpoint_of(app, id) {
                Some(checkpoint) => {
                    let found = work::diagnosed(&checkpoint, app.held_of(id).as_deref());
                    Event::Diagnosed(id, number, Box::new(found))
                }
                None => continue,
            },
            Effect::Weigh(id, number) => match weighed::Question::of(app, id, number) {
                Some(question) => Event::Weighed(number, Box::new(question.answer(&|_| {}))),
                None => continue,
            },
            Effect::ExplainError(number) => {
                Event::ErrorExplained(number, Box::new(work::ErrorQuestion::of(app).answer()))
            }
            Effect::FindBase(id) => match checkpoint_of(app, id) {
                Some(checkpoint) => work::base(id, &checkpoint),
                None => continue,
            },
            Effect::Hold(id, number, path) => match work::base_of_form(app, id) {
                Some(base) => Event::Held(number, work::held(base, &path)),
                None => continue,
            },
            Effect::FindPlaces | Effect::FindAdapters => {
                let base = app.ready().map(|ready| ready.files().folder.clone()).unwrap_or_default();
                let is_any = effect == Effect::FindPlaces;
                let mut found = if is_any { places::find() } else { places::find_adapters(&base) };
                for place in &mut found {
                    place.facts = places::facts_of(place);
                }
                Event::Places(found)
            }
            Effect::Plan(_) => match app.plan_request() {
                Some(request) => work::answer(request),
                None => continue,
            },
            Effect::Look(number) => {
                let Some(request) = app.look_request(number) else { continue };
                let found: Vec<_> = request.aims.iter().filter_map(|aim| request.look(aim)).collect();
                for candidate in found {
                    app.update(Event::Looked(Box::new(candidate)));
                }
                continue;
            }
            Effect::Compare(number) => {
                for event in comparing::compare_now(app, number) {
                    waiting.extend(app.update(event));
                }
                continue;
            }
            Effect::LookAtPair(_) | Effect::ReadBeside(_) => match comparing::answer_now(app, &effect) {
                Some(event) => event,
                None => continue,
            },
            Effect::AskGpus => {
                app.update(Event::Sampled(Box::new(Sampler::new().sample())));
                Event::Probed(Box::new(probe()))
            }
            Effect::ScanValues(number) => match app.values_request(number) {
                Some(request) => {
                    let attention = Attention { check: &|| Ok(()), tell: None };
                    let Some(seen) = seen(&request, &attention) else { continue };
                    Event::ValuesSeen(number, Box::new(seen))
                }
                None => continue,
            },
            Effect::ReadRegion(number) => match app.region_request(number) {
                Some((request, region)) => Event::RegionRead(number, Box::new(region_of(&request, &region))),
                None => continue,
            },
            // A picture must cost nobody's disk anything.
            Effect::StartJob(id) => {
                let why = Error::new(ErrorKind::Cancelled, "was not started: a picture writes nothing");
                Event::JobEnded(id, Box::new(Err(why)))
            }
            Effect::CancelJob(_)
            | Effect::StopValues
            | Effect::Copy(_)
            | Effect::Picture(_)
            | Effect::Export(..)
            | Effect::Repaint
            | Effect::Suspend
            | Effect::Quit => continue,
        };
        waiting.extend(app.update(event));
    }
}

/// Returns a screen as text, one line a row, without trailing blanks.
#[must_use]
pub fn text_of(buffer: &Buffer) -> String {
    let area = buffer.area;
    let mut text = String::new();
    for y in area.y..area.bottom() {
        let mut line = String::new();
        let mut skip = 0;
        for x in area.x..area.right() {
            let symbol = buffer[(x, y)].symbol();
            if skip > 0 {
                skip -= 1;
                continue;
            }
            skip = unicode_width::UnicodeWidthStr::width(symbol).saturating_sub(1);
            line.push_str(symbol);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Writes a screenshot as text.
///
/// # Errors
/// The script cannot run, or the write fails.
pub fn write_screenshot(script: &Script<'_>, out: &mut dyn Write) -> Result<()> {
    let buffer = screenshot(script)?;
    out.write_all(text_of(&buffer).as_bytes())
        .map_err(|e| Error::new(ErrorKind::Io, format!("write the screenshot: {e}")))
}
