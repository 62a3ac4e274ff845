//! From findings to a plan and back: which fixes are taken, which go together, and whether the findings are gone.

use std::sync::Arc;

use ckpt::adapter::held::Held;
use ckpt::diagnose::treatment::{Treated, Treatment, Wanted, Way};
use ckpt::diagnose::{About, Act, Finding, Fix, Rule, Subject};
use ckpt::problem::{ProblemKind, Severity};

use super::*;

type Fixes = fn(&Subject<'_>, &Finding) -> Vec<Fix>;

const fn kind(code: &'static str) -> ProblemKind {
    ProblemKind { code, name: "made-for-tests", severity: Severity::Error }
}

const fn rule(
    kind: &'static ProblemKind,
    look: fn(&'static Rule, &Subject<'_>) -> Vec<Finding>,
    fixes: Fixes,
) -> Rule {
    Rule { look, fixes, remedy: "ask who made it", ..Rule::new(kind) }
}

fn when(is_so: bool, rule: &'static Rule) -> Vec<Finding> {
    if is_so { vec![Finding::new(rule, "as it should not be")] } else { Vec::new() }
}

fn says(subject: &Subject<'_>, key: &str) -> bool {
    subject.json("config.json").is_some_and(|config| config.get(key).is_some())
}

static K1: ProblemKind = kind("T001");
/// A key of the config that has to go.
static KEY: Rule = rule(
    &K1,
    |rule, subject| when(says(subject, "broken"), rule),
    |_, _| {
        vec![
            Fix::advice("take it out by hand"),
            Fix::new("take it out", Act::Edit(vec![json_edit("config.json", "broken", None)])),
            Fix::new("say false", Act::Edit(vec![json_edit("config.json", "broken", Some(json!(false)))])),
        ]
    },
);

static K2: ProblemKind = kind("T002");
/// A prefix of all names.
static PREFIX: Rule = rule(
    &K2,
    |rule, subject| when(subject.files().find("module.lm_head.weight").is_some(), rule),
    |_, _| vec![Fix::new("strip it", Act::Edit(vec![strip("module.")]))],
);

static K3: ProblemKind = kind("T003");
/// Nothing here can help.
static ADVICE: Rule =
    rule(&K3, |rule, _| when(true, rule), |_, finding| vec![Fix::advice(finding.rule.remedy)]);

static K4: ProblemKind = kind("T004");
/// A key of the config of an adapter.
static ADAPTER: Rule = rule(
    &K4,
    |rule, subject| {
        let odd = subject.adapters().filter(|adapter| adapter.flag("odd"));
        odd.map(|adapter| Finding::new(rule, "odd").about(adapter.about)).collect()
    },
    |_, _| vec![Fix::new("take it out", Act::Edit(vec![json_edit("adapter_config.json", "odd", None)]))],
);

static K5: ProblemKind = kind("T005");
/// Packed layers.
static PACKED: Rule = rule(
    &K5,
    |rule, subject| when(subject.packed_layers().0 > 0, rule),
    |_, _| vec![Fix::new("dequantize", Act::Dequantize)],
);

static K6: ProblemKind = kind("T006");
/// An adapter is attached.
static ATTACHED: Rule = rule(
    &K6,
    |rule, subject| when(!subject.held.is_empty(), rule),
    |_, _| vec![Fix::new("merge it", Act::Merge)],
);

static K7: ProblemKind = kind("T007");
/// Keys of an adapter that PEFT does not look for.
static KEYS: Rule = rule(
    &K7,
    |rule, subject| {
        let wrong = subject.adapters().filter(|adapter| {
            adapter.alignment().is_some_and(|alignment| alignment.aligned() < alignment.modules.len())
        });
        wrong.map(|adapter| Finding::new(rule, "keys").about(adapter.about)).collect()
    },
    |_, _| vec![Fix::new("repair", Act::Repair)],
);

static K8: ProblemKind = kind("T008");
/// What its fix does not change.
static STAYS: Rule = rule(
    &K8,
    |rule, _| when(true, rule),
    |_, _| vec![Fix::new("hope", Act::Edit(vec![json_edit("config.json", "hope", Some(json!(1)))]))],
);

static K9: ProblemKind = kind("T009");
/// A value in the block that dequantizing takes out.
static BLOCK: Rule = rule(
    &K9,
    |rule, _| when(true, rule),
    |_, _| {
        vec![Fix::new(
            "set it",
            Act::Edit(vec![json_edit("config.json", "quantization_config.x", Some(json!(1)))]),
        )]
    },
);

fn want(rule: &'static Rule) -> Wanted {
    Wanted { rule, fix: None }
}

/// A checkpoint with its adapter, if it has one.
struct Pair {
    base: Arc<Checkpoint>,
    held: Vec<(String, Arc<Held>)>,
    out: PathBuf,
}

impl Pair {
    fn open(base: &Path, adapter: Option<&Path>, out: PathBuf) -> Self {
        let base = Arc::new(Checkpoint::open_examined(base.to_str().unwrap()).unwrap());
        let held = adapter.map(|path| {
            let path = path.to_str().unwrap().to_owned();
            let held = Held::open(Arc::clone(&base), &path, None).unwrap();
            (path, Arc::new(held))
        });
        Self { base, held: held.into_iter().collect(), out }
    }

    fn of(folder: &Folder) -> Self {
        folder.write();
        Self::open(&folder.path(), folder.adapter_path().as_deref(), out(folder))
    }

    fn treatment(&self, wanted: &[Wanted]) -> Result<Treatment> {
        let facts = ckpt::adapter::Adapter::of(&self.base);
        let held: Vec<&Held> = self.held.iter().map(|(_, held)| &**held).collect();
        Treatment::of(
            &Subject { checkpoint: &self.base, facts: facts.as_ref(), held: &held, deep: &[] },
            wanted,
        )
    }

    fn treated(&self, wanted: &[Wanted]) -> Result<(Treatment, Treated)> {
        let treatment = self.treatment(wanted)?;
        let codes: Vec<String> = wanted.iter().map(|wanted| wanted.rule.code().to_owned()).collect();
        let order = ckpt::plan::Order {
            fixes: codes,
            ..ckpt::plan::Order::new(self.base.files.path.to_str().unwrap(), &self.out)
        };
        let treated = treatment.plan(&self.base, &self.held, order)?;
        Ok((treatment, treated))
    }

    /// Carries it out; returns what is still found.
    fn carry_out(&self, wanted: &[Wanted]) -> Vec<(Code, String)> {
        let (treatment, treated) = self.treated(wanted).map_err(|error| error.message).unwrap();
        let adapters: Vec<&Checkpoint> = treated.adapters.iter().map(AsRef::as_ref).collect();
        let options = Options { proof: Proof::Full, ..Options::default() };
        let run = Run {
            checkpoint: &treated.checkpoint,
            adapters: &adapters,
            plan: &treated.plan,
            options: &options,
            device: &Cpu,
            progress: &Progress::default(),
        };
        run.carry_out().map_err(|error| error.message).unwrap();
        treatment.left(&self.out, &self.base, &self.held).unwrap()
    }

    fn refused(&self, wanted: &[Wanted]) -> String {
        self.treated(wanted).map(|(_, treated)| treated.changes).unwrap_err().message
    }
}

fn broken() -> Folder {
    let mut folder = Folder::model();
    folder.rename(|name| format!("module.{name}"));
    folder.config().insert("broken".into(), json!(true));
    folder
}

#[test]
fn several_codes_are_one_pass_and_their_findings_are_gone() {
    let folder = broken();
    let pair = Pair::of(&folder);
    assert_eq!(pair.carry_out(&[want(&KEY), want(&PREFIX)]), []);
    let (_, is) = tensors(&files(&pair.out)["model.safetensors"]);
    assert!(is.contains_key("lm_head.weight"));
}

#[test]
fn what_is_still_there_is_told() {
    let folder = broken();
    let left = Pair::of(&folder).carry_out(&[want(&STAYS), want(&KEY)]);
    assert_eq!(left, [("T008", "as it should not be".to_owned())]);
    let folder = broken();
    let second = Wanted { rule: &KEY, fix: Some(2) };
    let left = Pair::of(&folder).carry_out(&[second]);
    assert_eq!(left[0].0, "T001", "the third fix leaves the key");
}

#[test]
fn codes_that_find_nothing_or_have_only_advice_are_refused() {
    let pair = Pair::of(&Folder::model());
    assert_eq!(pair.refused(&[want(&KEY)]), "T001: not found in these files");
    assert_eq!(pair.refused(&[want(&ADVICE)]), "T003: nothing here can fix it; what helps: ask who made it");
    let folder = broken();
    let pair = Pair::of(&folder);
    let said = pair.refused(&[Wanted { rule: &KEY, fix: Some(0) }]);
    assert_eq!(said, "T001: nothing here can fix it; what helps: take it out by hand");
    assert_eq!(pair.refused(&[Wanted { rule: &KEY, fix: Some(3) }]), "T001: it has 3 fixes");
    for text in ["Q999", "", "Q001:0", "Q001:x"] {
        assert!(Wanted::parse(text).is_err(), "{text}");
    }
    assert_eq!(Wanted::parse("already-quantized:2").unwrap().fix, Some(1));
    let said = Wanted::parse("already-quantised").unwrap_err().message;
    assert!(said.contains("near it: Q001 already-quantized"), "{said}");
}

#[test]
fn a_finding_of_an_adapter_is_fixed_in_the_adapter() {
    let mut folder = broken();
    folder.adapter_config().insert("odd".into(), json!(true));
    folder.adapter_tensors();
    let pair = Pair::of(&folder);
    let (treatment, treated) = pair.treated(&[want(&ADAPTER)]).unwrap();
    assert_eq!(treatment.about, About::Adapter(0));
    assert_eq!(treated.plan.order.input, pair.held[0].0);
    assert_eq!(pair.carry_out(&[want(&ADAPTER)]), []);
    let made = files(&pair.out);
    assert_eq!(
        made.keys().cloned().collect::<Vec<_>>(),
        ["adapter_config.json", "adapter_model.safetensors"]
    );
    let said = pair.refused(&[want(&KEY), want(&ADAPTER)]);
    assert!(said.starts_with("T001 is about the base and T004 about adapter 1: "), "{said}");
}

fn sample(name: &str) -> PathBuf {
    Path::new("samples").join(name)
}

/// Names that have to change.
static RENAMES: Rule = rule(
    &K2,
    |rule, _| when(true, rule),
    |_, _| vec![Fix::new("strip it", Act::Edit(vec![strip("model.")]))],
);

#[test]
fn decoding_and_edits_of_the_config_are_one_pass() {
    let mut folder = Folder::model();
    folder.shards.clear();
    folder.json.clear();
    for (name, bytes) in files(&sample("gptq-w4-g128-sym-v1-A/model")) {
        folder.raw.insert(name, bytes);
    }
    let mut config: Value = serde_json::from_slice(&folder.raw["config.json"]).unwrap();
    config["broken"] = json!(1);
    folder.raw.insert("config.json".into(), config.to_string().into_bytes());
    let pair = Pair::of(&folder);
    assert_eq!(pair.carry_out(&[want(&KEY), want(&PACKED)]), []);
    let config: Value = serde_json::from_slice(&files(&pair.out)["config.json"]).unwrap();
    assert!(config.get("quantization_config").is_none() && config.get("broken").is_none());
    let said = pair.refused(&[want(&PACKED), want(&BLOCK)]);
    assert!(said.contains("T009 sets quantization_config.x, and what T005 makes"), "{said}");
    let said = pair.refused(&[want(&PACKED), want(&RENAMES)]);
    assert_eq!(said, "T002 and T005 cannot be fixed in one pass: fix T002 first, then T005 in its result");
}

#[test]
fn merging_and_repairing_are_passes_of_their_own() {
    let base = sample("base-A-bf16/model");
    let folder = Folder::model();
    folder.write();
    let good = Pair::open(&base, Some(&sample("peft-bad-keys/good")), out(&folder));
    assert_eq!(good.carry_out(&[want(&ATTACHED)]), []);
    std::fs::remove_dir_all(&good.out).unwrap();
    let bad = Pair::open(&base, Some(&sample("peft-bad-keys/base-layer-infix")), out(&folder));
    let (treatment, treated) = bad.treated(&[want(&KEYS)]).unwrap();
    assert_eq!((treatment.way, treatment.about), (Way::Repair("T007"), About::Adapter(0)));
    assert!(treated.changes.iter().any(|change| change.what == "key renamed"), "{:?}", treated.changes);
    assert_eq!(bad.carry_out(&[want(&KEYS)]), []);
    let said = bad.refused(&[want(&ATTACHED), want(&STAYS)]);
    assert_eq!(said, "T008 and T006 cannot be fixed in one pass: fix T008 first, then T006 in its result");
    let broken = Pair::open(&base, Some(&sample("peft-bad-keys/missing-lora-B")), bad.out.clone());
    let said = broken.refused(&[want(&KEYS)]);
    assert!(said.starts_with("T007: not everything can be repaired: "), "{said}");
}

/// Packed layers, seen on the adapter.
static OF_ADAPTER: Rule = rule(
    &K5,
    |rule, subject| {
        let is_packed = subject.packed_layers().0 > 0;
        let adapters = subject.adapters().filter(|adapter| is_packed && adapter.held.is_some());
        adapters.map(|adapter| Finding::new(rule, "packed").about(adapter.about)).collect()
    },
    |_, _| vec![Fix::new("dequantize", Act::Dequantize)],
);

#[test]
fn a_base_is_decoded_also_where_its_adapter_shows_that_it_has_to_be() {
    let folder = Folder::model();
    folder.write();
    let (base, adapter) = (sample("bnb-nf4-A/model"), sample("peft-lora-all-A/adapter"));
    let pair = Pair::open(&base, Some(&adapter), out(&folder));
    let (treatment, _) = pair.treated(&[want(&OF_ADAPTER)]).unwrap();
    assert_eq!((treatment.about, treatment.codes()), (About::Checkpoint, vec!["T005"]));
    assert_eq!(pair.carry_out(&[want(&OF_ADAPTER)]), []);
    assert!(files(&pair.out).contains_key("config.json"));
}
