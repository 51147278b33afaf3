//! Handles to work that runs apart.

use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Handle, Runtime};

/// Work on a thread of its own.
#[derive(Debug)]
pub struct Dedicated(Option<JoinHandle<()>>);

impl Dedicated {
    /// Work on a real thread.
    pub fn thread(thread: JoinHandle<()>) -> Self {
        Self(Some(thread))
    }

    /// Work that a simulation runs among its tasks.
    pub fn simulated() -> Self {
        Self(None)
    }

    /// Waits for its end, blocking the caller; it must have been told to end. Simulated work is not waited for: it ends
    /// by itself.
    pub fn join(self) {
        if let Some(thread) = self.0 {
            // A panic there has been printed already, and whoever waited for answers has seen that it is gone.
            let _ = thread.join();
        }
    }
}

/// Where tasks can be spawned.
#[derive(Debug)]
pub struct Executor {
    handle: Handle,
    /// Absent if the runtime is somebody else's.
    runtime: Option<Runtime>,
}

impl Executor {
    /// A runtime of its own.
    pub fn own(runtime: Runtime) -> Self {
        Self { handle: runtime.handle().clone(), runtime: Some(runtime) }
    }

    /// A share in another's runtime.
    pub fn shared(handle: Handle) -> Self {
        Self { handle, runtime: None }
    }

    /// For spawning.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends all tasks, if the runtime is its own, and waits for its threads, at most this long. Blocks; must not be
    /// called by a task.
    pub fn shutdown_within(self, patience: Duration) {
        if let Some(runtime) = self.runtime {
            runtime.shutdown_timeout(patience);
        }
    }

    /// Ends all tasks, if the runtime is its own, without waiting for them.
    pub fn shutdown(self) {
        if let Some(runtime) = self.runtime {
            runtime.shutdown_background();
        }
    }
}
