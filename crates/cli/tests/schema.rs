//! The schema that editors get says what the parser says, as far as a schema can.
//!
//! [`Judge`] knows those words of JSON Schema that ours uses, and panics at any other. A library that knows them all
//! would bring thirty crates for this one file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use muster_core::spec;
use serde_json::Value;

const SCHEMA: &str = include_str!("../schema/workflow.schema.json");

/// Where the fields of each kind of map stand in the schema, and a file with an unknown field in such a map.
const PLACES: [(&str, &str); 12] = [
    ("/$defs/workflow/properties", "zzzzzz: 1\ntasks: {t: {noop: {}}}"),
    (
        "/$defs/workflow/properties/params/additionalProperties/oneOf/2/properties",
        "params: {p: {zzzzzz: 1}}\ntasks: {t: {noop: {}}}",
    ),
    ("/$defs/schedule/properties", "schedule: {zzzzzz: 1}\ntasks: {t: {noop: {}}}"),
    ("/$defs/trigger/properties", "triggers: {zzzzzz: 1}\ntasks: {t: {noop: {}}}"),
    ("/$defs/defaults/properties", "defaults: {zzzzzz: 1}\ntasks: {t: {noop: {}}}"),
    ("/$defs/task/properties", "tasks: {t: {zzzzzz: 1}}"),
    ("/$defs/workflow/properties/hooks/properties", "tasks: {t: {noop: {}}}\nhooks: {zzzzzz: 1}"),
    ("/$defs/task/properties/workflow/properties", "tasks: {t: {workflow: {name: w, zzzzzz: 1}}}"),
    ("/$defs/retry/oneOf/1/properties", "tasks: {t: {noop: {}, retry: {zzzzzz: 1}}}"),
    (
        "/$defs/retry/oneOf/1/properties/backoff/oneOf/1/properties",
        "tasks: {t: {noop: {}, retry: {backoff: {zzzzzz: 1}}}}",
    ),
    (
        "/$defs/task/properties/array/oneOf/2/properties",
        "tasks: {t: {noop: {}, array: {zzzzzz: 1}}}",
    ),
    (
        "/$defs/task/properties/foreach/oneOf/2/properties",
        "tasks: {t: {noop: {}, foreach: {zzzzzz: 1}}}",
    ),
];

/// Fields that may be written under a second name, which the parser does not list.
const ALIASES: [&str; 2] = ["nodeSelector", "timezone"];

const HEAD: &str = "apiVersion: v1\nkind: Workflow\nname: flow\n";

fn schema() -> Value {
    serde_json::from_str(SCHEMA).expect("the schema is JSON")
}

/// The fields that the parser names as those of the map in which `zzzzzz` stands.
fn parsed_fields(text: &str) -> BTreeSet<String> {
    let errors = spec::parse(&format!("{HEAD}{text}\n")).expect_err("the field is unknown").errors;
    let unknown = errors.iter().find(|error| error.message.contains("`zzzzzz`"));
    let help =
        unknown.and_then(|error| error.help.as_deref()).unwrap_or_else(|| panic!("{errors:?}"));
    let fields = help.strip_prefix("the fields are ").unwrap_or_else(|| panic!("{help}"));
    fields.split(", ").map(str::to_owned).collect()
}

#[test]
fn the_schema_and_the_parser_know_the_same_fields() {
    let schema = schema();
    for (pointer, text) in PLACES {
        let properties = schema.pointer(pointer).and_then(Value::as_object);
        let properties = properties.unwrap_or_else(|| panic!("{pointer}"));
        let in_schema = properties.keys().filter(|key| !ALIASES.contains(&key.as_str()));
        let in_schema: BTreeSet<String> = in_schema.cloned().collect();
        assert_eq!(in_schema, parsed_fields(text), "{pointer}");
    }
}

/// What the parser says to a namespace with these lines.
fn namespace(lines: &str) -> Result<spec::Manifest, spec::SpecErrors> {
    let text = format!("{NAMESPACE}{lines}\n");
    spec::parse_manifest(&text, &|_| Ok(()), &|_| Vec::new())
}

const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nname: team\n";

#[test]
fn the_fields_of_a_namespace_are_the_same_in_both() {
    for (pointer, text) in [
        ("/$defs/namespace/properties", "zzzzzz: 1"),
        ("/$defs/namespace/properties/quota/properties", "quota: {zzzzzz: 1}"),
    ] {
        let schema = schema();
        let properties = schema.pointer(pointer).and_then(Value::as_object).expect(pointer);
        let in_schema: BTreeSet<String> = properties.keys().cloned().collect();
        let errors = namespace(text).expect_err("the field is unknown").errors;
        let help = errors[0].help.as_deref().expect("it says which fields there are");
        let fields = help.strip_prefix("the fields are ").unwrap_or_else(|| panic!("{help}"));
        let parsed: BTreeSet<String> = fields.split(", ").map(str::to_owned).collect();
        assert_eq!(in_schema, parsed, "{pointer}");
    }
}

