//! The SDK: submit workflows to a Muster cluster, follow them, and read what they print.
//!
//! ```no_run
//! use muster_client::{Client, RunKey, Submission};
//!
//! # async fn example() -> Result<(), muster_client::Error> {
//! let client = Client::connect(["http://127.0.0.1:7070"])?;
//!
//! let run = client
//!     .submit(Submission::source(
//!         "
//! apiVersion: v1
//! kind: Workflow
//! name: greet
//! params:
//!   who: {default: world}
//! tasks:
//!   hello:
//!     run: echo \"hello $MUSTER_PARAM_WHO\"
//! ",
//!     ).param("who", "you"))
//!     .await?;
//!
//! let ended = client.wait_run(&run, None).await?;
//! println!("{} {:?}", RunKey::from(&run), ended.status());
//! # Ok(())
//! # }
//! ```
//!
//! Any number of masters may be named; every master takes every call. A call goes to the master that answered last. If
//! that one is away or has no leader, the next is asked, and when all were asked in vain the client waits (100 ms, then
//! 1.6 times longer each time, at most 5 s) and goes on until the caller's deadline. Every change carries a request id
//! that is drawn once and sent again with each retry, so that a retry never does a thing twice.
//!
//! A client whose calls are mostly refused for want of room, or not answered in time, holds a part of them back until
//! that changes: they wait as if they had been refused, and cost the masters nothing. It begins beyond some 35 such
//! calls a second.
//!
//! [`Client::watch_run`], [`Client::wait_run`] and [`Client::tail_log`] go on by themselves, on another master if need
//! be, from where they were.

mod audit;
mod client;
mod cluster;
mod endpoints;
mod error;
mod log;
mod names;
mod namespace;
mod pages;
mod pulse;
mod resume;
mod retry;
mod run;
mod schedule;
mod throttle;
mod watch;
mod worker;
mod workflow;

pub use audit::ActionFilter;
pub use client::{Builder, Client, DEADLINE_DEFAULT, PATIENCE_DEFAULT};
pub use endpoints::API_PORT;
pub use error::{EndpointFailure, Error, Violation};
pub use log::{LogChunk, LogTail};
pub use muster_proto::v1;
pub use names::{RunKey, Source};
pub use pages::Items;
pub use run::{Retry, RetryScope, RunFilter, Submission, is_ended};
pub use tonic::Code;
pub use watch::RunUpdate;
