//! What is asked of a server beside publishing and receiving: groups, figures, looks, notices.

use std::collections::HashMap;

use potluck_core::{
    Description, Error, ErrorKind, Figure, Group, GroupStatus, MessageId, Page, Peeked, Result,
    Topic,
};
use redis::{Pipeline, Value};

use crate::entry::{self, Entry, next_id};
use crate::error::{self, Remedy};
use crate::fetch;
use crate::link::ANSWER_MAX;
use crate::retention::millis_of_time;
use crate::transport::Shared;

/// The most unread entries that are counted one by one where the server does not know.
const COUNT_MAX: usize = 10_000;
/// The most messages of a page.
const PAGE_MAX: usize = 1000;

/// Deletes a stream, out of the way of other commands.
const DELETE: &str = r"
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'stream' then return redis.call('UNLINK', KEYS[1]) end
if kind == 'none' then return 0 end
return redis.error_reply('WRONGTYPE no stream')
";

/// Counts entries from ARGV[1] on, up to ARGV[2] of them, or fewer when they are large: a script
/// has to look at their bodies. Returns the count, whether it is all, and the stream's length.
const COUNT: &str = r"
local from, most = ARGV[1], tonumber(ARGV[2])
local counted, bytes = 0, 0
while counted < most and bytes < 16777216 do
  local page = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 16)
  counted = counted + #page
  if #page < 16 then return {counted, 1, 0} end
  for _, entry in ipairs(page) do
    for _, part in ipairs(entry[2]) do bytes = bytes + #part end
  end
  from = '(' .. page[16][1]
end
return {counted, 0, redis.call('XLEN', KEYS[1])}
";

/// A group as the server describes it.
struct GroupInfo {
    members: u64,
    pending: u64,
    last_read: MessageId,
    /// Unread messages, when the server knows.
    lag: Option<u64>,
}

