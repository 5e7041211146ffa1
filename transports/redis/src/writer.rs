//! The way to the publishing connection, shared by all publishers of a transport.
//!
//! While few publishes are in flight, each goes straight to the connection, in its caller's own
//! future. When the line is busy they queue, and a task puts all that waits into one pipeline.
//! Nobody waits for a batch to fill. The queue is bounded by count and bytes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use potluck_core::stats::Counters;
use potluck_core::{Error, ErrorKind, Message, Outcome, Topic};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::answer::{self, Answer, is_not_serving};
use crate::config::Config;
use crate::error;
use crate::link::{Link, Live, deadline};
use crate::queue::{Job, Queue};
use crate::retention;

/// The most bytes under way. A message counts more than its bytes, so their number is bounded too.
const QUEUE_BYTES: u32 = 16 * 1024 * 1024;
const MESSAGE_OVERHEAD: usize = 512;

#[derive(Debug)]
pub(crate) struct Writer {
    line: Arc<Line>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Line {
    link: Link,
    config: Arc<Config>,
    counters: Arc<Counters>,
    queue: Mutex<Queue>,
    /// Bytes that may still be under way.
    room: Arc<Semaphore>,
    wake: Notify,
}

/// A caller that waits for its job. When it goes away, a job that was not sent goes with it.
struct Waiting<'a> {
    line: &'a Line,
    job: u64,
    answered: bool,
}

impl Waiting<'_> {
    /// Takes the job back; false when it was sent already.
    fn withdraw(&mut self) -> bool {
        self.answered = true;
        self.line.queue().withdraw(self.job)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.withdraw();
        }
    }
}

/// A round trip that is counted, until it is dropped.
struct Trip<'a> {
    line: &'a Line,
    generation: u64,
    direct: bool,
    counts: bool,
}

impl Drop for Trip<'_> {
    fn drop(&mut self) {
        let mut queue = self.line.queue();
        if self.counts {
            queue.end_trip(self.generation, self.direct);
        }
        let waiting = !queue.is_empty();
        drop(queue);
        if waiting {
            self.line.wake.notify_one();
        }
    }
}

impl Writer {
    pub(crate) fn start(link: Link, config: Arc<Config>, counters: Arc<Counters>) -> Self {
        let line = Arc::new(Line {
            link,
            config,
            counters,
            queue: Mutex::default(),
            room: Arc::new(Semaphore::new(QUEUE_BYTES as usize)),
            wake: Notify::new(),
        });
        let task = tokio::spawn(run(line.clone()));
        Self { line, task }
    }

    /// Publishes and waits until `deadline` at most. One outcome for each message.
    pub(crate) async fn publish(
        &self,
        topic: &Topic,
        messages: &[Message],
        deadline: Instant,
    ) -> Vec<Outcome> {
        let line = &*self.line;
        loop {
            let Some(_room) = line.quiet_room(messages) else {
                return line.enqueue(topic, messages, deadline).await;
            };
            let live = match line.link.live("publish", deadline).await {
                Ok(live) => live,
                Err(error) => return all(messages.len(), &Outcome::Refused(error)),
            };
            // Another may have taken the line while we waited for it.
            let Some(trip) = line.trip(live.generation, true) else {
                continue;
            };
            let sent = timeout_at(
                deadline,
                answer::send(&live, &line.config, &[(topic, messages)]),
            )
            .await;
            drop(trip);
            let Ok(answers) = sent else {
                return all(
                    messages.len(),
                    &Outcome::Unknown(error::timed_out("publish").error),
                );
            };
            if !is_not_serving(&answers) || Instant::now() >= deadline {
                line.trim_if_due(topic, &live);
                return answers.into_iter().map(Outcome::from).collect();
            }
        }
    }

