//! How a topic is kept short, never past what a group still needs.

use std::sync::Arc;
use std::time::Duration;

use potluck_core::Topic;
use potluck_core::stats::Counters;
use redis::Value;
use tokio::time::Instant;

use crate::config::Keep;
use crate::link::{ANSWER_MAX, Live};

/// How often a topic is trimmed at most.
pub(crate) const TRIM_EVERY: Duration = Duration::from_secs(1);
/// Entries removed by one script, so that none holds the server up.
const STEP: u64 = 1000;
/// How long one trimming may go on.
const RUN_MAX: Duration = Duration::from_millis(800);

/// Removes up to ARGV[3] of the oldest entries, or fewer when they are large: those over the count
/// ARGV[1], or with an id below ARGV[2]. It stops at the lowest entry that any group has not read
/// or not acknowledged, unless ARGV[4] is `force`; then it counts the unread ones that it removes.
/// (Pending ones are counted by the members that miss them.) Returns removed, lost, and whether
/// there is more to do.
const TRIM: &str = r"
local function before(a, b)
  local am, as = a:match('(%d+)-(%d+)')
  local bm, bs = b:match('(%d+)-(%d+)')
  if #am ~= #bm then return #am < #bm end
  if am ~= bm then return am < bm end
  if #as ~= #bs then return #as < #bs end
  return as < bs
end
local key, keep, below, step = KEYS[1], tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
if redis.call('TYPE', key).ok ~= 'stream' then return {0, 0, 0} end
local length = redis.call('XLEN', key)
local excess = step
if keep > 0 then excess = math.min(step, length - keep) end
local floors, reads = {}, {}
for _, group in ipairs(redis.call('XINFO', 'GROUPS', key)) do
  local info = {}
  for i = 1, #group, 2 do info[group[i]] = group[i + 1] end
  table.insert(reads, info['last-delivered-id'])
  if info['pending'] > 0 then
    table.insert(floors, redis.call('XPENDING', key, info['name'])[2])
  end
end
local taken, lost, bytes, from, ended = 0, 0, 0, '-', false
while taken < excess and bytes < 4194304 and not ended do
  local page = redis.call('XRANGE', key, from, '+', 'COUNT', math.min(32, excess - taken))
  ended = #page == 0
  for _, entry in ipairs(page) do
    local id = entry[1]
    local unread, needed = false, below ~= '' and not before(id, below)
    for _, read in ipairs(reads) do if before(read, id) then unread = true end end
    if ARGV[4] ~= 'force' then
      for _, floor in ipairs(floors) do if not before(id, floor) then needed = true end end
      needed = needed or unread
    end
    if needed then ended = true; break end
    taken, from = taken + 1, '(' .. id
    if unread then lost = lost + 1 end
    for _, part in ipairs(entry[2]) do bytes = bytes + #part end
  end
end
if taken == 0 then return {0, 0, 0} end
local more = not ended and (taken < excess or excess == step)
return {redis.call('XTRIM', key, 'MAXLEN', length - taken), lost, more and 1 or 0}
";

/// Trims one topic. Failing is no harm: the next publish tries again.
pub(crate) async fn trim(
    live: Live,
    topic: Topic,
    keep: Keep,
    force: bool,
    counters: Arc<Counters>,
) {
    let until = Instant::now() + RUN_MAX;
    let (count, below) = match keep {
        Keep::Count(count) => (count, String::new()),
        Keep::Age(age) => match server_millis(&live).await {
            Some(now) => (0, format!("{}-0", now.saturating_sub(millis(age)))),
            None => return,
        },
    };
    let mut lost = 0;
    while Instant::now() < until {
        let mut script = redis::cmd("EVAL");
        script
            .arg(TRIM)
            .arg(1)
            .arg(topic.as_str())
            .arg(count)
            .arg(&below)
            .arg(STEP);
        script.arg(if force { "force" } else { "safe" });
        match live.command("trim", &script, ANSWER_MAX).await {
            Ok(Value::Array(figures)) => match figures.as_slice() {
                [_, Value::Int(unread), Value::Int(more)] => {
                    lost += unread.cast_unsigned();
                    if *more == 0 {
                        break;
                    }
                }
                _ => break,
            },
            Ok(_) => break,
            Err(failure) => {
                tracing::warn!(%topic, error = %failure.error, "trimming failed");
                break;
            }
        }
    }
    if lost > 0 {
        tracing::warn!(%topic, lost, "`trim=force` removed messages that a group had not read");
    }
    counters
        .lost_by_trim
        .add(usize::try_from(lost).unwrap_or(usize::MAX));
}

/// Ids are made of the server's clock, so ages are measured by it.
async fn server_millis(live: &Live) -> Option<u64> {
    let time = live
        .command("trim", &redis::cmd("TIME"), ANSWER_MAX)
        .await
        .ok()?;
    millis_of_time(&time)
}

/// The answer of `TIME`, seconds and microseconds, in milliseconds.
pub(crate) fn millis_of_time(time: &Value) -> Option<u64> {
    let Value::Array(parts) = time else {
        return None;
    };
    let number = |value: &Value| match value {
        Value::BulkString(text) => std::str::from_utf8(text).ok()?.parse::<u64>().ok(),
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    };
    Some(number(parts.first()?)? * 1000 + number(parts.get(1)?)? / 1000)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
