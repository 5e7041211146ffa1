//! Do ten thousand awkward messages come back byte for byte, none lost, none twice?

use crate::server::{Server, TOPIC, json_lines};

const COUNT: usize = 10_000;

/// A small generator with a seed, so that a failure can be had again.
struct Random(u64);

impl Random {
    fn of<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        texts[((self.0 >> 33) as usize) % texts.len()]
    }
}

const TITLES: &[&str] = &[
    "Free Pizza",
    "🍕👨‍👩‍👧‍👦",
    r"\ud83c\udf55",
    "line\u{2028}break\u{2029}",
    r#"quote \" slash \/ \\ tab \t line \n nul \u0000"#,
    "e\u{301}\u{202e}\u{feff}",
    "\u{7f}\u{80}",
];
const UNKNOWN: &[&str] = &[
    "",
    "\"n\":9007199254740993,",
    "\"n\" : 1.10 ,",
    "\"n\":-0.0e-7,\"o\":1E+2,",
    "\"deep\":[[{\"a\":{\"a\":1,\"a\":2}}]],",
    "\"\":\"\",\"ключ\":null,",
    "\"f\":18446744073709551616,\"g\":0.1000000000000000055511151231257827,",
    "\"w\" \t:\r [ ] ,",
];
const METADATA: &[&str] = &[
    "{}",
    "{ }",
    "{\"a\":1,\"a\":1.0}",
    "{\"last_error\":null,\"x\":[true,false]}",
];
const RETRIES: &[&str] = &["0", "0.0", "-0", "7", "4294967295", "1e2"];

fn line(n: usize, random: &mut Random) -> String {
    let unknown = random.of(UNKNOWN);
    let title = random.of(TITLES);
    let key = random.of(&["\"title\"", "\"titl\\u0065\""]);
    let (retries, metadata) = (random.of(RETRIES), random.of(METADATA));
    let (before, after) = (random.of(&["", " ", "\t"]), random.of(&["", "  ", "\r"]));
    let body = random.of(&["\"reason\":null,", "\"llm_confidence\":0.930,", ""]);
    let tail = format!("\"retries\":{retries},\"metadata\":{metadata}");
    let head = format!("\"schema_version\":\"1.0.0\",\"event_id\":\"e{n}\",{key}:\"{title}\"");
    let rest =
        "\"source\":\"s\",\"type\":\"FREE_FOOD_EVENT\",\"published_at\":\"2025-11-02T14:03:22Z\"";
    // Not always in the contract's order.
    if n.is_multiple_of(3) {
        format!("{before}{{{tail},{unknown}{body}{rest},{head}}}{after}")
    } else {
        format!("{before}{{{unknown}{head} , {body}{rest},{tail}}}{after}")
    }
}

#[test]
fn awkward_lines_come_back_byte_for_byte() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut random = Random(4);
    let mut input = String::new();
    for n in 0..COUNT {
        input.push_str(&line(n, &mut random));
        input.push('\n');
    }
    let args = ["publish", TOPIC, "--profile", "consumer"];
    let published = server.run_with(&args, input.as_bytes());
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    let receipts = json_lines(&published);
    assert_eq!(receipts.len(), COUNT);
    for (n, receipt) in receipts.iter().enumerate() {
        assert_eq!(receipt["event_id"], format!("e{n}"));
        assert_eq!(receipt["outcome"], "stored");
    }

    let consume = [
        "consume", TOPIC, "-g", "mailer", "--idle", "500ms", "-o", "raw",
    ];
    let consumed = server.run(&consume);
    assert_eq!(consumed.code, Some(0), "{}", consumed.stderr);
    assert!(consumed.stdout == input, "the bytes differ");
    assert_eq!(server.open("mailer"), (0, 0));
    let again = server.run(&consume);
    assert_eq!((again.code, again.stdout.as_str()), (Some(0), ""));

    // The same bytes inside of records, each on one line.
    let tail = ["tail", TOPIC, "--max", "10000", "-o", "json"];
    let looked = server.run(&tail);
    assert_eq!(looked.code, Some(0), "{}", looked.stderr);
    let lines = looked.stdout.split('\n').zip(input.split('\n'));
    for ((line, payload), receipt) in lines.zip(&receipts) {
        let payload = payload.replace('\r', " ");
        assert!(
            line.ends_with(&format!(",\"payload\":{payload}}}")),
            "{line}"
        );
        assert!(line.contains(receipt["id"].as_str().unwrap()));
    }
}
