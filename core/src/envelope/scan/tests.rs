//! Does the scanner name each problem, and does it agree with serde_json on everything else?

use super::*;
use proptest::prelude::*;

fn problem(text: impl AsRef<[u8]>) -> Option<Problem> {
    scan(text.as_ref()).err().map(|malformed| malformed.problem)
}

#[test]
fn names_each_problem() {
    let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
    let deep_object = |n: usize| "{\"a\":".repeat(n) + "1" + &"}".repeat(n);
    let many = |twice: &str| {
        let keys: Vec<_> = (0..1000).map(|i| format!("\"k{i}\":0")).collect();
        format!("{{{},\"{twice}\":1}}", keys.join(","))
    };
    for (text, expected) in [
        (&b""[..], Some(Problem::Empty)),
        (b" \n\t\r", Some(Problem::Empty)),
        (b"\xef\xbb\xbf{}", Some(Problem::ByteOrderMark)),
        (b"\xff{}", Some(Problem::NotUtf8)),
        (b"{\"a\":\"\xc0\x80\"}", Some(Problem::NotUtf8)),
        (b"{", Some(Problem::Syntax)),
        (b"{}x", Some(Problem::TrailingData)),
        (b"{}\0", Some(Problem::TrailingData)),
        (b"{} {}", Some(Problem::TrailingData)),
        (b"{\"a\":NaN}", Some(Problem::Syntax)),
        (b"{\"a\":1e400}", Some(Problem::NumberOverflow)),
        (b"{\"a\":-1e309}", Some(Problem::NumberOverflow)),
        (b"{\"a\":1e-400}", None),
        (br#"{"a":"\ud800"}"#, Some(Problem::LoneSurrogate)),
        (br#"{"a":"\udc00"}"#, Some(Problem::LoneSurrogate)),
        (br#"{"a":"\ud800\u0041"}"#, Some(Problem::LoneSurrogate)),
        (br#"{"\ud83c\udf55":"\ud83c\udf55"}"#, None),
        (br#"{"a":1,"\u0061":2}"#, Some(Problem::RepeatedKey)),
        (br#"{"m":{"a":1,"a":2}}"#, None),
        (
            br#"{"$serde_json::private::Number":"1"}"#,
            Some(Problem::ReservedKey),
        ),
        (
            br#"[{"\u0024serde_json::private::RawValue":1}]"#,
            Some(Problem::ReservedKey),
        ),
        (b"\"a\x1fb\"", Some(Problem::Syntax)),
        (b"[1,]", Some(Problem::Syntax)),
        (b"{\"a\":1]", Some(Problem::Syntax)),
        (b"01", Some(Problem::TrailingData)),
    ] {
        assert_eq!(
            problem(text),
            expected,
            "{:?}",
            String::from_utf8_lossy(text)
        );
    }
    assert_eq!(problem(deep(64)), None);
    assert_eq!(problem(deep(65)), Some(Problem::TooDeep));
    assert_eq!(problem(deep_object(64)), None);
    assert_eq!(problem(deep_object(65)), Some(Problem::TooDeep));
    assert_eq!(problem(deep(100_000)), Some(Problem::TooDeep));
    assert_eq!(problem("9".repeat(308)), None);
    assert_eq!(problem("9".repeat(309)), Some(Problem::NumberOverflow));
    assert_eq!(problem(many("new")), None);
    assert_eq!(problem(many("k7")), Some(Problem::RepeatedKey));
}

#[test]
fn finds_the_fields_whatever_their_spelling() {
    let text = br#" { "retrie\u0073" : 0.0 , "x":[{"retries":9}], "metadata":{ } ,"type":"T" } "#;
    let found = scan(text).unwrap();
    assert_eq!(&text[found.retries.unwrap()], b"0.0");
    assert_eq!(&text[found.metadata.unwrap()], b"{ }");
    assert_eq!(&text[found.kind.unwrap()], b"\"T\"");
    assert!(found.event_id.is_none() && found.is_object);
}

/// Pieces that make texts near JSON.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        "[\\{\\}\\[\\],: \n]{1,3}",
        Just("\"a\":".to_owned()),
        "\"[a-z\\\\\"u0-9dDcC\u{1}é]{0,9}\"",
        "-?[0-9]{1,3}(\\.[0-9]{0,2})?([eE][+-]?[0-9]{0,3})?",
        prop_oneof![
            Just("true"),
            Just("false"),
            Just("null"),
            Just("nul"),
            Just("NaN")
        ]
        .prop_map(str::to_owned),
    ]
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,20}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            prop::collection::hash_map(".{0,6}", inner, 0..5)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// On what is not about repeated or reserved keys, serde_json is the judge.
    #[test]
    fn agrees_with_serde_json(pieces in prop::collection::vec(piece(), 0..8)) {
        let text = pieces.concat();
        let theirs = serde_json::from_str::<serde_json::Value>(&text).is_ok();
        let ours = problem(&text);
        if ours != Some(Problem::RepeatedKey) {
            prop_assert_eq!(ours.is_none(), theirs, "{}", text);
        }
    }

    #[test]
    fn takes_what_serde_json_writes(value in json(), cut in any::<prop::sample::Index>()) {
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            prop_assert_eq!(problem(&text), None);
            let cut = cut.index(text.len());
            let cut_off = &text.as_bytes()[..cut];
            let theirs = serde_json::from_slice::<serde_json::Value>(cut_off).is_ok();
            prop_assert_eq!(problem(&text.as_bytes()[..cut]).is_none(), theirs);
        }
    }
}