impl Shared {
    /// Creates topic and group; false when the group was there.
    pub(crate) async fn create_group(
        &self,
        topic: &Topic,
        group: &Group,
        start: &str,
    ) -> Result<bool> {
        let mut create = redis::cmd("XGROUP");
        create
            .arg("CREATE")
            .arg(topic.as_str())
            .arg(group.as_str())
            .arg(start)
            .arg("MKSTREAM");
        match self.command("declare", &create).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.is_code("BUSYGROUP") => Ok(false),
            Err(failure) => Err(failure.error.with("topic", topic).with("group", group)),
        }
    }

    pub(crate) async fn delete_group(&self, topic: &Topic, group: &Group) -> Result<()> {
        let mut destroy = redis::cmd("XGROUP");
        destroy
            .arg("DESTROY")
            .arg(topic.as_str())
            .arg(group.as_str());
        match self.command("delete group", &destroy).await {
            Ok(_) => Ok(()),
            // Without the topic there is no group either.
            Err(failure) if failure.remedy == Remedy::Regroup => Ok(()),
            Err(failure) => Err(failure.error.with("topic", topic).with("group", group)),
        }
    }

    /// Deletes a topic. What is no stream is somebody else's, and stays.
    pub(crate) async fn delete_topic(&self, topic: &Topic) -> Result<()> {
        let mut delete = redis::cmd("EVAL");
        delete.arg(DELETE).arg(1).arg(topic.as_str());
        let answer = self.command("delete topic", &delete).await;
        answer
            .map(|_| ())
            .map_err(|failure| failure.error.with("topic", topic))
    }

    pub(crate) async fn status(&self, topic: &Topic, group: &Group) -> Result<GroupStatus> {
        let info = self.group_info(topic, group).await?;
        let unread = self.range(topic, next_id(info.last_read), 1).await?;
        let oldest = match self.lowest_pending(topic, group, info.pending).await? {
            Some(id) => Some(id),
            None => unread.first().map(|entry| entry.id),
        };
        let oldest_ms = match oldest {
            None => Figure::Exact(0),
            // Ids are made of the server's clock, unless a producer makes its own.
            Some(id) => Figure::Estimated(self.server_millis().await?.saturating_sub(id.parts().0)),
        };
        let backlog = match (unread.is_empty(), info.lag) {
            (true, _) => Figure::Exact(0),
            // Deleting entries confuses the server's own count, so it is checked where that is
            // cheap.
            (false, lag) => self.count_unread(topic, info.last_read, lag).await?,
        };
        Ok(GroupStatus {
            backlog,
            in_flight: Figure::Exact(info.pending),
            oldest_ms,
            members: Figure::Exact(info.members),
        })
    }

    async fn count_unread(
        &self,
        topic: &Topic,
        last_read: MessageId,
        lag: Option<u64>,
    ) -> Result<Figure<u64>> {
        if let Some(lag) = lag.filter(|lag| *lag > COUNT_MAX as u64) {
            return Ok(Figure::Estimated(lag));
        }
        // Ids only would be enough, but the server has no such command. A script has no payload
        // to send.
        let mut script = redis::cmd("EVAL");
        script
            .arg(COUNT)
            .arg(1)
            .arg(topic.as_str())
            .arg(next_id(last_read).to_string())
            .arg(COUNT_MAX);
        let answer = self
            .command("status", &script)
            .await
            .map_err(|failure| failure.error)?;
        match numbers(&answer).as_deref() {
            Some([counted, 1, _]) => Ok(Figure::Exact(*counted)),
            Some([_, _, length]) => Ok(Figure::Estimated(lag.unwrap_or(*length))),
            _ => Err(error::shape("status")),
        }
    }

    pub(crate) async fn peek(
        &self,
        topic: &Topic,
        group: &Group,
        after: Option<MessageId>,
        max: usize,
    ) -> Result<Page> {
        let info = self.group_info(topic, group).await?;
        let max = max.min(PAGE_MAX);
        if max == 0 {
            return Ok(Page {
                messages: Vec::new(),
                next: after,
            });
        }
        let from = after.map_or_else(|| entry::message_id(0, 1), next_id);
        let mut entries = self
            .pending_entries(topic, group, from, info.last_read, max)
            .await?;
        let reached = entries.last_seen;
        if entries.found.len() < max && !entries.more {
            let from = from.max(next_id(info.last_read));
            let unread = self.range(topic, from, max - entries.found.len()).await?;
            entries.more = entries.found.len() + unread.len() == max;
            entries.found.extend(unread);
        }
        let last = entries.found.last().map(|entry| entry.id).max(reached);
        let limit = self.config.max_message;
        let look = |entry: Entry| {
            let (message, defect) = entry.content?;
            let peeked = Peeked::new(message, entry.id, limit);
            Some(match defect {
                Some(defect) => peeked.with_defect(defect),
                None => peeked,
            })
        };
        let messages = entries.found.into_iter().filter_map(look).collect();
        Ok(Page {
            messages,
            next: last.filter(|_| entries.more),
        })
    }

    /// Entries that are pending with anybody of the group, from an id on.
    async fn pending_entries(
        &self,
        topic: &Topic,
        group: &Group,
        from: MessageId,
        last_read: MessageId,
        max: usize,
    ) -> Result<PendingEntries> {
        let mut entries = PendingEntries::default();
        if from > last_read {
            return Ok(entries);
        }
        let mut pending = redis::cmd("XPENDING");
        pending
            .arg(topic.as_str())
            .arg(group.as_str())
            .arg(from.to_string())
            // Not `+`: what is handed over at this moment would be seen twice.
            .arg(last_read.to_string())
            .arg(max);
        let answer = self
            .command("peek", &pending)
            .await
            .map_err(|failure| failure.error)?;
        let rows = fetch::rows(answer).ok_or_else(|| error::shape("peek"))?;
        entries.more = rows.len() == max;
        entries.last_seen = rows.last().map(|(id, _)| *id);
        if rows.is_empty() {
            return Ok(entries);
        }
        let mut pipeline = Pipeline::with_capacity(rows.len());
        for (id, _) in &rows {
            let id = id.to_string();
            pipeline.cmd("XRANGE").arg(topic.as_str()).arg(&id).arg(&id);
        }
        let (live, _) = self.live("peek").await?;
        let answers = live
            .pipeline("peek", &pipeline, ANSWER_MAX)
            .await
            .map_err(|f| f.error)?;
        for answer in answers {
            let answer = error::reply("peek", answer).map_err(|failure| failure.error)?;
            let found = entry::entries(answer, &self.config.field);
            // One that was deleted while it was pending is no message any more.
            entries
                .found
                .extend(found.ok_or_else(|| error::shape("peek"))?);
        }
        Ok(entries)
    }

    async fn range(&self, topic: &Topic, from: MessageId, max: usize) -> Result<Vec<Entry>> {
        let mut range = redis::cmd("XRANGE");
        range
            .arg(topic.as_str())
            .arg(from.to_string())
            .arg("+")
            .arg("COUNT")
            .arg(max);
        let answer = self
            .command("peek", &range)
            .await
            .map_err(|failure| failure.error)?;
        entry::entries(answer, &self.config.field).ok_or_else(|| error::shape("peek"))
    }

    async fn lowest_pending(
        &self,
        topic: &Topic,
        group: &Group,
        pending: u64,
    ) -> Result<Option<MessageId>> {
        if pending == 0 {
            return Ok(None);
        }
        let mut summary = redis::cmd("XPENDING");
        summary.arg(topic.as_str()).arg(group.as_str());
        let answer = self
            .command("status", &summary)
            .await
            .map_err(|failure| failure.error)?;
        let Value::Array(parts) = answer else {
            return Err(error::shape("status"));
        };
        Ok(parts.get(1).and_then(entry::id))
    }

    async fn group_info(&self, topic: &Topic, group: &Group) -> Result<GroupInfo> {
        let missing = || {
            let say = "topic or group does not exist; declare it";
            Error::new(ErrorKind::NotFound, "status", say)
                .with("topic", topic)
                .with("group", group)
        };
        let mut ask = redis::cmd("XINFO");
        ask.arg("GROUPS").arg(topic.as_str());
        let answer = match self.command("status", &ask).await {
            Ok(answer) => answer,
            Err(failure) if failure.remedy == Remedy::Regroup => return Err(missing()),
            Err(failure) => return Err(failure.error.with("topic", topic)),
        };
        let Value::Array(groups) = answer else {
            return Err(error::shape("status"));
        };
        let mut groups = groups.into_iter().filter_map(fields);
        let is_ours = |info: &HashMap<String, Value>| text(info, "name") == Some(group.as_str());
        let info = groups.find(is_ours).ok_or_else(missing)?;
        let last_read = info.get("last-delivered-id").and_then(entry::id);
        Ok(GroupInfo {
            members: self.members(topic, group).await?,
            pending: number(&info, "pending").unwrap_or(0),
            last_read: last_read.ok_or_else(|| error::shape("status"))?,
            lag: number(&info, "lag"),
        })
    }

    async fn server_millis(&self) -> Result<u64> {
        let answer = self
            .command("status", &redis::cmd("TIME"))
            .await
            .map_err(|f| f.error)?;
        millis_of_time(&answer).ok_or_else(|| error::shape("status"))
    }

    /// Where CONFIG is denied INFO mostly is not, and it has all that matters here.
    pub(crate) async fn describe(&self) -> Result<Description> {
        let answer = match self.command("describe", &redis::cmd("INFO")).await {
            Ok(Value::BulkString(text)) => String::from_utf8_lossy(&text).into_owned(),
            Ok(Value::VerbatimString { text, .. }) => text,
            Ok(_) => return Err(error::shape("describe")),
            Err(failure)
                if failure.error.kind() == ErrorKind::Denied && failure.is_code("NOPERM") =>
            {
                let notice = "INFO is denied, so persistence and eviction could not be checked";
                let notices = vec![notice.to_owned()];
                return Ok(Description {
                    product: "redis".to_owned(),
                    version: String::new(),
                    notices,
                });
            }
            Err(failure) => return Err(failure.error),
        };
        let info: HashMap<_, _> = answer
            .lines()
            .filter_map(|line| line.split_once(':'))
            .collect();
        let said = |name: &str| info.get(name).map_or("", |value| value.trim());
        let product = if info.contains_key("valkey_version") {
            "valkey"
        } else {
            "redis"
        };
        let version = said(if product == "valkey" {
            "valkey_version"
        } else {
            "redis_version"
        });
        let mut notices = Vec::new();
        if said("aof_enabled") == "0" {
            notices.push("append-only file is off: a crash of the server loses messages that it has accepted; set `appendonly yes`".to_owned());
        }
        let policy = said("maxmemory_policy");
        if policy.starts_with("allkeys-") {
            notices.push(format!(
                "maxmemory-policy is {policy}: the server may evict whole topics; set `noeviction`"
            ));
        }
        if said("role") == "slave" {
            notices.push("the server is a replica and takes no writes".to_owned());
        }
        Ok(Description {
            product: product.to_owned(),
            version: version.to_owned(),
            notices,
        })
    }
}

#[derive(Default)]
struct PendingEntries {
    found: Vec<Entry>,
    last_seen: Option<MessageId>,
    more: bool,
}

/// An answer of names and values in turn.
pub(crate) fn fields(value: Value) -> Option<HashMap<String, Value>> {
    let Value::Array(parts) = value else {
        return None;
    };
    let mut parts = parts.into_iter();
    let mut fields = HashMap::new();
    while let (Some(Value::BulkString(name)), Some(value)) = (parts.next(), parts.next()) {
        fields.insert(String::from_utf8(name).ok()?, value);
    }
    Some(fields)
}

pub(crate) fn text<'a>(fields: &'a HashMap<String, Value>, name: &str) -> Option<&'a str> {
    match fields.get(name)? {
        Value::BulkString(text) => std::str::from_utf8(text).ok(),
        _ => None,
    }
}

fn number(fields: &HashMap<String, Value>, name: &str) -> Option<u64> {
    match fields.get(name)? {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

fn numbers(value: &Value) -> Option<Vec<u64>> {
    let Value::Array(values) = value else {
        return None;
    };
    let number = |value: &Value| match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    };
    values.iter().map(number).collect()
}
