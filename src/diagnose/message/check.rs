//! Check: what a message names (keys, shapes, methods, files) held against what the files say.

use crate::checkpoint::files::Files;
use crate::diagnose::config_class::method_of;
use crate::diagnose::finding::Finding;
use crate::diagnose::subject::Subject;
use crate::name::escape;
use crate::units;

/// One line of the comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What the message says.
    pub says: String,
    /// What the files say to it.
    pub files: String,
    /// Whether the two agree; `None` if the files cannot tell.
    pub agrees: Option<bool>,
}

/// Parts of a key that wrappers, PEFT and torch put there: they name no module.
const PLAIN: [&str; 17] = [
    "base_model",
    "model",
    "module",
    "default",
    "weight",
    "bias",
    "lora_A",
    "lora_B",
    "lora_embedding_A",
    "lora_embedding_B",
    "base_layer",
    "modules_to_save",
    "layers",
    "self",
    "absmax",
    "quant_map",
    "state_dict",
];

/// Holds what a message names against the files. `findings` are those of the rules that know the message.
#[must_use]
pub fn checks(
    captured: &[(&'static str, String)],
    subject: &Subject<'_>,
    findings: &[&Finding],
) -> Vec<Check> {
    let key = captured.iter().find(|(name, _)| *name == "key").map(|(_, key)| key.as_str());
    let mut checks: Vec<Check> = Vec::new();
    let mut shapes: Vec<Vec<u64>> = Vec::new();
    for (name, value) in captured {
        let check = match *name {
            "key" => Some(key_check(value, subject)),
            "method" | "class" => method_check(value, subject),
            "file" => file_check(value, subject, findings),
            "shape" => {
                shapes.extend(numbers(value));
                None
            }
            _ => None,
        };
        checks.extend(check.filter(|check| !checks.contains(check)));
    }
    if let Some(key) = key
        && !shapes.is_empty()
    {
        checks.extend(shape_check(key, &shapes, subject));
    }
    checks
}

/// A key is in the base, in an adapter, or its module is, or nothing like it is.
fn key_check(key: &str, subject: &Subject<'_>) -> Check {
    let says = escape(key).into_owned();
    let mut named = vec![("the base", subject.files())];
    named.extend(subject.held.iter().map(|held| ("the adapter", held.adapter.files.as_ref())));
    if subject.model().is_none() && subject.facts.is_some() {
        named[0].0 = "the adapter";
    }
    let spellings = [key.to_owned(), format!("{key}.weight"), key.replace(".default", "")];
    for (what, files) in &named {
        let found = spellings.iter().find_map(|name| files.find(name));
        if let Some(tensor) = found {
            let record = &files.tensors[tensor as usize];
            let shard = &files.shards[usize::from(record.shard)].name;
            let shape = units::shape(files.shape(record));
            let text = format!("{what} has it: {} {shape} in {}", record.dtype, escape(shard));
            return Check { says, files: text, agrees: Some(true) };
        }
    }
    let Some(module) = module_of(key) else {
        return Check { says, files: "no tensor of this name".into(), agrees: None };
    };
    let has = |files: &Files| files.names.find_label(module).is_some();
    let places: Vec<&str> = named.iter().filter(|(_, files)| has(files)).map(|(what, _)| *what).collect();
    let is_target =
        subject.adapters().any(|adapter| adapter.facts.targets.iter().any(|target| target == module));
    let module = escape(module);
    if places.is_empty() && !is_target {
        let text = format!(
            "no tensor, module or target is called {module}: these are not the files of this message"
        );
        return Check { says, files: text, agrees: Some(false) };
    }
    let text = match (places.as_slice(), is_target) {
        ([], _) => format!("no tensor of this name; target_modules names {module}"),
        (places, _) => format!("no tensor of this name; {} has modules {module}", places.join(" and ")),
    };
    Check { says, files: text, agrees: None }
}

/// Returns the part of a key that names the module: `q_proj`.
fn module_of(key: &str) -> Option<&str> {
    let is_name = |part: &&str| {
        !part.is_empty() && !PLAIN.contains(part) && !part.bytes().all(|byte| byte.is_ascii_digit())
    };
    key.split('.').rev().find(is_name)
}

fn method_check(value: &str, subject: &Subject<'_>) -> Option<Check> {
    let says = escape(value.trim_matches('\'')).into_owned();
    let meant = method_of(value)?;
    Some(match subject.quant_method() {
        Some(method) if method == meant => {
            Check { says, files: format!("the config says {}", escape(method)), agrees: Some(true) }
        }
        // The config that the call gave is the other one: only the user knows it.
        _ if meant == "bitsandbytes" => {
            Check { says, files: "your call, not in the files".into(), agrees: None }
        }
        Some(method) => {
            Check { says, files: format!("the config says {}", escape(method)), agrees: Some(false) }
        }
        None => Check { says, files: "no config here names a quantization".into(), agrees: Some(false) },
    })
}

fn file_check(value: &str, subject: &Subject<'_>, findings: &[&Finding]) -> Option<Check> {
    let name = value.trim_end_matches(['.', ',', ')']).rsplit(['/', '\\']).next()?;
    if name.is_empty() {
        return None;
    }
    let says = escape(name).into_owned();
    let is_seen = |finding: &&Finding| {
        let speaks = |text: &String| text.contains(name);
        finding.title.contains(name)
            || finding
                .seen
                .iter()
                .any(|seen| seen.file.as_ref().is_some_and(speaks) || seen.value.contains(name))
    };
    let is_known = findings.iter().any(is_seen);
    let text = match (subject.has_file(name), is_known) {
        (true, _) => "is in the folder",
        (false, true) => "is named and not in the folder",
        (false, false) => "is not in this folder",
    };
    Some(Check { says, files: text.into(), agrees: is_known.then_some(true) })
}

/// The shapes of a message against that of the tensor it names.
fn shape_check(key: &str, shapes: &[Vec<u64>], subject: &Subject<'_>) -> Option<Check> {
    let says = shapes.iter().map(|shape| units::shape(shape)).collect::<Vec<_>>().join(" and ");
    let mut found = Vec::new();
    let plain = key.replace(".default", "");
    for files in
        std::iter::once(subject.files()).chain(subject.held.iter().map(|held| held.adapter.files.as_ref()))
    {
        let spelled = [key, plain.as_str()].into_iter().find_map(|name| files.find(name));
        found.extend(spelled.map(|tensor| files.shape(&files.tensors[tensor as usize]).to_vec()));
    }
    let stored = found.first()?;
    let agrees = found.iter().any(|shape| shapes.contains(shape));
    let text = format!("the file has {}", units::shape(stored));
    Some(Check { says, files: text, agrees: Some(agrees) })
}

/// Returns the shapes in a text: `torch.Size([8,4])`, `[8, 4]`.
fn numbers(text: &str) -> Vec<Vec<u64>> {
    let mut shapes = Vec::new();
    for part in text.split('[').skip(1) {
        let inside = part.split(']').next().unwrap_or(part);
        let dims: Option<Vec<u64>> = inside
            .split([',', 'x', '×'])
            .filter(|dim| !dim.trim().is_empty())
            .map(|d| d.trim().parse().ok())
            .collect();
        shapes.extend(dims.filter(|dims| !dims.is_empty()));
    }
    shapes
}
