//! What this process reads from and writes to storage, from `/proc/self/io`.
//!
//! `read_bytes` and `write_bytes` count what reached the block layer, page faults on mapped files
//! included; a read that the page cache answers counts in `rchar` only. Source: proc(5).

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Missing, Reading};

/// `/proc/self/io` holds seven short lines; more than this is not that file.
const IO_FILE_BYTES_MAX: u64 = 4096;
/// Below this the quotient is noise: the previous rate is shown again.
const PERIOD_MIN: Duration = Duration::from_millis(100);

/// Rates since the previous sample, in bytes a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Io {
    /// Read from storage.
    pub read_bytes_per_second: f64,
    /// Written to storage.
    pub write_bytes_per_second: f64,
    /// Read by any call, the page cache included.
    pub cached_read_bytes_per_second: f64,
}

/// The counters of `/proc/self/io`, in bytes since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// From storage.
    pub read: u64,
    /// To storage.
    pub write: u64,
    /// Through read calls.
    pub rchar: u64,
}

/// Returns the counters in the file at `path`.
///
/// # Errors
/// The reason in words when the system has no such file, keeps it closed, or it holds something else.
pub fn read_counters(path: &Path) -> Reading<Counters> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => Missing::because("/proc/self/io is closed to us"),
        _ => Missing::because("this system has no /proc/self/io"),
    })?;
    file.take(IO_FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| Missing(format!("read /proc/self/io: {error}").into()))?;
    parse_counters(&text).ok_or_else(|| Missing::because("/proc/self/io lacks its counters"))
}

fn parse_counters(text: &str) -> Option<Counters> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().parse().ok()
    };
    Some(Counters { read: field("read_bytes")?, write: field("write_bytes")?, rchar: field("rchar")? })
}

/// Turns counters into rates.
#[derive(Debug, Default)]
pub struct IoMeter {
    last: Option<(Counters, Instant)>,
    rate: Option<Io>,
}

impl IoMeter {
    /// Returns the rates between the previous call and `now`.
    ///
    /// # Errors
    /// The first call has nothing to compare with.
    pub fn rate(&mut self, now: Counters, at: Instant) -> Reading<Io> {
        let Some((before, then)) = self.last else {
            self.last = Some((now, at));
            return Err(Missing::because("measured from the second sample on"));
        };
        let period = at.saturating_duration_since(then);
        if period < PERIOD_MIN {
            return self.rate.ok_or_else(|| Missing::because("measured from the second sample on"));
        }
        let per_second = |now: u64, before: u64| now.saturating_sub(before) as f64 / period.as_secs_f64();
        let rate = Io {
            read_bytes_per_second: per_second(now.read, before.read),
            write_bytes_per_second: per_second(now.write, before.write),
            cached_read_bytes_per_second: per_second(now.rchar, before.rchar),
        };
        self.last = Some((now, at));
        self.rate = Some(rate);
        Ok(rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "rchar: 6976\nwchar: 1\nsyscr: 10\nsyscw: 0\nread_bytes: 4096\nwrite_bytes: 512\ncancelled_write_bytes: 0\n";

    #[test]
    fn counters_come_from_their_lines() {
        assert_eq!(parse_counters(TEXT), Some(Counters { read: 4096, write: 512, rchar: 6976 }));
        assert_eq!(parse_counters("rchar: many\n"), None);
        assert_eq!(parse_counters(""), None);
    }

    #[test]
    fn a_rate_needs_two_samples_and_never_runs_backwards() {
        let mut meter = IoMeter::default();
        let start = Instant::now();
        assert!(meter.rate(Counters { read: 1 << 30, write: 0, rchar: 0 }, start).is_err());
        let later = start + Duration::from_secs(2);
        let rate =
            meter.rate(Counters { read: 3 << 30, write: 0, rchar: 1 << 20 }, later).expect("two samples");
        assert_eq!(rate.read_bytes_per_second, f64::from(1 << 30));
        assert_eq!(rate.cached_read_bytes_per_second, f64::from(1 << 19));
        let soon = later + Duration::from_millis(1);
        assert_eq!(meter.rate(Counters { read: u64::MAX, write: 0, rchar: 0 }, soon), Ok(rate));
        let back = meter.rate(Counters::default(), later + Duration::from_secs(1)).expect("a rate");
        assert_eq!(back.read_bytes_per_second, 0.0);
    }

    #[test]
    fn an_absent_file_says_so() {
        let missing = read_counters(Path::new("/nonexistent/io")).expect_err("no such file");
        assert_eq!(missing.to_string(), "this system has no /proc/self/io");
    }
}
