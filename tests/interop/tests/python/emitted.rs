//! Which events do our builders emit, in all their variety?

use chrono::{DateTime, Duration, FixedOffset};
use potluck_core::envelope::{
    Confidence, FreeFood, FreeFoodEvent, Payload, RawEvent, Text, Timestamp,
};
use serde_json::{Map, Value, json};

const EVENTS: usize = 320;

/// The same numbers in every run: what Python says of an event must be possible to look at again.
struct Rng(u64);

impl Rng {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(3) > 0).then(|| make(self))
    }

    /// Characters from all of Unicode, more of the short ones.
    fn text(&mut self) -> String {
        let length = self.below(20);
        let chars = (0..length).map(|_| self.next() as u32 >> self.below(32));
        chars.filter_map(char::from_u32).collect()
    }

    fn full_text(&mut self) -> String {
        let text = self.text();
        if text.is_empty() {
            "☕".to_owned()
        } else {
            text
        }
    }

    /// From 0 to 1, the ends more often than chance would have them.
    fn share(&mut self) -> f64 {
        match self.below(5) {
            0 => 0.0,
            1 => 1.0,
            2 => f64::MIN_POSITIVE,
            3 => (self.next() >> 11) as f64 / (1_u64 << 53) as f64,
            _ => (self.below(101) as f64) / 100.0,
        }
    }

    /// Of the years 2 to 9998, so that an offset leads to no other millennium; to the nanosecond,
    /// of which six digits are to be written.
    fn time(&mut self) -> DateTime<FixedOffset> {
        let days = 366 + self.below(3_650_000) as i64;
        let nanos = match self.below(4) {
            0 => 0,
            1 => 1_000_000 * self.below(86_400_000),
            _ => self.below(86_400_000_000_000),
        };
        let first = DateTime::from_timestamp(-62_135_596_800, 0).unwrap_or_default();
        let at = first + Duration::days(days) + Duration::nanoseconds(nanos as i64);
        let hours = self.below(27) as i32 - 12;
        FixedOffset::east_opt(hours * 3600 + 1800)
            .map_or_else(|| at.fixed_offset(), |offset| at.with_timezone(&offset))
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 7 } else { 9 }) {
            0 => Value::Null,
            1 => json!(self.below(2) == 0),
            2 => json!(self.next() >> self.below(64)),
            3 => json!(self.next() as i64 >> self.below(64)),
            4 => json!(f64::from_bits(self.next())),
            5 | 6 => json!(self.text()),
            7 => (0..self.below(4)).map(|_| self.value(depth - 1)).collect(),
            _ => Value::Object(self.metadata(depth)),
        }
    }

    fn metadata(&mut self, depth: usize) -> Map<String, Value> {
        (0..self.below(5))
            .map(|_| (self.text(), self.value(depth.saturating_sub(1))))
            .collect()
    }
}

fn from_raw(rng: &mut Rng) -> potluck_core::Result<FreeFoodEvent> {
    RawEvent {
        id: rng.maybe(Rng::text),
        title: Some(rng.full_text()),
        description: rng.maybe(Rng::text),
        location: rng.maybe(Rng::text),
        start_time: rng.maybe(Rng::time),
        source: rng.maybe(Rng::text),
        llm_confidence: rng.maybe(Rng::share),
        reason: rng.maybe(Rng::text),
        metadata: rng.maybe(|rng| rng.metadata(4)),
    }
    .into_event()
}

fn from_builder(rng: &mut Rng) -> potluck_core::Result<FreeFoodEvent> {
    let time = |rng: &mut Rng| Timestamp::new(rng.time().to_utc());
    let body = FreeFood {
        title: Text::new(rng.full_text())?,
        description: rng.maybe(Rng::text),
        location: rng.maybe(Rng::text),
        start_time: rng.maybe(time).transpose()?,
        llm_confidence: rng.maybe(Rng::share).map(Confidence::new).transpose()?,
        reason: rng.maybe(Rng::text),
    };
    let mut event = FreeFoodEvent::builder(body)
        .event_id(rng.full_text())?
        .source(rng.full_text())?
        .metadata(rng.metadata(4))
        .build();
    event.published_at = time(rng)?;
    event.retries = rng.next() as u32 >> rng.below(32);
    Ok(event)
}

/// Events, one a line: built, and each as it is re-published after failures.
pub(crate) fn lines() -> Result<Vec<u8>, String> {
    let mut rng = Rng(2025);
    let mut lines = Vec::new();
    for n in 0..EVENTS {
        let event = if n % 2 == 0 {
            from_raw(&mut rng)
        } else {
            from_builder(&mut rng)
        };
        let json = event
            .and_then(|event| event.to_json())
            .map_err(|error| format!("event {n}: {error}"))?;
        let payload = Payload::check(json).map_err(|error| format!("event {n}: {error}"))?;
        let failures = rng.next() as u32 >> rng.below(32);
        let again = payload
            .after_failure(failures, &rng.text())
            .map_err(|error| format!("event {n}: {error}"))?;
        for line in [payload.bytes(), &again] {
            lines.extend_from_slice(line);
            lines.push(b'\n');
        }
    }
    Ok(lines)
}
