//! The events of a run, and the handlers that do with each what its plan says.

use std::panic::panic_any;
use std::sync::Arc;
use std::time::Duration;

use potluck_core::Message;
use potluck_core::envelope::{Envelope, EventBody, SchemaVersion};
use potluck_runtime::{ConsumerBuilder, Context, Failure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::plan::{How, Plan, Try, What};
use crate::world::{Entry, Life};

/// What a planned panic says.
pub(crate) const PLANNED: &str = "as planned";

macro_rules! bodies {
    ($($(#[$doc:meta])* $name:ident = $kind:literal),*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
        pub(crate) struct $name {
            number: usize,
        }
        impl EventBody for $name {
            const TYPE: &'static str = $kind;
            const SCHEMA_VERSION: SchemaVersion = SchemaVersion::new(1, 0, 0);
        }
    )*};
}
bodies!(
    /// Handled each for itself.
    One = "ONE",
    /// Handled in slices.
    Slice = "SLICE",
    /// Handled by nobody.
    Nobodys = "NOBODYS"
);

/// The message of an event of the plan.
pub(crate) fn message(plan: &Plan, number: usize) -> Message {
    let event = plan.events[number];
    let message = match event.what {
        What::Malformed => Message::new(format!("{{\"number\": {number}")),
        What::UnknownType => envelope(Nobodys { number }, 1),
        What::UnknownMajor => envelope(One { number }, 2),
        _ if event.batch => envelope(Slice { number }, 1),
        _ => envelope(One { number }, 1),
    };
    let message = message.with_header("number", number.to_string()).unwrap();
    match event.key {
        Some(key) => message.with_key(vec![key]).unwrap(),
        None => message,
    }
}

fn envelope<B: EventBody>(body: B, major: u32) -> Message {
    let number = serde_json::to_value(&body).unwrap()["number"].clone();
    let event = Envelope::builder(body).event_id(format!("event {number}"));
    let mut event = event.unwrap().build();
    event.schema_version = SchemaVersion::new(major, 0, 0);
    event.to_message().unwrap()
}

/// Which event a message is.
pub(crate) fn number(message: &Message) -> usize {
    let number = message.headers().get("number").expect("headers travel");
    std::str::from_utf8(number).unwrap().parse().unwrap()
}

/// Registers the handlers of a life.
pub(crate) fn handled(builder: ConsumerBuilder, life: &Arc<Life>) -> ConsumerBuilder {
    let (one, several) = (life.clone(), life.clone());
    builder
        .on(move |event: Envelope<One>, context: Context| {
            handler(&one, vec![(event.body.number, context)])
        })
        .on_batch(
            3.try_into().unwrap(),
            move |events: Vec<(Envelope<Slice>, Context)>| {
                let all = events.into_iter();
                handler(&several, all.map(|(e, c)| (e.body.number, c)).collect())
            },
        )
}

/// A try of a slice of events: it goes wrong if it goes wrong for one of them.
fn handler(
    life: &Arc<Life>,
    slice: Vec<(usize, Context)>,
) -> impl Future<Output = Result<(), Failure>> + use<> {
    let running = Running::begin(life.clone(), &slice);
    let plan = &life.world.plan;
    let tries = slice.iter().map(|(number, context)| {
        // The copy with the fewest headers has none of the sender's.
        if let Some(named) = context.headers().get("number") {
            assert_eq!(
                **named,
                *number.to_string().as_bytes(),
                "another event's context"
            );
        }
        plan.events[*number].what.at(context.tries())
    });
    let wrong = tries.filter(|one| *one != Try::Succeeds).last();
    if wrong == Some(Try::GoesWrong(How::PanicsAtOnce)) && !life.is_over() {
        running.end(false);
        panic_any(PLANNED);
    }
    run(running, wrong)
}

async fn run(running: Running, wrong: Option<Try>) -> Result<(), Failure> {
    let life = running.life.clone();
    for _ in 0..life.world.draw(0..3) {
        let worked = life.world.draw(0..400);
        sleep(Duration::from_millis(worked)).await;
        life.step().await;
    }
    match wrong {
        None => {
            running.end(true);
            Ok(())
        }
        Some(Try::Rejects) => {
            running.end(false);
            Err(Failure::reject("rejected as planned"))
        }
        Some(Try::GoesWrong(How::Hangs)) => std::future::pending().await,
        Some(Try::GoesWrong(How::Panics)) => {
            running.end(false);
            panic_any(PLANNED)
        }
        Some(_) => {
            running.end(false);
            Err(Failure::retry("failed as planned"))
        }
    }
}

/// A try under way. Dropped, it was cut off.
struct Running {
    life: Arc<Life>,
    events: Vec<usize>,
    began: Instant,
    ended: bool,
}

impl Running {
    fn begin(life: Arc<Life>, slice: &[(usize, Context)]) -> Self {
        for (event, context) in slice {
            life.log(Entry::Began {
                life: life.number,
                event: *event,
                tries: context.tries(),
                slice: slice.len(),
            });
        }
        Self {
            life,
            events: slice.iter().map(|(number, _)| *number).collect(),
            began: Instant::now(),
            ended: false,
        }
    }

    fn end(mut self, success: bool) {
        self.ended = true;
        let (life, slice) = (self.life.number, self.events.len());
        for event in self.events.iter().copied() {
            self.life.log(if success {
                Entry::Succeeded { life, event, slice }
            } else {
                Entry::Failed { life, event, slice }
            });
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let by_limit = self.began.elapsed() >= self.life.world.plan.time_limit;
        for event in self.events.iter().copied() {
            self.life.log(Entry::CutOff {
                life: self.life.number,
                event,
                by_limit,
                slice: self.events.len(),
            });
        }
    }
}
