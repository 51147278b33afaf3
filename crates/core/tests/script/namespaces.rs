//! Lines about namespaces.

use muster_core::spec::namespace::{GroupSpec, NamespaceSpec};
use muster_core::spec::quantity::{parse_cpu, parse_memory};

use super::line::{name, pairs};

pub(crate) fn namespace(rest: &str) -> NamespaceSpec {
    let (namespace, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let mut spec = NamespaceSpec::new(name(namespace));
    let number = |value: &str| value.parse().expect("a number");
    for (key, value) in pairs(rest) {
        match key {
            "weight" => spec.weight = number(value),
            "runs" => spec.quota.runs = Some(number(value)),
            "tasks" => spec.quota.tasks = Some(number(value)),
            "cpu" => spec.quota.cpu_millis = Some(parse_cpu(value).expect("a quantity")),
            "memory" if value == "max" => spec.quota.memory_bytes = Some(u64::MAX),
            "memory" => spec.quota.memory_bytes = Some(parse_memory(value).expect("a quantity")),
            _ => {
                let group = key.strip_prefix("group.").expect("`group.NAME=LIMIT`");
                spec.groups.insert(name(group), GroupSpec { limit: number(value) });
            }
        }
    }
    spec
}
