//! The commands of transcripts.
//!
//! ```text
//! worker w1 cpu=4 memory=8Gi gpu=1 pool=p label.zone=a      registers a worker; connected, idle
//! load w1 cpu=50 memory=20 queue=1500 network=10            live load in percent; the queue in thousandths a core
//! silent w1 5                                               its latest heartbeat came so many seconds ago
//! connect w1 · disconnect w1 · drain w1 · lost w1
//! policy strategy=binPack cpu=0 locality=50                 changes what is named
//! submit etl namespace=n priority=1: a cpu=1 x3; b needs=a1 array=0-9   one-off run; `x3` makes a1, a2, a3
//! start etl/1/a · finish etl/1/a ok|fail|killed|lost · finish etl/1/b[0-3] fail what it said · cancel etl/1
//! apply etl: a · decide etl/1/a                             a version of a workflow · starts the run of a sub-workflow
//! namespace n weight=2 tasks=5 cpu=2 memory=1Gi group.db=2  its weight, its quota and its concurrency groups
//! reset                                                     starts over with an empty cluster
//! tick 5                                                    lets seconds pass
//! plan                                                      makes a plan, prints it, applies it
//! explain etl/1/a
//! ```

mod submit;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use muster_core::command::{
    ApplyNamespace, ApplyWorkflow, AttemptRef, CancelRun, Command, DecideTasks, Decision,
    DrainWorker, EndTask, Entry, Finish, FinishAttempts, LoseWorker, Outcome, RegisterWorker,
    RunSource, Start, StartAttempts, SubmitRun, Verdict, WantedEnd,
};
use muster_core::event::Event;
use muster_core::ids::{LogIndex, Name, RunId, TaskIndex, WorkerId};
use muster_core::reply::Reply;
use muster_core::spec::Resources;
use muster_core::spec::namespace::{GroupSpec, NamespaceSpec};
use muster_core::state::State;
use muster_core::state::cells::IndexRange;
use muster_core::state::run::Run;
use muster_core::state::task::TaskState;
use muster_core::time::{Millis, Timestamp};
use muster_planner::{
    Limit, LiveView, Load, Policy, Strategy, WorkerView, explain, explain_progress, plan,
};

type Result<T> = std::result::Result<T, String>;

/// A cluster without processes: the state, and what its leader would hear.
#[derive(Default)]
pub(crate) struct Cluster {
    state: State,
    view: LiveView,
    policy: Policy,
    index: u64,
    now: Timestamp,
    /// By their labels, `etl/1`.
    ended: BTreeMap<String, Arc<Run>>,
}

/// `key=value`.
fn pair(text: &str) -> Result<(&str, &str)> {
    text.split_once('=').ok_or_else(|| format!("`{text}` is not `key=value`"))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| format!("`{text}` is not a number"))
}

fn cpu(text: &str) -> Result<u64> {
    Ok((number::<f64>(text)? * 1000.0).round() as u64)
}

fn bytes(text: &str) -> Result<u64> {
    match text.strip_suffix("Gi") {
        Some(gibi) => Ok((number::<f64>(gibi)? * f64::from(1 << 30)) as u64),
        None => number(text),
    }
}

/// Sets a quantity: `cpu`, `memory`, or any other name.
fn set_quantity(resources: &mut Resources, key: &str, value: &str) -> Result<()> {
    match key {
        "cpu" => resources.cpu_millis = cpu(value)?,
        "memory" => resources.memory_bytes = bytes(value)?,
        name => {
            resources.custom.insert(name.into(), number(value)?);
        }
    }
    Ok(())
}

