//! How long it takes until a checkpoint is on screen, and what a frame costs then: opening, the first frame,
//! moving, filtering, every tab. As a ratio to reading the same headers without looking at them.
//!
//! `cargo bench --bench frame -- [SHARDS TENSORS]`; the files go to the system's temporary folder.
#![expect(clippy::print_stdout, reason = "its output is a table")]

#[expect(dead_code, reason = "its own main serves it as an example")]
mod make_synthetic;

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use ckpt::app::{App, Event, keys};
use ckpt::checkpoint::Checkpoint;
use ckpt::container::bytes::SourceFile;
use ckpt::ui::degrade::{Colors, Degrade};
use ckpt::ui::theme::Theme;
use ckpt::ui::{self, Look, Scroll};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

/// Runs of each row; the median is shown.
const RUNS: usize = 7;

fn main() -> io::Result<()> {
    // As in the program: large blocks are mapped anew each time.
    ckpt::memory::map_large_blocks();
    let numbers: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let sizes = match numbers[..] {
        [shards, tensors] => vec![(shards, tensors)],
        _ => vec![(400, 100_000), (400, 1_000_000)],
    };
    for (shards, tensors) in sizes {
        let folder = std::env::temp_dir().join(format!("ckpt-frame-{}", std::process::id()));
        make_synthetic::make(&folder, "dense", shards, tensors)?;
        let done = measure(&folder, shards, tensors);
        std::fs::remove_dir_all(&folder)?;
        done?;
    }
    Ok(())
}

fn measure(folder: &Path, shards: usize, tensors: usize) -> io::Result<()> {
    println!("{shards} shards, {tensors} tensors");
    let path = folder.display().to_string();
    let read = median(|| read_headers(folder))?;
    let open = median(|| Checkpoint::open(&path).map(|_| ()).map_err(io::Error::other))?;
    println!("  read headers        {:8.2} ms", ms(read));
    println!(
        "  open                {:8.2} ms   {:.1} x reading",
        ms(open),
        open.as_secs_f64() / read.as_secs_f64()
    );
    let keymap = keys::keymap(None).map_err(io::Error::other)?;
    let (mut app, _) = App::new(std::slice::from_ref(&path), keymap);
    let theme = Theme::default();
    let look = Look { theme: &theme, degrade: Degrade { colors: Colors::True, is_ascii: false } };
    let mut terminal = Terminal::new(TestBackend::new(200, 60)).map_err(io::Error::other)?;
    let mut scroll = Scroll::default();
    let started = Instant::now();
    let checkpoint = Checkpoint::open(&path).map_err(io::Error::other)?;
    app.update(Event::Opened(0, Box::new(Ok(checkpoint))));
    let mut frame = |app: &mut App| {
        terminal.draw(|frame| ui::draw(frame, app, &mut scroll, &look)).map(|_| ()).map_err(io::Error::other)
    };
    frame(&mut app)?;
    println!("  open + first frame  {:8.2} ms", ms(started.elapsed()));
    for key in [
        "j", "l", "G", "g", "g", "u", "t", "G", "t", "/", "d", "o", "w", "n", "esc", "3", "5", "1", "s", "j",
        "enter", "G",
    ] {
        let started = Instant::now();
        app.update(Event::Key(key.to_owned()));
        let updated = started.elapsed();
        frame(&mut app)?;
        println!(
            "  key {key:<6} update {:8.2} ms   frame {:6.2} ms",
            ms(updated),
            ms(started.elapsed().saturating_sub(updated))
        );
    }
    Ok(())
}

/// Reads every header's bytes, as a plain reader would.
fn read_headers(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "safetensors") {
            let file = SourceFile::open(&path, "shard").map_err(io::Error::other)?;
            let mut length = [0; 8];
            file.read_at(&mut length, 0).map_err(io::Error::other)?;
            let length = u64::from_le_bytes(length) as usize;
            std::hint::black_box(file.read_vec(8, length).map_err(io::Error::other)?);
        }
    }
    Ok(())
}

fn median(mut work: impl FnMut() -> io::Result<()>) -> io::Result<Duration> {
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let started = Instant::now();
        work()?;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    Ok(times[RUNS / 2])
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