#[test]
fn a_namespace_fits_the_schema_if_it_is_well_formed() {
    let judge = Judge::new();
    let fits = |text: &str| judge.errors(&documents(&format!("{NAMESPACE}{text}\n"))[0]).is_empty();
    for text in [
        "",
        "weight: 1000",
        "quota: {}",
        "quota: {runs: 0, cpu: 500m, memory: 1Gi}",
        "concurrency: {db: 0}",
    ] {
        assert!(fits(text) && namespace(text).is_ok(), "{text}");
    }
    for text in [
        "weight: 0",
        "weight: 1001",
        "weight: heavy",
        "quota: {task: 1}",
        "concurrency: {Db: 1}",
        "concurrency: {db: -1}",
        "concurrency: {db: many}",
        "concurrency: [db]",
        "quota: {tasks: -1}",
        "quota: {memory: much}",
        "tasks: {t: {noop: {}}}",
    ] {
        assert!(!fits(text) && namespace(text).is_err(), "{text}");
    }
}

#[test]
fn the_other_names_of_fields_are_in_both() {
    let known = |place: &str, alias: &str| {
        let pointer = format!("/$defs/{place}/properties/{alias}");
        assert!(schema().pointer(&pointer).is_some(), "{pointer}");
    };
    known("task", "nodeSelector");
    known("schedule", "timezone");
    let text =
        "schedule: {cron: '@daily', timezone: UTC}\ntasks: {t: {noop: {}, nodeSelector: {a: b}}}";
    spec::parse(&format!("{HEAD}{text}\n")).expect("both are read");
}

/// The documents of a file, as an editor sees them.
fn documents(text: &str) -> Vec<Value> {
    let parts = text.split("\n---\n").filter(|part| !part.trim().is_empty());
    parts.map(|part| serde_saphyr::from_str(part).expect("it is YAML")).collect()
}

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(folder).expect("it is part of the repository");
    let paths = entries.map(|entry| entry.expect("it can be listed").path());
    paths.filter(|path| path.extension().is_some_and(|it| it == "yaml")).collect()
}

/// Words of a schema that say nothing about values of other types than their own.
const OF_ONE_TYPE: [&str; 14] = [
    "required",
    "properties",
    "additionalProperties",
    "propertyNames",
    "items",
    "minProperties",
    "maxProperties",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minimum",
    "maximum",
    "maxLength",
    "pattern",
];

/// Judges values by a schema.
struct Judge {
    schema: Value,
}

impl Judge {
    fn new() -> Judge {
        Judge { schema: schema() }
    }

    /// What is wrong with the value, and where.
    fn errors(&self, value: &Value) -> Vec<String> {
        let mut errors = Vec::new();
        self.judge(&self.schema, value, "", &mut errors);
        errors
    }

    fn fits(&self, schema: &Value, value: &Value) -> bool {
        let mut errors = Vec::new();
        self.judge(schema, value, "", &mut errors);
        errors.is_empty()
    }

    fn judge(&self, schema: &Value, value: &Value, at: &str, errors: &mut Vec<String>) {
        for (word, rule) in schema.as_object().expect("a schema is a map") {
            if !self.holds(word, rule, schema, value, at, errors) {
                errors.push(format!("{at}: {value} breaks {word}: {rule}"));
            }
        }
    }

