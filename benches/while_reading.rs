//! What a key and the frame after it cost while all values of checkpoints are read by other threads: scanned for the
//! Values tab, compared with those of another; beside what they cost when nothing else is done.
//!
//! `cargo bench --bench while_reading -- [MB]`: a side has ten tensors of 16 bits, 1,000 MB in sum. The files go to the
//! system's temporary folder and are read from the page cache.
//! Budget: 16 ms.
#![expect(clippy::print_stdout, reason = "its output is a table")]
#![expect(dead_code, reason = "what other benches measure")]

mod model;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use ckpt::app::compare::{News, Stage};
use ckpt::app::values::Seen;
use ckpt::app::values::figures::Figures;
use ckpt::app::{App, Effect, Event, OpenState, keys};
use ckpt::checkpoint::Checkpoint;
use ckpt::error::{Error, ErrorKind};
use ckpt::job;
use ckpt::stats::{NameMap, Options, Part, Source, Summary, Watch, scan};
use ckpt::ui::degrade::{Colors, Degrade};
use ckpt::ui::theme::Theme;
use ckpt::ui::{self, Look, Scroll};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use model::Tensor;

/// What a frame may cost.
const BUDGET: Duration = Duration::from_millis(16);
/// How often a key is pressed.
const EVERY: Duration = Duration::from_millis(10);
/// Keys of a row: as many as a few seconds of a held key.
const KEYS: usize = 300;
/// Columns of a tensor.
const COLUMNS: u64 = 4096;
/// Tensors of a side: more than those whose values the app keeps, so that each row is read again.
const TENSORS: u64 = 10;

/// What a thread does for the app, and the answer.
type Work = Box<dyn FnOnce(&Sender<Event>) -> Option<Event> + Send>;

/// The app with a screen, and threads that answer it.
struct Bench {
    app: App,
    scroll: Scroll,
    terminal: Terminal<TestBackend>,
    theme: Theme,
    sender: Sender<Event>,
    events: Receiver<Event>,
    threads: usize,
    /// Passes over values that have begun.
    passes: usize,
    /// The number of the scan that is wanted: those before it end.
    wanted: Arc<AtomicU32>,
}

impl Bench {
    fn new(path: &Path) -> Result<Self, String> {
        let path = path.display().to_string();
        let keymap = keys::keymap(None)?;
        let (app, effects) = App::new(std::slice::from_ref(&path), keymap);
        let terminal = Terminal::new(TestBackend::new(120, 36)).map_err(|e| e.to_string())?;
        let (sender, events) = channel();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let (scroll, theme) = (Scroll::default(), Theme::default());
        let mut bench =
            Self { app, scroll, terminal, theme, sender, events, threads, passes: 0, wanted: Arc::default() };
        bench.perform(effects);
        Ok(bench)
    }

    /// Does what the workbench does for a checkpoint that is looked at, on threads of its own.
    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            let spawn = |work: Work| {
                job::spawn("bench", self.sender.clone(), work, |text| Event::JobPanicked("measuring", text));
            };
            match effect {
                Effect::Open(id, path) => {
                    spawn(Box::new(move |_| Some(Event::Opened(id, Box::new(Checkpoint::open(&path))))));
                }
                Effect::Examine(id) => {
                    let state = self.app.opens.iter().find(|open| open.id == id).map(|open| &open.state);
                    if let Some(OpenState::Ready(ready)) = state {
                        let checkpoint = Arc::clone(&ready.checkpoint);
                        spawn(Box::new(move |_| Some(Event::Examined(id, Box::new(checkpoint.examine())))));
                    }
                }
                Effect::ScanValues(number) => {
                    let Some(request) = self.app.values_request(number) else { continue };
                    self.passes += 1;
                    self.wanted.store(number, Ordering::Relaxed);
                    let wanted = Arc::clone(&self.wanted);
                    spawn(Box::new(move |sender| {
                        let figures = Looks { number, sender, request: &request, wanted: &wanted }.scan()?;
                        Some(Event::ValuesSeen(number, Box::new(Seen::Done(Arc::new(figures)))))
                    }));
                }
                Effect::Compare(number) => {
                    let (Some(request), threads) = (self.app.compare_request(number), self.threads) else {
                        continue;
                    };
                    self.passes += 1;
                    spawn(Box::new(move |sender| {
                        let sender = sender.clone();
                        request.run(threads, &mut move |news: News| {
                            sender.send(Event::Compared(number, Box::new(news))).is_ok()
                        });
                        None
                    }));
                }
                _ => {}
            }
        }
    }

    /// Takes what arrives, presses a key, draws; returns how long that took.
    fn frame(&mut self, key: Option<&str>) -> Result<Duration, String> {
        let start = Instant::now();
        let arrived: Vec<Event> = self.events.try_iter().collect();
        for event in arrived.into_iter().chain(key.map(|key| Event::Key(key.to_owned()))) {
            let effects = self.app.update(event);
            self.perform(effects);
        }
        let look = Look { theme: &self.theme, degrade: Degrade { colors: Colors::True, is_ascii: false } };
        let (app, scroll) = (&mut self.app, &mut self.scroll);
        self.terminal.draw(|frame| ui::draw(frame, app, scroll, &look)).map_err(|e| e.to_string())?;
        let effects = self.app.ask_values();
        self.perform(effects);
        Ok(start.elapsed())
    }

    /// Presses keys in turns and says what the frames took; `again` begins the work anew when it has ended.
    fn row(&mut self, name: &str, keys: &[&str], again: &mut dyn FnMut(&mut Self)) -> Result<(), String> {
        let (mut times, passes) = (Vec::with_capacity(KEYS), self.passes);
        for key in keys.iter().cycle().take(KEYS) {
            again(self);
            times.push(self.frame(Some(key))?);
            std::thread::sleep(EVERY.saturating_sub(times[times.len() - 1]));
        }
        times.sort_unstable();
        let ms = |at: usize| times[at].as_secs_f64() * 1e3;
        let most = times[KEYS - 1];
        let verdict = if most < BUDGET { "within" } else { "OVER" };
        println!(
            "  {name:<28} {KEYS} keys, {:>3} passes   median {:>6.2} ms   1 of 100 over {:>6.2} ms   most {:>6.2} ms   {verdict} {} ms",
            self.passes - passes,
            ms(KEYS / 2),
            ms(KEYS * 99 / 100),
            ms(KEYS - 1),
            BUDGET.as_millis(),
        );
        Ok(())
    }

    /// Draws until something is so.
    fn until(&mut self, what: &str, is_so: &dyn Fn(&App) -> bool) -> Result<(), String> {
        let start = Instant::now();
        while !is_so(&self.app) {
            if start.elapsed() > Duration::from_mins(1) {
                return Err(format!("waited a minute until {what}"));
            }
            self.frame(None)?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// Who looks at a pass over values.
struct Looks<'a> {
    number: u32,
    sender: &'a Sender<Event>,
    request: &'a ckpt::app::values::Request,
    wanted: &'a AtomicU32,
}

impl Looks<'_> {
    fn figures(&self, summary: Summary) -> Option<Figures> {
        let source = Source::open(&self.request.checkpoint, self.request.key.of, Part::Weights).ok()?;
        Some(Figures::of(source.name.clone(), (Part::Weights, source.parts()), source.count(), summary))
    }

    fn scan(&self) -> Option<Figures> {
        let source = Source::open(&self.request.checkpoint, self.request.key.of, Part::Weights).ok()?;
        let options = Options { with_sides: true, ..Options::default() };
        scan(&source, &options, self).ok().and_then(|summary| self.figures(summary))
    }
}

