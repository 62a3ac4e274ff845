//! A003 adapter-rank-disagrees: `r` (or `rank_pattern`) is not the rank of the tensors.

use serde_json::{Value, json};

use super::views;
use crate::adapter::names::PREFIX;
use crate::adapter::targets::Targets;
use crate::diagnose::finding::{Act, Finding, Fix, SEEN_MAX, Seen};
use crate::diagnose::rule::{Rule, message};
use crate::diagnose::subject::{AdapterView, Subject};
use crate::problem::kind;

pub(in crate::diagnose) static RULE: Rule = Rule {
    purposes: views::USE,
    looks_for: "LoRA modules whose lora_A has another number of rows than r, or rank_pattern, gives them.",
    why: "PEFT makes factors of the rank that the config says and copies the tensors into them; other shapes stop it. \
          Alpha belongs to one of the two ranks, and the files do not tell to which: the scale alpha/r depends on that.",
    messages: &[
        message(
            "size mismatch for {key}.lora_A.{any}: copying a param with shape {shape} from checkpoint, the \
             shape in current model is {shape}.",
            "PEFT, all versions",
        ),
        message(
            "- {key}: found shape {shape} in the checkpoint and {shape} in the model \
             instantiated",
            "PEFT with ignore_mismatched_sizes: the module has no effect",
        ),
    ],
    outside: "",
    remedy: "Set r to the rank of the tensors and decide on alpha: `ckpt align --repair --keep alpha` (or `--keep \
             scale`) writes it, rank_pattern included.",
    sources: "measured on PEFT 0.7.1, 0.13.2, 0.17.1, 0.21.2: all stop",
    look,
    fixes,
    ..Rule::new(&kind::ADAPTER_RANK)
};

/// Rank where a config gives none.
const DEFAULT: u64 = 8;

/// A module, the rank that the config gives it, and that of its tensors.
struct Odd {
    name: String,
    said: u64,
    has: u64,
}

fn odd(view: &AdapterView<'_>) -> Option<Vec<Odd>> {
    let config = view.checkpoint.files.configs.get(views::CONFIG).filter(|_| views::is_lora(view))?;
    if view.facts.by_keys != Some("LORA") || config.get("r").is_some_and(|r| r.as_u64().is_none()) {
        return None;
    }
    let targets = Targets::read(config);
    let given = view.facts.rank.unwrap_or(DEFAULT);
    let stacked = !targets.parameters.is_empty();
    let odd = view.facts.modules.iter().filter_map(|module| {
        let own = module.name.strip_prefix(PREFIX).unwrap_or(&module.name);
        // Factors of stacked experts hold the ranks of all of them.
        let holds_all = stacked && own.trim_end_matches(".base_layer").ends_with("experts");
        let (said, has) = (targets.rank(own).unwrap_or(given), module.rank?);
        (has != said && !holds_all).then(|| Odd { name: module.name.clone(), said, has })
    });
    Some(odd.collect())
}

fn look(rule: &'static Rule, subject: &Subject<'_>) -> Vec<Finding> {
    subject.adapters().filter_map(|view| one(rule, &view)).collect()
}

fn one(rule: &'static Rule, view: &AdapterView<'_>) -> Option<Finding> {
    let odd = odd(view)?;
    let first = odd.first()?;
    let whence = match (has_pattern(view, "rank_pattern"), view.facts.rank) {
        (true, _) => "r and rank_pattern give",
        (false, Some(_)) => "r gives",
        (false, None) => "without r the config gives",
    };
    let title = format!(
        "{whence} {} rank {}, and its tensors have {}; {} disagree.",
        views::shown(&first.name),
        first.said,
        first.has,
        views::share(odd.len(), view.facts.modules.len())
    );
    let mut finding = Finding::new(rule, title).about(view.about);
    if let Some(r) = view.config("r") {
        finding = finding.seen(Seen::config(views::CONFIG, "r", views::short(r)));
    }
    for odd in odd.iter().take(SEEN_MAX - 1) {
        let value = format!("rank {} in the config, {} in the tensors", odd.said, odd.has);
        finding = finding.seen(Seen::tensors(Some(odd.name.clone()), value));
    }
    Some(views::more(finding, odd.len()).fill("key", first.name.clone()))
}

/// Returns true if a pattern of the config has entries.
fn has_pattern(view: &AdapterView<'_>, key: &str) -> bool {
    view.config(key).and_then(Value::as_object).is_some_and(|pattern| !pattern.is_empty())
}

/// Two edits where all tensors have one rank, which differ in the scale; else the repair.
fn fixes(subject: &Subject<'_>, finding: &Finding) -> Vec<Fix> {
    const LOSS: &str = "the files do not tell which scale it was trained with: try both";
    let Some(view) = views::of(subject, finding.about) else { return Vec::new() };
    let ranks: Vec<u64> = view.facts.modules.iter().filter_map(|module| module.rank).collect();
    let is_one = ranks.windows(2).all(|pair| pair[0] == pair[1]);
    let (Some(&rank), Some(alpha)) = (ranks.first().filter(|&&rank| rank > 0 && is_one), view.facts.alpha)
    else {
        return views::repair(subject, finding);
    };
    if has_pattern(&view, "rank_pattern") || has_pattern(&view, "alpha_pattern") {
        return views::repair(subject, finding);
    }
    let said = view.facts.rank.unwrap_or(DEFAULT).max(1);
    let is_root = view.flag("use_rslora");
    let per = |rank: u64| if is_root { (rank as f64).sqrt() } else { rank as f64 };
    let kept = alpha * per(rank) / per(said);
    let right = views::set("r", Some(json!(rank)));
    let keep_alpha =
        format!("set r to {rank} and keep alpha {alpha}: the scale becomes {}", round(alpha / per(rank)));
    let mut fixes = vec![Fix::new(keep_alpha, Act::Edit(vec![right.clone()])).loss(LOSS)];
    // PEFT takes whole and broken alphas alike.
    let keep_scale = format!(
        "set r to {rank} and lora_alpha to {}: the scale stays {}",
        round(kept),
        round(alpha / per(said))
    );
    let edits = vec![right, views::set("lora_alpha", Some(round(kept)))];
    fixes.push(Fix::new(keep_scale, Act::Edit(edits)).loss(LOSS));
    fixes
}

/// Returns a number as JSON, whole where it is.
fn round(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 9e15 { json!(value as i64) } else { json!(value) }
}
