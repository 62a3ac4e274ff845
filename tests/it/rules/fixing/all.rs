//! Every fix that a rule offers for its own case, carried out: the finding is gone from what is written.

use std::sync::Arc;

use ckpt::adapter::Adapter;
use ckpt::adapter::held::Held;
use ckpt::checkpoint::deep;
use ckpt::diagnose::treatment::{Treatment, Wanted};
use ckpt::diagnose::{Finding, Subject, find};
use ckpt::plan::Order;

use super::super::{Case, adapter, config, container, keys, quant, serving, shards, values};
use super::*;

/// What a case's folder is opened as.
struct Opened {
    base: Arc<Checkpoint>,
    held: Vec<(String, Arc<Held>)>,
    deep: Vec<ckpt::problem::Problem>,
}

impl Opened {
    fn of(folder: &Folder) -> Self {
        let opened = Checkpoint::open_examined(folder.path().to_str().unwrap()).unwrap();
        let deep = if folder.is_deep { deep::verify(&opened, &|_| ()).problems } else { Vec::new() };
        let base = Arc::new(opened);
        let path = folder.adapter_path().map(|path| path.to_str().unwrap().to_owned());
        let hold = |path: String| {
            let held = Arc::new(Held::open(Arc::clone(&base), &path, None).unwrap());
            (path, held)
        };
        Self { held: path.into_iter().map(hold).collect(), base, deep }
    }

    fn with<R>(&self, look: impl FnOnce(&Subject<'_>) -> R) -> R {
        let facts = Adapter::of(&self.base);
        let held: Vec<&Held> = self.held.iter().map(|(_, held)| &**held).collect();
        look(&Subject { checkpoint: &self.base, facts: facts.as_ref(), held: &held, deep: &self.deep })
    }

    /// Carries a fix out; returns what is wrong with it.
    fn wrong(&self, folder: &Folder, wanted: Wanted) -> Option<String> {
        let out = out(folder);
        let order = Order {
            fixes: vec![wanted.rule.code().into()],
            ..Order::new(folder.path().to_str().unwrap(), &out)
        };
        let planned = self.with(|subject| Treatment::of(subject, &[wanted])).and_then(|treatment| {
            treatment.plan(&self.base, &self.held, order).map(|treated| (treatment, treated))
        });
        let (treatment, treated) = match planned {
            Ok(planned) => planned,
            Err(error) => return Some(format!("refused: {}", error.message)),
        };
        if treated.changes.is_empty() {
            return Some(format!("changes nothing: {:?}", treated.idle));
        }
        let adapters: Vec<&Checkpoint> = treated.adapters.iter().map(AsRef::as_ref).collect();
        let run = Run {
            checkpoint: &treated.checkpoint,
            adapters: &adapters,
            plan: &treated.plan,
            options: &Options { threads: 2, proof: Proof::Full, ..Options::default() },
            device: &Cpu,
            progress: &Progress::default(),
        };
        let wrong = match run.carry_out().and_then(|_| treatment.left(&out, &self.base, &self.held)) {
            Err(error) => Some(format!("fails: {}", error.message)),
            Ok(left) => left.first().map(|(code, title)| format!("leaves {code}: {title}")),
        };
        let _ = std::fs::remove_dir_all(&out);
        wrong
    }
}

/// Fixes that the small folder of their case is too small for: code, number of the fix, what refuses it.
const TOO_SMALL: &[(&str, usize, &str)] = &[
    // A header that calls bytes U32.
    ("Q026", 1, "K012"),
    // Layers of HQQ without what was packed how.
    ("Q027", 2, "cannot be decoded"),
    ("Q034", 2, "cannot be decoded"),
    // Adapters of experts that are not there, of DoRA without magnitudes, and of a head without embeddings.
    ("Q033", 1, "nothing of it would be merged"),
    ("Q037", 1, "nothing of it would be merged"),
    ("A010", 1, "would keep 48"),
    ("E009", 1, "nothing of it would be merged"),
];

#[test]
fn every_fix_takes_its_finding_away() {
    let groups: [&[Case]; 8] = [
        container::CASES,
        shards::CASES,
        config::CASES,
        quant::CASES,
        adapter::CASES,
        keys::CASES,
        values::CASES,
        serving::CASES,
    ];
    let (mut wrong, mut carried_out) = (Vec::new(), 0);
    for case in groups.into_iter().flatten() {
        let mut folder = Folder::model();
        (case.hit)(&mut folder);
        folder.write();
        let opened = Opened::of(&folder);
        let rule = find(case.code).unwrap();
        let findings: Vec<Finding> = opened.with(|subject| rule.findings(subject));
        let fixes = findings.first().map(|finding| finding.fixes.clone()).unwrap_or_default();
        for number in (0..fixes.len()).filter(|&number| fixes[number].applies()) {
            carried_out += 1;
            let what = opened.wrong(&folder, Wanted { rule, fix: Some(number) });
            let is_too_small = |(code, fix, words): &&(&str, usize, &str)| {
                *code == case.code
                    && *fix == number + 1
                    && what.as_ref().is_some_and(|what| what.contains(words))
            };
            if let Some(what) = what.as_ref().filter(|_| !TOO_SMALL.iter().any(|known| is_too_small(&known)))
            {
                wrong.push(format!("{} fix {} ({}) {what}", case.code, number + 1, fixes[number].summary));
            }
        }
    }
    println!("{carried_out} fixes");
    assert!(wrong.is_empty(), "{} of {carried_out} fixes:\n{}", wrong.len(), wrong.join("\n"));
}
