//! What becomes of events when the process of their consumer ends? A consumer to kill and to stop:
//! it says `+TITLE` when a handler begins and `-TITLE` when one has succeeded, flushed.
//!
//! `faults-worker URL TOPIC GROUP LEASE_MS HOLD_MIN_MS HOLD_MAX_MS CONCURRENCY HELD DRAIN_MS
//! lives|dies-before-copy|dies-after-copy SEED`. It stops on SIGTERM, and is killed when its input
//! ends: whoever started it is gone then.

use std::io::{Read, Write};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use potluck_core::envelope::FreeFoodEvent;
use potluck_core::{Group, Topic, Transport};
use potluck_faults::runtime::events::{self, Fate};
use potluck_faults::runtime::journal::script;
use potluck_faults::runtime::one_retry;
use potluck_faults::runtime::stage::number;
use potluck_faults::runtime::watched::{Came, Watched};
use potluck_faults::{Result, Trouble};
use potluck_runtime::{Bus, Context, Failure};
use rustix::process::{Signal, getpid, kill_process};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let ran = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Trouble::from)
        .and_then(|runtime| runtime.block_on(consume(&arguments)));
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say('!', &error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn say(what: char, text: &str) {
    let mut output = std::io::stdout().lock();
    // Whoever reads it may be gone, and then nobody misses it.
    let _ = writeln!(output, "{what}{text}").and_then(|()| output.flush());
}

fn end_at_once() {
    let _ = kill_process(getpid(), Signal::KILL);
}

fn connect(url: &str, dies: &str) -> Result<Arc<dyn Transport>> {
    let transport = match url.split_once(':') {
        Some(("redis" | "rediss", _)) => potluck_redis::connect(url)?,
        _ => return Err("no transport for this URL".into()),
    };
    let at = match dies {
        "dies-before-copy" => Came::Before,
        "dies-after-copy" => Came::Stored,
        _ => return Ok(transport),
    };
    Ok(Watched::over(transport, move |topic, _, came| {
        if came == at && topic.is_derived() {
            end_at_once();
        }
    }))
}

fn parse<T: FromStr<Err: Into<Trouble>>>(text: &str) -> Result<T> {
    text.parse().map_err(Into::into)
}

async fn consume(arguments: &[String]) -> Result {
    let [url, topic, group, numbers @ .., dies, seed] = arguments else {
        return Err("too few arguments".into());
    };
    let numbers: Vec<u64> = numbers
        .iter()
        .map(|text| parse(text))
        .collect::<Result<_>>()?;
    let [lease, hold_min, hold_max, concurrency, held, drain] = numbers[..] else {
        return Err("six numbers are needed".into());
    };
    std::thread::spawn(|| {
        // Nobody writes there.
        let _ = std::io::stdin().read(&mut [0]);
        end_at_once();
    });
    let chance = Arc::new(Mutex::new(fastrand::Rng::with_seed(parse(seed)?)));
    let handler = move |event: FreeFoodEvent, context: Context| {
        let mut chance = chance.lock().unwrap_or_else(PoisonError::into_inner);
        let hold = Duration::from_millis(chance.u64(hold_min..hold_max.max(hold_min + 1)));
        async move { handle(&event, &context, hold).await }
    };
    let bus = Bus::new(connect(url, dies)?);
    bus.consumer(&Topic::new(topic)?, &Group::new(group)?)
        .on(handler)
        .retry(one_retry())
        .lease(Duration::from_millis(lease))
        .concurrency(number(usize::try_from(concurrency)?))
        .max_held(number(usize::try_from(held)?))
        .drain_within(Duration::from_millis(drain))
        .run()
        .await?;
    Ok(bus.close().await?)
}

async fn handle(event: &FreeFoodEvent, context: &Context, hold: Duration) -> Result<(), Failure> {
    let (title, script) = (event.body.title.as_str(), script(event));
    say('+', title);
    if events::fate(script, context.tries()) == Fate::Succeed {
        tokio::time::sleep(hold).await;
    }
    events::play(script, context.tries()).await?;
    say('-', title);
    Ok(())
}
