//! Which of a calendar's events are published, and why not the others?

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use potluck::envelope::RawEvent;

use crate::calendar::Entry;
use crate::food::Rule;
use crate::output::Talk;
use crate::table;

/// How many unreadable events are named without being asked.
const NAMED_MAX: usize = 5;

/// What was chosen, and counts of what was not.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// How many events the calendar lists.
    pub(super) read: usize,
    /// Those that promise free food, ready to be published.
    pub(super) kept: Vec<RawEvent>,
    /// Those that cannot be read.
    pub(super) unreadable: usize,
    /// Those whose id was there before.
    pub(super) repeated: usize,
    /// Those without a title that shows.
    pub(super) untitled: usize,
    /// Those that promise no free food.
    pub(super) foodless: usize,
    /// Those kept although their time makes no sense.
    pub(super) timeless: usize,
}

impl Selection {
    /// Goes through a calendar once, in its order.
    pub(super) fn of(
        entries: Vec<Result<Entry, &'static str>>,
        now: DateTime<Utc>,
        talk: Talk,
    ) -> Self {
        let rule = Rule::new();
        let mut seen = HashSet::new();
        let mut selection = Self::default();
        for (number, entry) in (1..).zip(entries) {
            selection.read += 1;
            match entry {
                Ok(entry) => selection.consider(&entry, &rule, &mut seen, now, talk),
                Err(why) => {
                    selection.unreadable += 1;
                    if selection.unreadable <= NAMED_MAX || talk.verbose {
                        talk.note(format_args!("event {number} is unreadable: {why}"));
                    }
                }
            }
        }
        if selection.unreadable > NAMED_MAX && !talk.verbose {
            let more = selection.unreadable - NAMED_MAX;
            talk.note(format_args!(
                "{more} more are unreadable; -v names them all"
            ));
        }
        selection
    }

    fn consider(
        &mut self,
        entry: &Entry,
        rule: &Rule,
        seen: &mut HashSet<String>,
        now: DateTime<Utc>,
        talk: Talk,
    ) {
        let name = named(entry);
        if let Some(id) = &entry.id
            && !seen.insert(id.clone())
        {
            self.repeated += 1;
            return talk.detail(format_args!("skipped {name}: its id was there before"));
        }
        if table::is_blank(&entry.title) {
            self.untitled += 1;
            return talk.detail(format_args!("skipped {name}: no title"));
        }
        let verdict = rule.judge(entry);
        if !verdict.promises_food() {
            self.foodless += 1;
            return talk.detail(format_args!("skipped {name}: {}", verdict.reason));
        }
        if entry.begin(now).is_some_and(|begin| begin.at.is_none()) {
            self.timeless += 1;
            talk.detail(format_args!(
                "{name}: its time is unreadable, so it goes without"
            ));
        }
        talk.detail(format_args!(
            "kept {name}, {:.2}: {}",
            verdict.confidence, verdict.reason
        ));
        self.kept
            .push(entry.to_raw(now, verdict.confidence, verdict.reason));
    }
}

fn named(entry: &Entry) -> String {
    match &entry.id {
        Some(id) => format!("\"{}\" ({id})", entry.title),
        None => format!("\"{}\"", entry.title),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar;

    const QUIET: Talk = Talk {
        quiet: true,
        verbose: false,
    };

    fn select(page: &str) -> Selection {
        Selection::of(calendar::read(page.as_bytes()).unwrap(), Utc::now(), QUIET)
    }

    #[test]
    fn the_sample_is_counted_in_full() {
        let entries = calendar::read(calendar::SAMPLE).unwrap();
        let selection = Selection::of(entries, Utc::now(), QUIET);
        assert_eq!(selection.read, 63);
        assert_eq!(selection.kept.len(), 22);
        assert_eq!((selection.repeated, selection.untitled), (2, 3));
        assert_eq!((selection.unreadable, selection.foodless), (0, 36));
        let ids: HashSet<_> = selection.kept.iter().map(|raw| raw.id.clone()).collect();
        assert_eq!(ids.len(), selection.kept.len());
        for raw in selection.kept {
            raw.into_event().unwrap().to_message().unwrap();
        }
    }

    #[test]
    fn bad_events_do_not_stop_the_rest() {
        let selection = select(
            r#"[{"event":{"id":1,"title":"Free Pizza"}}, 5, {"event":{"id":[]}},
            {"event":{"id":1,"title":"Free Pizza"}}, {"event":{"title":" \u200b\u0007"}},
            {"event":{"id":"1 ","title":"Free Pizza","event_instances":
            [{"event_instance":{"start":"at noon"}}]}}, {"event":{"title":"Free Pizza"}},
            {"event":{"title":"Free Pizza"}}, {"event":{"title":"Yoga"}}]"#,
        );
        assert_eq!((selection.read, selection.unreadable), (9, 2));
        assert_eq!((selection.repeated, selection.untitled), (1, 1));
        assert_eq!((selection.foodless, selection.timeless), (1, 1));
        assert_eq!(selection.kept.len(), 4);
    }
}
