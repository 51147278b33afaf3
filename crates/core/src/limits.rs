//! Fixed bounds, equal on all masters: changing one is a change of the replicated state machine.

use crate::time::Millis;

/// Longest name of a namespace, workflow or task.
pub const NAME_BYTES_MAX: usize = 128;
/// Most tasks in one workflow.
pub const TASKS_MAX: usize = 10_000;
/// Most dependencies in one workflow, over all tasks.
pub const DEPENDENCIES_MAX: usize = 200_000;
/// Largest workflow file, and largest encoded workflow.
pub const SPEC_BYTES_MAX: usize = 6 << 20;
/// Most indices in one array task.
pub const ARRAY_INDICES_MAX: u32 = 10_000_000;
/// Largest index of an array task.
pub const ARRAY_INDEX_MAX: u32 = u32::MAX - 1;
/// Most items of a `foreach`. A task that is sized late has less than half as many, for an output holds no more.
pub const ITEMS_MAX: usize = 100_000;
/// Largest items of a `foreach`, and values of a `matrix`, together.
pub const ITEMS_BYTES_MAX: usize = 1 << 20;
/// Largest single item, or value of a matrix.
pub const ITEM_BYTES_MAX: usize = 64 << 10;
/// Most axes of a matrix.
pub const MATRIX_AXES_MAX: usize = 16;
/// Most values of all axes of a matrix together.
pub const MATRIX_VALUES_MAX: usize = 10_000;
/// Most entries in one map of a task or worker: env, labels, selector, custom resources, outputs.
pub const MAP_ENTRIES_MAX: usize = 256;
/// Longest single text value a user gives: an env value, a script, an argument.
pub const TEXT_BYTES_MAX: usize = 1 << 20;
/// Longest expression. It is evaluated by the leader, within a budget of its own.
pub const EXPRESSION_BYTES_MAX: usize = 2 << 10;
/// Most arguments of one command.
pub const ARGUMENTS_MAX: usize = 4096;
/// Largest outputs of one task, keys and values together.
pub const OUTPUT_BYTES_MAX: usize = 64 << 10;
/// Largest parameters of one run, keys and values together.
pub const PARAM_BYTES_MAX: usize = 64 << 10;
/// Longest reason or message kept with an outcome; longer ones are cut.
pub const REASON_BYTES_MAX: usize = 1024;
/// Most attempts a retry policy may ask for beyond the first.
pub const RETRY_LIMIT_MAX: u32 = 1000;
/// Most losses a task may ask to survive.
pub const LOST_LIMIT_MAX: u32 = 1000;
/// How many losses end a task unless it says otherwise.
pub const LOST_LIMIT_DEFAULT: u32 = 5;
/// Most schedules of one workflow.
pub const SCHEDULES_MAX: usize = 100;
/// Most webhooks of one workflow.
pub const WEBHOOKS_MAX: usize = 20;
/// Most keys of a reference into the body of a call.
pub const CALL_KEYS_MAX: usize = 16;
/// Most triggers of one workflow.
pub const TRIGGERS_MAX: usize = 100;
/// Most workflows that follow the same one.
pub const FOLLOWERS_MAX: usize = 100;
/// Most tasks that the runs have together which follow what ends by one command; more than one run can have.
pub const TRIGGERED_TASKS_MAX: usize = 500_000;
/// How many tasks a run counts for by itself among these: one command makes 10,000 small runs at most.
pub const TRIGGERED_RUN_WEIGHT: usize = 50;
/// Most days off, or stretches of them, of one schedule.
pub const EXCLUDED_DAYS_MAX: usize = 1000;
/// Most fire times that a schedule may ask to catch up on at once.
pub const CATCH_UP_MAX: u32 = 1000;
/// Most runs that one command fires.
pub const FIRES_PER_COMMAND_MAX: usize = 2000;
/// Most tasks that the runs of one such command have together; more than one run can have.
pub const FIRED_TASKS_MAX: usize = 100_000;
/// Most live runs of one workflow beside which a schedule or a trigger makes another.
pub const FIRED_RUNS_MAX: usize = 10_000;
/// Most runs of one workflow that wait for earlier ones.
pub const QUEUED_RUNS_MAX: usize = 1000;
/// How many fire times a schedule catches up on unless it says otherwise.
pub const CATCH_UP_DEFAULT: u32 = 100;
/// Longest span a user may write anywhere.
pub const SPAN_MAX: Millis = Millis::from_secs(366 * 86_400);
/// Between TERM and KILL unless a task says otherwise.
pub const GRACE_PERIOD_DEFAULT: Millis = Millis::from_secs(10);
/// How long after a cancel, beyond the grace period, an attempt may stay unreported before it is ended regardless.
pub const CANCEL_PATIENCE: Millis = Millis::from_secs(30);
/// Priorities lie in `-PRIORITY_MAX..=PRIORITY_MAX`.
pub const PRIORITY_MAX: i32 = 1_000_000;
/// Longest request id.
pub const REQUEST_ID_BYTES_MAX: usize = 128;
/// How long a request id is remembered.
pub const REQUEST_ID_RETENTION: Millis = Millis::from_secs(86_400);
/// Most request ids remembered; beyond it the oldest is forgotten early.
pub const REQUEST_IDS_MAX: usize = 1_000_000;
/// Longest name and longest address of whoever asks for something.
pub const ASKER_BYTES_MAX: usize = 256;
/// Most actions that the audit trail holds; beyond it the oldest is forgotten early.
pub const ACTIONS_MAX: usize = 10_000;
/// How long the audit trail holds an action.
pub const ACTION_RETENTION: Millis = Millis::from_secs(30 * 86_400);
/// Most runs above one another, of which each was started for a task of the one above, beside the lowest.
pub const SUB_WORKFLOW_DEPTH_MAX: u32 = 8;
/// Most live runs.
pub const RUNS_MAX: usize = 1_000_000;
/// Most workflows, over all namespaces.
pub const WORKFLOWS_MAX: usize = 100_000;
/// Most earlier versions of a workflow that are kept.
pub const EARLIER_VERSIONS_MAX: usize = 10;
/// Most namespaces that were applied.
pub const NAMESPACES_MAX: usize = 10_000;
/// Most concurrency groups of a namespace.
pub const GROUPS_MAX: usize = 1000;
/// Most concurrency groups that a task names.
pub const TASK_GROUPS_MAX: usize = 10;
/// Largest weight of a namespace.
pub const WEIGHT_MAX: u32 = 1000;
/// Most registered workers.
pub const WORKERS_MAX: usize = 20_000;
/// Most placements, outcomes or other items in one command.
pub const ITEMS_PER_COMMAND_MAX: usize = 10_000;
/// How long a lost worker is still shown.
pub const LOST_WORKER_RETENTION: Millis = Millis::from_secs(3600);
