//! Is a message seen that arrives just when a read ends, is dropped, or its member leaves?

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use potluck_core::{
    Delivery, Group, Member, Message, Publisher, Subscriber, Subscription, Topic, Transport,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::Result;
use crate::scene::Server;
use crate::suite::Run;

/// Topics that are tried at once.
const TOPICS: u64 = 10;
/// How long a message may stay unseen.
const SEEN_MAX: Duration = Duration::from_secs(2);
/// How long a read blocks on the broker here.
const BLOCK: Duration = Duration::from_millis(60);
/// How far around a moment a message may come.
const JITTER: Duration = Duration::from_millis(50);
/// One read of somebody who waits for it.
const READ: Duration = Duration::from_millis(200);
const ONE: NonZeroUsize = NonZeroUsize::MIN;

/// What the rounds of one topic gave.
#[derive(Clone, Copy, Debug, Default)]
struct Rounds {
    unseen: usize,
    twice: usize,
    slowest: Duration,
}

/// Case 5: 500 rounds around the end of a read, a dropped read, and a member that leaves. `options`
/// make reads block for 60 ms on the broker.
///
/// # Errors
///
/// When the case breaks off.
pub async fn end_of_read(run: &Run, server: &dyn Server, options: &str) -> Result {
    let transport = server.connect(server.addr(), options)?;
    let rounds = run.count(500, 150);
    let mut topics = JoinSet::new();
    for number in 0..TOPICS {
        let topic = Topic::new(&format!("faults.reads.{number}"))?;
        let to = Subscription::new(topic, Group::new("workers")?);
        let chance = fastrand::Rng::with_seed(run.seed * TOPICS + number);
        topics.spawn(all_rounds(transport.clone(), to, rounds / TOPICS, chance));
    }
    let mut all = Rounds::default();
    let mut left = 0;
    while let Some(ended) = topics.join_next().await {
        let (rounds, to) = ended??;
        all.unseen += rounds.unseen;
        all.twice += rounds.twice;
        all.slowest = all.slowest.max(rounds.slowest);
        let status = transport.status(&to.topic, &to.group).await?;
        left += status.in_flight.value().unwrap_or(0) + status.backlog.value().unwrap_or(0);
    }
    transport.close().await?;
    let mut findings = run.findings();
    findings.say(format!("{rounds} rounds"));
    findings.exactly("unseen", all.unseen, 0);
    findings.exactly("twice", all.twice, 0);
    findings.exactly("left with the group", usize::try_from(left)?, 0);
    findings.within("slowest", Some(all.slowest), run.limit(SEEN_MAX));
    Ok(())
}

/// One member that reads, and one who publishes to it.
struct Pair {
    transport: Arc<dyn Transport>,
    to: Subscription,
    publisher: Arc<dyn Publisher>,
    subscriber: Arc<dyn Subscriber>,
    chance: fastrand::Rng,
    found: Rounds,
    /// The message of this round, and whether it was seen.
    number: u64,
    seen: usize,
}

async fn all_rounds(
    transport: Arc<dyn Transport>,
    to: Subscription,
    rounds: u64,
    chance: fastrand::Rng,
) -> Result<(Rounds, Subscription)> {
    let mut pair = Pair {
        publisher: transport.publisher().await?,
        subscriber: transport.subscriber(&to).await?,
        transport,
        to,
        chance,
        found: Rounds::default(),
        number: 0,
        seen: 0,
    };
    for number in 0..rounds {
        (pair.number, pair.seen) = (number, 0);
        let stored = match pair.chance.u8(0..3) {
            0 => pair.around_the_end().await?,
            1 => pair.around_a_drop().await?,
            _ => pair.around_a_leave().await?,
        };
        while pair.seen == 0 && stored.elapsed() < SEEN_MAX * 3 {
            let read = pair.subscriber.receive(ONE, READ).await?;
            pair.take(read).await?;
        }
        let found = &mut pair.found;
        found.unseen += usize::from(pair.seen == 0);
        found.twice += pair.seen.saturating_sub(1);
        found.slowest = found.slowest.max(stored.elapsed());
    }
    // Whatever comes now came twice.
    let read = pair.subscriber.receive(ONE, READ).await?;
    pair.take(read).await?;
    pair.subscriber.close().await?;
    Ok((pair.found, pair.to))
}

impl Pair {
    /// The message comes around the moment at which a read ends by itself.
    async fn around_the_end(&mut self) -> Result<Instant> {
        let at = BLOCK - JITTER / 2 + self.jitter();
        let (read, stored) = tokio::join!(self.subscriber.receive(ONE, BLOCK), self.send(at));
        self.take(read?).await?;
        stored
    }

    /// The message comes around the moment at which a read is dropped.
    async fn around_a_drop(&mut self) -> Result<Instant> {
        let (drop_after, at) = (self.jitter(), self.jitter());
        let read = timeout(drop_after, self.subscriber.receive(ONE, BLOCK * 4));
        let (read, stored) = tokio::join!(read, self.send(at));
        if let Ok(read) = read {
            self.take(read?).await?;
        }
        stored
    }

    /// The message comes around the moment at which the member leaves, out of a read. What it had
    /// been handed is given back, and comes to the next member.
    async fn around_a_leave(&mut self) -> Result<Instant> {
        let (leave_after, at) = (self.jitter(), self.jitter());
        let leave = async {
            sleep(leave_after).await;
            self.subscriber.close().await
        };
        let read = self.subscriber.receive(ONE, BLOCK * 4);
        let (_given_back, left, stored) = tokio::join!(read, leave, self.send(at));
        left?;
        let next = self.to.clone().member(Member::unique());
        self.subscriber = self.transport.subscriber(&next).await?;
        stored
    }

    fn jitter(&mut self) -> Duration {
        JITTER.mul_f64(self.chance.f64())
    }

    /// Publishes this round's message after a while; when it was stored.
    async fn send(&self, after: Duration) -> Result<Instant> {
        sleep(after).await;
        let message = [Message::new(self.number.to_string())];
        self.publisher
            .publish(&self.to.topic, &message, SEEN_MAX)
            .await?;
        Ok(Instant::now())
    }

    /// Acknowledges what was received. What is of an earlier round came twice.
    async fn take(&mut self, deliveries: Vec<Delivery>) -> Result {
        for delivery in deliveries {
            let settled = self.subscriber.ack(&[delivery.receipt]).await?;
            self.found.twice += settled.stale.len();
            let is_ours = delivery.message.body()[..] == *self.number.to_string().as_bytes();
            self.seen += usize::from(is_ours);
            self.found.twice += usize::from(!is_ours);
        }
        Ok(())
    }
}
