//! Which values lie on both sides of a rule's border?

use crate::rng::Rng;
use crate::text::{Node, quoted, respelled};

/// A timestamp, or nearly one.
pub(crate) fn timestamp(rng: &mut Rng) -> String {
    // One part of several is off, so that most texts break one rule and no more.
    let off = if rng.percent(45) { rng.below(9) } else { 99 };
    let part = |rng: &mut Rng, place: usize, good: &[&str], bad: &[&str]| {
        rng.pick(if off == place { bad } else { good }).to_owned()
    };
    let years = ["2025", "2024", "0001", "9999", "1900", "2000", "0400"];
    let year = part(
        rng,
        0,
        &years,
        &[
            "0000", "025", "10000", "-001", "+025", "２025", "20 5", "2O25",
        ],
    );
    let months = ["01", "02", "02", "04", "11", "12"];
    let month = part(rng, 1, &months, &["00", "13", "1", "012", "a1", "99"]);
    let days = ["01", "15", "28", "29", "30", "31"];
    let day = part(rng, 2, &days, &["00", "32", "1", "031", "3 ", "-1"]);
    let hour = part(rng, 3, &["00", "12", "23"], &["24", "99", "7", "0a", "-1"]);
    let minute = part(rng, 4, &["00", "30", "59"], &["60", "61", "5", "٠٠"]);
    let second = part(
        rng,
        4,
        &["00", "30", "59"],
        &["60", "61", "5", "", "5.", "99"],
    );
    let dash = part(rng, 5, &["-"], &["/", "", "\u{2010}", "."]);
    let t = part(rng, 5, &["T"], &["t", " ", "_", "", "TT"]);
    let colon = part(rng, 6, &[":"], &[".", "", "-", ";"]);
    let mut fraction = String::new();
    if rng.percent(40) {
        let digits = if off == 7 {
            rng.below(14)
        } else {
            1 + rng.below(9)
        };
        fraction.push('.');
        fraction.extend((0..digits).map(|_| char::from(b'0' + rng.below(10) as u8)));
    } else if off == 7 {
        fraction.push_str(rng.pick(&[".", ",5", ".5a", ".-1", ".+1", ". 5", ".1.2", ".١"]));
    }
    let zone = part(
        rng,
        8,
        &["Z"],
        &[
            "z",
            "",
            "+00:00",
            "-00:00",
            "+0000",
            "+05:30",
            "ZZ",
            "Z\n",
            "Z ",
            "Z\0",
            "UTC",
            "Z\u{2028}",
        ],
    );
    format!("{year}{dash}{month}-{day}{t}{hour}{colon}{minute}:{second}{fraction}{zone}")
}

pub(crate) fn version(rng: &mut Rng) -> String {
    if rng.percent(30) {
        let other = [
            "",
            "1",
            "1.0",
            "1.0.0.0",
            "1.0.0\n",
            " 1.0.0",
            "v1.0.0",
            "1.0.0-rc1",
            "1.0.0+b",
            "1..0",
            ".1.0",
            "1.0.",
            "1,0,0",
            "١.0.0",
            "latest",
            "\n1.0.0",
            "1.0.0\r",
        ];
        return rng.pick(&other).to_owned();
    }
    let good = ["0", "1", "2", "10", "999999999", "100000000"];
    let bad = ["00", "01", "1000000000", "-1", "+1", "0x1", "1e0", "", " 1"];
    let part = |rng: &mut Rng| {
        let bad_one = rng.percent(8);
        rng.pick(if bad_one { &bad } else { &good }).to_owned()
    };
    let (major, minor, patch) = (part(rng), part(rng), part(rng));
    format!("{major}.{minor}.{patch}")
}

