//! L1, S4 and S5: the first task of an agent.
//!
//! Would catch: an agent that is started and never told what to do; one that is given the task of another, or
//! the same task again.
//!
//! 1. L1: a process that was started for an order with a task reads that, unless it threw it away too often.
//! 2. S4: it reads no task of another order. S5: it reads its own once, and once more per time that it threw
//!    input away.

use super::invocations::Order;
use crate::agents::reader::Token;
use crate::world::Of;
use relay_core::ids::ProcessId;
use relay_core::limits::ATTEMPTS;
use std::collections::BTreeMap;

/// The first task of a process.
#[derive(Debug)]
enum Task {
    /// One of these; `None` is none.
    OneOf(Vec<Option<Token>>),
    /// It has read this one so often.
    Read(Token, u64),
}

#[derive(Debug, Default)]
pub(super) struct Tasks {
    /// Tasks of orders.
    ordered: BTreeMap<Order, Token>,
    given: BTreeMap<Of<ProcessId>, Task>,
}

impl Tasks {
    /// An order reaches the broker.
    pub(super) fn ordered(&mut self, order: Order, task: Option<Token>) {
        self.ordered.extend(task.map(|token| (order, token)));
    }

    /// A process is started for one of these orders.
    pub(super) fn started(&mut self, process: Of<ProcessId>, orders: &[Order]) {
        let tasks = orders.iter().map(|order| self.ordered.get(order).copied());
        self.given.insert(process, Task::OneOf(tasks.collect()));
    }

    /// A process that has thrown input away so often has read this whole; `None` if it is not its task.
    pub(super) fn read(
        &mut self,
        process: Of<ProcessId>,
        token: Token,
        thrown: u64,
    ) -> Option<Result<(), String>> {
        let task = self.given.get_mut(&process)?;
        let times = match task {
            Task::OneOf(tasks) if tasks.contains(&Some(token)) => 1,
            Task::Read(read, times) if *read == token => *times + 1,
            _ => return None,
        };
        *task = Task::Read(token, times);
        let again = || Err(format!("{process:?} read its first task {times} times"));
        Some(if times > 1 + thrown { again() } else { Ok(()) })
    }

    /// A process whose task is still to be read; `thrown`: how often one that is there has thrown input away.
    pub(super) fn unread(&self, thrown: impl Fn(Of<ProcessId>) -> Option<u64>) -> Option<Of<ProcessId>> {
        let reads = |process: Of<ProcessId>| thrown(process).is_some_and(|times| times < u64::from(ATTEMPTS));
        let is_due = |task: &Task| matches!(task, Task::OneOf(tasks) if tasks.iter().all(Option::is_some));
        self.given.iter().filter(|(_, task)| is_due(task)).map(|(of, _)| *of).find(|of| reads(*of))
    }

    /// The broker is gone with its orders and its processes.
    pub(super) fn died(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_core::ids::RequestId;

    const PROCESS: Of<ProcessId> = (1, ProcessId(7));

    fn started() -> Tasks {
        let mut tasks = Tasks::default();
        let order = Order::Api(RequestId(1));
        tasks.ordered(order.clone(), Some(5));
        tasks.started(PROCESS, &[order]);
        tasks
    }

    #[test]
    fn a_task_is_to_be_read_unless_it_was_thrown_away_too_often() {
        let mut tasks = started();
        assert_eq!(tasks.unread(|_| Some(0)), Some(PROCESS));
        assert_eq!(tasks.unread(|_| Some(u64::from(ATTEMPTS))), None);
        assert_eq!(tasks.unread(|_| None), None, "it is not there any more");
        assert_eq!(tasks.read(PROCESS, 6, 0), None);
        assert_eq!(tasks.read(PROCESS, 5, 0), Some(Ok(())));
        assert_eq!(tasks.unread(|_| Some(0)), None);
    }

    #[test]
    fn who_may_be_for_one_of_two_orders_reads_the_task_of_one() {
        let mut tasks = Tasks::default();
        let orders = [1, 2].map(|request| Order::Api(RequestId(request)));
        tasks.ordered(orders[0].clone(), Some(5));
        tasks.started(PROCESS, &orders);
        assert_eq!(tasks.unread(|_| Some(0)), None, "it may be for the one without a task");
        tasks.ordered(orders[1].clone(), Some(6));
        tasks.started(PROCESS, &orders);
        assert_eq!(tasks.unread(|_| Some(0)), Some(PROCESS));
        assert_eq!(tasks.read(PROCESS, 6, 0), Some(Ok(())));
        assert_eq!(tasks.read(PROCESS, 5, 0), None);
    }

    #[test]
    fn a_task_is_read_again_only_after_input_was_thrown_away() {
        let mut tasks = started();
        assert_eq!(tasks.read(PROCESS, 5, 0), Some(Ok(())));
        assert_eq!(tasks.read(PROCESS, 5, 1), Some(Ok(())));
        assert!(tasks.read(PROCESS, 5, 1).is_some_and(|judged| judged.is_err()));
    }
}
