//! Messages of the API as protobuf-JSON, from the descriptors that the API itself is made of.
//!
//! Fields at their default are printed too, so that a script finds the same fields in every answer. Fields stand in the
//! order of the message, the entries of maps in that of their keys: equal messages are printed equally.

use std::sync::LazyLock;

use muster_proto::FILE_DESCRIPTOR_SET;
use prost_reflect::{
    DescriptorPool, DynamicMessage, Kind, MessageDescriptor, ReflectMessage, SerializeOptions,
};
use serde_json::Value;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the build made the descriptors")
});

/// The message as JSON. `name` is its full name: `muster.v1.Run`.
pub(crate) fn value(name: &str, message: &impl prost::Message) -> Value {
    let descriptor = POOL.get_message_by_name(name).expect("names are those of the API");
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .expect("the bytes are those of the same message");
    let options = SerializeOptions::new().skip_default_fields(false);
    let mut value = dynamic
        .serialize_with_options(serde_json::value::Serializer, &options)
        .expect("every message of the API has a JSON form");
    sort_maps(&mut value, &dynamic.descriptor());
    value
}

/// Puts the entries of all maps within a message in order: reflection holds them in none.
fn sort_maps(value: &mut Value, message: &MessageDescriptor) {
    let Value::Object(fields) = value else { return };
    for field in message.fields() {
        let Some(value) = fields.get_mut(field.json_name()) else { continue };
        let Kind::Message(inner) = field.kind() else { continue };
        match value {
            Value::Object(entries) if field.is_map() => {
                entries.sort_keys();
                if let Kind::Message(inner) = inner.map_entry_value_field().kind() {
                    entries.values_mut().for_each(|value| sort_maps(value, &inner));
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| sort_maps(item, &inner)),
            value => sort_maps(value, &inner),
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_client::v1;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_is_protobuf_json() {
        let run = v1::Run {
            id: 7,
            workflow: "etl".into(),
            number: 42,
            status: v1::RunStatus::Failed.into(),
            submitted_at_ms: 1_700_000_000_000,
            params: [("day".to_owned(), "monday".to_owned())].into(),
            tally: Some(v1::Tally { succeeded: 3, ..Default::default() }),
            ..Default::default()
        };
        let value = value("muster.v1.Run", &run);
        assert_eq!(value["number"], json!("42"), "64-bit numbers are texts");
        assert_eq!(value["status"], json!("RUN_STATUS_FAILED"));
        assert_eq!(value["submittedAtMs"], json!("1700000000000"));
        assert_eq!(value["params"], json!({"day": "monday"}));
        assert_eq!(value["tally"]["succeeded"], json!("3"));
        assert_eq!(value["tally"]["failed"], json!("0"), "defaults are shown");
        assert_eq!(value["stopReason"], json!(""));
    }

    #[test]
    fn maps_are_in_order_wherever_they_stand() {
        let letters = || ('a'..='z').map(|letter| (letter.to_string(), letter.to_string()));
        let task = v1::TaskSpec {
            env: letters().collect(),
            request: Some(v1::Request { selector: letters().collect(), ..Default::default() }),
            ..Default::default()
        };
        let params = letters().map(|(name, _)| (name, <v1::ParamSpec as Default>::default()));
        let spec = v1::WorkflowSpec {
            name: "etl".into(),
            params: params.collect(),
            tasks: vec![task],
            ..Default::default()
        };
        let workflow = v1::Workflow { spec: Some(spec), ..Default::default() };
        let value = value("muster.v1.Workflow", &workflow);
        for at in ["/spec/params", "/spec/tasks/0/env", "/spec/tasks/0/request/selector"] {
            let map = value.pointer(at).and_then(Value::as_object).unwrap();
            assert!(map.keys().is_sorted() && map.len() == 26, "{at}: {map:?}");
        }
        let fields: Vec<_> = value["spec"].as_object().unwrap().keys().take(2).collect();
        assert_eq!(fields, ["name", "labels"], "fields keep the order of the message");
    }

    #[test]
    fn absent_stays_absent() {
        let task = v1::Task { id: "a".into(), ..Default::default() };
        let value = value("muster.v1.Task", &task);
        assert!(value.get("exitCode").is_none_or(Value::is_null), "{value}");
    }
}