/// Around every bound, in several spellings.
const NUMBERS: &str = "\
    0 -0 0.0 -0.0 1 1.0 1e0 1E+0 10e-1 0.5 5e-1 0.93 1.0000000000000001 1.0000000000000002 \
    1.0000000000000003 0.99999999999999999 1.1 -1 -1e-300 -5e-324 1e-400 -1e-400 0e400 2 3.0 \
    3.5 1e2 100e-2 4294967295 4294967295.0 4294967295.5 4294967295.0000000001 4294967296 \
    4294967296.0 4.294967295e9 42949672950e-1 4.2949672955e9 9007199254740993 \
    9223372036854775807 9223372036854775808 -9223372036854775808 -9223372036854775809 \
    18446744073709551615 18446744073709551616 1e19 1e308 1.7976931348623157e308 1e309 -1e309 \
    1.10 123456789012345678901234567890 0.1e1 255 256 -128 1e-1 2e-1";

/// A number in one of JSON's many spellings.
pub(crate) fn number(rng: &mut Rng) -> String {
    if rng.percent(60) {
        let known: Vec<_> = NUMBERS.split_whitespace().collect();
        return rng.pick(&known).to_owned();
    }
    let sign = rng.pick(&["", "", "", "-"]);
    let whole = if rng.percent(50) {
        0
    } else {
        rng.next() >> rng.below(64)
    };
    let mut text = format!("{sign}{whole}");
    if rng.percent(40) {
        let digits = rng.next() >> rng.below(64);
        text.push_str(&format!(".{digits}"));
    }
    if rng.percent(30) {
        let (e, sign) = (rng.pick(&["e", "E"]), rng.pick(&["", "+", "-"]));
        let exponents = if rng.percent(80) { 12 } else { 330 };
        let exponent = rng.below(exponents);
        text.push_str(&format!("{e}{sign}{exponent}"));
    }
    text
}

/// A string, written.
pub(crate) fn string(rng: &mut Rng) -> String {
    let texts = [
        "",
        "",
        "a",
        "Free Pizza Night",
        " ",
        "null",
        "0",
        "été ☕ 🍕",
        "\u{0}",
        "\n",
        "\u{feff}",
        "\u{202e}",
        "CS Building, Room 150",
        "<script>",
        "a\"b\\c/d",
        "\u{10ffff}",
        "FREE_FOOD_EVENT",
        "free_food_event",
        "FREE_FOOD_EVENT\n",
        "2025-11-02T18:00:00Z",
        "1.0.0",
        "unknown",
        "$serde_json::private::Number",
    ];
    let text = rng.pick(&texts);
    if rng.percent(4) {
        return rng
            .pick(&[
                "\"\\ud800\"",
                "\"\\udc00\\ud800\"",
                "\"\\x41\"",
                "\"\t\"",
                "'a'",
                "\"\\ud83c\\udf55\"",
            ])
            .to_owned();
    }
    if rng.percent(25) {
        return respelled(&quoted(text), rng);
    }
    quoted(text)
}

/// Any JSON at all.
pub(crate) fn any(rng: &mut Rng, depth: usize) -> Node {
    match rng.below(if depth == 0 { 6 } else { 10 }) {
        0 => Node::scalar("null"),
        1 => Node::scalar(rng.pick(&["true", "false"])),
        2 | 3 => Node::scalar(number(rng)),
        4 | 5 => Node::scalar(string(rng)),
        6 | 7 => Node::Array((0..rng.below(4)).map(|_| any(rng, depth - 1)).collect()),
        _ => object(rng, depth),
    }
}

pub(crate) fn object(rng: &mut Rng, depth: usize) -> Node {
    let keys = ["a", "b", "", "last_error", "title", "é", "$serde_json", "a"];
    let members = (0..rng.below(4)).map(|_| {
        let key = if rng.percent(1) {
            quoted("$serde_json::private::Number")
        } else {
            quoted(rng.pick(&keys))
        };
        (key, any(rng, depth.saturating_sub(1)))
    });
    Node::Object(members.collect())
}

/// Brackets, around the depth at which a payload is too deep.
pub(crate) fn deep(rng: &mut Rng) -> Node {
    let mut node = Node::scalar("1");
    for _ in 0..59 + rng.below(7) {
        node = if rng.percent(50) {
            Node::Array(vec![node])
        } else {
            Node::Object(vec![("\"k\"".to_owned(), node)])
        };
    }
    node
}
