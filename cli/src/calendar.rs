//! What does a campus calendar say? Reads what Localist's `/api/2/events` answers, event by event.
//!
//! Whatever is odd about one event is that event's matter. A field that is not needed counts as
//! absent when it has another type than usual.

use chrono::{DateTime, FixedOffset, Utc};
use potluck::envelope::{RawEvent, Timestamp};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer};
use serde_json::{Map, Value};

use crate::html;
use crate::spans::{self, Broken};

/// The events of the calendar behind `umass-calendar`, invented: what `demo` reads by itself.
pub(crate) const SAMPLE: &[u8] = include_bytes!("../data/campus-events.json");

/// What the sample's events, and any other's of this format, name as their source.
pub(crate) const SOURCE: &str = "umass-calendar";

/// Why a text is no calendar at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotACalendar {
    /// It is not JSON.
    Broken(Broken),
    /// There is no list of events in it.
    NoEvents,
}

/// Reads a page of events. Each can be unreadable by itself; the text says why.
pub(crate) fn read(page: &[u8]) -> Result<Vec<Result<Entry, &'static str>>, NotACalendar> {
    let page = page.strip_prefix("\u{feff}".as_bytes()).unwrap_or(page);
    let ranges = spans::elements(page, "events")
        .map_err(NotACalendar::Broken)?
        .ok_or(NotACalendar::NoEvents)?;
    Ok(ranges
        .into_iter()
        .map(|range| Entry::read(&page[range]))
        .collect())
}

/// An event as the calendar lists it, with its texts as a reader sees them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Entry {
    /// The calendar's id.
    pub(crate) id: Option<String>,
    /// One line; empty when there is none.
    pub(crate) title: String,
    /// Lines.
    pub(crate) description: String,
    /// One line; empty when there is none.
    pub(crate) place: String,
    /// Labels that people gave it.
    pub(crate) tags: Vec<String>,
    /// Called off.
    pub(crate) cancelled: bool,
    /// What it costs, when it is not free.
    pub(crate) cost: Option<String>,
    /// A club or a person.
    pub(crate) organizer: Option<String>,
    pub(crate) departments: Vec<String>,
    /// Where the calendar shows it.
    pub(crate) url: Option<String>,
    /// Each time that it takes place.
    pub(crate) instances: Vec<Instance>,
}

/// When it begins: as the calendar says it, and as an instant when that is one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Begin {
    pub(crate) text: String,
    pub(crate) at: Option<DateTime<FixedOffset>>,
    pub(crate) all_day: bool,
}

impl Entry {
    fn read(text: &[u8]) -> Result<Self, &'static str> {
        let listed: Listed = serde_json::from_slice(text).map_err(|error| readable(&error))?;
        let event = listed.event;
        let plain =
            |text: Option<String>| text.map(|text| html::line_of(&text)).unwrap_or_default();
        let description = match event.description.as_deref().map(html::text_of) {
            Some(text) if !text.is_empty() => text,
            _ => event
                .description_text
                .as_deref()
                .map(html::text_of)
                .unwrap_or_default(),
        };
        let status = event.status.unwrap_or_default();
        Ok(Self {
            id: event.id,
            title: plain(event.title),
            description,
            place: place(
                [
                    event.location_name,
                    event.room_number,
                    event.location,
                    event.address,
                ]
                .map(plain),
            ),
            tags: event.tags.into_iter().chain(event.keywords).collect(),
            cancelled: ["canceled", "cancelled"].contains(&status.to_lowercase().as_str()),
            cost: event.ticket_cost.filter(|_| event.free == Some(false)),
            organizer: event.group_name.or(event.custom_fields.contact_name),
            departments: event
                .filters
                .departments
                .into_iter()
                .map(|named| named.name)
                .collect(),
            url: event
                .localist_url
                .or(event.url)
                .filter(|url| !url.is_empty()),
            instances: event
                .event_instances
                .into_iter()
                .map(|wrapped| wrapped.event_instance)
                .collect(),
        })
    }

    /// When it next begins, seen from `now`; when all is over, when it first did.
    pub(crate) fn begin(&self, now: DateTime<Utc>) -> Option<Begin> {
        let begins: Vec<Begin> = self.instances.iter().filter_map(Instance::begin).collect();
        let known = || {
            begins
                .iter()
                .filter_map(|begin| begin.at.map(|at| (at, begin)))
        };
        let next = known()
            .filter(|(at, _)| *at >= now)
            .min_by_key(|(at, _)| *at);
        let first = || known().min_by_key(|(at, _)| *at);
        next.or_else(first)
            .map(|(_, begin)| begin)
            .or(begins.first())
            .cloned()
    }

    /// What is published of it, once somebody has found out how sure it is that there is food.
    pub(crate) fn to_raw(&self, now: DateTime<Utc>, confidence: f64, reason: String) -> RawEvent {
        let begin = self.begin(now);
        let mut metadata = Map::new();
        let mut say = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                metadata.insert(name.to_owned(), value);
            }
        };
        say("raw_source_id", self.id.clone().map(Value::from));
        say("organizer", self.organizer.clone().map(Value::from));
        let departments = self.departments.join(", ");
        say(
            "department",
            (!departments.is_empty()).then(|| departments.into()),
        );
        say("url", self.url.clone().map(Value::from));
        // The envelope's time is UTC; people go by the clock on the wall.
        say(
            "local_start_time",
            begin.as_ref().map(|begin| begin.text.clone().into()),
        );
        say(
            "all_day",
            begin
                .as_ref()
                .filter(|begin| begin.all_day)
                .map(|_| true.into()),
        );
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        RawEvent {
            id: self.id.clone(),
            title: given(&self.title),
            description: given(&self.description),
            location: given(&self.place),
            start_time: begin.and_then(|begin| begin.at),
            source: Some(SOURCE.to_owned()),
            llm_confidence: Some(confidence),
            reason: Some(reason),
            metadata: Some(metadata),
        }
    }
}

