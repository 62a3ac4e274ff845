//! Treatment: what carries out the fixes of findings: the codes that were asked for as one plan, and whether they are
//! gone from its result.

use std::path::Path;
use std::sync::Arc;

use super::finding::{Act, Finding, Fix};
use super::rule::Rule;
use super::subject::{About, Subject};
use super::{find, nearest};
use crate::adapter::Adapter;
use crate::adapter::held::Held;
use crate::adapter::repair::{Repair, Wishes};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::name::escape;
use crate::plan::edit::Edit;
use crate::plan::fixed::{Change, Code, Fixed};
use crate::plan::repaired::{self, Repaired};
use crate::plan::{Attached, Merging, Order, Plan, To};
use crate::quant::target::Aim;

/// A rule whose findings are to be fixed.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The rule.
    pub rule: &'static Rule,
    /// Which of the fixes, from 0; `None`: the first that can be carried out.
    pub fix: Option<usize>,
}

impl Wanted {
    /// Reads a code or a name: `Q001`, `already-quantized`; `Q001:2` is its second fix.
    ///
    /// # Errors
    /// There is no such rule, with those that come near; or the number is none.
    pub fn parse(text: &str) -> Result<Self> {
        let (code, number) = text.split_once(':').map_or((text, None), |(code, number)| (code, Some(number)));
        let fix = match number.map(str::parse::<usize>) {
            None => None,
            Some(Ok(number)) if number > 0 => Some(number - 1),
            Some(_) => return Err(Error::input(format!("{}: not the number of a fix", escape(text)))),
        };
        if let Some(rule) = find(code) {
            return Ok(Self { rule, fix });
        }
        let near: Vec<String> =
            nearest(code).iter().map(|rule| format!("{} {}", rule.code(), rule.kind.name)).collect();
        let near = if near.is_empty() { String::new() } else { format!("; near it: {}", near.join(", ")) };
        Err(Error::input(format!("{}: no such code{near}", escape(code))))
    }
}

/// What is done for findings.
#[derive(Clone, Debug)]
pub struct Treatment {
    /// What is written: the checkpoint, or one of the adapters.
    pub about: About,
    /// How it is written.
    pub way: Way,
    /// What is edited besides.
    pub edits: Vec<(Code, Edit)>,
    /// The rules whose findings it is for, and what those are about.
    pub rules: Vec<(&'static Rule, About)>,
}

/// How the result of a treatment is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// As it is, with edits.
    Edits,
    /// Decoded, or packed otherwise: as what, the code that asks for it, and the words of its fix.
    Convert(To, Code, String),
    /// Merged.
    Merge(Code, String),
    /// Repaired for its base.
    Repair(Code),
}

/// A treatment that can be carried out.
pub struct Treated {
    /// The input.
    pub checkpoint: Arc<Checkpoint>,
    /// The further inputs.
    pub adapters: Vec<Arc<Checkpoint>>,
    /// The plan.
    pub plan: Plan,
    /// What changes.
    pub changes: Vec<Change>,
    /// What is so already, in words.
    pub idle: Vec<String>,
}

impl Treatment {
    /// Chooses the fixes of rules in a subject.
    ///
    /// # Errors
    /// A rule sees nothing, has only advice, or the fixes do not go together: in words.
    pub fn of(subject: &Subject<'_>, wanted: &[Wanted]) -> Result<Self> {
        let mut chosen: Vec<(Finding, Fix)> = Vec::new();
        for Wanted { rule, fix } in wanted {
            let findings = rule.findings(subject);
            if findings.is_empty() {
                return Err(Error::input(format!("{}: not found in these files", rule.code())));
            }
            for finding in findings {
                let fix = choose(&finding, *fix)?;
                chosen.push((finding, fix));
            }
        }
        let about = Self::about(&chosen, subject)?;
        let mut treatment = Self { about, way: Way::Edits, edits: Vec::new(), rules: Vec::new() };
        for (finding, fix) in chosen {
            let code = finding.rule.code();
            let is_same = |(rule, about): &(&Rule, About)| rule.code() == code && *about == finding.about;
            if !treatment.rules.iter().any(is_same) {
                treatment.rules.push((finding.rule, finding.about));
            }
            let way = match fix.act {
                Act::Edit(edits) => {
                    for edit in edits {
                        // Several findings may ask for the same.
                        if !treatment.edits.iter().any(|(_, known)| *known == edit) {
                            treatment.edits.push((code, edit));
                        }
                    }
                    continue;
                }
                Act::Dequantize => Way::Convert(To::Dense, code, fix.summary),
                Act::Pack(name) => Way::Convert(To::Packed(Aim::of(name)), code, fix.summary),
                Act::Merge => Way::Merge(code, fix.summary),
                Act::Repair => Way::Repair(code),
                Act::Advice => continue,
            };
            treatment.join(way)?;
        }
        if let (Way::Merge(code, _) | Way::Repair(code), Some((other, _))) =
            (&treatment.way, treatment.edits.first())
        {
            return Err(one_by_one(other, code));
        }
        Ok(treatment)
    }

