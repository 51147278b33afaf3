//! `muster logs`: what tasks printed, or print.

use std::io::Write;

use clap::Args;
use futures::TryStreamExt;
use muster_client::{Client, LogTail, v1};

use super::lookup::find_task;
use crate::exit::{Exit, Failure, Outcome};
use crate::follow::{self, Show};
use crate::names::{Part, TaskName, label};
use crate::output::{has_ended, note, stdout};
use crate::settings::Global;

/// Bytes that are fetched first for a last line.
const TAIL_BYTES_A_LINE: u64 = 256;
/// How much more is fetched each time that was too little.
const TAIL_GROWTH: u64 = 8;
/// Indices of an array task whose logs are printed, at most.
const INDICES_MAX: u32 = 100;

#[derive(Args, Debug)]
pub(crate) struct LogsArgs {
    /// A run, or a task of it: RUN/TASK, RUN/TASK[INDEX], RUN/TASK#ATTEMPT
    #[arg(value_name = "RUN[/TASK]", default_value = "@latest")]
    what: TaskName,
    /// Go on until it ends
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines, of each task and index
    #[arg(long, value_name = "LINES")]
    tail: Option<u64>,
}

/// One log.
struct Log {
    run: v1::Run,
    tail: LogTail,
    /// Put before each line.
    prefix: String,
}

pub(crate) async fn run(args: LogsArgs, global: &Global) -> Outcome {
    if global.output.is_some() {
        return Err(Failure::usage("logs are printed as the tasks wrote them; leave -o out"));
    }
    let client = global.client()?;
    let run = args.what.run.find(&client).await?;
    let printing = async {
        match &args.what.task {
            Some(part) => one_task(&client, &run, part, &args).await,
            None => whole_run(&client, run.clone(), &args).await,
        }
    };
    tokio::select! {
        outcome = printing => outcome,
        () = follow::interrupted() => Ok(Exit::Interrupted),
    }
}

async fn one_task(client: &Client, run: &v1::Run, part: &Part, args: &LogsArgs) -> Outcome {
    let task = find_task(client, run, &part.task).await?;
    let name = format!("{}/{}", label(run), task.id);
    if task.is_array && task.array_count.unwrap_or_default() == 0 {
        let message = match task.array_count {
            Some(_) => format!("{name} had nothing to go through, so there is no log"),
            None if has_ended(&task) => {
                format!("{name} ended before its indices were known, so there is no log")
            }
            None => format!("how many indices {name} has is not known yet, so there is no log"),
        };
        return Err(Failure::new(Exit::NotFound, message));
    }
    let index = match (part.index, task.is_array) {
        (Some(index), true) if (task.array_first..=task.array_last).contains(&index) => index,
        (Some(index), true) => {
            let message = format!(
                "{name} has no index {index}, only {} to {}",
                task.array_first, task.array_last
            );
            return Err(Failure::new(Exit::NotFound, message));
        }
        (Some(_), false) => {
            return Err(Failure::usage(format!("{name} is no array task; leave the index out")));
        }
        (None, true) if task.array_first < task.array_last => {
            return whole_array(client, run, &task, part, args).await;
        }
        (None, true) => task.array_first,
        (None, false) => 0,
    };
    if let Some(attempt) = part.attempt.filter(|attempt| !task.is_array && *attempt > task.attempts)
    {
        let message = format!("{name} has no attempt {attempt}, only {} so far", task.attempts);
        return Err(Failure::new(Exit::NotFound, message));
    }
    let tail = LogTail {
        task: task.id,
        index,
        attempt: part.attempt.unwrap_or(0),
        follow: args.follow,
        ..LogTail::default()
    };
    print_log(client, Log { run: run.clone(), tail, prefix: String::new() }, args.tail).await?;
    Ok(Exit::Ok)
}

/// The logs of all indices of a task, one after the other.
async fn whole_array(
    client: &Client,
    run: &v1::Run,
    task: &v1::Task,
    part: &Part,
    args: &LogsArgs,
) -> Outcome {
    if args.follow || part.attempt.is_some() {
        let name = format!("{}/{}", label(run), task.id);
        let message =
            format!("{name} is an array task; name an index: {name}[{}]", task.array_first);
        return Err(Failure::usage(message));
    }
    if !print_task(client, run, task, false, args.tail).await? {
        note(format!("{}/{} has no logs", label(run), task.id));
    }
    Ok(Exit::Ok)
}

/// The logs of all tasks: while it goes on side by side, afterwards one after the other.
async fn whole_run(client: &Client, run: v1::Run, args: &LogsArgs) -> Outcome {
    if args.follow && !muster_client::is_ended(&run) {
        if args.tail.is_some() {
            return Err(Failure::usage("--tail with -f goes with one task: name it as RUN/TASK"));
        }
        return follow::follow(client, &run, Show::Logs, None).await.map(|_| Exit::Ok);
    }
    let tasks: Vec<v1::Task> = client.list_tasks(&run, &[]).try_collect().await?;
    let is_alone = tasks.len() == 1 && tasks[0].array_first == tasks[0].array_last;
    let mut has_any = false;
    for task in &tasks {
        has_any |= print_task(client, &run, task, is_alone, args.tail).await?;
    }
    if !has_any {
        note(format!("{} has no logs", label(&run)));
    }
    Ok(Exit::Ok)
}

