//! The contract's timestamps: RFC 3339 in UTC with a final `Z`, at most six fraction digits when
//! we write them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, NaiveDate, SubsecRound, Timelike, Utc};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Unexpected, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::error::{Error, ErrorKind, Result};

/// An instant in UTC, to the microsecond, of the years 1 to 9999.
///
/// Parsing takes one to nine fraction digits or none and keeps six, as Python does; writing gives
/// six or, on a whole second, none, as Python's `isoformat` does. So a round trip through either
/// language is equal.
///
/// ```
/// use potluck_core::envelope::Timestamp;
///
/// let at: Timestamp = "2025-11-02T18:00:00.250Z".parse()?;
/// assert_eq!(at.to_string(), "2025-11-02T18:00:00.250000Z");
/// assert!("2025-11-02T18:00:00+00:00".parse::<Timestamp>().is_err());
/// # Ok::<(), potluck_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(DateTime<Utc>);

impl Timestamp {
    /// Now, by the wall clock. Never use it for time-outs.
    #[must_use]
    pub fn now() -> Self {
        Self(Utc::now().trunc_subsecs(6))
    }

    /// Takes an instant and drops what is below a microsecond.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when its year is not 1 to 9999 or it is in a leap second.
    pub fn new(at: DateTime<Utc>) -> Result<Self> {
        if !(1..=9999).contains(&at.year()) || at.nanosecond() >= 1_000_000_000 {
            return Err(Error::new(
                ErrorKind::Invalid,
                "build event",
                "a timestamp is of the years 1 to 9999 and not in a leap second",
            ));
        }
        Ok(Self(at.trunc_subsecs(6)))
    }

    /// The instant.
    #[must_use]
    pub fn get(self) -> DateTime<Utc> {
        self.0
    }
}

/// Reads digits at fixed places: `YYYY-MM-DDTHH:MM:SS[.f{1,9}]Z`. A third of the time that a
/// general RFC 3339 parser takes, which would then have to be told what to refuse.
fn parse(text: &[u8]) -> Option<Timestamp> {
    let (head, rest) = text.split_first_chunk::<19>()?;
    let number = |at: usize, len: usize| {
        head.get(at..at + len)?.iter().try_fold(0u32, |n, b| {
            b.is_ascii_digit().then(|| n * 10 + u32::from(b - b'0'))
        })
    };
    let separators = [head[4], head[7], head[10], head[13], head[16]];
    if separators != *b"--T::" {
        return None;
    }
    let fraction = match rest {
        b"Z" => &[][..],
        [b'.', digits @ .., b'Z'] if (1..=9).contains(&digits.len()) => digits,
        _ => return None,
    };
    let mut nanos = 0;
    for place in 0..9 {
        nanos *= 10;
        if let Some(digit) = fraction.get(place) {
            nanos += u32::from(digit.is_ascii_digit().then(|| digit - b'0')?);
        }
    }
    let (year, second) = (number(0, 4)?, number(17, 2)?);
    if year == 0 || second > 59 {
        return None;
    }
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, number(5, 2)?, number(8, 2)?)?;
    let at = date.and_hms_nano_opt(number(11, 2)?, number(14, 2)?, second, nanos / 1000 * 1000)?;
    Some(Timestamp(at.and_utc()))
}

impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text.as_bytes())
            .ok_or_else(|| Error::new(ErrorKind::Invalid, "read timestamp", EXPECTED))
    }
}

const EXPECTED: &str = "an RFC 3339 timestamp in UTC such as 2025-11-02T18:00:00Z";

impl Timestamp {
    /// The text, as ASCII bytes and how many of them count. Digits at fixed places, because
    /// chrono's formatter costs more than all the rest of an event.
    fn written(self) -> ([u8; 27], usize) {
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let mut put = |at: usize, len: usize, mut number: u32| {
            for place in text[at..at + len].iter_mut().rev() {
                *place = b'0' + (number % 10) as u8;
                number /= 10;
            }
        };
        let at = self.0;
        put(0, 4, at.year().unsigned_abs());
        put(5, 2, at.month());
        put(8, 2, at.day());
        put(11, 2, at.hour());
        put(14, 2, at.minute());
        put(17, 2, at.second());
        let micros = at.timestamp_subsec_micros();
        put(20, 6, micros);
        if micros == 0 {
            text[19] = b'Z';
            return (text, 20);
        }
        (text, 27)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, len) = self.written();
        f.write_str(std::str::from_utf8(&text[..len]).unwrap_or_default())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (text, len) = self.written();
        serializer.serialize_str(std::str::from_utf8(&text[..len]).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = Timestamp;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
                parse(text.as_bytes()).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(V)
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // `format` knows the calendar; the pattern holds what else the contract says. Python's `$`
        // also matches before a final newline, so the characters that may not occur are named in
        // a `not`, which says `type` because `null` would otherwise fail it where it is allowed.
        json_schema!({
            "type": "string",
            "format": "date-time",
            "pattern": "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?Z$",
            "not": { "type": "string", "pattern": "[^0-9TZ:.-]|^0000" },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_contract_allows_and_writes_six_digits_or_none() {
        for (text, written) in [
            ("2025-11-02T14:03:22Z", "2025-11-02T14:03:22Z"),
            ("2025-11-02T14:03:22.1Z", "2025-11-02T14:03:22.100000Z"),
            (
                "2025-11-02T14:03:22.123456789Z",
                "2025-11-02T14:03:22.123456Z",
            ),
            ("2024-02-29T23:59:59.000000Z", "2024-02-29T23:59:59Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        ] {
            let at: Timestamp = text.parse().unwrap();
            assert_eq!(at.to_string(), written);
            assert_eq!(at.to_string().parse::<Timestamp>().unwrap(), at);
            assert_eq!(
                serde_json::to_string(&at).unwrap(),
                format!("\"{written}\"")
            );
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "Z",
            "2025-11-02",
            "2025-11-02T14:03Z",
            "2025-11-02 14:03:22Z",
            "2025-11-02t14:03:22Z",
            "2025-11-02T14:03:22z",
            "2025-11-02T14:03:22",
            "2025-11-02T14:03:22+00:00",
            "2025-11-02T14:03:22.Z",
            "2025-11-02T14:03:22.1234567890Z",
            "2025-11-02T14:03:60Z",
            "2025-11-02T24:00:00Z",
            "2025-11-02T14:60:22Z",
            "2025-02-30T14:03:22Z",
            "2023-02-29T14:03:22Z",
            "0000-01-01T00:00:00Z",
            "2025-13-02T14:03:22Z",
            "2025-11-02T14:03:22Z\n",
            " 2025-11-02T14:03:22Z",
            "２025-11-02T14:03:22Z",
            "2025-11-02T14:03:22.12a4Z",
            "+025-11-02T14:03:22Z",
            "2025-11-02T14:03:22,5Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_instant_outside_the_contract_is_refused() {
        let year_10000 = NaiveDate::from_ymd_opt(10_000, 1, 1)
            .unwrap()
            .and_hms_opt(0, 0, 0)
            .unwrap();
        assert!(Timestamp::new(year_10000.and_utc()).is_err());
        let leap = NaiveDate::from_ymd_opt(2016, 12, 31).unwrap();
        let leap = leap.and_hms_nano_opt(23, 59, 59, 1_500_000_000).unwrap();
        assert!(Timestamp::new(leap.and_utc()).is_err());
        assert!(Timestamp::now() <= Timestamp::now());
    }
}
