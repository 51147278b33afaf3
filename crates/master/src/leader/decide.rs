//! Deciding what expressions come to, for the tasks that wait for it.
//!
//! The state says which tasks are undecided. A decision names the wait that it was worked out for; if that is over by
//! the time it is applied, the state refuses it. Whatever is undecided then is looked at again, by this leader or by
//! the next one, so nothing here needs to be remembered. Every evaluation comes to an answer within its bounds, and an
//! answer takes the task out of those that wait: none of them can keep the others waiting.

use std::sync::Arc;
use std::time::Duration;

use muster_core::command::{Command, DecideTasks, Decision, Verdict};
use muster_core::ids::TaskIndex;
use muster_core::reply::Reply;
use muster_core::spec::TaskSpec;
use muster_core::state::State;
use muster_core::state::run::Run;
use muster_core::state::task::TaskState;
use muster_expressions::Moment;
use tokio::time::Instant;

use super::assignment::{fire_moment, parameters};
use crate::replica::Replica;

/// The state is looked at this often at least.
const LOOK: Duration = Duration::from_millis(250);
/// How long the leader waits when the log did not take its decisions.
const PAUSE: Duration = Duration::from_millis(50);
/// Most tasks that are decided about at once.
const DECISIONS_MAX: usize = 512;
/// Once the decisions of a round bring so many bytes of items or parameters they are proposed, and the rest follows.
const BROUGHT_BYTES: usize = 512 << 10;
/// Once the runs that a round starts have so many tasks together they are proposed, and the rest follows: to make them
/// takes every master some 2 µs a task, in which it does nothing else.
const STARTED_TASKS: usize = 20_000;
/// What is worked out in this time is proposed first; the rest follows.
const ROUND: Duration = Duration::from_millis(20);

pub(super) async fn run(replica: Arc<Replica>) {
    loop {
        let changed = replica.cell.changed.notified();
        let open = replica.cell.read(open);
        if open.is_empty() {
            let _look = tokio::time::timeout(LOOK, changed).await;
            continue;
        }
        let decisions = decisions(open).await;
        let command = Command::DecideTasks(DecideTasks { decisions });
        let is_done = match replica.proposer.propose(&command).await {
            Ok((_, Reply::Items { refused })) => refused.is_empty(),
            Ok(_) | Err(_) => false,
        };
        if !is_done {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// The first undecided tasks. Cheap, for meanwhile nothing is applied. A sub-workflow waits while its run is paused.
fn open(state: &State) -> Vec<(Arc<Run>, TaskIndex, usize)> {
    let open = state.undecided().filter_map(|(run, task)| Some((state.run(run)?.clone(), task)));
    let may_start = |(run, task): &(Arc<Run>, TaskIndex)| {
        run.paused.is_none() || !run.spec(*task).is_some_and(TaskSpec::is_sub_workflow)
    };
    let open = open.filter(may_start).take(DECISIONS_MAX);
    open.map(|(run, task)| {
        let size = started_tasks(state, &run, task);
        (run, task, size)
    })
    .collect()
}

/// How many tasks the run has that a sub-workflow starts; 0 for any other task.
fn started_tasks(state: &State, run: &Run, task: TaskIndex) -> usize {
    let wanted = run.spec(task).and_then(|spec| spec.executor.sub_workflow());
    let namespace = run.version.namespace.as_str();
    let found = wanted.and_then(|wanted| state.workflow(namespace, wanted.name.as_str())?.latest);
    found.and_then(|id| state.version(id)).map_or(0, |version| version.spec.tasks.len())
}

/// What becomes of them, as far as that is worked out in a round; at least of the first.
async fn decisions(open: Vec<(Arc<Run>, TaskIndex, usize)>) -> Vec<Decision> {
    let end = Instant::now() + ROUND;
    let mut decisions = Vec::with_capacity(open.len());
    let (mut bytes, mut started) = (0, 0);
    for (run, task, size) in open {
        let decision = decision(&run, task);
        bytes += decision.as_ref().map_or(0, |it| brought_bytes(&it.verdict));
        decisions.extend(decision);
        started += size;
        if Instant::now() >= end || bytes >= BROUGHT_BYTES || started >= STARTED_TASKS {
            break;
        }
        tokio::task::yield_now().await;
    }
    decisions
}

fn brought_bytes(verdict: &Verdict) -> usize {
    match verdict {
        Verdict::FanOut { items } => items.bytes(),
        Verdict::StartRun { params } => {
            params.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
        }
        Verdict::Start | Verdict::Skip | Verdict::Fail { .. } => 0,
    }
}

fn decision(run: &Arc<Run>, task: TaskIndex) -> Option<Decision> {
    let cells = &run.task(task)?.cells;
    let (_, TaskState::Undecided { since, .. }) = cells.at(cells.indices().first)? else {
        return None;
    };
    let moment = fire_moment(run);
    let moment = Arc::new(Moment { time: moment.time, date: moment.date });
    let verdict = match muster_expressions::decide(run, task, &moment)? {
        Verdict::Start if run.spec(task)?.is_sub_workflow() => {
            match parameters(run, run.spec(task)?) {
                Ok(params) => Verdict::StartRun { params: Arc::new(params) },
                Err(why) => Verdict::Fail { message: why.into() },
            }
        }
        verdict => verdict,
    };
    Some(Decision { run: run.id, task, since: *since, verdict })
}