/// The logs of a task, of an array those of its first indices; whether there are any.
async fn print_task(
    client: &Client,
    run: &v1::Run,
    task: &v1::Task,
    is_alone: bool,
    lines: Option<u64>,
) -> Result<bool, Failure> {
    let mut has_any = false;
    if task.is_array && task.array_count.unwrap_or_default() == 0 {
        return Ok(has_any);
    }
    let last = task.array_last.min(task.array_first.saturating_add(INDICES_MAX - 1));
    for index in task.array_first..=last {
        let prefix = match (is_alone, task.is_array) {
            (true, _) => String::new(),
            (false, true) => format!("{}[{index}] | ", task.id),
            (false, false) => format!("{} | ", task.id),
        };
        let tail = LogTail { task: task.id.clone(), index, ..LogTail::default() };
        match print_log(client, Log { run: run.clone(), tail, prefix }, lines).await {
            Ok(()) => has_any = true,
            // Tasks that never ran have no log.
            Err(failure) if failure.exit == Exit::NotFound => {}
            Err(failure) => return Err(failure),
        }
    }
    if last < task.array_last {
        note(format!(
            "only the first {INDICES_MAX} indices of `{0}` are shown; `muster logs {1}/{0}[INDEX]` shows one",
            task.id,
            label(run)
        ));
    }
    Ok(has_any)
}

/// Prints one log, or its last `lines` and what follows.
async fn print_log(client: &Client, log: Log, lines: Option<u64>) -> Result<(), Failure> {
    let mut tail = log.tail.clone();
    let mut printer = Printer { prefix: log.prefix, at_line_start: true };
    if let Some(lines) = lines {
        let (start, attempt) = start_of_last(client, &log.run, &tail, lines).await?;
        tail.offset = start;
        tail.attempt = attempt;
    }
    let mut chunks = client.tail_log(&log.run, tail);
    while let Some(chunk) = chunks.try_next().await? {
        printer.print(&chunk.data)?;
    }
    printer.end()?;
    Ok(())
}

/// Where the last `lines` of a log begin, and of which attempt.
async fn start_of_last(
    client: &Client,
    run: &v1::Run,
    tail: &LogTail,
    lines: u64,
) -> Result<(u64, u32), Failure> {
    let mut bytes = lines.saturating_mul(TAIL_BYTES_A_LINE).max(4096);
    loop {
        let end = LogTail { tail_bytes: bytes, follow: false, ..tail.clone() };
        let mut chunks = client.tail_log(run, end);
        let (mut begin, mut text, mut attempt) = (None, Vec::new(), tail.attempt);
        while let Some(chunk) = chunks.try_next().await? {
            begin.get_or_insert(chunk.offset);
            attempt = chunk.attempt;
            text.extend_from_slice(&chunk.data);
        }
        let begin = begin.unwrap_or(0);
        match (last_lines(&text, lines), begin) {
            (Some(at), _) => return Ok((begin + at as u64, attempt)),
            (None, 0) => return Ok((0, attempt)),
            (None, _) => bytes = bytes.saturating_mul(TAIL_GROWTH),
        }
    }
}

/// Where the last `lines` of a text begin; `None` if it has fewer.
fn last_lines(text: &[u8], lines: u64) -> Option<usize> {
    if lines == 0 {
        return Some(text.len());
    }
    // The end of the last line is not the beginning of another.
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    let breaks = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    let nth = usize::try_from(lines - 1).unwrap_or(usize::MAX);
    breaks.map(|(at, _)| at + 1).nth(nth)
}

/// Writes a log to stdout, each line with its prefix.
struct Printer {
    prefix: String,
    at_line_start: bool,
}

impl Printer {
    fn print(&mut self, data: &[u8]) -> std::io::Result<()> {
        let mut out = stdout();
        self.write(data, &mut out)?;
        out.flush()
    }

    fn write(&mut self, data: &[u8], out: &mut impl Write) -> std::io::Result<()> {
        if self.prefix.is_empty() {
            return out.write_all(data);
        }
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            if self.at_line_start {
                out.write_all(self.prefix.as_bytes())?;
            }
            out.write_all(piece)?;
            self.at_line_start = piece.ends_with(b"\n");
        }
        Ok(())
    }

    /// Ends the last line, so that the next log begins on its own.
    fn end(&mut self) -> std::io::Result<()> {
        if !self.at_line_start {
            self.at_line_start = true;
            writeln!(stdout())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_last_lines() {
        let text = b"one\ntwo\nthree\n";
        assert_eq!(last_lines(text, 0), Some(14));
        assert_eq!(last_lines(text, 1), Some(8));
        assert_eq!(last_lines(text, 2), Some(4));
        assert_eq!(last_lines(text, 3), None);
        assert_eq!(last_lines(b"one\ntwo", 1), Some(4));
        assert_eq!(last_lines(b"", 1), None);
    }

    #[test]
    fn prefixes_each_line_once() {
        let mut printer = Printer { prefix: "a | ".into(), at_line_start: true };
        let mut out = Vec::new();
        for data in [&b"on"[..], b"e\ntwo\n", b"three"] {
            printer.write(data, &mut out).unwrap();
        }
        assert_eq!(String::from_utf8(out).unwrap(), "a | one\na | two\na | three");
    }
}
