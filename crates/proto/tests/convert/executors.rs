//! How tasks are carried out, at random.

use muster_core::spec::{
    ApprovalSpec, ExecutorSpec, OnTimeout, ProcessCommand, ProcessSpec, SubWorkflowSpec,
};
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;

use super::generate::{name, text};

pub(crate) fn executor() -> impl Strategy<Value = ExecutorSpec> {
    let list = || vec(text(), 0..3);
    let command = prop_oneof![
        list().prop_map(ProcessCommand::Argv),
        (text(), list()).prop_map(|(text, shell)| ProcessCommand::Script { text, shell }),
    ];
    let process = (command, of(text()))
        .prop_map(|(command, working_dir)| ProcessSpec { command, working_dir });
    let ends = [OnTimeout::Fail, OnTimeout::Approve];
    let approval = (of(text()), prop::sample::select(ends.to_vec()))
        .prop_map(|(message, on_timeout)| ApprovalSpec { message, on_timeout });
    let sub_workflow = (name(), btree_map(name(), text(), 0..3))
        .prop_map(|(name, params)| SubWorkflowSpec { name, params });
    prop_oneof![
        Just(ExecutorSpec::Noop),
        process.prop_map(ExecutorSpec::Process),
        approval.prop_map(ExecutorSpec::Approval),
        sub_workflow.prop_map(ExecutorSpec::Workflow),
    ]
}