    /// Returns the codes, each once.
    #[must_use]
    pub fn codes(&self) -> Vec<Code> {
        let mut codes: Vec<Code> = Vec::new();
        for (rule, _) in &self.rules {
            if !codes.contains(&rule.code()) {
                codes.push(rule.code());
            }
        }
        codes
    }

    /// Takes the way of a fix, if it is that of the others.
    fn join(&mut self, way: Way) -> Result<()> {
        let code = |way: &Way| match way {
            Way::Edits => "",
            Way::Convert(_, code, _) | Way::Merge(code, _) | Way::Repair(code) => code,
        };
        match (&self.way, &way) {
            (Way::Edits, _) => self.way = way,
            (Way::Convert(one, ..), Way::Convert(other, ..)) if one == other => {}
            (Way::Merge(..), Way::Merge(..)) | (Way::Repair(_), Way::Repair(_)) => {}
            // What is repaired or decoded first is merged then.
            (Way::Merge(..), other) => return Err(one_by_one(code(other), code(&self.way))),
            (one, other) => return Err(one_by_one(code(one), code(other))),
        }
        Ok(())
    }

    /// Returns what is written for all findings.
    fn about(chosen: &[(Finding, Fix)], subject: &Subject<'_>) -> Result<About> {
        let of = |(finding, fix): &(Finding, Fix)| match fix.act {
            // The base is decoded or merged, whatever showed that it has to be.
            Act::Dequantize | Act::Pack(_) | Act::Merge => About::Checkpoint,
            Act::Repair if subject.held.len() == 1 => About::Adapter(0),
            Act::Edit(_) | Act::Repair | Act::Advice => finding.about,
        };
        let first = chosen.first().ok_or_else(|| Error::input("no code is given"))?;
        let about = of(first);
        let Some(other) = chosen.iter().find(|other| of(other) != about) else { return Ok(about) };
        let words = |about: About| match about {
            About::Checkpoint => "the base".to_owned(),
            About::Adapter(number) => format!("adapter {}", number + 1),
        };
        Err(Error::input(format!(
            "{} is about {} and {} about {}: each is written into a folder of its own, fix them one after the other",
            first.0.rule.code(),
            words(about),
            other.0.rule.code(),
            words(of(other)),
        )))
    }

    /// Plans it. `adapters` are those that are attached, with what they were named by.
    ///
    /// # Errors
    /// What is asked cannot be done: in words.
    pub fn plan(
        &self,
        base: &Arc<Checkpoint>,
        adapters: &[(String, Arc<Held>)],
        order: Order,
    ) -> Result<Treated> {
        let held = match self.about {
            About::Checkpoint => None,
            About::Adapter(number) => adapters.get(number),
        };
        let checkpoint = held.map_or(base, |(_, held)| &held.adapter);
        let input = held.map_or(order.input.as_str(), |(path, _)| path.as_str()).to_owned();
        let order = Order { input, ..order };
        let merged: Vec<Arc<Checkpoint>> =
            adapters.iter().map(|(_, held)| Arc::clone(&held.adapter)).collect();
        match &self.way {
            Way::Edits => {
                let order = Order { shard_bytes: u64::MAX, ..order };
                Ok(Treated::new(checkpoint, Vec::new(), Fixed::plan(checkpoint, &self.edits, order)?))
            }
            Way::Convert(to, code, summary) => {
                let plan = Plan::convert(checkpoint, Order { to: to.clone(), ..order })?;
                let fixed = Fixed::with_conversion(checkpoint, (code, summary), plan, &self.edits)?;
                Ok(Treated::new(checkpoint, Vec::new(), fixed))
            }
            Way::Merge(code, summary) => {
                let named = adapters.iter().map(|(path, _)| (path.clone(), 1.0)).collect();
                let order =
                    Order { merging: Some(Merging { adapters: named, ..Merging::default() }), ..order };
                let attached: Vec<Attached<'_>> =
                    adapters.iter().map(|(_, held)| Attached::new(held, 1.0)).collect();
                let plan = Plan::merge(base, order, &attached)?;
                let fixed = Fixed::with_conversion(base, (code, summary), plan, &[])?;
                Ok(Treated::new(base, merged, fixed))
            }
            Way::Repair(code) => {
                let Some((_, held)) = held else {
                    let message = format!(
                        "{code}: an adapter is repaired for its base: name the base, and the adapter with -a"
                    );
                    return Err(Error::input(message));
                };
                let asked = repaired::order(&order.input, &order.output);
                let order = Order { fixes: order.fixes, ..asked };
                let Repaired { repair, result, plan } = Repaired::plan(held, &Wishes::default(), order);
                if !repair.refused.is_empty() {
                    let why: Vec<String> =
                        repair.refused.iter().map(|why| escape(why).into_owned()).collect();
                    let message = format!("{code}: not everything can be repaired: {}", why.join("; "));
                    return Err(Error::new(ErrorKind::Unsupported, message));
                }
                let changes = changes_of(code, &repair);
                let checkpoint = Arc::new(result);
                let adapters = vec![Arc::clone(&held.base)];
                Ok(Treated { checkpoint, adapters, plan, changes, idle: Vec::new() })
            }
        }
    }

