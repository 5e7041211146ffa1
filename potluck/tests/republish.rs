//! Do ten thousand awkward messages come through a failure with two fields changed and no other
//! byte? The expected text is made beside the sent one, not by the code under test.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)] // tests

use std::num::NonZeroUsize;
use std::time::Duration;

use potluck::envelope::{FreeFood, Received};
use potluck::{Group, Headers, Message, Subscription, Topic};

const COUNT: usize = 10_000;
const LONG: Duration = Duration::from_secs(10);

/// A small generator with a seed, so that a failure can be had again.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n
    }

    fn of<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        texts[self.below(texts.len())]
    }
}

/// `retries` before, and after one more failure.
const RETRIES: &[(&str, &str)] = &[
    ("0", "1"),
    ("7", "8"),
    ("0.0", "1"),
    ("-0", "1"),
    ("1e2", "101"),
    ("4294967295", "4294967295"),
];

/// `metadata` before, and after its `last_error` is `"no \"seats\""`.
const METADATA: &[(&str, &str)] = &[
    ("{}", r#"{"last_error":"no \"seats\""}"#),
    ("{ \n}", "{\"last_error\":\"no \\\"seats\\\"\" \n}"),
    (
        r#"{"n": 9007199254740993}"#,
        r#"{"n": 9007199254740993,"last_error":"no \"seats\""}"#,
    ),
    (
        r#"{"last_error" : [1, 1.10], "z":null}"#,
        r#"{"last_error" : "no \"seats\"", "z":null}"#,
    ),
    (
        r#"{"a":{"last_error":1},"a":2 }"#,
        r#"{"a":{"last_error":1},"a":2,"last_error":"no \"seats\"" }"#,
    ),
    (
        r#"{"last\u005ferror":null}"#,
        r#"{"last\u005ferror":"no \"seats\""}"#,
    ),
    (
        r#"{"é\/\ud83c\udf55":"\u0000"}"#,
        r#"{"é\/\ud83c\udf55":"\u0000","last_error":"no \"seats\""}"#,
    ),
];

const UNKNOWN: &[&str] = &[
    r#""big" : 123456789012345678901234567890"#,
    r#""price":1.10"#,
    r#""tiny":1e-400"#,
    r#""esc\u0061ped":"\/ \u00e9 \ud83c\udf55""#,
    r#""nested":{"retries":5,"metadata":{},"x":[1.0,1.00,-0.0,[]]}"#,
    r#""nothing":null"#,
    r#""":"an empty key""#,
    r#""retries ":99"#,
];

const KNOWN: &[&str] = &[
    r#""schema_version":"1.0.0""#,
    r#""title": "Free \u0050izza 🍕""#,
    r#""source":"umass-calendar""#,
    r#""type":"FREE_FOOD_EVENT""#,
    r#""published_at":"2025-11-02T14:03:22.123456Z""#,
    r#""description":null"#,
    r#""llm_confidence":0.930"#,
    r#""start_time":"2025-11-02T18:00:00Z""#,
];

/// A message as it is sent, and as it must look after a failure.
fn message(random: &mut Random, number: usize) -> (String, String) {
    let (retries, retries_after) = RETRIES[random.below(RETRIES.len())];
    let (metadata, metadata_after) = METADATA[random.below(METADATA.len())];
    let key = random.of(&["retries", r"retrie\u0073"]);
    let mut parts: Vec<(String, String)> =
        KNOWN.iter().map(|p| ((*p).into(), (*p).into())).collect();
    parts.push((
        format!("\"event_id\":\"{number}\""),
        format!("\"event_id\":\"{number}\""),
    ));
    parts.push((
        format!("\"{key}\" : {retries}"),
        format!("\"{key}\" : {retries_after}"),
    ));
    let pair = |value: &str| format!("\"metadata\":{value}");
    parts.push((pair(metadata), pair(metadata_after)));
    for unknown in UNKNOWN {
        if random.below(2) == 0 {
            parts.push(((*unknown).into(), (*unknown).into()));
        }
    }
    for at in (1..parts.len()).rev() {
        parts.swap(at, random.below(at + 1));
    }
    let (open, comma, close) = (
        random.of(&["{", " {\n  "]),
        random.of(&[",", ", ", ",\r\n\t"]),
        random.of(&["}", "\n}\n"]),
    );
    let join = |texts: Vec<&str>| format!("{open}{}{close}", texts.join(comma));
    (
        join(parts.iter().map(|p| p.0.as_str()).collect()),
        join(parts.iter().map(|p| p.1.as_str()).collect()),
    )
}

#[tokio::test]
async fn ten_thousand_messages_change_two_fields_and_no_other_byte() {
    let transport = potluck::connect("memory:").unwrap();
    let to = Subscription::new(Topic::new("events").unwrap(), Group::new("g").unwrap());
    let lane = to
        .topic
        .retry_lane(&to.group, Duration::from_secs(1))
        .unwrap();
    let again = Subscription::new(lane.clone(), Group::of_derived());
    let (first, second) = (
        transport.subscriber(&to).await.unwrap(),
        transport.subscriber(&again).await.unwrap(),
    );
    let publisher = transport.publisher().await.unwrap();

    let mut random = Random(42);
    let messages: Vec<_> = (0..COUNT)
        .map(|number| message(&mut random, number))
        .collect();
    let slice: Vec<_> = messages
        .iter()
        .map(|(sent, _)| Message::new(sent.clone()))
        .collect();
    publisher.publish(&to.topic, &slice, LONG).await.unwrap();

    let most = NonZeroUsize::new(500).unwrap();
    let mut seen = 0;
    while seen < COUNT {
        let deliveries = first.receive(most, LONG).await.unwrap();
        assert!(!deliveries.is_empty());
        let receipts: Vec<_> = deliveries.iter().map(|delivery| delivery.receipt).collect();
        let failed = deliveries.iter().map(|delivery| {
            let event = Received::<FreeFood>::parse(delivery.message.body().clone()).unwrap();
            let patched = event.payload.after_failure(1, "no \"seats\"").unwrap();
            Message::copied(patched, Headers::new(), None)
        });
        publisher
            .publish(&lane, &failed.collect::<Vec<_>>(), LONG)
            .await
            .unwrap();
        assert!(first.ack(&receipts).await.unwrap().stale.is_empty());

        for delivery in second.receive(most, LONG).await.unwrap() {
            let (sent, expected) = &messages[seen];
            let came = std::str::from_utf8(delivery.message.body()).unwrap();
            assert_eq!(came, expected, "sent: {sent}");
            // Still an event, one failure richer.
            let event = Received::<FreeFood>::parse(delivery.message.body().clone()).unwrap();
            assert!(event.retries >= 1 && event.metadata["last_error"] == "no \"seats\"");
            assert!(
                second
                    .ack(&[delivery.receipt])
                    .await
                    .unwrap()
                    .stale
                    .is_empty()
            );
            seen += 1;
        }
    }
}
