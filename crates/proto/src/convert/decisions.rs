//! Decisions about undecided tasks.

use std::sync::Arc;

use muster_core::command::{DecideTasks, Decision, Verdict};
use muster_core::ids::{LogIndex, RunId, TaskIndex};

use super::error::DecodeError;
use super::fan_out::{items_from_proto, items_to_proto};
use super::read::{Within, params_from_proto, required};
use crate::internal::v1::decision::{self, Verdict as Stored};
use crate::internal::v1::{self as stored};

pub(super) fn decide_to_proto(it: &DecideTasks) -> stored::DecideTasks {
    stored::DecideTasks { decisions: it.decisions.iter().map(decision_to_proto).collect() }
}

pub(super) fn decide_from_proto(it: stored::DecideTasks) -> Result<DecideTasks, DecodeError> {
    let decisions = it.decisions.into_iter().enumerate();
    let decisions = decisions
        .map(|(at, decision)| decision_from_proto(decision).within_element("decisions", at))
        .collect::<Result<_, _>>()?;
    Ok(DecideTasks { decisions })
}

fn decision_to_proto(it: &Decision) -> stored::Decision {
    let verdict = match &it.verdict {
        Verdict::Start => Stored::Start(decision::Start {}),
        Verdict::FanOut { items } => {
            Stored::FanOut(decision::FanOut { items: Some(items_to_proto(items)) })
        }
        Verdict::StartRun { params } => {
            let params = params.iter();
            let params = params.map(|(name, value)| (name.to_string(), value.to_string()));
            Stored::StartRun(decision::StartRun { params: params.collect() })
        }
        Verdict::Skip => Stored::Skip(decision::Skip {}),
        Verdict::Fail { message } => Stored::Fail(decision::Fail { message: message.to_string() }),
    };
    stored::Decision {
        run_id: it.run.0,
        task_index: it.task.0,
        since_index: it.since.0,
        verdict: Some(verdict),
    }
}

fn decision_from_proto(it: stored::Decision) -> Result<Decision, DecodeError> {
    let verdict = match required("verdict", it.verdict)? {
        Stored::Start(decision::Start {}) => Verdict::Start,
        Stored::FanOut(decision::FanOut { items }) => {
            Verdict::FanOut { items: items_from_proto(required("fan_out.items", items)?) }
        }
        Stored::StartRun(decision::StartRun { params }) => {
            Verdict::StartRun { params: Arc::new(params_from_proto(params).within("start_run")?) }
        }
        Stored::Skip(decision::Skip {}) => Verdict::Skip,
        Stored::Fail(decision::Fail { message }) => Verdict::Fail { message: message.into() },
    };
    Ok(Decision {
        run: RunId(it.run_id),
        task: TaskIndex(it.task_index),
        since: LogIndex(it.since_index),
        verdict,
    })
}
