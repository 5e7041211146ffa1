//! Does a transport do with a history what at-least-once with groups allows?
//!
//! The model is small, and knows of no broker: for each group and message, whether it is
//! acknowledged, how often it was handed over, and who has it until when. It says what must be,
//! what must not be, and leaves open what the contract leaves open.

use std::collections::HashMap;
use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use potluck_core::capabilities::{Attempts, Redelivery};
use potluck_core::{
    Capabilities, Delivery, Figure, Group, Member, Message, MessageId, Receipt, Result, Settled,
    Start, Subscriber, Subscription, Topic, Transport,
};
use tokio::time::{Instant, sleep};

use crate::history::{GROUPS, PLACES, Step};

const MAX_HELD: usize = 6;
const WITHIN: Duration = Duration::from_secs(10);

/// What must not be.
macro_rules! must {
    ($holds:expr, $($why:tt)*) => {
        if !$holds {
            return Err(format!($($why)*));
        }
    };
}

/// A message as a group sees it.
#[derive(Clone, Debug, Default)]
struct Seen {
    attempt: u32,
    acked: bool,
    /// The last hand-over, while nothing has ended it.
    held: Option<Hold>,
}

#[derive(Clone, Copy, Debug)]
struct Hold {
    place: usize,
    receipt: Receipt,
    /// The lease has not begun before, and not after.
    began: (Instant, Instant),
}

struct Place {
    transport: Arc<dyn Transport>,
    member: Arc<dyn Subscriber>,
    /// All that it was ever given, by message.
    given: Vec<(u64, Receipt)>,
}

struct World<C> {
    connect: C,
    admin: Arc<dyn Transport>,
    claims: Capabilities,
    topic: Topic,
    lease: Duration,
    /// How far two clocks may differ.
    slack: Duration,
    places: Vec<Option<Place>>,
    ids: HashMap<u64, MessageId>,
    groups: Vec<Option<HashMap<u64, Seen>>>,
    published: u64,
}

/// Runs a history on a transport, in a topic of its own, and says what was wrong. `slack` is how
/// much later than it should be a lease may be seen to end.
pub(crate) async fn check<C, F>(
    history: &[Step],
    connect: C,
    lease: Duration,
    slack: Duration,
) -> Result<(), String>
where
    C: Fn() -> F,
    F: Future<Output = Result<Arc<dyn Transport>>>,
{
    let admin = connect().await.map_err(|error| error.to_string())?;
    let topic = Topic::new(&format!("model-{}", uuid::Uuid::new_v4().simple()));
    let mut world = World {
        connect,
        claims: admin.capabilities(),
        admin,
        topic: topic.map_err(|error| error.to_string())?,
        lease,
        slack,
        places: (0..PLACES).map(|_| None).collect(),
        ids: HashMap::new(),
        groups: vec![None; GROUPS],
        published: 0,
    };
    let mut verdict = world.begin().await;
    for (at, step) in history.iter().enumerate() {
        if verdict.is_ok() {
            verdict = world
                .step(step)
                .await
                .map_err(|why| format!("step {at}, {step:?}: {why}"));
        }
    }
    if verdict.is_ok() {
        verdict = world
            .nothing_is_lost()
            .await
            .map_err(|why| format!("at the end: {why}"));
    }
    let groups: Vec<_> = (0..GROUPS).map(group).collect();
    let _ = world.admin.delete_topic(&world.topic, &groups).await;
    verdict
}

fn group(which: usize) -> Group {
    Group::new(["a", "b", "late"][which]).unwrap()
}

