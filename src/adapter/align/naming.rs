//! Naming: whether a module's keys are those that PEFT looks for, and which they should be.

use super::build::Context;
use super::{Aligned, Order, Repair, State, experts};
use crate::adapter::gguf_base::GgufBase;
use crate::adapter::group::Group;
use crate::adapter::keys::{BASE_LAYER, Family};
use crate::adapter::names::{Found, PREFIX};

impl Context<'_> {
    /// Decides by the names whether a module that fits is aligned, and what its keys should be.
    pub(super) fn name(&self, module: &mut Aligned, group: &Group, found: &Found) {
        let is_nested = module.experts > 1 || experts::is_stacked(self, &module.path);
        let is_wrapped = group.wraps > 0 && !is_nested;
        let native = group.family == Family::Gguf && self.base.files.container.name() == "gguf";
        let is_foreign = group.family != Family::Peft && !native;
        let (target, prefix) = match found {
            Found::Direct(path) => (path.clone(), None),
            // What PEFT maps by itself keeps the name that it has.
            Found::ByPeft(_, why) => {
                module.evidence = format!("{}; {why}", module.evidence);
                (group.path.strip_prefix(PREFIX).unwrap_or(&group.path).to_owned(), None)
            }
            Found::Renamed(path, change) => (path.clone(), Some(change.clone())),
            Found::Ambiguous(_) | Found::Nowhere => (module.path.clone(), None),
        };
        let mut reasons: Vec<String> = Vec::new();
        if is_wrapped {
            module.state = State::Wrapped;
            reasons.push(format!(
                "\".{BASE_LAYER}\" names the frozen weight, PEFT looks for this key without it"
            ));
        }
        if let Some(change) = &prefix {
            reasons.push(format!("the key's prefix: {change}"));
        }
        if let Some(name) = &group.leaked {
            reasons.push(if name == "default" {
                "\".default.\" was left in: current PEFT takes it out, older PEFT drops the module silently"
                    .into()
            } else {
                format!("the adapter's name {name} was left in the keys")
            });
        }
        if is_foreign {
            reasons.push(format!("keys as {} writes them", group.family.name()));
        }
        let moves_rows = group.family == Family::Torchtune
            && ["q_proj", "k_proj"].contains(&module.path.rsplit('.').next().unwrap_or(""));
        if !native {
            self.rename(module, group, &target);
        }
        if reasons.is_empty() && module.is_renamed() {
            reasons.push("the keys' ends are not PEFT's".into());
        }
        if is_foreign && !native {
            self.form(module, moves_rows);
        }
        if moves_rows {
            reasons.push("torchtune orders the rows of q and k by its own rotary embedding".into());
        }
        let only_default = group.kind.is_some()
            && prefix.is_none()
            && !is_wrapped
            && !is_foreign
            && group.leaked.as_deref() == Some("default");
        if !reasons.is_empty() && module.state != State::Wrapped {
            module.state = if module.state == State::Saved { State::Saved } else { State::Renamed };
        }
        module.is_applied = reasons.is_empty() || only_default;
        if !reasons.is_empty() {
            module.evidence = reasons.join("; ");
        }
        module.repair = if moves_rows && module.parts.iter().all(|part| part.order.is_none()) {
            Repair::No(
                "the rows of its lora_B have to be put in another order, and the base's config.json does not give heads that divide them".into(),
            )
        } else if module.is_renamed() || is_foreign {
            Repair::Rename
        } else {
            Repair::Nothing
        };
    }

    /// Says how PEFT has the parts of a module that others wrote.
    fn form(&self, module: &mut Aligned, moves_rows: bool) {
        let configs = &self.base.files.configs;
        let gguf = self.names.gguf().map(GgufBase::heads);
        let heads = configs.model_int("num_attention_heads").or(gguf.map(|[heads, _]| heads));
        let is_query = module.path.ends_with("q_proj");
        let heads = if is_query {
            heads
        } else {
            configs.model_int("num_key_value_heads").or(gguf.map(|[_, heads]| heads)).or(heads)
        };
        let head = configs.model_int("head_dim");
        for part in &mut module.parts {
            let files = &self.adapter.files;
            let shape = files.shape(&files.tensors[part.tensor as usize]);
            if moves_rows && ["lora_B", "lora_magnitude_vector"].contains(&part.part) {
                let order = heads.map(|heads| Order { heads });
                let is_head = |half: u64| head.is_none_or(|head| head == half * 2);
                part.order = order.filter(|order| order.split(shape).is_some_and(|(_, half)| is_head(half)));
            }
            let long = shape.iter().filter(|&&size| size != 1).count();
            part.is_flat = part.part == "lora_magnitude_vector" && shape.len() > 1 && long < 2;
        }
    }

    /// Gives each part the key that PEFT looks for, where it is not its own.
    fn rename(&self, module: &mut Aligned, group: &Group, target: &str) {
        let wraps =
            if module.experts > 1 || experts::is_stacked(self, &module.path) { group.wraps } else { 0 };
        let nested = format!(".{BASE_LAYER}").repeat(wraps);
        for part in &mut module.parts {
            let own = self.adapter.files.tensor_name(part.tensor);
            let mark = group.parts.iter().find(|(_, tensor)| *tensor == part.tensor).map(|(mark, _)| *mark);
            let (tail, is_delta) = match mark {
                // What stands behind such a mark is its own.
                Some(mark) if mark.is_open() => (own_tail(&own, group), true),
                Some(mark) => (mark.tail.to_owned(), true),
                None => (part.part.to_owned(), false),
            };
            // AdaLoRA's factors are parameters: their keys end without `.weight`.
            let tail = match (module.method, part.part) {
                ("ADALORA", "lora_A" | "lora_B") => part.part.to_owned(),
                _ => tail,
            };
            if part.part == "alpha" {
                continue;
            }
            let key = if is_delta {
                format!("{PREFIX}{target}{nested}.{tail}")
            } else {
                let is_wrapped =
                    group.saved.iter().any(|&(_, tensor, wrapped)| tensor == part.tensor && wrapped);
                let inner = if is_wrapped { format!(".{BASE_LAYER}") } else { String::new() };
                let dot = if tail.is_empty() { "" } else { "." };
                format!("{PREFIX}{target}{inner}{dot}{tail}")
            };
            let is_same =
                own == key || own == format!("{key}.weight") && part.part == "lora_magnitude_vector";
            part.rename = (!is_same).then_some(key);
        }
    }
}

/// Returns what a key has after its module's path.
fn own_tail(key: &str, group: &Group) -> String {
    let at = key.find(group.name.as_str()).map_or(0, |at| at + group.name.len() + 1);
    key.get(at..).unwrap_or("").to_owned()
}
