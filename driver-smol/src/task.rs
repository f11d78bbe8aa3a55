//! Tasks and their time.
//!
//! Owns: the executor, which runs on the main thread only, and deadlines of single operations.
//! Must not know: what tasks do.
//!
//! 1. A task that is dropped ends; one that is [detached](smol::Task::detach) runs to its end.

use relay_core::time::Mono;
use relay_driver::clock::until;
use smol::future::or;
use smol::{Executor, Task, Timer};
use std::future::Future;
use std::time::{Duration, Instant};

static EXECUTOR: Executor<'static> = Executor::new();

/// Runs `main` and all tasks, until `main` has ended.
pub(crate) fn run<T>(main: impl Future<Output = T>) -> T {
    smol::block_on(EXECUTOR.run(main))
}

/// Starts a task.
pub(crate) fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> Task<T> {
    EXECUTOR.spawn(task)
}

/// The runtime's instant for a deadline of the core. It stands still in suspend.
pub(crate) fn instant(deadline: Mono) -> Instant {
    Instant::now() + until(deadline)
}

/// What comes of `work`, or `None` if it takes until `deadline`.
pub(crate) async fn before<T>(deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
    let over = async {
        Timer::at(deadline).await;
        None
    };
    or(async { Some(work.await) }, over).await
}

/// What comes of `work`, or `None` if it takes longer than `time`.
pub(crate) async fn within<T>(time: Duration, work: impl Future<Output = T>) -> Option<T> {
    before(Instant::now() + time, work).await
}