    /// Whether `additionalProperties` holds for the properties that the schema does not name.
    fn holds_for_others<'v>(
        &self,
        rule: &Value,
        mut others: impl Iterator<Item = (&'v String, &'v Value)>,
        at: &str,
        errors: &mut Vec<String>,
    ) -> bool {
        if let Value::Bool(is_open) = rule {
            return *is_open || others.next().is_none();
        }
        others.for_each(|(name, value)| self.judge(rule, value, &format!("{at}/{name}"), errors));
        true
    }

    /// Whether one rule holds. What is wrong within the value is put into `errors`.
    fn holds(
        &self,
        word: &str,
        rule: &Value,
        schema: &Value,
        value: &Value,
        at: &str,
        errors: &mut Vec<String>,
    ) -> bool {
        let number = |value: &Value| value.as_f64().expect("a number");
        let count = |value: &Value| value.as_array().map_or(0, Vec::len) as f64;
        match (word, value) {
            ("$schema" | "title" | "description" | "$defs", _) => true,
            ("$ref", _) => {
                let pointer = rule.as_str().and_then(|text| text.strip_prefix('#'));
                let target = self.schema.pointer(pointer.expect("a place in this file"));
                self.judge(target.expect("it is there"), value, at, errors);
                true
            }
            ("type", _) => is_any_type(rule, value),
            ("const", _) => rule == value,
            ("enum", _) => rule.as_array().expect("a list").contains(value),
            ("oneOf", _) => {
                let choices = rule.as_array().expect("a list").iter();
                choices.filter(|choice| self.fits(choice, value)).count() == 1
            }
            ("required", Value::Object(map)) => {
                let names = rule.as_array().expect("a list");
                names.iter().all(|name| map.contains_key(name.as_str().expect("a name")))
            }
            ("properties", Value::Object(map)) => {
                for (name, rule) in rule.as_object().expect("a map") {
                    if let Some(value) = map.get(name) {
                        self.judge(rule, value, &format!("{at}/{name}"), errors);
                    }
                }
                true
            }
            ("additionalProperties", Value::Object(map)) => {
                let known = schema.get("properties").and_then(Value::as_object);
                let is_known = |name: &str| known.is_some_and(|known| known.contains_key(name));
                let others = map.iter().filter(|(name, _)| !is_known(name));
                self.holds_for_others(rule, others, at, errors)
            }
            ("propertyNames", Value::Object(map)) => {
                map.keys().all(|name| self.fits(rule, &Value::String(name.clone())))
            }
            ("items", Value::Array(items)) => {
                for (position, item) in items.iter().enumerate() {
                    self.judge(rule, item, &format!("{at}/{position}"), errors);
                }
                true
            }
            ("minProperties", Value::Object(map)) => map.len() as f64 >= number(rule),
            ("maxProperties", Value::Object(map)) => map.len() as f64 <= number(rule),
            ("minItems", Value::Array(_)) => count(value) >= number(rule),
            ("maxItems", Value::Array(_)) => count(value) <= number(rule),
            ("uniqueItems", Value::Array(items)) => {
                items.iter().enumerate().all(|(at, item)| !items[..at].contains(item))
            }
            ("minimum", Value::Number(_)) => number(value) >= number(rule),
            ("maximum", Value::Number(_)) => number(value) <= number(rule),
            ("maxLength", Value::String(text)) => text.chars().count() as f64 <= number(rule),
            ("pattern", Value::String(text)) => {
                let pattern = format!("(?-u){}", rule.as_str().expect("a pattern"));
                regex::Regex::new(&pattern).expect("it is well-formed").is_match(text)
            }
            (word, _) if OF_ONE_TYPE.contains(&word) => true,
            _ => panic!("the schema says `{word}`, and this test does not know what that means"),
        }
    }
}

fn is_any_type(rule: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str().expect("the name of a type") {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("`{other}` is no type"),
    };
    rule.as_array().map_or_else(|| is(rule), |names| names.iter().any(is))
}

#[test]
fn what_is_well_formed_fits_the_schema() {
    let judge = Judge::new();
    let mut files = yaml_files("../../examples");
    files.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/spec/good.yaml"));
    assert!(files.len() >= 4);
    for file in files {
        let text = std::fs::read_to_string(&file).expect("it is text");
        for document in documents(&text) {
            let errors = judge.errors(&document);
            assert!(errors.is_empty(), "{}: {errors:#?}", file.display());
        }
    }
    // The documents show whole files too.
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let pages = std::fs::read_dir(docs).expect("there are documents");
    let pages = pages.map(|entry| entry.expect("it is listed").path());
    let pages = pages.filter(|path| path.extension().is_some_and(|it| it == "md"));
    let pages: Vec<String> =
        pages.map(|path| std::fs::read_to_string(path).expect("it is text")).collect();
    let blocks = pages.iter().flat_map(|page| page.split("```yaml\n").skip(1));
    let blocks = blocks.filter_map(|rest| rest.split("```").next());
    let whole: Vec<&str> = blocks.filter(|text| text.starts_with("apiVersion")).collect();
    assert!(whole.len() >= 10);
    for text in whole {
        assert_eq!(judge.errors(&documents(text)[0]), [""; 0], "{text}");
    }
}

#[test]
fn what_is_misspelt_does_not_fit() {
    let judge = Judge::new();
    let fits = |text: &str| judge.errors(&documents(&format!("{HEAD}{text}\n"))[0]).is_empty();
    assert!(fits("tasks: {t: {run: ls}}"));
    for text in [
        "tasks: {}",
        "tasks: {t: {runn: ls}}",
        "tasks: {t: {run: ls, noop: {}}}",
        "tasks: {t: {run: ls, approval: {}}}",
        "tasks: {t: {approval: {onTimeout: skip}, timeout: 1h}}",
        "tasks: {t: {workflow: {params: {a: b}}}}",
        "tasks: {t: {workflow: {name: Load}}}",
        "tasks: {t: {run: ls, timeout: soon}}",
        "tasks: {t: {run: ls, onLost: retry}}",
        "tasks: {T: {run: ls}}",
        "params: {p: {type: int}}\ntasks: {t: {run: ls}}",
        "schedule: {cron: '@daily', every: 1h}\ntasks: {t: {run: ls}}",
        "concurrencyPolicy: forbid\ntasks: {t: {run: ls}}",
    ] {
        assert!(!fits(text), "{text}");
        assert!(spec::parse(&format!("{HEAD}{text}\n")).is_err(), "{text}");
    }
}