    /// Takes no more, and waits until what is under way is answered. What is left at the deadline
    /// was not sent, and is refused.
    pub(crate) async fn close(&self, deadline: Instant) {
        self.line.queue().closed = true;
        let _ = timeout_at(deadline, self.line.room.acquire_many(QUEUE_BYTES)).await;
        let jobs = self.line.queue().drain();
        for job in jobs {
            let _ = job
                .answer
                .send(all(job.messages.len(), &Outcome::Refused(closed())));
        }
        self.task.abort();
        self.line.link.close();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Line {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for a publish that may go straight to the connection; `None` when it has to queue.
    fn quiet_room(&self, messages: &[Message]) -> Option<OwnedSemaphorePermit> {
        let quiet = self.queue().is_quiet();
        if quiet {
            self.room
                .clone()
                .try_acquire_many_owned(size(messages))
                .ok()
        } else {
            None
        }
    }

    /// Counts a round trip on this connection, when there may be one more.
    fn trip(&self, generation: u64, direct: bool) -> Option<Trip<'_>> {
        let counts = self.queue().begin_trip(generation, direct)?;
        Some(Trip {
            line: self,
            generation,
            direct,
            counts,
        })
    }

    /// Waits for room and for a round trip with others.
    async fn enqueue(
        &self,
        topic: &Topic,
        messages: &[Message],
        deadline: Instant,
    ) -> Vec<Outcome> {
        let count = messages.len();
        let room = self.room.clone().acquire_many_owned(size(messages));
        let Ok(Ok(room)) = timeout_at(deadline, room).await else {
            let say = "the publishing queue is full, because the server is away or slow";
            return all(
                count,
                &Outcome::Refused(Error::new(ErrorKind::Unavailable, "publish", say)),
            );
        };
        let (answer, answered) = oneshot::channel();
        let job = {
            let mut queue = self.queue();
            if queue.closed {
                return all(count, &Outcome::Refused(closed()));
            }
            queue.push(topic.clone(), messages.to_vec(), deadline, answer, room)
        };
        self.wake.notify_one();
        let mut waiting = Waiting {
            line: self,
            job,
            answered: false,
        };
        let answer = timeout_at(deadline, answered).await;
        match answer {
            Ok(Ok(outcomes)) => {
                waiting.answered = true;
                outcomes
            }
            Ok(Err(_)) => all(count, &Outcome::Unknown(closed())),
            Err(_) if waiting.withdraw() => {
                let say = "no connection to the server in time; dialling goes on";
                all(
                    count,
                    &Outcome::Refused(Error::new(ErrorKind::Unavailable, "publish", say)),
                )
            }
            Err(_) => all(count, &Outcome::Unknown(error::timed_out("publish").error)),
        }
    }

    fn trim_if_due(&self, topic: &Topic, live: &Live) {
        let Some(keep) = self.config.keep else { return };
        if topic.is_derived() {
            return;
        }
        if !self.queue().trims(topic, Instant::now()) {
            return;
        }
        let (force, counters) = (self.config.force_trim, self.counters.clone());
        tokio::spawn(retention::trim(
            live.clone(),
            topic.clone(),
            keep,
            force,
            counters,
        ));
    }
}

/// The task that sends what is queued.
async fn run(line: Arc<Line>) {
    let mut trips = FuturesUnordered::new();
    loop {
        let held_up_by = line.queue().held_up_by();
        // Polling the trips first sends them in the order in which they were made.
        tokio::select! {
            biased;
            Some(()) = trips.next() => {}
            () = line.wake.notified() => {}
            // Trips on the connection before may never end, and must not hold up what waits.
            () = line.link.younger_than(held_up_by.unwrap_or(0)), if held_up_by.is_some() => {}
        }
        while !line.queue().is_empty() {
            // Round trips go on meanwhile: their answers may have come already.
            let live = tokio::select! {
                biased;
                live = line.link.live("publish", deadline(Duration::MAX)) => live,
                Some(()) = trips.next() => continue,
            };
            let live = match live {
                Ok(live) => live,
                Err(error) => {
                    // The server refuses us: waiting would not help.
                    for job in line.queue().next_batch() {
                        let _ = job
                            .answer
                            .send(all(job.messages.len(), &Outcome::Refused(error.clone())));
                    }
                    continue;
                }
            };
            let Some(trip) = line.trip(live.generation, false) else {
                break;
            };
            let batch = line.queue().next_batch();
            if batch.is_empty() {
                continue;
            }
            trips.push(round_trip(&line, trip, live, batch));
            // Starts it, without waiting for it.
            std::future::poll_fn(|context| {
                let _ = trips.poll_next_unpin(context);
                Poll::Ready(())
            })
            .await;
        }
    }
}

async fn round_trip(line: &Line, trip: Trip<'_>, live: Live, batch: Vec<Job>) {
    let slices: Vec<_> = batch
        .iter()
        .map(|job| (&job.topic, job.messages.as_slice()))
        .collect();
    let last = batch
        .iter()
        .map(|job| job.deadline)
        .max()
        .unwrap_or_else(Instant::now);
    let sent = timeout_at(last, answer::send(&live, &line.config, &slices)).await;
    let count = slices.iter().map(|(_, messages)| messages.len()).sum();
    let timed_out =
        || vec![Answer::Outcome(Outcome::Unknown(error::timed_out("publish").error)); count];
    let mut answers = sent.unwrap_or_else(|_| timed_out());
    drop(trip);
    let mut again = Vec::new();
    // From behind, so that each job's answers are cut off the end.
    for job in batch.into_iter().rev() {
        let mine = answers.split_off(answers.len().saturating_sub(job.messages.len()));
        line.trim_if_due(&job.topic, &live);
        if is_not_serving(&mine) && Instant::now() < job.deadline {
            again.push(job);
        } else {
            let _ = job
                .answer
                .send(mine.into_iter().map(Outcome::from).collect());
        }
    }
    if !again.is_empty() {
        again.reverse();
        line.queue().put_back(again);
        line.wake.notify_one();
    }
}

fn all(count: usize, outcome: &Outcome) -> Vec<Outcome> {
    vec![outcome.clone(); count]
}

fn size(messages: &[Message]) -> u32 {
    let size =
        |message: &Message| message.body().len() + message.headers().bytes() + MESSAGE_OVERHEAD;
    let bytes = messages.iter().map(size).sum::<usize>();
    u32::try_from(bytes).unwrap_or(u32::MAX).min(QUEUE_BYTES)
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "publish", "the transport is closed")
}
