//! The workbench from the command line: in the terminal, or as a picture of one screen.

use std::io::Write;
use std::path::Path;

use super::{Cli, DONE, environment};
use crate::error::{Error, Result};
use crate::ui::theme::Theme;
use crate::workbench::{self, Options, Script};

/// Runs the workbench, or writes a screenshot.
///
/// # Errors
/// There is no terminal, a flag is unusable, or a write fails.
pub fn run(cli: &Cli, out: &mut dyn Write) -> Result<u8> {
    // Without a base an adapter is what is opened.
    let (paths, adapter) = match (cli.paths.as_slice(), cli.adapters.as_slice()) {
        ([], adapters) => (adapters, None),
        (paths, adapters) => (paths, adapters.first()),
    };
    if adapter.is_some() && cli.adapters.len() > 1 {
        return Err(Error::input(
            "-a: the workbench attaches one adapter, its merge form adds others; ckpt merge takes several",
        ));
    }
    let adapter = adapter.map(String::as_str);
    if let Some(target) = &cli.screenshot {
        return screenshot(cli, (paths, adapter), target, out);
    }
    workbench::run(&Options {
        paths: paths.to_vec(),
        adapter: adapter.map(str::to_owned),
        theme: cli.common.theme.clone(),
        color: cli.common.color,
        ascii: cli.common.ascii,
        gauges: !cli.no_gauges,
        environment: environment(),
        panic_key: std::env::var("CKPT_PANIC_KEY").ok(),
    })?;
    Ok(DONE)
}

fn screenshot(
    cli: &Cli,
    (paths, adapter): (&[String], Option<&str>),
    target: &str,
    out: &mut dyn Write,
) -> Result<u8> {
    let size = cli.size.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    let Some(size) = size.filter(|&(w, h): &(u16, u16)| (1..=500).contains(&w) && (1..=200).contains(&h))
    else {
        return Err(Error::input(format!("--size {}: not a size like 120x36, at most 500x200", cli.size)));
    };
    // Before anything is opened for it.
    let is_picture = target != "-" && workbench::is_picture(Path::new(target))?;
    let degrade = workbench::degrade(is_picture, cli.common.ascii);
    let theme = Theme::load(cli.common.theme.as_deref().unwrap_or("dark"), &|_| None)?;
    let theme = theme.at(degrade.colors);
    let script = Script { paths, adapter, keys: &cli.keys, size, theme: &theme, degrade };
    if target == "-" {
        workbench::write_screenshot(&script, out)?;
    } else {
        let buffer = workbench::screenshot(&script)?;
        workbench::write_picture(&buffer, &theme, Path::new(target))?;
    }
    Ok(DONE)
}
