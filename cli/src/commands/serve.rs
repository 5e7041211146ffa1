//! `potluck serve`, and `mq-consumer`: the service that handles free-food events until it is told
//! to stop.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use potluck::envelope::Confidence;
use potluck::{
    Bus, Consumer, ConsumerBuilder, EventProcessor, Group, Member, ProcessorStats, State, Topic,
    Transport,
};
use serde::Serialize;
use tokio::time::{sleep, timeout};

use crate::args::{Global, Layout, LogForm, Serve, serve};
use crate::connect::{self, Address};
use crate::exit::{Exit, Run, Stop};
use crate::log;
use crate::output::{self, HEADING, Talk, styled};
use crate::records;
use crate::settings::Settings;
use crate::signals::Signalled;

const TOPIC: &str = "events.free-food";
const GROUP: &str = "mq-consumer";
const BLOCK: Duration = Duration::from_secs(5);
const COUNT: NonZeroUsize = NonZeroUsize::new(10).unwrap();
const DRAIN: Duration = Duration::from_secs(25);

pub(crate) fn run(args: &Serve, global: &Global, talk: Talk) -> Run {
    let settings = Settings::read(args.env_file.as_deref())?;
    let form = settings.get(args.log, "MQ_LOG", log_form)?;
    log::structured::keep(form.unwrap_or(LogForm::Text), talk);
    let address = address(&settings, global, talk)?;
    let service = Service::of(args, &settings)?;
    connect::block_on(async {
        let bus = potluck::bus(&address.url)?;
        connect::note_if_in_memory(&**bus.transport(), talk);
        let run = service.run(&bus, &address, talk).await;
        if let Err(error) = bus.close().await {
            talk.warn(error);
        }
        run
    })
}

fn log_form(text: &str) -> Result<LogForm, String> {
    LogForm::from_str(text, true).map_err(|_| "it is text or json".to_owned())
}

fn address(settings: &Settings, global: &Global, talk: Talk) -> Result<Address, Stop> {
    if let Some(address) = connect::named(global, talk)? {
        return Ok(address);
    }
    let mut names = ["POTLUCK_URL", "REDIS_URL"].into_iter();
    match names.find_map(|name| settings.in_file(name)) {
        Some((url, from)) => connect::address(url, from),
        None => connect::needed(global, talk),
    }
}

/// What it works on, and how.
struct Service {
    topic: Topic,
    group: Group,
    member: Option<Member>,
    block: Duration,
    count: NonZeroUsize,
    concurrency: Option<NonZeroUsize>,
    drain: Duration,
    threshold: Option<Confidence>,
    layout: Option<Layout>,
}

impl Service {
    fn of(args: &Serve, settings: &Settings) -> Result<Self, Stop> {
        let number = |text: &str| {
            let number: Result<NonZeroUsize, _> = text.parse();
            number.map_err(|_| "it is a whole number of at least 1".to_owned())
        };
        let topic = settings.get(args.topic.clone(), "MQ_STREAM", serve::topic)?;
        let group = settings.get(args.group.clone(), "MQ_GROUP", serve::group)?;
        let block = settings.get(args.block, "MQ_BLOCK", serve::block)?;
        let drain = settings.get(args.drain_timeout, "MQ_DRAIN_TIMEOUT", serve::duration)?;
        Ok(Self {
            topic: topic.map_or_else(|| Topic::new(TOPIC), Ok)?,
            group: group.map_or_else(|| Group::new(GROUP), Ok)?,
            member: settings.get(args.name.clone(), "MQ_NAME", serve::member)?,
            block: block.unwrap_or(BLOCK),
            count: settings
                .get(args.count, "MQ_COUNT", number)?
                .unwrap_or(COUNT),
            concurrency: settings.get(args.concurrency, "MQ_CONCURRENCY", number)?,
            drain: drain.unwrap_or(DRAIN),
            threshold: settings.get(
                args.confidence_threshold,
                "MQ_CONFIDENCE_THRESHOLD",
                serve::confidence,
            )?,
            layout: args.output,
        })
    }

    async fn run(&self, bus: &Bus, address: &Address, talk: Talk) -> Run {
        let mut signalled = Signalled::listen(talk)?;
        let (topic, group, broker) = (&self.topic, &self.group, address.shown()?);
        tracing::info!(%topic, %group, broker, from = address.from, "starting");
        let processor = match self.threshold {
            Some(threshold) => EventProcessor::new().confidence_threshold(threshold),
            None => EventProcessor::new(),
        };
        tokio::spawn(tell_of_connection(bus.transport().clone()));
        let consumer = tokio::select! {
            started = self.consumer(bus, &processor).start() => started?,
            () = signalled.times(1) => {
                // It has received nothing.
                self.report(&ProcessorStats::default())?;
                return Ok(Exit::Ok);
            }
        };
        tracing::info!(%topic, %group, "consuming");
        tokio::select! {
            // Its stop fails with the reason.
            _ = consumer.ended() => {}
            () = signalled.times(1) => {}
        }
        self.stop(consumer, &processor, &mut signalled, talk).await
    }

