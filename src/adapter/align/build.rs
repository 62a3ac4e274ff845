//! Build: groups of tensors, found in the base, become aligned modules; then both directions are compared.

use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::Value;

use super::check::Checked;
use super::{Aligned, Alignment, Asked, Part, Repair, State};
use crate::adapter::Adapter;
use crate::adapter::group::{Group, Groups, kind_of, shared_key, stripped};
use crate::adapter::keys::{Family, Role};
use crate::adapter::names::{BaseNames, Found, unwrapped};
use crate::adapter::targets::{Targets, ends, ends_with};
use crate::checkpoint::Checkpoint;
use crate::name::natural_cmp;
use crate::problem::kind;

/// What is known while an adapter is aligned.
pub(super) struct Context<'a> {
    pub(super) base: &'a Checkpoint,
    pub(super) adapter: &'a Checkpoint,
    pub(super) facts: &'a Adapter,
    pub(super) asked: &'a Asked<'a>,
    pub(super) config: Option<&'a Value>,
    pub(super) targets: Targets,
    pub(super) names: BaseNames<'a>,
    /// True if the file holds copies of the base's own weights: the state of a whole model.
    pub(super) is_dump: bool,
}

pub(super) fn align<'a>(
    base: &'a Checkpoint,
    adapter: &'a Checkpoint,
    facts: &'a Adapter,
    asked: &'a Asked<'a>,
) -> Alignment {
    let config = adapter.files.configs.get("adapter_config.json");
    let groups = Groups::of(&adapter.files, asked.strip_prefix, asked.name);
    let context = Context {
        base,
        adapter,
        facts,
        asked,
        config,
        targets: config.map(Targets::read).unwrap_or_default(),
        names: BaseNames::new(base, config),
        is_dump: is_dump(&groups),
    };
    let mut alignment = Alignment { kind: kind(&groups, facts).to_owned(), ..Alignment::default() };
    let found = context.find(&groups.modules);
    alignment.unused.clone_from(&groups.others);
    alignment.shared = groups
        .shared
        .iter()
        .map(|&(mark, tensor)| Part {
            rename: shared_key(stripped(&adapter.files.tensor_name(tensor), asked.strip_prefix)),
            ..part_of(mark, tensor)
        })
        .collect();
    let mut by_path: FxHashMap<&str, Vec<&Group>> = FxHashMap::default();
    for group in &groups.modules {
        by_path.entry(&group.path).or_default().push(group);
    }
    for (group, found) in groups.modules.iter().zip(&found) {
        let checked = Checked::of(&context, group, found, &by_path[group.path.as_str()]);
        alignment.unused.extend(checked.unused);
        alignment.modules.extend(checked.module);
    }
    context.whole(&groups, &mut alignment);
    context.absent(&mut alignment);
    alignment.modules.sort_by(|a, b| natural_cmp(&a.name, &b.name));
    context.compare(&groups, &mut alignment);
    alignment.unused.sort_unstable();
    alignment.unused.dedup();
    alignment
}

/// Returns the method: the config's where the keys can be of it, else the keys'.
fn kind<'f>(groups: &Groups, facts: &'f Adapter) -> &'f str {
    let contradicts = facts.problems.iter().any(|problem| problem.kind == &kind::ADAPTER_KIND);
    let declared = facts.declared.as_deref().filter(|_| !contradicts);
    declared.or(kind_of(groups)).unwrap_or("unknown")
}

/// Returns a part with its own key.
pub(super) fn part_of(mark: &'static crate::adapter::keys::Mark, tensor: u32) -> Part {
    Part {
        part: mark.part,
        tensor,
        rename: None,
        is_transposed: mark.role == Role::Transposed,
        order: None,
        is_flat: false,
        is_factor: mark.role != Role::Other,
    }
}

/// Parts that embeddings and heads are known by: PEFT saves their weights beside an adapter.
pub(crate) const EMBEDDINGS: [&str; 10] = [
    "embed_tokens",
    "lm_head",
    "wte",
    "wpe",
    "embed_in",
    "embed_out",
    "word_embeddings",
    "tok_embeddings",
    "output",
    "embeddings",
];

/// Returns true if weights stand behind `base_layer` that are none of an embedding or a head: PEFT saves none.
fn is_dump(groups: &Groups) -> bool {
    groups.modules.iter().any(|group| {
        let label = group.path.rsplit('.').next().unwrap_or("");
        !EMBEDDINGS.contains(&label)
            && group.saved.iter().any(|&(part, _, wrapped)| wrapped && part != "bias")
    })
}

