//! `doctor --gpu-selftest`: kernels against the processor, bit for bit, and the speeds of each card.

use std::io::Write;

use serde::Serialize;

use crate::engine::cuda::probe::{Card, Probed};
use crate::engine::cuda::selftest::{Tested, Unit};
use crate::error::{Error, ErrorKind, Result};
use crate::units;

/// The report on all cards.
#[derive(Serialize)]
pub(super) struct SelfTest {
    ok: bool,
    /// Why nothing was tested at all.
    why: Option<String>,
    cards: Vec<CardReport>,
}

#[derive(Serialize)]
struct CardReport {
    ordinal: u32,
    name: String,
    ok: bool,
    /// Why the test did not end.
    error: Option<String>,
    checks: Vec<CheckReport>,
    rates: Vec<RateReport>,
}

#[derive(Serialize)]
struct CheckReport {
    name: String,
    values: u64,
    differing: u64,
    /// What differs: `values`, `bytes`.
    unit: &'static str,
}

#[derive(Serialize)]
struct RateReport {
    name: String,
    bytes_per_second: f64,
}

impl SelfTest {
    /// Tests every card that is usable with `test`.
    pub(super) fn of(probed: &Probed, test: impl Fn(&Card) -> Result<Tested>) -> Self {
        let why = probed.why_not();
        let cards: Vec<CardReport> = probed.usable().map(|card| CardReport::new(card, test(card))).collect();
        let ok = !cards.is_empty() && cards.iter().all(|card| card.ok);
        Self { ok, why, cards }
    }

    /// Returns the error that the command ends with: there was nothing to test, or a test did not end.
    pub(super) fn error(&self) -> Option<Error> {
        let device = |words: String| Some(Error::new(ErrorKind::Device, words));
        if let Some(why) = &self.why {
            return device(format!("no GPU to test: {why}"));
        }
        let failed = self.cards.iter().find_map(|card| Some((card, card.error.as_ref()?)));
        failed.and_then(|(card, error)| device(format!("self-test of cuda:{}: {error}", card.ordinal)))
    }

    /// Returns true if card and processor do not agree.
    pub(super) fn found_a_difference(&self) -> bool {
        self.error().is_none() && !self.ok
    }

    pub(super) fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        if self.why.is_some() {
            return writeln!(out, "selftest  nothing was tested: no GPU computes here");
        }
        for (at, card) in self.cards.iter().enumerate() {
            let label = if at == 0 { "selftest" } else { "" };
            let verdict = match (&card.error, card.ok) {
                (Some(error), _) => format!("did not end: {error}"),
                (None, true) => "kernels and processor agree in every bit".into(),
                (None, false) if card.checks.is_empty() => "nothing was compared".into(),
                (None, false) => "kernels and processor do not agree".into(),
            };
            writeln!(out, "{label:<10}cuda:{} {}   {verdict}", card.ordinal, card.name)?;
            for check in &card.checks {
                let CheckReport { name, values, differing, unit } = check;
                let values = units::exact(*values);
                let words = match differing {
                    0 => format!("{values} values, all bits equal"),
                    differing => format!("{values} values, {} {unit} differ", units::exact(*differing)),
                };
                writeln!(out, "          {} {name:<32} {words}", if *differing == 0 { "✓" } else { "✗" })?;
            }
            for RateReport { name, bytes_per_second } in &card.rates {
                writeln!(out, "            {name:<32} {}/s", units::bytes(*bytes_per_second as u64))?;
            }
        }
        Ok(())
    }
}

impl CardReport {
    fn new(card: &Card, tested: Result<Tested>) -> Self {
        let (tested, error) = match tested {
            Ok(tested) => (tested, None),
            Err(error) => (Tested::default(), Some(error.message)),
        };
        Self {
            ordinal: card.ordinal,
            name: card.name.clone(),
            ok: error.is_none() && tested.is_equal(),
            error,
            checks: tested
                .checks
                .into_iter()
                .map(|check| CheckReport {
                    name: check.name,
                    values: check.values,
                    differing: check.differing,
                    unit: match check.unit {
                        Unit::Values => "values",
                        Unit::Bytes => "bytes",
                    },
                })
                .collect(),
            rates: tested
                .rates
                .into_iter()
                .map(|rate| RateReport { name: rate.name, bytes_per_second: rate.bytes_per_second })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests;