    fn consumer(&self, bus: &Bus, processor: &EventProcessor) -> ConsumerBuilder {
        let mut consumer = bus
            .consumer(&self.topic, &self.group)
            .on(processor.handler())
            .block(self.block)
            .count(self.count);
        if let Some(member) = &self.member {
            consumer = consumer.member(member.clone());
        }
        if let Some(handlers) = self.concurrency {
            consumer = consumer.concurrency(handlers);
        }
        consumer
    }

    async fn stop(
        &self,
        consumer: Consumer,
        processor: &EventProcessor,
        signalled: &mut Signalled,
        talk: Talk,
    ) -> Run {
        let monitor = consumer.monitor();
        let over = async {
            tokio::select! {
                () = sleep(self.drain) => {}
                () = signalled.times(2) => {}
            }
        };
        let stopped = consumer.stop_when(over).await;
        self.report(&processor.stats(&monitor.stats()))?;
        match stopped {
            Err(error) if signalled.is_at_least(2) => {
                talk.warn(error);
                Ok(Exit::Interrupted)
            }
            Err(error) => Err(error.into()),
            Ok(_) if signalled.is_at_least(2) => Ok(Exit::Interrupted),
            Ok(_) => Ok(Exit::Ok),
        }
    }

    fn report(&self, stats: &ProcessorStats) -> Result<(), Stop> {
        let counted = &stats.consumer;
        tracing::info!(
            events_processed = counted.events_processed,
            events_failed = counted.events_failed,
            uptime_seconds = rounded(counted.uptime_seconds),
            events_per_second = rounded(counted.events_per_second),
            low_confidence = stats.low_confidence,
            given_back = counted.given_back,
            latency_p50_ms = counted.latency.p50_ms,
            latency_p99_ms = counted.latency.p99_ms,
            "stopped"
        );
        let written = match output::layout(self.layout) {
            Layout::Json => {
                let report = Report {
                    topic: self.topic.as_str(),
                    group: self.group.as_str(),
                    stats,
                };
                records::write_report(&mut output::for_programs(), &report)
            }
            Layout::Pretty => self.write_pretty(&mut output::for_people(), stats),
        };
        written.map_err(|error| Stop::at_output(&error))
    }

    fn write_pretty(&self, out: &mut impl Write, stats: &ProcessorStats) -> io::Result<()> {
        let (topic, group) = (&self.topic, &self.group);
        writeln!(
            out,
            "{}",
            styled(format_args!("{group} of {topic}"), HEADING)
        )?;
        let (counted, latency) = (&stats.consumer, &stats.consumer.latency);
        let rate = counted.events_per_second;
        let spread = [
            ("p50", latency.p50_ms),
            ("p90", latency.p90_ms),
            ("p99", latency.p99_ms),
            ("max", latency.max_ms),
        ];
        let spread = spread
            .map(|(name, ms)| format!("{name} {ms} ms"))
            .join("   ");
        let processed = counted.events_processed;
        for (name, text) in [
            ("Processed", format!("{processed}, {rate:.1} a second")),
            ("Failed", counted.events_failed.to_string()),
            (
                "Unsure",
                format!("{} of low confidence", stats.low_confidence),
            ),
            ("Given back", counted.given_back.to_string()),
            ("Latency", spread),
            ("Uptime", format!("{:.1} s", counted.uptime_seconds)),
        ] {
            writeln!(out, "  {name:<10}  {text}")?;
        }
        out.flush()
    }
}

/// Tells when the connection is lost and made, until it is closed. The first time it may take a
/// moment.
async fn tell_of_connection(transport: Arc<dyn Transport>) {
    let mut state = State::Connecting;
    let changed = transport.changed(state);
    state = match timeout(connect::PATIENCE, changed).await {
        Ok(state) => state,
        Err(_) => State::Connecting,
    };
    loop {
        match state {
            State::Connecting => tracing::error!("not connected to the broker; waiting for it"),
            State::Closed => return,
            state => tracing::info!(%state, "connected to the broker"),
        }
        state = transport.changed(state).await;
    }
}

/// The report. Documented and stable.
#[derive(Serialize)]
struct Report<'a> {
    topic: &'a str,
    group: &'a str,
    #[serde(flatten)]
    stats: &'a ProcessorStats,
}

/// To a thousandth.
fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_has_the_original_names_at_the_top() {
        let report = Report {
            topic: "t",
            group: "g",
            stats: &ProcessorStats::default(),
        };
        let report = serde_json::to_value(report).unwrap();
        for name in [
            "topic",
            "group",
            "events_processed",
            "events_failed",
            "uptime_seconds",
            "events_per_second",
            "low_confidence",
            "latency",
        ] {
            assert!(report.get(name).is_some(), "{name}: {report}");
        }
    }
}