impl Context<'_> {
    /// Finds all modules in the base.
    fn find(&self, groups: &[Group]) -> Vec<Found> {
        let mut found: Vec<Found> = groups
            .iter()
            .map(|group| {
                let (path, is_wrapped) = unwrapped(&group.path);
                match self.names.find(&path, group.family) {
                    Found::Direct(path) | Found::ByPeft(path, _) if is_wrapped => {
                        Found::Renamed(path, "a wrapper inside the path goes".into())
                    }
                    other => other,
                }
            })
            .collect();
        let lost: Vec<usize> = (0..groups.len()).filter(|&index| found[index] == Found::Nowhere).collect();
        let paths: Vec<(String, Family)> =
            lost.iter().map(|&index| (unwrapped(&groups[index].path).0, groups[index].family)).collect();
        let fits = |at: usize, layer: u32| self.fits(&groups[lost[at]], layer);
        for (&index, guess) in lost.iter().zip(self.names.guess(&paths, &fits)) {
            found[index] = guess;
        }
        found
    }

    /// Adds the tensors of the whole adapter (prompts) as one module that no layer belongs to.
    fn whole(&self, groups: &Groups, alignment: &mut Alignment) {
        const WHOLE: [&str; 4] = ["PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "UNILORA", "XLORA"];
        let parts: Vec<Part> = groups
            .shared
            .iter()
            .filter(|(mark, _)| WHOLE.contains(&mark.kind))
            .map(|&(mark, tensor)| part_of(mark, tensor))
            .collect();
        let Some(first) = parts.first() else { return };
        let method = groups
            .shared
            .iter()
            .find(|(m, _)| WHOLE.contains(&m.kind))
            .map_or("PROMPT_TUNING", |(m, _)| m.kind);
        let mut module = Aligned::new(first.part, method);
        first.part.clone_into(&mut module.path);
        module.state = State::Aligned;
        module.is_applied = true;
        module.evidence = "it belongs to the model as a whole: no layer changes".into();
        module.parts = parts;
        self.look(&mut module);
        alignment.shared.retain(|part| !module.parts.contains(part));
        alignment.modules.push(module);
    }

    /// Adds a module for each of `modules_to_save` that no tensor is here for.
    fn absent(&self, alignment: &mut Alignment) {
        if self.targets.saved.is_empty() {
            return;
        }
        let wanted: FxHashSet<&str> = self.targets.saved.iter().map(String::as_str).collect();
        let mut of_base: FxHashMap<String, u32> = FxHashMap::default();
        for layer in 0..self.base.layers.len() as u32 {
            let name = self.names.name(layer);
            for end in ends(&name).filter(|end| wanted.contains(end)) {
                of_base.entry(end.to_owned()).or_insert(layer);
            }
        }
        for target in &self.targets.saved {
            let is_here = |module: &Aligned| {
                ends_with(&module.path, target)
                    || module.path.contains(&format!(".{target}."))
                    || module.path.starts_with(&format!("{target}."))
            };
            // A head for a task that the base has not is made when it is loaded.
            let layer = of_base.get(target.as_str()).copied();
            let (false, Some(layer)) = (alignment.modules.iter().any(is_here), layer) else { continue };
            let mut module = Aligned::new(target, "SAVED");
            module.layer = Some(layer);
            module.path = self.names.name(layer);
            module.state = State::Incomplete;
            module.repair = Repair::Config;
            module.evidence =
                "modules_to_save names it and no tensor is here: PEFT stops with a KeyError".into();
            alignment.modules.push(module);
        }
    }
}

impl Aligned {
    /// Returns a module of which nothing is known yet.
    pub(super) fn new(name: &str, method: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            path: String::new(),
            layer: None,
            places: Vec::new(),
            state: State::Missing,
            is_applied: false,
            method,
            parts: Vec::new(),
            delta: None,
            base_shape: None,
            rank: None,
            alpha: None,
            scaling: None,
            is_transposed: false,
            is_tied: false,
            experts: 1,
            tokens: Vec::new(),
            zero_delta: false,
            has_nan: false,
            has_infinity: false,
            evidence: String::new(),
            repair: Repair::Nothing,
        }
    }
}
