//! openraft's own test suite for storages.

mod support;

use muster_raft::testing::{RaftLog, StateMachine, Threads, TypeConfig, open_storage};
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use support::Maps;
use tempfile::TempDir;

struct Builder {
    log_tail_bytes: usize,
}

impl StoreBuilder<TypeConfig, RaftLog, StateMachine, (Threads, TempDir)> for Builder {
    async fn build(
        &self,
    ) -> Result<((Threads, TempDir), RaftLog, StateMachine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let machine = Box::new(Maps::new());
        let (threads, log, machine) =
            open_storage(dir.path(), self.log_tail_bytes, machine).expect("an empty folder");
        Ok(((threads, dir), log, machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_served_by_memory() {
    let suite = Suite::test_all(Builder { log_tail_bytes: 1 << 20 }).await;
    suite.expect("the storage does what openraft relies on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_served_by_the_file() {
    let suite = Suite::test_all(Builder { log_tail_bytes: 0 }).await;
    suite.expect("the storage does what openraft relies on");
}