    /// Looks whether the findings are gone from what was written: returns those that are not, code and title.
    ///
    /// # Errors
    /// What was written, or an adapter, cannot be opened.
    pub fn left(
        &self,
        output: &Path,
        base: &Arc<Checkpoint>,
        adapters: &[(String, Arc<Held>)],
    ) -> Result<Vec<(Code, String)>> {
        let path = output.display().to_string();
        let (checkpoint, held) = match self.about {
            About::Checkpoint => {
                let checkpoint = Arc::new(Checkpoint::open_examined(&path)?);
                // What was merged is attached to nothing.
                let is_merged = matches!(self.way, Way::Merge(..));
                let attached = adapters.iter().filter(|_| !is_merged);
                let held: Result<Vec<Held>> =
                    attached.map(|(path, _)| Held::open(Arc::clone(&checkpoint), path, None)).collect();
                (checkpoint, held?)
            }
            About::Adapter(number) => {
                let opened = adapters.iter().enumerate().map(|(at, (other, _))| {
                    let path = if at == number { &path } else { other };
                    Held::open(Arc::clone(base), path, None)
                });
                (Arc::clone(base), opened.collect::<Result<Vec<Held>>>()?)
            }
        };
        let facts = Adapter::of(&checkpoint);
        let held: Vec<&Held> = held.iter().collect();
        let subject = Subject { checkpoint: &checkpoint, facts: facts.as_ref(), held: &held, deep: &[] };
        let seen = |(rule, about): &(&'static Rule, About)| {
            let findings = rule.findings(&subject).into_iter().filter(|finding| finding.about == *about);
            findings.map(|finding| (finding.rule.code(), finding.title)).collect::<Vec<_>>()
        };
        Ok(self.rules.iter().flat_map(seen).collect())
    }
}

impl Treated {
    fn new(checkpoint: &Arc<Checkpoint>, adapters: Vec<Arc<Checkpoint>>, fixed: Fixed) -> Self {
        let Fixed { plan, changes, idle } = fixed;
        Self { checkpoint: Arc::clone(checkpoint), adapters, plan, changes, idle }
    }
}

/// Returns the fix of a finding that is asked for: the first that can be carried out if none is.
fn choose(finding: &Finding, number: Option<usize>) -> Result<Fix> {
    let code = finding.rule.code();
    let found = match number {
        Some(number) => finding.fixes.get(number),
        None => finding.fixes.iter().find(|fix| fix.applies()),
    };
    match (found, finding.fixes.first()) {
        (Some(fix), _) if fix.applies() => Ok(fix.clone()),
        (Some(advice), _) | (None, Some(advice)) if number.is_none() || found.is_some() => Err(Error::new(
            ErrorKind::Unsupported,
            format!("{code}: nothing here can fix it; what helps: {}", advice.summary),
        )),
        _ => {
            let count = crate::units::plural(finding.fixes.len(), "fix");
            Err(Error::input(format!("{code}: it has {}", count.replace("fixs", "fixes"))))
        }
    }
}

fn one_by_one(first: &str, second: &str) -> Error {
    Error::input(format!(
        "{first} and {second} cannot be fixed in one pass: fix {first} first, then {second} in its result"
    ))
}

/// Returns what a repair changes.
fn changes_of(code: Code, repair: &Repair) -> Vec<Change> {
    let change = |file: &str, what: &str, before: &str, after: &str| Change {
        code,
        file: file.into(),
        what: what.into(),
        before: escape(before).into_owned(),
        after: escape(after).into_owned(),
    };
    let keys = repair.keys.iter().filter(|key| key.is_changed()).map(|key| {
        change("adapter_model.safetensors", key.form().unwrap_or("key renamed"), &key.from, &key.to)
    });
    let config = repair.changes.iter().map(|words| change("adapter_config.json", "corrected", "", words));
    let left = repair.left_out.iter().map(|words| change("adapter_model.safetensors", "", words, "left out"));
    keys.chain(config).chain(left).collect()
}
