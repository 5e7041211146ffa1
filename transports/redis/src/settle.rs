//! How deliveries are settled: plainly while their leases are surely alive, by a script that looks
//! at the owner when they may be over. Redis itself does not look: XACK settles anybody's delivery,
//! and XCLAIM takes it back from whoever rightly has it now.

use std::time::Duration;

use potluck_core::{MessageId, Result};
use redis::{Cmd, Value};
use tokio::time::Instant;

use crate::entry;
use crate::error::{self, Failure, Remedy};
use crate::link::{ANSWER_MAX, Link};

/// The most ids of one command.
pub(crate) const SLICE: usize = 1000;
/// Who owns what was given back. No member can have this name.
pub(crate) const RELEASED: &str = ":released";
/// The idle time of what was given back: longer than any lease.
const RELEASED_IDLE_MS: u64 = 10 * 365 * 86_400_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Ack,
    /// Acknowledges and deletes, for topics that keep nothing.
    AckAndDelete,
    Release,
    Extend,
}

/// Settles those of ARGV[6…] that ARGV[2] owns, and returns the places of the others. The ids are
/// in order, so one ranged look serves all of them, unless the member has many others between.
const GUARDED: &str = r"
local key, group, member, verb = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local first, count = 6, #ARGV - 5
local cap = count * 4 + 100
local rows = redis.call('XPENDING', key, group, ARGV[first], ARGV[#ARGV], cap, member)
local owned = {}
for _, row in ipairs(rows) do owned[row[1]] = true end
local mine, others = {}, {}
for i = first, #ARGV do
  local id = ARGV[i]
  if not owned[id] and #rows == cap then
    owned[id] = #redis.call('XPENDING', key, group, id, id, 1, member) > 0
  end
  if owned[id] then table.insert(mine, id) else table.insert(others, i - first) end
end
if #mine > 0 then
  if verb == 'ack' or verb == 'delete' then
    redis.call('XACK', key, group, unpack(mine))
    if verb == 'delete' then redis.call('XDEL', key, unpack(mine)) end
  else
    local to = verb == 'release' and ARGV[4] or member
    local claim = {'XCLAIM', key, group, to, 0}
    for _, id in ipairs(mine) do table.insert(claim, id) end
    if verb == 'release' then
      table.insert(claim, 'IDLE')
      table.insert(claim, ARGV[5])
    end
    table.insert(claim, 'JUSTID')
    redis.call(unpack(claim))
  end
end
return others
";

/// Who settles what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settler<'a> {
    pub(crate) link: &'a Link,
    pub(crate) topic: &'a str,
    pub(crate) group: &'a str,
    pub(crate) member: &'a str,
    pub(crate) timeout: Duration,
}

impl Settler<'_> {
    /// Settles ids, which are in order; returns the places of those that were not ours any more.
    pub(crate) async fn settle(
        &self,
        verb: Verb,
        ids: &[MessageId],
        guarded: bool,
    ) -> Result<Vec<usize>> {
        let deadline = Instant::now() + self.timeout;
        let mut stale = Vec::new();
        for (slice, part) in ids.chunks(SLICE).enumerate() {
            let places = self.slice(verb, part, guarded, deadline).await?;
            stale.extend(places.into_iter().map(|place| slice * SLICE + place));
        }
        Ok(stale)
    }

    /// Settling twice is harmless, so a lost answer is asked for again, until the deadline.
    async fn slice(
        &self,
        verb: Verb,
        ids: &[MessageId],
        guarded: bool,
        deadline: Instant,
    ) -> Result<Vec<usize>> {
        let mut repeated = false;
        loop {
            let live = self.link.live("settle", deadline).await?;
            let patience = ANSWER_MAX.min(deadline.saturating_duration_since(Instant::now()));
            // Who has what may have changed since an unanswered try.
            let guarded = guarded || repeated || verb == Verb::AckAndDelete;
            let command = if guarded {
                self.script(verb, ids)
            } else {
                self.plain(verb, ids)
            };
            let answer = live.command("settle", &command, patience).await;
            match answer {
                // What the first, unanswered try has settled would look stale to the second.
                Ok(_) if repeated && verb != Verb::Extend => return Ok(Vec::new()),
                Ok(Value::Int(0)) => return Ok((0..ids.len()).collect()),
                Ok(Value::Int(_)) => return Ok(Vec::new()),
                Ok(Value::Array(values)) if guarded => return places(&values),
                Ok(Value::Array(claimed)) => return Ok(missing(ids, &claimed)),
                Ok(_) => return Err(error::shape("settle")),
                Err(Failure {
                    remedy: Remedy::Regroup,
                    ..
                }) => return Ok((0..ids.len()).collect()),
                Err(failure) if failure.remedy == Remedy::Redial && Instant::now() < deadline => {
                    repeated |= !failure.certain;
                }
                Err(failure) => return Err(failure.error),
            }
        }
    }

    fn plain(&self, verb: Verb, ids: &[MessageId]) -> Cmd {
        let mut command = Cmd::with_capacity(8 + ids.len(), 64 + ids.len() * 20);
        match verb {
            Verb::Ack | Verb::AckAndDelete => {
                command.arg("XACK").arg(self.topic).arg(self.group);
            }
            Verb::Release => {
                command
                    .arg("XCLAIM")
                    .arg(self.topic)
                    .arg(self.group)
                    .arg(RELEASED)
                    .arg(0);
            }
            Verb::Extend => {
                command
                    .arg("XCLAIM")
                    .arg(self.topic)
                    .arg(self.group)
                    .arg(self.member)
                    .arg(0);
            }
        }
        push_ids(&mut command, ids);
        match verb {
            Verb::Ack | Verb::AckAndDelete => {}
            Verb::Release => {
                command.arg("IDLE").arg(RELEASED_IDLE_MS).arg("JUSTID");
            }
            Verb::Extend => {
                command.arg("JUSTID");
            }
        }
        command
    }

    fn script(&self, verb: Verb, ids: &[MessageId]) -> Cmd {
        let verb = match verb {
            Verb::Ack => "ack",
            Verb::AckAndDelete => "delete",
            Verb::Release => "release",
            Verb::Extend => "extend",
        };
        let mut script = Cmd::with_capacity(10 + ids.len(), GUARDED.len() + 128 + ids.len() * 20);
        script.arg("EVAL").arg(GUARDED).arg(1).arg(self.topic);
        script
            .arg(self.group)
            .arg(self.member)
            .arg(verb)
            .arg(RELEASED)
            .arg(RELEASED_IDLE_MS);
        push_ids(&mut script, ids);
        script
    }
}

/// Appends ids without an allocation for each.
fn push_ids(command: &mut Cmd, ids: &[MessageId]) {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(40);
    for id in ids {
        text.clear();
        let _ = write!(text, "{id}");
        command.arg(text.as_str());
    }
}

fn places(values: &[Value]) -> Result<Vec<usize>> {
    let place = |value: &Value| match value {
        Value::Int(place) => usize::try_from(*place).ok(),
        _ => None,
    };
    values
        .iter()
        .map(place)
        .collect::<Option<_>>()
        .ok_or_else(|| error::shape("settle"))
}

/// The places of ids that are not among those claimed.
fn missing(ids: &[MessageId], claimed: &[Value]) -> Vec<usize> {
    if claimed.len() == ids.len() {
        return Vec::new();
    }
    let claimed: std::collections::HashSet<_> = claimed.iter().filter_map(entry::id).collect();
    (0..ids.len())
        .filter(|place| !claimed.contains(&ids[*place]))
        .collect()
}