impl Cluster {
    /// Carries one line out and appends what it prints.
    pub(crate) fn execute(&mut self, line: &str, printed: &mut String) -> Result<()> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words: Vec<&str> = rest.split_whitespace().collect();
        let first = || words.first().copied().ok_or_else(|| "a word is missing".to_owned());
        match verb {
            "reset" => *self = Cluster::default(),
            "worker" => self.register(&words)?,
            "load" => self.load(&words)?,
            "silent" => {
                let seconds = number(words.get(1).ok_or("no seconds")?)?;
                self.view_of(first()?)?.heartbeat_age = Millis::from_secs(seconds);
            }
            "connect" => self.view_of(first()?)?.is_connected = true,
            "disconnect" => self.view_of(first()?)?.is_connected = false,
            "drain" => {
                let worker = self.worker(first()?)?;
                self.apply(Command::DrainWorker(DrainWorker {
                    request: None,
                    worker,
                    is_draining: true,
                }))?;
            }
            "lost" => {
                let worker = self.worker(first()?)?;
                self.apply(Command::LoseWorker(LoseWorker { worker }))?;
            }
            "policy" => words.iter().try_for_each(|word| self.set_policy(word))?,
            "submit" => {
                let submit = submit::parse(rest)?;
                self.apply(Command::SubmitRun(submit))?;
            }
            "apply" => self.apply_workflow(rest)?,
            "namespace" => self.namespace(&words)?,
            "start" => self.start(first()?)?,
            "finish" => self.finish(first()?, words.get(1..).unwrap_or_default())?,
            "decide" => self.start_run(first()?)?,
            "approve" => self.answer(WantedEnd::Approved, &words)?,
            "reject" => self.answer(WantedEnd::Rejected, &words)?,
            "cancel" => {
                let (run, _) = self.run(first()?)?;
                self.apply(Command::CancelRun(CancelRun { request: None, run }))?;
            }
            "tick" => {
                self.now = self.now + Millis::from_secs(number(first()?)?);
                self.apply(Command::Tick)?;
            }
            "plan" => self.plan(printed)?,
            "explain" => {
                let explanation = match self.ended_task(first()?) {
                    Some((run, task)) => {
                        let mut explanation = explain_progress(run, task);
                        explanation.iter_mut().for_each(|it| it.name_workers(&self.state));
                        explanation
                    }
                    None => {
                        let (run, task, _) = self.task(first()?)?;
                        explain(&self.state, &self.view, run, task)
                    }
                };
                let explanation = explanation.ok_or("there is nothing to explain")?;
                write!(printed, "{explanation}").map_err(|error| error.to_string())?;
                if explanation.is_stuck() {
                    printed.push_str("(stuck)\n");
                }
            }
            _ => return Err(format!("no such command: `{verb}`")),
        }
        Ok(())
    }

    /// Applies a command that must be carried out in full, and checks the state.
    fn apply(&mut self, command: Command) -> Result<Reply> {
        self.index += 1;
        let entry = Entry { at: self.now, commands: vec![command] };
        let mut applied = self.state.apply(LogIndex(self.index), &entry);
        self.state.check().map_err(|violation| violation.to_string())?;
        for event in applied.events {
            if let Event::RunEnded { run } = event {
                self.ended.insert(run.label(), run);
            }
        }
        let reply = applied.replies.remove(0).map_err(|rejection| rejection.to_string())?;
        match &reply {
            Reply::Items { refused } if !refused.is_empty() => Err(format!("refused: {refused:?}")),
            _ => Ok(reply),
        }
    }

    /// Answers an approval, with a reason of one word.
    fn answer(&mut self, end: WantedEnd, words: &[&str]) -> Result<()> {
        let (run, task, _) = self.task(words.first().ok_or("no task")?)?;
        let reason = words.get(1).map(|word| (*word).into());
        self.apply(Command::EndTask(EndTask { request: None, run, task, end, reason }))?;
        Ok(())
    }

    fn apply_workflow(&mut self, text: &str) -> Result<()> {
        let SubmitRun { namespace, source, .. } = submit::parse(text)?;
        let RunSource::OneOff(spec) = source else { return Err("it is no file".to_owned()) };
        let command = ApplyWorkflow { request: None, namespace, spec };
        self.apply(Command::ApplyWorkflow(command)).map(|_| ())
    }

    /// Starts the run of a sub-workflow.
    fn start_run(&mut self, text: &str) -> Result<()> {
        let (run, task, range) = self.task(text)?;
        let cells = &self.state.run(run).and_then(|run| run.task(task)).ok_or("gone")?.cells;
        let Some((_, TaskState::Undecided { since, .. })) = cells.at(range.first) else {
            return Err("there is nothing to decide".to_owned());
        };
        let (since, verdict) = (*since, Verdict::StartRun { params: Default::default() });
        let decisions = vec![Decision { run, task, since, verdict }];
        self.apply(Command::DecideTasks(DecideTasks { decisions }))?;
        Ok(())
    }

    fn namespace(&mut self, words: &[&str]) -> Result<()> {
        let (name, rest) = words.split_first().ok_or("no name")?;
        let name = Name::parse(name).map_err(|error| error.to_string())?;
        let mut spec = NamespaceSpec::new(name);
        for word in rest {
            match pair(word)? {
                ("weight", value) => spec.weight = number(value)?,
                ("tasks", value) => spec.quota.tasks = Some(number(value)?),
                ("cpu", value) => spec.quota.cpu_millis = Some(cpu(value)?),
                ("memory", value) => spec.quota.memory_bytes = Some(bytes(value)?),
                (key, value) => {
                    let group = key.strip_prefix("group.").ok_or("`group.NAME=LIMIT`")?;
                    let group = Name::parse(group).map_err(|error| error.to_string())?;
                    spec.groups.insert(group, GroupSpec { limit: number(value)? });
                }
            }
        }
        let command = ApplyNamespace { request: None, spec };
        self.apply(Command::ApplyNamespace(command)).map(|_| ())
    }

    fn register(&mut self, words: &[&str]) -> Result<()> {
        let (name, rest) = words.split_first().ok_or("no name")?;
        let mut command = RegisterWorker {
            name: (*name).into(),
            incarnation: self.index,
            labels: Default::default(),
            pool: None,
            lease: Millis(5_000),
            capacity: Resources { cpu_millis: 1000, ..Resources::ZERO },
        };
        for word in rest {
            let (key, value) = pair(word)?;
            match key.strip_prefix("label.") {
                Some(label) => {
                    command.labels.insert(label.into(), value.into());
                }
                None if key == "pool" => command.pool = Some(value.into()),
                None => set_quantity(&mut command.capacity, key, value)?,
            }
        }
        let Reply::WorkerRegistered { worker } = self.apply(Command::RegisterWorker(command))?
        else {
            return Err("the worker was not registered".to_owned());
        };
        let view = WorkerView { is_connected: true, ..WorkerView::default() };
        self.view.workers.insert(worker, view);
        Ok(())
    }

    fn load(&mut self, words: &[&str]) -> Result<()> {
        let (name, rest) = words.split_first().ok_or("no name")?;
        let mut load = Load {
            cpu_total_millis: 100,
            memory_total_bytes: 100,
            network_capacity_bytes_per_s: 100,
            ..Load::default()
        };
        for word in rest {
            let (key, value) = pair(word)?;
            match key {
                "cpu" => load.cpu_busy_millis = number(value)?,
                "memory" => load.memory_used_bytes = number(value)?,
                "queue" => load.run_queue_millis = number(value)?,
                "network" => load.network_bytes_per_s = number(value)?,
                _ => return Err(format!("no such load: `{key}`")),
            }
        }
        self.view_of(name)?.load = load;
        Ok(())
    }

    fn set_policy(&mut self, word: &str) -> Result<()> {
        let (key, value) = pair(word)?;
        let weights = &mut self.policy.weights;
        match key {
            "strategy" => {
                self.policy.strategy = match value {
                    "spread" => Strategy::Spread,
                    "binPack" => Strategy::BinPack,
                    _ => return Err(format!("no such strategy: `{value}`")),
                }
            }
            "fill" => weights.fill = number(value)?,
            "cpu" => weights.cpu = number(value)?,
            "memory" => weights.memory = number(value)?,
            "run_queue" => weights.run_queue = number(value)?,
            "network" => weights.network = number(value)?,
            "silence" => weights.silence = number(value)?,
            "locality" => weights.locality = number(value)?,
            "avoid" => weights.avoid = number(value)?,
            "placements_max" => self.policy.placements_max = number(value)?,
            "attempts_max" => self.policy.attempts_max = number(value)?,
            _ => return Err(format!("no such tunable: `{key}`")),
        }
        Ok(())
    }

    fn worker(&self, name: &str) -> Result<WorkerId> {
        let worker = self.state.worker_by_name(name);
        worker.map(|worker| worker.id).ok_or_else(|| format!("no worker `{name}`"))
    }

    fn view_of(&mut self, name: &str) -> Result<&mut WorkerView> {
        let worker = self.worker(name)?;
        Ok(self.view.workers.entry(worker).or_default())
    }

    /// Reads `etl/1`, of whatever namespace; what follows a further slash is returned too.
    fn run<'a>(&self, text: &'a str) -> Result<(RunId, &'a str)> {
        let mut parts = text.splitn(3, '/');
        let (workflow, run) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let label = format!("{workflow}/{run}");
        let found = self.state.runs().iter().find(|it| it.label() == label);
        let run = found.ok_or_else(|| format!("no live run `{text}`"))?;
        Ok((run.id, parts.next().unwrap_or("")))
    }

    /// Reads `etl/1/a`, `etl/1/a[0-3]` or `etl/1/a[2]`; all indices if none are named.
    fn task(&self, text: &str) -> Result<(RunId, TaskIndex, IndexRange)> {
        let (id, task) = self.run(text)?;
        let (name, range) = task.split_once('[').unwrap_or((task, ""));
        let run = self.state.run(id).ok_or("no such run")?;
        let position = run.version.spec.tasks.iter().position(|task| task.id.as_str() == name);
        let index =
            TaskIndex(position.ok_or_else(|| format!("the run has no task `{name}`"))? as u32);
        let all = run.task(index).ok_or("no such task")?.cells.indices();
        let range = match range.trim_end_matches(']').split_once('-') {
            Some((first, last)) => IndexRange { first: number(first)?, last: number(last)? },
            None if range.is_empty() => all,
            None => IndexRange::single(number(range.trim_end_matches(']'))?),
        };
        Ok((id, index, range))
    }

    /// A task of a run that has ended, if `etl/1/a` is one.
    fn ended_task(&self, text: &str) -> Option<(&Run, TaskIndex)> {
        let (run, task) = text.rsplit_once('/')?;
        let run = self.ended.get(run)?;
        let position = run.version.spec.tasks.iter().position(|spec| spec.id.as_str() == task)?;
        Some((run, TaskIndex(position as u32)))
    }

    /// The live attempts of a task within a range.
    fn attempts(&self, text: &str) -> Result<Vec<AttemptRef>> {
        let (run, task, range) = self.task(text)?;
        let cells = &self.state.run(run).and_then(|run| run.task(task)).ok_or("gone")?.cells;
        let live = cells.within(range).filter_map(|(range, state)| {
            Some(AttemptRef { run, task, range, fence: state.attempt()?.fence })
        });
        let live: Vec<_> = live.collect();
        if live.is_empty() { Err("no live attempt".to_owned()) } else { Ok(live) }
    }

    fn start(&mut self, text: &str) -> Result<()> {
        let starts = self.attempts(text)?.into_iter();
        let starts = starts.map(|attempt| Start { attempt, age: Millis(0) }).collect();
        self.apply(Command::StartAttempts(StartAttempts { starts })).map(|_| ())
    }

    fn finish(&mut self, text: &str, how: &[&str]) -> Result<()> {
        let outcome = match how {
            ["ok"] | [] => Outcome::Succeeded { outputs: None },
            ["fail"] => Outcome::Failed { exit_code: Some(1), message: None },
            ["fail", said @ ..] => {
                Outcome::Failed { exit_code: Some(1), message: Some(said.join(" ").into()) }
            }
            ["killed"] => Outcome::Failed { exit_code: Some(-9), message: None },
            ["lost"] => Outcome::Lost,
            _ => return Err(format!("no such outcome: `{}`", how.join(" "))),
        };
        let finishes = self.attempts(text)?.into_iter().map(|attempt| Finish {
            attempt,
            outcome: outcome.clone(),
            duration: Millis(0),
        });
        let finishes = finishes.collect();
        self.apply(Command::FinishAttempts(FinishAttempts { finishes })).map(|_| ())
    }

    fn plan(&mut self, printed: &mut String) -> Result<()> {
        let made = plan(&self.state, &self.view, self.now, &self.policy);
        let mut lines = Vec::new();
        for placement in &made.placements {
            let worker = self.state.worker(placement.worker).ok_or("no such worker")?.name.clone();
            let task = self.task_name(placement.run, placement.task, Some(placement.range))?;
            lines.push(format!("{task} -> {worker}"));
        }
        for unplaced in &made.unplaced {
            let first = self.task_name(unplaced.first.run, unplaced.first.task, None)?;
            let tasks = unplaced.tasks;
            if let Some(limit) = unplaced.limit {
                let why = if limit == Limit::Quota { "over quota" } else { "group full" };
                lines.push(format!("unplaced, {tasks} from {first}: {why}"));
                continue;
            }
            let summary = unplaced.summary.as_ref().ok_or("no summary")?;
            let outlook = summary.outlook;
            lines.push(format!("unplaced, {tasks} from {first}: {summary} ({outlook:?})"));
        }
        if made.is_cut {
            lines.push("cut".to_owned());
        }
        if lines.is_empty() {
            lines.push("nothing to place".to_owned());
        }
        printed.push_str(&lines.join("\n"));
        printed.push('\n');
        match made.command() {
            Some(command) => self.apply(command).map(|_| ()),
            None => Ok(()),
        }
    }

    fn task_name(&self, run: RunId, task: TaskIndex, range: Option<IndexRange>) -> Result<String> {
        let run = self.state.run(run).ok_or("no such run")?;
        let spec = run.spec(task).ok_or("no such task")?;
        let indices = match range {
            Some(range) if spec.array.is_some() => format!("[{}-{}]", range.first, range.last),
            _ => String::new(),
        };
        Ok(format!("{}/{}{indices}", run.label(), spec.id))
    }
}