/// "Building, room", or whatever of it is known.
fn place([name, room, elsewhere, address]: [String; 4]) -> String {
    match (name.is_empty(), room.is_empty()) {
        (false, false) => format!("{name}, {room}"),
        (false, true) => name,
        (true, false) => room,
        (true, true) if elsewhere.is_empty() => address,
        (true, true) => elsewhere,
    }
}

/// Why an event cannot be read, without anything of it.
fn readable(error: &serde_json::Error) -> &'static str {
    let text = error.to_string();
    if text.starts_with(BAD_ID) {
        BAD_ID
    } else if text.starts_with("duplicate field") {
        "it has a field twice"
    } else if error.is_data() {
        "it is no object with an object `event` in it"
    } else {
        "it holds a text, a number or a nesting that JSON parsers refuse"
    }
}

const BAD_ID: &str = "its id is neither a text nor a whole number of 64 bits";

#[derive(Deserialize)]
struct Listed {
    event: Event,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Event {
    #[serde(deserialize_with = "id")]
    id: Option<String>,
    #[serde(deserialize_with = "lenient")]
    title: Option<String>,
    #[serde(deserialize_with = "lenient")]
    description: Option<String>,
    #[serde(deserialize_with = "lenient")]
    description_text: Option<String>,
    #[serde(deserialize_with = "lenient")]
    location_name: Option<String>,
    #[serde(deserialize_with = "lenient")]
    room_number: Option<String>,
    #[serde(deserialize_with = "lenient")]
    location: Option<String>,
    #[serde(deserialize_with = "lenient")]
    address: Option<String>,
    #[serde(deserialize_with = "lenient")]
    status: Option<String>,
    #[serde(deserialize_with = "lenient")]
    free: Option<bool>,
    #[serde(deserialize_with = "lenient")]
    ticket_cost: Option<String>,
    #[serde(deserialize_with = "lenient")]
    group_name: Option<String>,
    #[serde(deserialize_with = "lenient")]
    localist_url: Option<String>,
    #[serde(deserialize_with = "lenient")]
    url: Option<String>,
    #[serde(deserialize_with = "lenient_list")]
    tags: Vec<String>,
    #[serde(deserialize_with = "lenient_list")]
    keywords: Vec<String>,
    #[serde(deserialize_with = "lenient")]
    custom_fields: CustomFields,
    #[serde(deserialize_with = "lenient")]
    filters: Filters,
    #[serde(deserialize_with = "lenient_list")]
    event_instances: Vec<Wrapped>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CustomFields {
    #[serde(deserialize_with = "lenient")]
    contact_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Filters {
    #[serde(deserialize_with = "lenient_list")]
    departments: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Wrapped {
    event_instance: Instance,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Instance {
    #[serde(deserialize_with = "lenient")]
    start: Option<String>,
    #[serde(deserialize_with = "lenient")]
    all_day: Option<bool>,
}

impl Instance {
    fn begin(&self) -> Option<Begin> {
        let text = self.start.clone()?;
        let at = DateTime::parse_from_rfc3339(&text)
            .ok()
            .filter(|at| Timestamp::new(at.with_timezone(&Utc)).is_ok());
        Some(Begin {
            text,
            at,
            all_day: self.all_day.unwrap_or_default(),
        })
    }
}

/// A value of another type is taken for none.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

/// Elements of another type are left out; what is no list is an empty one.
fn lenient_list<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let Value::Array(values) = Value::deserialize(deserializer)? else {
        return Ok(Vec::new());
    };
    let elements = values.into_iter().map(serde_json::from_value);
    Ok(elements.filter_map(Result::ok).collect())
}

fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::String(id) => Ok(Some(id)),
        Value::Number(id) if id.is_u64() || id.is_i64() => Ok(Some(id.to_string())),
        _ => Err(serde::de::Error::custom(BAD_ID)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(event: &str) -> Entry {
        let page = format!("{{\"events\":[{{\"event\":{event}}}]}}");
        read(page.as_bytes()).unwrap().remove(0).unwrap()
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn reads_the_sample() {
        let entries = read(SAMPLE).unwrap();
        assert_eq!(entries.len(), 63);
        assert!(entries.iter().all(Result::is_ok));
        let entries: Vec<Entry> = entries.into_iter().flatten().collect();
        assert_eq!(entries.iter().filter(|entry| entry.cancelled).count(), 1);
        let big = entries
            .iter()
            .find(|entry| entry.title.starts_with("Number Theory"))
            .unwrap();
        assert_eq!(big.id.as_deref(), Some("9007199254740993"));
        assert_eq!(big.place, "Pell Science Center, 410");
    }

    #[test]
    fn one_bad_event_is_its_own_matter() {
        let page = br#"{"events":[{"event":{"id":1,"title":"a"}},7,null,{},{"event":null},[],
            {"event":{"id":1.5}},{"event":{"title":"canary\ud800"}},{"event":{"id":2,"id":3}},
            {"event":{"geo":{"latitude":1e999}, "id":"b"}},{"event":{"title":"b"}}]}"#;
        let read = read(page).unwrap();
        let good: Vec<_> = read.iter().map(Result::is_ok).collect();
        assert_eq!(
            good,
            [
                true, false, false, false, false, false, false, false, false, true, true
            ]
        );
        assert!(!format!("{read:?}").contains("canary"));
        assert_eq!(read[6], Err(BAD_ID));
    }

    #[test]
    fn other_types_than_usual_count_as_absent() {
        let odd = one(
            r#"{"id":" ","title":["x"],"description":null,"description_text":"d","tags":[1,"t"],
            "filters":{"departments":[{"name":"A"},{"id":1},{"name":"B"}]},"custom_fields":[],
            "event_instances":[{"event_instance":{"start":5}},{},{"event_instance":{"start":"soon"}}]}"#,
        );
        assert_eq!((odd.title.as_str(), odd.description.as_str()), ("", "d"));
        assert_eq!(odd.tags, ["t"]);
        let begin = odd.begin(Utc::now()).unwrap();
        assert_eq!((begin.text.as_str(), begin.at), ("soon", None));
        let raw = odd.to_raw(Utc::now(), 0.5, "r".to_owned());
        let metadata = serde_json::to_string(&raw.metadata).unwrap();
        assert_eq!(
            metadata,
            r#"{"department":"A, B","local_start_time":"soon","raw_source_id":" "}"#
        );
        assert_eq!(
            (raw.title, raw.location, raw.start_time),
            (None, None, None)
        );
    }

    #[test]
    fn a_recurring_event_begins_next_or_did_first() {
        let weekly = one(r#"{"event_instances":[
            {"event_instance":{"start":"2026-10-26T18:30:00-04:00"}},
            {"event_instance":{"start":"not yet known"}},
            {"event_instance":{"start":"2026-11-09T18:30:00-05:00"}},
            {"event_instance":{"start":"2026-11-02T18:30:00-05:00"}}]}"#);
        for (now, begins) in [
            ("2026-01-01T00:00:00Z", "2026-10-26T18:30:00-04:00"),
            ("2026-10-26T22:30:01Z", "2026-11-02T18:30:00-05:00"),
            ("2027-01-01T00:00:00Z", "2026-10-26T18:30:00-04:00"),
        ] {
            assert_eq!(weekly.begin(at(now)).unwrap().text, begins);
        }
        assert_eq!(one("{}").begin(Utc::now()), None);
        for (text, known) in [
            ("2026-13-45T99:00:00-04:00", false),
            ("2026-10-03", false),
            ("0000-01-01T00:00:00Z", false),
            ("2026-10-03T10:00:00+05:30", true),
        ] {
            let event =
                format!(r#"{{"event_instances":[{{"event_instance":{{"start":"{text}"}}}}]}}"#);
            assert_eq!(
                one(&event).begin(Utc::now()).unwrap().at.is_some(),
                known,
                "{text}"
            );
        }
    }

    #[test]
    fn says_why_a_text_is_no_calendar() {
        assert_eq!(read(b"\xef\xbb\xbf[]"), Ok(vec![]));
        assert_eq!(
            read(b"{\"error\":\"not found\"}"),
            Err(NotACalendar::NoEvents)
        );
        let broken = Broken { line: 1, column: 1 };
        assert_eq!(read(b"<!doctype html>"), Err(NotACalendar::Broken(broken)));
    }
}
