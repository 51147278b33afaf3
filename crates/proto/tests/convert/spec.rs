//! Workflow specs: round trips, and errors that name the field.

use muster_core::ids::Name;
use muster_core::spec::{ExecutorSpec, ParamSpec, ParamType, TaskSpec, WorkflowSpec};
use muster_proto::convert::{spec_from_proto, spec_to_proto};
use muster_proto::v1;
use proptest::prelude::*;
use prost::Message;

use crate::generate;

proptest! {
    #[test]
    fn every_spec_comes_back(spec in generate::spec()) {
        prop_assert_eq!(spec_from_proto(spec_to_proto(&spec)), Ok(spec));
    }
}

fn message() -> v1::WorkflowSpec {
    let name = |text| Name::parse(text).expect("it is a name");
    spec_to_proto(&WorkflowSpec::new(
        name("etl"),
        vec![
            TaskSpec::new(name("extract"), ExecutorSpec::Noop),
            TaskSpec::new(name("load"), ExecutorSpec::Noop),
        ],
    ))
}

/// The error that `change` to the second task causes.
fn error_after(change: impl FnOnce(&mut v1::TaskSpec)) -> String {
    let mut message = message();
    change(&mut message.tasks[1]);
    spec_from_proto(message).expect_err("the change is an error").to_string()
}

#[test]
fn an_error_names_the_field() {
    assert!(spec_from_proto(message()).is_ok());
    assert_eq!(error_after(|task| task.rule = 0), "`tasks[1].rule` is missing");
    assert_eq!(error_after(|task| task.rule = 9), "`tasks[1].rule` has the unknown value 9");
    assert_eq!(error_after(|task| task.condition = 0), "`tasks[1].condition` is missing");
    assert_eq!(
        error_after(|task| task.on_lost = -1),
        "`tasks[1].on_lost` has the unknown value -1"
    );
    assert_eq!(error_after(|task| task.executor = None), "`tasks[1].executor` is missing");
    assert_eq!(error_after(|task| task.request = None), "`tasks[1].request` is missing");
    assert_eq!(error_after(|task| task.max_lost = None), "`tasks[1].max_lost` is missing");
    assert_eq!(
        error_after(|task| task.grace_period_ms = None),
        "`tasks[1].grace_period_ms` is missing"
    );
    assert_eq!(
        error_after(|task| task.executor = Some(v1::ExecutorSpec { kind: None })),
        "`tasks[1].executor.kind` is missing"
    );
    assert_eq!(
        error_after(|task| task.retry.as_mut().expect("it has one").backoff = None),
        "`tasks[1].retry.backoff` is missing"
    );
    assert!(
        error_after(|task| task.needs = vec!["extract".into(), "No".into()])
            .starts_with("`tasks[1].needs[1]` is not a name: ")
    );
}

/// Bytes from before there were types: field 1 and field 2 alone.
#[test]
fn a_parameter_without_a_type_is_a_text() {
    let old = b"\x0a\x02eu\x12\x05where";
    let mut spec = message();
    spec.params.insert("region".into(), v1::ParamSpec::decode(&old[..]).expect("it is a message"));
    let read = spec_from_proto(spec).expect("old bytes are read");
    let region = &read.params["region"];
    assert_eq!(region.kind, ParamType::String);
    assert_eq!((&region.allowed, &region.minimum, &region.maximum), (&vec![], &None, &None));
    // And what has no type is written as it was.
    let again = spec_to_proto(&read).params["region"].encode_to_vec();
    assert_eq!(again, old);
}

#[test]
fn a_type_that_is_not_known_is_an_error_and_no_text() {
    let mut spec = message();
    let typed = ParamSpec { kind: ParamType::Date, ..ParamSpec::default() };
    let name = Name::parse("day").expect("it is a name");
    let params = [(name, typed)].into();
    spec.params =
        spec_to_proto(&WorkflowSpec { params, ..spec_from_proto(message()).expect("good") }).params;
    assert!(spec_from_proto(spec.clone()).is_ok());
    spec.params.get_mut("day").expect("it is there").r#type = 99;
    let error = spec_from_proto(spec).expect_err("nobody knows 99").to_string();
    assert_eq!(error, "`params[day].type` has the unknown value 99");
}

#[test]
fn a_digest_of_another_length_is_an_error() {
    for bytes in [0, 31, 33] {
        let credential = v1::webhook_spec::Credential::TokenSha256(vec![0; bytes].into());
        let webhook = v1::WebhookSpec {
            name: "push".to_owned(),
            credential: Some(credential),
            ..v1::WebhookSpec::default()
        };
        let spec = v1::WorkflowSpec { webhooks: vec![webhook], ..message() };
        let error = spec_from_proto(spec).expect_err("it is no digest").to_string();
        assert_eq!(error, "`webhooks[0].token_sha256` must have 32 bytes");
    }
}
