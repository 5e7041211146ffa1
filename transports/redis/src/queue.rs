//! What waits for a round trip, how many are under way, and how much goes into the next.

use std::collections::{HashMap, VecDeque};

use potluck_core::{Message, Outcome, Topic};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use crate::retention::TRIM_EVERY;

/// Publishes that go straight to the connection at once; with more the line is busy.
const DIRECT_MAX: usize = 4;
/// Round trips of queued messages in flight at once: the second while the server works on the
/// first, and only when it is worth a round trip of its own.
const TRIPS_MAX: usize = 2;
const WORTH_A_TRIP: usize = 32;
/// The most messages and bytes of one round trip.
const BATCH_MESSAGES: usize = 1000;
const BATCH_BYTES: usize = 1024 * 1024;
/// Topics whose last trimming is remembered.
const TRIMMED_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Queue {
    jobs: VecDeque<Job>,
    next_job: u64,
    /// Messages of these jobs.
    messages: usize,
    /// The connection that round trips are counted on. Those on older ones never return, or
    /// return to callers that wait for them; they hold up nobody.
    generation: u64,
    direct: usize,
    trips: usize,
    /// When each topic was last trimmed.
    trimmed: HashMap<Topic, Instant>,
    pub(crate) closed: bool,
}

/// A publish that waits.
#[derive(Debug)]
pub(crate) struct Job {
    id: u64,
    pub(crate) topic: Topic,
    pub(crate) messages: Vec<Message>,
    pub(crate) deadline: Instant,
    pub(crate) answer: oneshot::Sender<Vec<Outcome>>,
    /// Given back with the job, also when its caller is gone.
    _room: OwnedSemaphorePermit,
}

impl Queue {
    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// The connection that what waits is held up by; `None` when nothing waits.
    pub(crate) fn held_up_by(&self) -> Option<u64> {
        (!self.is_empty()).then_some(self.generation)
    }

    /// Whether a publish may go straight to the connection.
    pub(crate) fn is_quiet(&self) -> bool {
        self.jobs.is_empty() && self.trips == 0 && self.direct < DIRECT_MAX && !self.closed
    }

    /// Appends a job; returns its number.
    pub(crate) fn push(
        &mut self,
        topic: Topic,
        messages: Vec<Message>,
        deadline: Instant,
        answer: oneshot::Sender<Vec<Outcome>>,
        room: OwnedSemaphorePermit,
    ) -> u64 {
        let id = self.next_job;
        self.next_job += 1;
        self.messages += messages.len();
        self.jobs.push_back(Job {
            id,
            topic,
            messages,
            deadline,
            answer,
            _room: room,
        });
        id
    }

    /// Takes a job back; false when it was sent already.
    pub(crate) fn withdraw(&mut self, job: u64) -> bool {
        let at = self.jobs.iter().position(|waiting| waiting.id == job);
        at.and_then(|at| self.take(at)).is_some()
    }

    fn take(&mut self, at: usize) -> Option<Job> {
        let job = self.jobs.remove(at)?;
        self.messages -= job.messages.len();
        Some(job)
    }

    /// Puts jobs back in front, in their order: they are to be sent again.
    pub(crate) fn put_back(&mut self, jobs: Vec<Job>) {
        for job in jobs.into_iter().rev() {
            self.messages += job.messages.len();
            self.jobs.push_front(job);
        }
    }

    /// Takes all that waits.
    pub(crate) fn drain(&mut self) -> VecDeque<Job> {
        self.messages = 0;
        std::mem::take(&mut self.jobs)
    }

    /// As many jobs as the next round trip carries, without those whose callers are gone.
    pub(crate) fn next_batch(&mut self) -> Vec<Job> {
        // Half of what waits, while a second round trip may follow at once: the server works on
        // one while the answers to the other are handed out.
        let share = if self.trips < TRIPS_MAX {
            self.messages.div_ceil(2)
        } else {
            self.messages
        };
        let most = share.clamp(WORTH_A_TRIP, BATCH_MESSAGES);
        let (mut messages, mut bytes, mut batch) = (0, 0, Vec::new());
        while let Some(job) = self.jobs.front() {
            let size: usize = job
                .messages
                .iter()
                .map(|message| message.body().len())
                .sum();
            let full = messages + job.messages.len() > most || bytes + size > BATCH_BYTES;
            if full && !batch.is_empty() {
                break;
            }
            messages += job.messages.len();
            bytes += size;
            batch.extend(self.take(0));
        }
        batch.retain(|job| !job.answer.is_closed());
        batch
    }

    /// Counts a round trip on this connection. `None` when there may be no more of its kind, else
    /// whether it counts: one on a connection that was replaced this moment does not.
    pub(crate) fn begin_trip(&mut self, generation: u64, direct: bool) -> Option<bool> {
        if self.generation < generation {
            self.generation = generation;
            (self.direct, self.trips) = (0, 0);
        }
        let allowed = if direct {
            self.is_quiet()
        } else {
            let worth = self.trips == 0 || self.messages >= WORTH_A_TRIP;
            self.trips < TRIPS_MAX && worth
        };
        if !allowed {
            return None;
        }
        let counts = self.generation == generation;
        *self.count(direct) += usize::from(counts);
        Some(counts)
    }

    /// The end of a round trip that was counted.
    pub(crate) fn end_trip(&mut self, generation: u64, direct: bool) {
        if self.generation == generation {
            let count = self.count(direct);
            *count = count.saturating_sub(1);
        }
    }

    fn count(&mut self, direct: bool) -> &mut usize {
        if direct {
            &mut self.direct
        } else {
            &mut self.trips
        }
    }

    /// Whether a topic is to be trimmed now; notes that it is.
    pub(crate) fn trims(&mut self, topic: &Topic, now: Instant) -> bool {
        let recent = |at: &Instant| now.duration_since(*at) < TRIM_EVERY;
        if self.trimmed.get(topic).is_some_and(recent) {
            return false;
        }
        if self.trimmed.len() >= TRIMMED_MAX {
            self.trimmed.retain(|_, at| recent(at));
        }
        self.trimmed.insert(topic.clone(), now);
        true
    }
}
