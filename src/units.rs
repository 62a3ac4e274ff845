//! Numbers as people read them: bytes, parameter counts, bits per weight, shapes.
//!
//! The rules are those of the design's "Numbers": KiB MiB GiB with three digits and a blank before the
//! unit, parameter counts without a blank so that `B` cannot be read as byte.

/// Returns a byte count with three digits and its unit: `1.07 GiB`, `445 MiB`, `712 byte`.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} byte");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{} {}", three_digits(value), UNITS[unit])
}

/// Returns a parameter count with three digits: `1.54B`, `41.3M`, `640`.
#[must_use]
pub fn count(count: u64) -> String {
    const UNITS: [&str; 4] = ["K", "M", "B", "T"];
    if count < 1000 {
        return count.to_string();
    }
    let mut value = count as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{}{}", three_digits(value), UNITS[unit])
}

/// Returns an exact count with commas: `2,359,296`.
#[must_use]
pub fn exact(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// Returns a value with four significant digits: `-0.4316`, `2.1e-5`, `1.536e9`; `-0` is 0, NaN and Inf by name.
#[must_use]
pub fn value(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Inf" } else { "-Inf" }.to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    // Rounded first: 0.99996 has the exponent of 1.
    let rounded = format!("{value:.3e}");
    let (digits, exponent) = rounded.split_once('e').unwrap_or((&rounded, "0"));
    let trimmed = |text: &str| text.trim_end_matches('0').trim_end_matches('.').to_owned();
    match exponent.parse().unwrap_or(0i32) {
        exponent @ -4..=2 => trimmed(&format!("{value:.*}", (3 - exponent) as usize)),
        3..=5 => format!("{value:.0}"),
        exponent => format!("{}e{exponent}", trimmed(digits)),
    }
}

/// Returns a shape as written everywhere: `[1536, 1536]`, `[]`.
#[must_use]
pub fn shape(dims: &[u64]) -> String {
    let inner: Vec<String> = dims.iter().map(u64::to_string).collect();
    format!("[{}]", inner.join(", "))
}

/// Returns `singular` with the count, and an `s` unless the count is one: `1 shard`, `3 shards`.
#[must_use]
pub fn plural(count: usize, singular: &str) -> String {
    if count == 1 { format!("1 {singular}") } else { format!("{count} {singular}s") }
}

/// Returns a share that is done: `68%`. Never 100% before the end, never 0% when it is not nothing.
#[must_use]
pub fn percent_done(ratio: f64) -> String {
    let percent = if ratio.is_nan() { 0.0 } else { ratio.clamp(0.0, 1.0) * 100.0 };
    match percent {
        0.0 => "0%".to_string(),
        ..1.0 => "<1%".to_string(),
        _ => format!("{:.0}%", percent.floor().min(99.0)),
    }
}

/// Returns a time as `0:31` or `1:02:10`.
#[must_use]
pub fn clock(time: std::time::Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

fn three_digits(value: f64) -> String {
    if value < 9.995 {
        format!("{value:.2}")
    } else if value < 99.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_three_digits() {
        let cases = [
            (712, "712 byte"),
            (3072, "3.00 KiB"),
            (36 << 10, "36.0 KiB"),
            (445 << 20, "445 MiB"),
            (1023 << 10, "1.00 MiB"),
            (1_148_903_752, "1.07 GiB"),
        ];
        for (n, want) in cases {
            assert_eq!(bytes(n), want);
        }
    }

    #[test]
    fn counts_have_no_blank() {
        for (n, want) in [(640, "640"), (41_300_000, "41.3M"), (1_543_714_304, "1.54B"), (999_999, "1.00M")] {
            assert_eq!(count(n), want);
        }
        assert_eq!(exact(2_359_296), "2,359,296");
    }

    #[test]
    fn values_keep_four_digits() {
        let cases = [
            (-0.431_64, "-0.4316"),
            (0.5, "0.5"),
            (-0.0, "0"),
            (0.999_96, "1"),
            (0.000_123_45, "0.0001234"),
            (2.1e-5, "2.1e-5"),
            (999.96, "1000"),
            (65_504.0, "65504"),
            (-1_536_000_000.0, "-1.536e9"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ];
        for (number, want) in cases {
            assert_eq!(value(number), want);
        }
    }
}
