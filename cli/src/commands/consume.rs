//! `potluck consume`: write messages as a member of a group, and acknowledge what is written.

use std::collections::HashSet;
use std::num::NonZeroUsize;

use potluck::subscription::MAX_HELD_DEFAULT;
use potluck::{Delivery, MessageId, Receipt, Subscriber, Subscription, Topic};

use crate::args::{Consume, Global};
use crate::connect::{self, Broker};
use crate::exit::{Exit, Run, Stop};
use crate::lines::Lines;
use crate::log;
use crate::output::{self, Talk};
use crate::records::{self, Item, Writer};
use crate::until::{self, Until};

pub(crate) fn run(args: &Consume, global: &Global, talk: Talk) -> Run {
    connect::with_broker(global, talk, async |broker| {
        let to = subscription(args);
        let subscriber = broker.answer(broker.transport.subscriber(&to)).await?;
        log::show(talk);
        let mut consuming = Consuming {
            topic: &args.topic,
            subscriber: &*subscriber,
            skips: args.skip_malformed,
            max_held: to.max_held,
            talk,
            writer: Writer::new(args.show.output),
            lines: Lines::to_stdout()?,
            owed: Vec::new(),
            ack_failed: false,
            left: HashSet::new(),
            written: 0,
            skipped: 0,
        };
        let mut end = Until::new(&args.show, talk)?;
        let ended = consuming.all(&mut end, broker).await;
        let settled = consuming.settle_the_last().await;
        // Gives back what is not acknowledged.
        if let Err(error) = subscriber.close().await {
            talk.warn(error);
        }
        if matches!(ended, Ok(()) | Err(Stop::ClosedPipe)) {
            settled?;
        }
        ended?;
        consuming.conclude()
    })
}

/// With a --max it holds no more than a slice of it, so that nothing is handed over in vain.
fn subscription(args: &Consume) -> Subscription {
    let max_held = args.show.max.map_or(MAX_HELD_DEFAULT, until::slice_of);
    let to = Subscription::new(args.topic.clone(), args.group.clone()).max_held(max_held);
    match &args.member {
        Some(member) => to.member(member.clone()),
        None => to,
    }
}

struct Consuming<'a> {
    topic: &'a Topic,
    subscriber: &'a dyn Subscriber,
    skips: bool,
    max_held: NonZeroUsize,
    talk: Talk,
    writer: Writer,
    lines: Lines,
    /// What is written and not yet known to be acknowledged.
    owed: Vec<Receipt>,
    ack_failed: bool,
    /// Malformed messages that are left unsettled. They may come to us again.
    left: HashSet<MessageId>,
    written: u64,
    skipped: u64,
}

impl Consuming<'_> {
    async fn all(&mut self, end: &mut Until, broker: &Broker) -> Result<(), Stop> {
        while let Some(most) = end.most() {
            let receive = self.subscriber.receive(most, end.wait());
            let Some(deliveries) = end.receive(receive, &*broker.transport).await? else {
                break;
            };
            let known = self.left.len();
            let again = deliveries.iter().filter(|one| self.left.contains(&one.id));
            let again = again.count();
            let written = self.write(&deliveries);
            self.settle().await?;
            written?;
            end.came(deliveries.len() - again);
            if self.left.len() > known && self.left.len() >= self.max_held.get() {
                let enough = end.most().is_none();
                return if enough { Ok(()) } else { Err(self.full()) };
            }
        }
        Ok(())
    }

    /// Writes good messages, names malformed ones, and owes acknowledgements for what is done with.
    fn write(&mut self, deliveries: &[Delivery]) -> Result<(), Stop> {
        let mut written = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            let message = &delivery.message;
            if let Some(problem) = records::problem(message, delivery.defect.as_ref()) {
                self.name(delivery, &problem);
                continue;
            }
            let item = Item {
                topic: self.topic,
                id: delivery.id,
                message,
                attempt: Some(delivery.attempt),
                problem: None,
            };
            let writer = &mut self.writer;
            self.lines.add(|text| writer.write(&item, text));
            written.push(delivery.receipt);
        }
        let result = self.lines.write().map_err(|(whole, stop)| {
            written.truncate(whole);
            stop
        });
        self.written += written.len() as u64;
        self.owed.extend(written);
        result
    }

    fn name(&mut self, delivery: &Delivery, problem: &str) {
        if self.skips {
            output::error(records::complaint(delivery.id, problem));
            self.skipped += 1;
            self.owed.push(delivery.receipt);
        } else if self.left.insert(delivery.id) {
            output::error(records::complaint(delivery.id, problem));
        }
    }

    /// Acknowledges what is owed. While the broker is away the debt is kept for the next time.
    async fn settle(&mut self) -> Result<(), Stop> {
        match self.subscriber.ack(&self.owed).await {
            Ok(settled) => {
                self.owed.clear();
                self.ack_failed = false;
                let stale = settled.stale.len();
                if stale > 0 {
                    self.talk.warn(format_args!(
                        "written, but acknowledged too late, so they come again: {stale}"
                    ));
                }
                Ok(())
            }
            Err(error) if error.is_retryable() => {
                if !std::mem::replace(&mut self.ack_failed, true) {
                    self.talk.warn(error);
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Tries once more when the last time failed.
    async fn settle_the_last(&mut self) -> Result<(), Stop> {
        if !self.owed.is_empty() {
            self.settle().await?;
        }
        if self.owed.is_empty() {
            return Ok(());
        }
        let text = format!(
            "written, but not known to be acknowledged, so they may come again: {}",
            self.owed.len()
        );
        Err(Stop::failed(Exit::Unreachable, text))
    }

    fn full(&self) -> Stop {
        let text = format!(
            "{} malformed messages are left, as many as one member may hold; \
             acknowledge them with --skip-malformed",
            self.left.len()
        );
        Stop::failed(Exit::BadData, text)
    }

    fn conclude(&self) -> Run {
        let Self {
            written, skipped, ..
        } = self;
        let skipped = match skipped {
            0 => String::new(),
            count => format!(", {count} malformed skipped"),
        };
        self.talk.note(format_args!("{written} consumed{skipped}"));
        if self.left.is_empty() {
            return Ok(Exit::Ok);
        }
        let text = format!(
            "malformed messages left to the group: {}; acknowledge them with --skip-malformed",
            self.left.len()
        );
        Err(Stop::failed(Exit::Partly, text))
    }
}
