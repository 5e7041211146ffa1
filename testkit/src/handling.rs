//! A handler's try, which is watched, delayed, and cut off where the plan says.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use fastrand::Rng;
use potluck_memory::Broker;
use potluck_runtime::Failure;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::plan::{Fault, Plan};

/// One run, as its handlers share it.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) broker: Broker,
    /// The process is to end.
    pub(crate) crash: Notify,
    side_by_side: bool,
    notes: Mutex<Notes>,
}

#[derive(Debug)]
struct Notes {
    rng: Rng,
    /// What is still to go wrong, by event.
    faults: Vec<Option<Fault>>,
    finished: Vec<bool>,
    lines: Vec<String>,
    order: Vec<usize>,
}

/// How a try was left.
enum Left {
    Ended(Result<(), Failure>),
    /// It waits, for the so-manieth time.
    Waits,
}

fn nth(n: u32) -> String {
    match n {
        1 => "1st".to_owned(),
        2 => "2nd".to_owned(),
        3 => "3rd".to_owned(),
        n => format!("{n}th"),
    }
}

impl Scene {
    pub(crate) fn new(plan: &Plan) -> Arc<Self> {
        let notes = Notes {
            rng: Rng::with_seed(plan.seed),
            faults: plan.faults.clone(),
            finished: vec![false; plan.faults.len()],
            lines: Vec::new(),
            order: Vec::new(),
        };
        Arc::new(Self {
            broker: Broker::new(),
            crash: Notify::new(),
            side_by_side: plan.side_by_side,
            notes: Mutex::new(notes),
        })
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn say(&self, line: String) {
        self.notes().lines.push(line);
    }

    /// What happened, and at last in which order events were finished first, if that is another
    /// than they were published in.
    pub(crate) fn lines(&self) -> Vec<String> {
        let notes = self.notes();
        let mut lines = notes.lines.clone();
        if !notes.order.is_sorted() {
            let order = notes.order.iter().map(|event| (event + 1).to_string());
            let order = order.collect::<Vec<_>>().join(", ");
            lines.push(format!("events were finished in the order {order}"));
        }
        lines
    }

    fn pause(&self) -> Duration {
        let ms = if self.side_by_side {
            self.notes().rng.u64(0..50)
        } else {
            0
        };
        Duration::from_millis(ms)
    }

    /// Watches a try of an event.
    pub(crate) async fn handle(
        &self,
        event: usize,
        attempt: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), Failure> {
        sleep(self.pause()).await;
        let mut attempt = pin!(attempt);
        let mut waits = 0;
        loop {
            // One poll at a time, to stop between two.
            let left = poll_fn(|cx| {
                Poll::Ready(match attempt.as_mut().poll(cx) {
                    Poll::Ready(result) => Left::Ended(result),
                    Poll::Pending => Left::Waits,
                })
            });
            match left.await {
                Left::Ended(result) => return self.end(event, result),
                Left::Waits => waits += 1,
            }
            let fault = self.notes().faults[event];
            let number = event + 1;
            let at = nth(waits);
            match fault {
                Some(Fault::Crash(after)) if after == waits => {
                    self.notes().faults[event] = None;
                    self.say(format!(
                        "event {number} was cut off by a crash at its {at} await, then handled again"
                    ));
                    self.crash.notify_one();
                    return std::future::pending().await;
                }
                Some(Fault::Cancelled(after)) if after == waits => {
                    self.notes().faults[event] = None;
                    self.say(format!(
                        "event {number} was cut off at its {at} await, then handled again"
                    ));
                    return Err(Failure::retry("cut off by the test kit"));
                }
                _ => {}
            }
            // Until it is woken, or a little longer.
            let mut first = true;
            poll_fn(|_| match std::mem::replace(&mut first, false) {
                true => Poll::Pending,
                false => Poll::Ready(()),
            })
            .await;
            sleep(self.pause()).await;
        }
    }

    fn end(&self, event: usize, result: Result<(), Failure>) -> Result<(), Failure> {
        result?;
        let mut notes = self.notes();
        let number = event + 1;
        if std::mem::replace(&mut notes.finished[event], true) {
            return Ok(());
        }
        notes.order.push(event);
        if notes.faults[event] == Some(Fault::AckLost) {
            notes.faults[event] = None;
            let line = format!("event {number} was handled twice: its ack was lost");
            notes.lines.push(line);
            drop(notes);
            self.broker.cut();
        }
        Ok(())
    }
}
