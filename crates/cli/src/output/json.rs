//! Messages of the API as protobuf-JSON, from the descriptors that the API itself is made of.
//!
//! Fields at their default are printed too, so that a script finds the same fields in every answer.

use std::sync::LazyLock;

use muster_proto::FILE_DESCRIPTOR_SET;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
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
    dynamic
        .serialize_with_options(serde_json::value::Serializer, &options)
        .expect("every message of the API has a JSON form")
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
    fn absent_stays_absent() {
        let task = v1::Task { id: "a".into(), ..Default::default() };
        let value = value("muster.v1.Task", &task);
        assert!(value.get("exitCode").is_none_or(Value::is_null), "{value}");
    }
}
