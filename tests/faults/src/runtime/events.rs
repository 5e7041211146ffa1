//! What is published, and how does its handler fail? An event carries its script.

use std::future::pending;

use potluck_core::Message;
use potluck_core::envelope::{FreeFood, FreeFoodEvent, Text};
use potluck_runtime::Failure;

/// What one try comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It succeeds.
    Succeed,
    /// It fails, and may succeed later.
    Fail,
    /// It fails for good.
    Reject,
    /// It panics.
    Panic,
    /// It never returns.
    Hang,
}

/// The event that tells of a ledger's message. `script` has a letter for each try: `f` fails, `r`
/// rejects, `p` panics, `h` hangs, anything else and what is beyond its end succeeds.
#[must_use]
pub fn event(script: &str, message: &Message) -> Message {
    let text = String::from_utf8_lossy(message.body()).into_owned();
    let id: Vec<_> = text.split(' ').take(2).collect();
    let id = id.join("-");
    let made = Text::new(text).and_then(|title| {
        let mut body = FreeFood::new(title);
        body.description = Some(script.to_owned());
        let builder = FreeFoodEvent::builder(body).event_id(id)?;
        builder.build().to_message()
    });
    // What is no event is found where it should have been handled.
    made.unwrap_or_else(|_| message.clone())
}

/// An event that is handled at the first try.
#[must_use]
pub fn good(_seed: u64, _id: u64, message: Message) -> Message {
    event("", &message)
}

/// What becomes of try number `tries`, from 1.
#[must_use]
pub fn fate(script: &str, tries: u32) -> Fate {
    let at = usize::try_from(tries.saturating_sub(1)).ok();
    match at.and_then(|at| script.as_bytes().get(at)) {
        Some(b'f') => Fate::Fail,
        Some(b'r') => Fate::Reject,
        Some(b'p') => Fate::Panic,
        Some(b'h') => Fate::Hang,
        _ => Fate::Succeed,
    }
}

/// Plays a try of a script, but for its work where it succeeds.
///
/// # Errors
///
/// As the script says.
pub async fn play(script: &str, tries: u32) -> Result<(), Failure> {
    match fate(script, tries) {
        Fate::Succeed => Ok(()),
        Fate::Fail => Err(Failure::retry("as the script says")),
        Fate::Reject => Err(Failure::reject("as the script says")),
        // As `panic!`, but that no hook prints it or counts it as one of ours.
        Fate::Panic => std::panic::resume_unwind(Box::new("as the script says")),
        Fate::Hang => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use potluck_core::envelope::Payload;

    use super::*;

    #[test]
    fn scripts_are_played_try_by_try() {
        let fates: Vec<_> = (1..=6).map(|tries| fate("frph", tries)).collect();
        assert_eq!(
            fates,
            [
                Fate::Fail,
                Fate::Reject,
                Fate::Panic,
                Fate::Hang,
                Fate::Succeed,
                Fate::Succeed
            ]
        );
    }

    #[test]
    fn an_event_tells_of_its_message() {
        let message = event("fo", &Message::new("7 12 xxx"));
        let payload = Payload::check(message.body().clone()).unwrap();
        let event = payload.decode::<FreeFood>().unwrap();
        assert_eq!(event.event_id.as_str(), "7-12");
        assert_eq!(event.body.title.as_str(), "7 12 xxx");
        assert_eq!(event.body.description.as_deref(), Some("fo"));
    }
}
