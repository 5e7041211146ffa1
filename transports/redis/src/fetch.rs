//! One step of reading for a member: look after what was lost, take what others left, read on.
//!
//! A step is a future that owns all it needs. Whoever receives polls it, and keeps it when he goes
//! away, so that a read that was sent is never forgotten. It does at most one blocking read, of
//! a third of a second at most.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use potluck_core::{MessageId, Subscription};
use redis::{Cmd, Pipeline, Value};
use tokio::time::Instant;

use crate::config::Config;
use crate::entry::{self, Entry, parse_id};
use crate::error::{self, Failure, Remedy};
use crate::link::{ANSWER_MAX, Link, Live};
use crate::table::Ready;

/// Pages of other members' entries looked at in one step, of about ten times that many entries.
const PAGES_MAX: usize = 10;
const PAGE: usize = 100;
/// The most entries that one command is asked about.
const MOST_HELD: usize = 100_000;
/// The smallest id.
const ORIGIN: &str = "0-0";

/// Claims those of ARGV[5…] that were idle for ARGV[3]. Returns what ARGV[2] owned between the
/// first and the last of them before, the entries claimed, and what it owns after. No MULTI: a
/// server that is out of memory refuses it.
const REVISIT: &str = r"
local key, group, member = KEYS[1], ARGV[1], ARGV[2]
local function owned()
  return redis.call('XPENDING', key, group, ARGV[5], ARGV[#ARGV], ARGV[4], member)
end
local before = owned()
return {before, redis.call('XCLAIM', key, group, member, ARGV[3], unpack(ARGV, 5)), owned()}
";

/// What one step needs to know.
pub(crate) struct Step {
    pub(crate) link: Arc<Link>,
    pub(crate) config: Arc<Config>,
    pub(crate) to: Subscription,
    pub(crate) lease: Duration,
    /// How many may be read.
    pub(crate) want: usize,
    /// Entries that we hold and whose leases are over, in order: they are taken again, unless
    /// somebody else did, or settled them.
    pub(crate) lapsed: Vec<MessageId>,
    /// How long to wait for new ones; `None` does not wait.
    pub(crate) block: Option<Duration>,
    /// Looks for what was assigned to us and never reached us; has the ids that did.
    pub(crate) reconcile: Option<HashSet<MessageId>>,
    /// Looks for what others left, from this cursor.
    pub(crate) reclaim: Option<String>,
    /// Waits first, after a failure that a new connection does not mend.
    pub(crate) pause: Duration,
}

/// What one step brought.
#[derive(Default)]
pub(crate) struct Fetched {
    /// Entries handed to this member for the first time.
    pub(crate) new: Vec<Ready>,
    /// Entries that were handed to some member before.
    pub(crate) again: Vec<Ready>,
    /// Entries of [`Step::lapsed`] that are not ours any more.
    pub(crate) gone: Vec<MessageId>,
    /// Entries that were deleted before they were acknowledged.
    pub(crate) trimmed: usize,
    /// Where to go on looking for what others left.
    pub(crate) cursor: Option<String>,
    pub(crate) generation: u64,
    /// Whether reconciling was done.
    pub(crate) reconciled: bool,
    /// The group was missing, and is there again: whether it was us who created it.
    pub(crate) regrouped: Option<bool>,
    pub(crate) failure: Option<Failure>,
}

impl Step {
    /// Runs the step. A failure ends it early; what it had is kept.
    pub(crate) async fn run(self) -> Fetched {
        // Even no pause at all would cost a tick of the timer.
        if !self.pause.is_zero() {
            tokio::time::sleep(self.pause).await;
        }
        let mut fetched = Fetched::default();
        // Dialling goes on for ever, and whoever receives has his own deadline.
        let live = loop {
            let far = Instant::now() + Duration::from_secs(3600);
            match self.link.live("receive", far).await {
                Ok(live) => break live,
                Err(error) if error.is_retryable() => {}
                Err(error) => {
                    fetched.failure = Some(Failure::ours(error));
                    return fetched;
                }
            }
        };
        fetched.generation = live.generation;
        fetched.failure = self.all(&live, &mut fetched).await.err();
        if fetched
            .failure
            .as_ref()
            .is_some_and(|failure| failure.remedy == Remedy::Regroup)
        {
            match self.regroup(&live).await {
                Ok(created) => fetched.regrouped = Some(created),
                Err(failure) => fetched.failure = Some(failure),
            }
        }
        fetched
    }

    /// The group vanished with all that it knew. It is created again from the earliest message:
    /// what comes twice is better than what never comes. False when another member was first.
    async fn regroup(&self, live: &Live) -> Result<bool, Failure> {
        let mut create = redis::cmd("XGROUP");
        create
            .arg("CREATE")
            .arg(self.to.topic.as_str())
            .arg(self.to.group.as_str());
        create.arg("0").arg("MKSTREAM");
        match live.command("receive", &create, ANSWER_MAX).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.is_code("BUSYGROUP") => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    async fn all(&self, live: &Live, fetched: &mut Fetched) -> Result<(), Failure> {
        if let Some(known) = &self.reconcile {
            self.reconcile(live, known, fetched).await?;
        }
        if let Some(cursor) = &self.reclaim {
            self.reclaim(live, cursor.clone(), fetched).await?;
            self.revisit(live, fetched).await?;
        }
        if fetched.again.is_empty() && self.want > 0 {
            self.read(live, fetched).await?;
        }
        Ok(())
    }

    async fn read(&self, live: &Live, fetched: &mut Fetched) -> Result<(), Failure> {
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP")
            .arg(self.to.group.as_str())
            .arg(self.to.member.as_str());
        read.arg("COUNT").arg(self.want);
        if let Some(block) = self.block {
            read.arg("BLOCK")
                .arg(u64::try_from(block.as_millis()).unwrap_or(1).max(1));
        }
        read.arg("STREAMS").arg(self.to.topic.as_str()).arg(">");
        let lease_until = Instant::now() + self.lease;
        let patience = self.block.unwrap_or_default() + ANSWER_MAX;
        let answer = live.command("receive", &read, patience).await?;
        let entries = entry::stream_entries(answer, &self.config.field).ok_or_else(shape)?;
        fetched.new = entries
            .into_iter()
            .filter_map(|entry| ready(entry, 1, lease_until))
            .collect();
        Ok(())
    }

    /// Takes what others, or we, left for longer than a lease, and what was released.
    async fn reclaim(
        &self,
        live: &Live,
        mut cursor: String,
        fetched: &mut Fetched,
    ) -> Result<(), Failure> {
        let mut room = self.want.saturating_sub(fetched.again.len());
        for _ in 0..PAGES_MAX {
            if room == 0 {
                break;
            }
            let mut claim = redis::cmd("XAUTOCLAIM");
            claim
                .arg(self.to.topic.as_str())
                .arg(self.to.group.as_str())
                .arg(self.to.member.as_str());
            claim.arg(self.lease_ms());
            claim.arg(&cursor).arg("COUNT").arg(room.min(PAGE));
            let lease_until = Instant::now() + self.lease;
            let answer = live.command("receive", &claim, ANSWER_MAX).await?;
            let Value::Array(parts) = answer else {
                return Err(shape());
            };
            let mut parts = parts.into_iter();
            cursor = text(parts.next()).ok_or_else(shape)?;
            let entries = parts
                .next()
                .and_then(|page| entry::entries(page, &self.config.field));
            let entries = entries.ok_or_else(shape)?;
            if let Some(Value::Array(deleted)) = parts.next() {
                fetched.trimmed += deleted.len();
            }
            let counts = self.counts(live, &entries).await?;
            room = room.saturating_sub(entries.len());
            for entry in entries {
                // Hand-overs are counted by the server, and this was at least the second.
                let attempt = counts
                    .iter()
                    .find(|(id, _)| *id == entry.id)
                    .map_or(2, |(_, n)| *n);
                fetched.again.extend(ready(entry, attempt, lease_until));
            }
            if cursor == ORIGIN {
                break;
            }
        }
        fetched.cursor = (cursor != ORIGIN).then_some(cursor);
        Ok(())
    }

    /// Takes what we ourselves have held for longer than a lease, and finds out what somebody else
    /// has taken or settled meanwhile. Both make way in the table, which it never lets grow.
    async fn revisit(&self, live: &Live, fetched: &mut Fetched) -> Result<(), Failure> {
        if self.lapsed.is_empty() {
            return Ok(());
        }
        let mut revisit = redis::cmd("EVAL");
        revisit.arg(REVISIT).arg(1).arg(self.to.topic.as_str());
        revisit
            .arg(self.to.group.as_str())
            .arg(self.to.member.as_str());
        revisit.arg(self.lease_ms()).arg(self.most());
        for id in &self.lapsed {
            revisit.arg(id.to_string());
        }
        let lease_until = Instant::now() + self.lease;
        let Value::Array(answer) = live.command("receive", &revisit, ANSWER_MAX).await? else {
            return Err(shape());
        };
        let [before, claimed, after] = <[Value; 3]>::try_from(answer).map_err(|_| shape())?;
        let before = rows(before).ok_or_else(shape)?;
        let claimed = entry::entries(claimed, &self.config.field).ok_or_else(shape)?;
        let after: HashMap<_, _> = rows(after).ok_or_else(shape)?.into_iter().collect();
        for entry in claimed {
            let attempt = after.get(&entry.id).copied().unwrap_or(2);
            fetched.again.extend(ready(entry, attempt, lease_until));
        }
        // Claiming has cleared up those that were deleted.
        let deleted = before.iter().filter(|(id, _)| !after.contains_key(id));
        fetched.trimmed += deleted.count();
        // With more than we know of, one that is not among them may be ours all the same.
        if before.len() < self.most() {
            let is_gone = |id: &&MessageId| !after.contains_key(id);
            fetched.gone.extend(self.lapsed.iter().filter(is_gone));
        }
        Ok(())
    }

    /// More entries than can be ours, as far as we know.
    fn most(&self) -> usize {
        self.to.max_held.get().min(MOST_HELD) + PAGE
    }

    fn lease_ms(&self) -> u64 {
        u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX)
    }

    /// How often each of these entries, which are ours now, was handed over.
    async fn counts(
        &self,
        live: &Live,
        entries: &[Entry],
    ) -> Result<Vec<(MessageId, u32)>, Failure> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Ok(Vec::new());
        };
        // There may be others of ours between them, but no more than we may hold.
        let most = self.most() + entries.len();
        let pending = self.pending(&first.id.to_string(), &last.id.to_string(), most);
        let rows = rows(live.command("receive", &pending, ANSWER_MAX).await?).ok_or_else(shape)?;
        Ok(rows)
    }

    fn pending(&self, from: &str, to: &str, most: usize) -> Cmd {
        let mut pending = redis::cmd("XPENDING");
        pending
            .arg(self.to.topic.as_str())
            .arg(self.to.group.as_str());
        pending
            .arg(from)
            .arg(to)
            .arg(most)
            .arg(self.to.member.as_str());
        pending
    }

    /// Finds entries that the server had assigned to us in answers that never arrived, and hands
    /// them over with the count that they have: for the member it is the first time.
    async fn reconcile(
        &self,
        live: &Live,
        known: &HashSet<MessageId>,
        fetched: &mut Fetched,
    ) -> Result<(), Failure> {
        let pending = self.pending("-", "+", self.most());
        let rows = rows(live.command("receive", &pending, ANSWER_MAX).await?).ok_or_else(shape)?;
        let mut lost: Vec<_> = rows
            .into_iter()
            .filter(|(id, _)| !known.contains(id))
            .collect();
        // What there is no room for is looked for again.
        fetched.reconciled = lost.len() <= self.want;
        lost.truncate(self.want);
        if lost.is_empty() {
            return Ok(());
        }
        let mut pipeline = Pipeline::with_capacity(lost.len() + 1);
        let claim = pipeline
            .cmd("XCLAIM")
            .arg(self.to.topic.as_str())
            .arg(self.to.group.as_str());
        claim.arg(self.to.member.as_str()).arg(0);
        for (id, _) in &lost {
            pipeline.arg(id.to_string());
        }
        pipeline.arg("JUSTID");
        for (id, _) in &lost {
            let id = id.to_string();
            pipeline
                .cmd("XRANGE")
                .arg(self.to.topic.as_str())
                .arg(&id)
                .arg(&id);
        }
        let lease_until = Instant::now() + self.lease;
        let mut answers = live
            .pipeline("receive", &pipeline, ANSWER_MAX)
            .await?
            .into_iter();
        let claimed = error::reply("receive", answers.next().unwrap_or_default())?;
        let Value::Array(claimed) = claimed else {
            return Err(shape());
        };
        let claimed: HashSet<_> = claimed.iter().filter_map(entry::id).collect();
        for ((id, count), range) in lost.into_iter().zip(answers) {
            let entries = entry::entries(error::reply("receive", range)?, &self.config.field);
            let entry = entries.ok_or_else(shape)?.pop();
            match entry {
                Some(entry) if claimed.contains(&id) => {
                    fetched.again.extend(ready(entry, count, lease_until));
                }
                // Settled in the meantime, or deleted, which claiming has cleared up.
                Some(_) => {}
                None => fetched.trimmed += 1,
            }
        }
        Ok(())
    }
}

fn ready(entry: Entry, attempt: u32, lease_until: Instant) -> Option<Ready> {
    let (message, defect) = entry.content?;
    Some(Ready {
        id: entry.id,
        message,
        defect,
        attempt,
        lease_until,
    })
}

/// Ids and hand-over counts of an XPENDING answer.
pub(crate) fn rows(answer: Value) -> Option<Vec<(MessageId, u32)>> {
    let Value::Array(rows) = answer else {
        return None;
    };
    let row = |row: Value| {
        let Value::Array(columns) = row else {
            return None;
        };
        let count = match columns.get(3)? {
            Value::Int(count) => u32::try_from(*count).unwrap_or(u32::MAX).max(1),
            _ => return None,
        };
        Some((entry::id(columns.first()?)?, count))
    };
    rows.into_iter().map(row).collect()
}

fn text(value: Option<Value>) -> Option<String> {
    match value? {
        Value::BulkString(text) if parse_id(&text).is_some() => String::from_utf8(text).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

fn shape() -> Failure {
    Failure::ours(error::shape("receive"))
}
