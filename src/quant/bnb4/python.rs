//! JSON as Python writes it, to the byte.

use serde_json::Value;

/// Writes JSON as Python's `json.dumps` does.
pub(super) fn python_json(value: &Value) -> String {
    let text = |value: &Value| value.to_string();
    match value {
        Value::Object(object) => {
            let entry = |(key, value): (&String, &Value)| {
                format!("{}: {}", Value::from(key.as_str()), python_json(value))
            };
            format!("{{{}}}", object.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(python_json).collect::<Vec<_>>().join(", ")),
        Value::Number(number) if number.is_f64() => number.as_f64().map_or_else(|| text(value), python_float),
        _ => text(value),
    }
}

/// Writes a finite number as Python's `repr` does: the fewest digits that read back, `1e-05` below 0.0001.
fn python_float(number: f64) -> String {
    let scientific = digits_of(number);
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let behind = digits.trim_start_matches('-').len().saturating_sub(2) as i32 - exponent;
        return format!("{number:.*}", behind.max(1) as usize);
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// Returns the fewest digits that read back as a number, with its exponent. Of two that are as near Python takes the
/// even one.
fn digits_of(number: f64) -> String {
    let shortest = format!("{number:e}");
    let count = shortest.split_once('e').map_or(0, |(digits, _)| digits.trim_start_matches('-').len());
    let nearest = format!("{number:.*e}", count.saturating_sub(2));
    if nearest.parse() == Ok(number) { nearest } else { shortest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::bnb4::encode::OFFSET_CHARS;

    #[test]
    fn numbers_are_written_as_python_does() {
        // Of `repr` in Python 3.11.
        for (number, text) in [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (0.051_412_340_253_591_54, "0.05141234025359154"),
            // Exactly between two of as many digits.
            (f64::from(0.075_931_55_f32), "0.07593154907226562"),
            (0.0001, "0.0001"),
            (-0.5, "-0.5"),
            (12_345.5, "12345.5"),
            (f64::from(65_504f32), "65504.0"),
            (1e-5, "1e-05"),
            (1.175_494_35e-38, "1.17549435e-38"),
            (123_456_789.25, "123456789.25"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (-2.5e-7, "-2.5e-07"),
            (f64::from(f32::MIN_POSITIVE) / 8.0, "1.4693679385278594e-39"),
        ] {
            assert_eq!(python_float(number), text);
            assert!(text.len() <= OFFSET_CHARS);
        }
    }
}