impl<C, F> World<C>
where
    C: Fn() -> F,
    F: Future<Output = Result<Arc<dyn Transport>>>,
{
    fn subscription(&self, place: usize) -> Subscription {
        let which = place % GROUPS;
        let start = if which == GROUPS - 1 {
            Start::New
        } else {
            Start::Earliest
        };
        Subscription::new(self.topic.clone(), group(which))
            .member(Member::unique())
            .start(start)
            .lease(self.lease)
            .max_held(NonZeroUsize::new(MAX_HELD).unwrap())
    }

    async fn begin(&mut self) -> Result<(), String> {
        for which in 0..GROUPS - 1 {
            self.admin
                .declare(&self.subscription(which))
                .await
                .map_err(|e| e.to_string())?;
            self.groups[which] = Some(HashMap::new());
        }
        Ok(())
    }

    async fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Publish(count) => self.publish(*count).await?,
            Step::Join(place) => self.join(*place).await?,
            Step::Receive(place, max) => {
                self.receive(*place, *max, Duration::ZERO).await?;
            }
            Step::Ack(place, which) => self.settle(*place, which, "ack").await?,
            Step::Release(place, which) => self.settle(*place, which, "release").await?,
            Step::Extend(place, which) => self.settle(*place, which, "extend").await?,
            Step::Close(place) | Step::CloseConnection(place) => {
                let Some(gone) = self.places[*place].take() else {
                    return Ok(());
                };
                if matches!(step, Step::Close(_)) {
                    gone.member
                        .close()
                        .await
                        .map_err(|error| error.to_string())?;
                }
                gone.transport
                    .close()
                    .await
                    .map_err(|error| error.to_string())?;
                self.let_go(*place);
            }
            Step::Abort(place) => {
                self.places[*place] = None;
                self.let_go(*place);
            }
            Step::Pass(tenths) => sleep(self.lease / 10 * *tenths).await,
        }
        self.figures().await
    }

    async fn publish(&mut self, count: usize) -> Result<(), String> {
        let numbers: Vec<u64> = (self.published..).take(count).collect();
        let slice: Vec<_> = numbers
            .iter()
            .map(|number| Message::new(number.to_string()))
            .collect();
        let publisher = self
            .admin
            .publisher()
            .await
            .map_err(|error| error.to_string())?;
        let ids = publisher.publish(&self.topic, &slice, WITHIN).await;
        let ids = ids.map_err(|error| error.to_string())?;
        must!(ids.len() == count, "{} ids for {count} messages", ids.len());
        self.published += count as u64;
        for (number, id) in numbers.into_iter().zip(ids) {
            must!(
                !self.ids.values().any(|known| *known == id),
                "the id {id} is there twice"
            );
            self.ids.insert(number, id);
            for seen in self.groups.iter_mut().flatten() {
                seen.insert(number, Seen::default());
            }
        }
        Ok(())
    }

    async fn join(&mut self, place: usize) -> Result<(), String> {
        if self.places[place].is_some() {
            return Ok(());
        }
        let transport = (self.connect)().await.map_err(|error| error.to_string())?;
        let member = transport.subscriber(&self.subscription(place)).await;
        let member = member.map_err(|error| error.to_string())?;
        self.groups[place % GROUPS].get_or_insert_default();
        self.places[place] = Some(Place {
            transport,
            member,
            given: Vec::new(),
        });
        Ok(())
    }

    /// What this place held may come again at any time from here on.
    fn let_go(&mut self, place: usize) {
        for seen in self.groups[place % GROUPS]
            .iter_mut()
            .flat_map(|group| group.values_mut())
        {
            if seen.held.is_some_and(|hold| hold.place == place) {
                seen.held = None;
            }
        }
    }

    /// Whether the lease runs surely, and whether it may run.
    fn runs(&self, hold: &Hold) -> (bool, bool) {
        if self.claims.redelivery != Redelivery::AfterLease {
            return (true, true);
        }
        let now = Instant::now();
        // A driver may hand out what it has read up to an eighth of the lease ago.
        let surely = now + self.slack < hold.began.0 + self.lease / 8 * 7;
        (surely, now <= hold.began.1 + self.lease + self.slack)
    }

    async fn receive(
        &mut self,
        place: usize,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Delivery>, String> {
        let Some(who) = &self.places[place] else {
            return Ok(Vec::new());
        };
        let before = Instant::now();
        let got = who
            .member
            .receive(NonZeroUsize::new(max).unwrap(), wait)
            .await;
        let got = got.map_err(|error| error.to_string())?;
        must!(
            got.len() <= max,
            "{} deliveries where {max} were asked for",
            got.len()
        );
        for delivery in &got {
            self.delivered(place, delivery, before)?;
        }
        let group = self.groups[place % GROUPS]
            .iter()
            .flat_map(|group| group.values());
        let holds = group
            .filter_map(|seen| seen.held)
            .filter(|hold| hold.place == place);
        let held = holds.filter(|hold| self.runs(hold).0).count();
        must!(held <= MAX_HELD, "it holds {held}, and {MAX_HELD} at most");
        Ok(got)
    }

    fn delivered(&mut self, place: usize, got: &Delivery, before: Instant) -> Result<(), String> {
        let number = std::str::from_utf8(got.message.body())
            .ok()
            .and_then(|text| text.parse().ok());
        let Some(number) = number else {
            return Err("a body came that nobody published".to_owned());
        };
        must!(
            self.ids.get(&number) == Some(&got.id),
            "message {number} came as {}",
            got.id
        );
        let group = self.groups[place % GROUPS].as_ref();
        let Some(seen) = group.and_then(|group| group.get(&number)).cloned() else {
            return Err(format!("message {number} is older than its group"));
        };
        must!(!seen.acked, "message {number} was acknowledged before");
        let counted = match self.claims.attempts {
            Attempts::Flag => (got.attempt > 1) == (seen.attempt > 0),
            _ => got.attempt > seen.attempt,
        };
        must!(
            counted,
            "attempt {} of {number} after {}",
            got.attempt,
            seen.attempt
        );
        if let Some(hold) = &seen.held {
            let stolen = self.runs(hold).0;
            must!(
                !stolen,
                "message {number} is held by {}, and came to {place}",
                hold.place
            );
        }
        if let Some(who) = &mut self.places[place] {
            let known = who.given.iter().any(|(_, receipt)| *receipt == got.receipt);
            must!(!known, "a receipt was given twice");
            who.given.push((number, got.receipt));
        }
        let hold = Hold {
            place,
            receipt: got.receipt,
            began: (before, Instant::now()),
        };
        let now = Seen {
            attempt: got.attempt,
            acked: false,
            held: Some(hold),
        };
        self.groups[place % GROUPS]
            .get_or_insert_default()
            .insert(number, now);
        Ok(())
    }

    async fn settle(&mut self, place: usize, which: &[u8], verb: &str) -> Result<(), String> {
        let Some(who) = &self.places[place] else {
            return Ok(());
        };
        let mut picked: Vec<(u64, Receipt)> = Vec::new();
        // The latest are the likeliest to be good.
        let latest = &who.given[who.given.len().saturating_sub(8)..];
        for pick in which.iter().filter(|_| !latest.is_empty()) {
            let one = latest[usize::from(*pick) % latest.len()];
            if !picked.contains(&one) {
                picked.push(one);
            }
        }
        let receipts: Vec<Receipt> = picked.iter().map(|(_, receipt)| *receipt).collect();
        let before = Instant::now();
        let settled: Result<Settled> = match verb {
            "ack" => who.member.ack(&receipts).await,
            "release" => who.member.release(&receipts).await,
            _ => who.member.extend(&receipts).await,
        };
        let stale = settled.map_err(|error| error.to_string())?.stale;
        must!(
            stale.iter().all(|one| receipts.contains(one)),
            "a stale receipt was never given"
        );
        for (number, receipt) in picked {
            self.settled(
                place,
                number,
                receipt,
                verb,
                stale.contains(&receipt),
                before,
            )?;
        }
        Ok(())
    }

    fn settled(
        &mut self,
        place: usize,
        number: u64,
        receipt: Receipt,
        verb: &str,
        stale: bool,
        before: Instant,
    ) -> Result<(), String> {
        let group = self.groups[place % GROUPS].get_or_insert_default();
        let Some(mut seen) = group.get(&number).cloned() else {
            return Err(format!("message {number} is unknown"));
        };
        let hold = seen
            .held
            .filter(|hold| hold.place == place && hold.receipt == receipt);
        let Some(hold) = hold else {
            must!(
                stale,
                "{verb} of {number} with a receipt that was over was not stale"
            );
            return Ok(());
        };
        if stale {
            must!(
                !self.runs(&hold).0,
                "{verb} of {number}, which it holds, was stale"
            );
            return Ok(());
        }
        match verb {
            "ack" => (seen.acked, seen.held) = (true, None),
            "release" => seen.held = None,
            _ => {
                seen.held = Some(Hold {
                    began: (before, Instant::now()),
                    ..hold
                })
            }
        }
        self.groups[place % GROUPS]
            .get_or_insert_default()
            .insert(number, seen);
        Ok(())
    }

    /// What is said to be exact is.
    async fn figures(&self) -> Result<(), String> {
        for (which, seen) in self.groups.iter().enumerate() {
            let Some(seen) = seen else { continue };
            let status = self.admin.status(&self.topic, &group(which)).await;
            let status = status.map_err(|error| error.to_string())?;
            if let (Figure::Exact(backlog), Figure::Exact(in_flight)) =
                (status.backlog, status.in_flight)
            {
                let left = seen.values().filter(|seen| !seen.acked).count() as u64;
                let said = backlog + in_flight;
                must!(
                    said == left,
                    "group {which} has {left} to do, and status says {said}"
                );
            }
        }
        Ok(())
    }

    /// One new member for each group gets all that is left, in time.
    async fn nothing_is_lost(&mut self) -> Result<(), String> {
        for which in 0..GROUPS {
            if self.groups[which].is_none() {
                continue;
            }
            for place in (which..PLACES).step_by(GROUPS) {
                self.places[place] = None;
                self.let_go(place);
            }
            self.join(which).await?;
            let deadline = Instant::now() + self.lease + Duration::from_secs(5);
            loop {
                let unacked = self.groups[which].iter().flat_map(|group| group.values());
                let left = unacked.filter(|seen| !seen.acked).count();
                if left == 0 {
                    break;
                }
                must!(
                    Instant::now() < deadline,
                    "{left} messages of group {which} never came"
                );
                let got = self.receive(which, 5, self.lease / 2).await?;
                let Some(who) = &self.places[which] else {
                    continue;
                };
                let receipts: Vec<_> = got.iter().map(|delivery| delivery.receipt).collect();
                let before = Instant::now();
                let settled = who
                    .member
                    .ack(&receipts)
                    .await
                    .map_err(|error| error.to_string())?;
                for got in &got {
                    let number = std::str::from_utf8(got.message.body())
                        .unwrap()
                        .parse()
                        .unwrap();
                    let stale = settled.stale.contains(&got.receipt);
                    self.settled(which, number, got.receipt, "ack", stale, before)?;
                }
            }
            let more = self.receive(which, 5, self.lease).await?;
            must!(more.is_empty(), "{} more came to group {which}", more.len());
        }
        self.figures().await
    }
}
