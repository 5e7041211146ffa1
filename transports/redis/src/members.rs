//! Who is a member of a group: joining, leaving, counting, and forgetting those that vanished.

use potluck_core::{Group, Result, Subscription, Topic};
use redis::Value;

use crate::admin::{fields, text};
use crate::error::{self, Remedy};
use crate::settle::RELEASED;
use crate::transport::Shared;

/// A member that crashed leaves its name in the group. Once others have taken what it had, and it
/// was not seen for a day, the name goes.
const FORGOTTEN_AFTER_MS: u64 = 86_400_000;

/// Begins a membership, and forgets members that have nothing and were not seen for long.
const JOIN: &str = r"
local key, group, me = KEYS[1], ARGV[1], ARGV[2]
redis.call('XGROUP', 'CREATECONSUMER', key, group, me)
for _, member in ipairs(redis.call('XINFO', 'CONSUMERS', key, group)) do
  local info = {}
  for i = 1, #member, 2 do info[member[i]] = member[i + 1] end
  local is_other = info['name'] ~= me and info['name'] ~= ARGV[3]
  if is_other and info['pending'] == 0 and info['idle'] > tonumber(ARGV[4]) then
    redis.call('XGROUP', 'DELCONSUMER', key, group, info['name'])
  end
end
return 1
";

/// Removes a member that has nothing pending; with something pending the server would forget it.
const LEAVE: &str = r"
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2])
if #pending == 0 then return redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2]) end
return 0
";

impl Shared {
    /// Begins a membership, so that it counts before the first message is read.
    pub(crate) async fn add_member(&self, to: &Subscription) -> Result<()> {
        let mut join = redis::cmd("EVAL");
        join.arg(JOIN)
            .arg(1)
            .arg(to.topic.as_str())
            .arg(to.group.as_str());
        join.arg(to.member.as_str())
            .arg(RELEASED)
            .arg(FORGOTTEN_AFTER_MS);
        let joined = self.command("join group", &join).await;
        joined.map(|_| ()).map_err(|failure| failure.error)
    }

    /// Ends a membership, unless something is still pending.
    pub(crate) async fn remove_member(&self, to: &Subscription) -> Result<()> {
        let mut leave = redis::cmd("EVAL");
        leave
            .arg(LEAVE)
            .arg(1)
            .arg(to.topic.as_str())
            .arg(to.group.as_str())
            .arg(to.member.as_str());
        match self.command_of_closing("leave group", &leave).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.remedy == Remedy::Regroup => Ok(()),
            Err(failure) => Err(failure.error),
        }
    }

    /// Members of a group, but for the one that keeps what was given back.
    pub(crate) async fn members(&self, topic: &Topic, group: &Group) -> Result<u64> {
        let mut ask = redis::cmd("XINFO");
        ask.arg("CONSUMERS").arg(topic.as_str()).arg(group.as_str());
        let answer = self
            .command("status", &ask)
            .await
            .map_err(|failure| failure.error)?;
        let Value::Array(members) = answer else {
            return Err(error::shape("status"));
        };
        let members = members.into_iter().filter_map(fields);
        let count = members
            .filter(|member| text(member, "name") != Some(RELEASED))
            .count();
        Ok(count as u64)
    }
}