impl Watch for Looks<'_> {
    fn check(&self) -> Result<(), Error> {
        let gone = || Error::new(ErrorKind::Cancelled, "something else is looked at");
        if self.wanted.load(Ordering::Relaxed) == self.number { Ok(()) } else { Err(gone()) }
    }

    fn wants_looks(&self) -> bool {
        true
    }

    fn look(&self, so_far: Summary) {
        if let Some(figures) = self.figures(so_far) {
            // The bench has ended if nobody takes it.
            let _ =
                self.sender.send(Event::ValuesSeen(self.number, Box::new(Seen::SoFar(Arc::new(figures)))));
        }
    }
}

/// Writes tensors of so many rows; the values of a moved one are others in their lower bits.
fn make(folder: &Path, rows: u64, moved: u8) -> Result<PathBuf, String> {
    let values = ckpt::quant::noise::noise(1 << 22);
    let values: Vec<u8> = values.chunks_exact(2).flat_map(|v| [v[0] ^ moved, v[1] & 0x80 | 0x3b]).collect();
    let tensor = |at| -> Tensor {
        let (name, bytes) = (format!("part{at}.weight"), rows * COLUMNS * 2);
        (name, "BF16", vec![rows, COLUMNS], bytes, Some(values.clone()))
    };
    let tensors: Vec<Tensor> = (0..TENSORS).map(tensor).collect();
    model::write(folder, ("model.safetensors", &tensors), ("config.json", "{}"))
        .map_err(|e| e.to_string())?;
    Ok(folder.to_path_buf())
}

fn measure(folder: &Path, megabytes: u64) -> Result<(), String> {
    let rows = megabytes * 1_000_000 / 2 / COLUMNS / TENSORS;
    let (a, b) = (make(&folder.join("a"), rows, 0)?, make(&folder.join("b"), rows, 0x11)?);
    let mut bench = Bench::new(&a)?;
    println!("{TENSORS} tensors of [{rows}, {COLUMNS}], 120x36, {} threads", bench.threads);
    bench.until("it is open", &|app| app.ready().is_some())?;
    bench.frame(Some("u"))?;
    bench.row("nothing is read", &["j", "k", "G", "g", "g"], &mut |_| ())?;
    bench.frame(Some("v"))?;
    // Another row each time, and no rest for the cursor before it is read: more work than the workbench begins.
    let down = ["g", "g", "j", "j", "j", "j", "j", "j", "j", "j", "j"];
    bench.row("values of the row are read", &down, &mut |_| ())?;
    let other = b.display().to_string();
    bench.row("all are compared", &["j", "k", "G", "g", "g"], &mut |bench| {
        if bench.app.compare().is_none_or(|compare| compare.stage == Stage::Done) {
            let effects = bench.app.compare_with(&other, NameMap::default());
            bench.perform(effects);
        }
    })
}

fn main() -> Result<(), String> {
    ckpt::memory::map_large_blocks();
    let megabytes = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(1000);
    let folder = std::env::temp_dir().join(format!("ckpt-bench-reading-{}", std::process::id()));
    let done = measure(&folder, megabytes);
    let _ = std::fs::remove_dir_all(&folder);
    done
}
