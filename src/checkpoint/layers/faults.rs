//! Faults of layers on their way to problems: alike ones become one line with the count.

use rustc_hash::FxHashMap;

use super::Layers;
use crate::checkpoint::files::Files;
use crate::problem::{Problem, Severity};
use crate::quant::Fault;

/// Faults of layers, alike ones together.
#[derive(Default)]
pub(super) struct Faults {
    list: Vec<(Fault, Vec<u32>)>,
    index: FxHashMap<(&'static str, String), usize>,
}

/// How many distinct faults are kept apart; more become one line with the count.
const FAULTS_MAX: usize = 1000;

/// Errors of one kind that are told one by one.
const ERRORS_KEPT: usize = 12;
/// Warnings of one kind that are told one by one.
const WARNINGS_KEPT: usize = 1;

impl Faults {
    pub(super) fn add(&mut self, layer: u32, faults: &[Fault]) {
        for fault in faults {
            self.extend(fault.clone(), &[layer]);
        }
    }

    /// Adds what another table gathered.
    pub(super) fn append(&mut self, other: Self) {
        for (fault, layers) in other.list {
            self.extend(fault, &layers);
        }
    }

    fn extend(&mut self, fault: Fault, at: &[u32]) {
        let key = (fault.kind.code, fault.detail.clone());
        if let Some(&known) = self.index.get(&key) {
            self.list[known].1.extend_from_slice(at);
        } else if self.list.len() < FAULTS_MAX {
            self.index.insert(key, self.list.len());
            self.list.push((fault, at.to_vec()));
        } else if let Some((_, layers)) = self.list.iter_mut().rfind(|(f, _)| f.kind == fault.kind) {
            layers.extend_from_slice(at);
        }
    }

    /// Returns the first few of each kind, and with the last of them how many layers the rest has: numbers
    /// that differ from layer to layer would fill the screen with one fault.
    fn few(self) -> Vec<(Fault, Vec<u32>, usize)> {
        let mut kept: Vec<(Fault, Vec<u32>, usize)> = Vec::new();
        let mut counts: FxHashMap<&'static str, usize> = FxHashMap::default();
        for (fault, at) in self.list {
            let is_error = fault.kind.severity == Severity::Error;
            let count = counts.entry(fault.kind.code).or_default();
            *count += 1;
            if *count <= if is_error { ERRORS_KEPT } else { WARNINGS_KEPT } {
                kept.push((fault, at, 0));
            } else if let Some((.., rest)) = kept.iter_mut().rfind(|(known, ..)| known.kind == fault.kind) {
                *rest += at.len();
            }
        }
        kept
    }

    pub(super) fn problems(self, files: &Files, layers: &Layers) -> Vec<Problem> {
        let describe = |(fault, at, rest): (Fault, Vec<u32>, usize)| {
            let first = layers.name(&files.names, at[0]);
            let mut more = match at.len() {
                1 => String::new(),
                n => format!("; {n} layers in all"),
            };
            if rest > 0 {
                more = format!("{more}; {} with other numbers", crate::units::plural(rest, "more layer"));
            }
            let tensor = match fault.part.as_deref() {
                Some(part) => part
                    .strip_prefix('*')
                    .map_or_else(|| format!("{first}.{part}"), |rest| format!("{first}{rest}")),
                None => first.clone(),
            };
            let shard = layers.tensors(at[0]).iter().find_map(|&t| {
                let record = &files.tensors[t as usize];
                (fault.part.is_none() || files.names.name(record.node) == tensor).then_some(record.shard)
            });
            let shard =
                shard.or_else(|| layers.tensors(at[0]).first().map(|&t| files.tensors[t as usize].shard));
            let mut problem =
                Problem::new(fault.kind, format!("{first}: {}{more}", fault.detail)).tensor(tensor);
            problem.file = fault.file.or_else(|| shard.map(|s| files.shards[s as usize].name.clone()));
            problem
        };
        self.few().into_iter().map(describe).collect()
    }
}
