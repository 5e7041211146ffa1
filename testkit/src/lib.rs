//! Is a handler idempotent? A consumer runs a handler again after crashes, lost connections and
//! failures, and events of different keys in any order. A [`Trial`] does all that to a handler, by
//! seeds and in simulated time, and compares the state that is left with that of a clean run.
//!
//! This handler adds up, and so counts an event twice whose ack was lost. It is caught:
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::sync::{Arc, Mutex, PoisonError};
//!
//! use potluck_core::envelope::{FreeFood, FreeFoodEvent, Text};
//! use potluck_runtime::{Context, Failure};
//! use potluck_testkit::Trial;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut messages = Vec::new();
//! for title in ["Pizza", "Bagels", "Pizza"] {
//!     let event = FreeFoodEvent::builder(FreeFood::new(Text::new(title)?)).build();
//!     messages.push(event.to_message()?);
//! }
//! let trial = Trial::of(messages);
//!
//! type Counts = Arc<Mutex<BTreeMap<String, u32>>>;
//! async fn count(counts: Counts, event: FreeFoodEvent, _: Context) -> Result<(), Failure> {
//!     let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
//!     *counts.entry(event.body.title.to_string()).or_default() += 1;
//!     Ok(())
//! }
//! let observe = |counts: &Counts| counts.lock().unwrap_or_else(PoisonError::into_inner).clone();
//! let difference = trial.check(Counts::default, count, observe).unwrap_err();
//! println!("{difference}");
//! assert!(difference.schedule.iter().any(|line| line.ends_with("its ack was lost")));
//!
//! // Mended: what an event adds is stored under its id, and counted when it is asked for.
//! type Seen = Arc<Mutex<BTreeMap<String, String>>>;
//! async fn note(seen: Seen, event: FreeFoodEvent, _: Context) -> Result<(), Failure> {
//!     let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
//!     seen.insert(event.event_id.to_string(), event.body.title.to_string());
//!     Ok(())
//! }
//! let observe = |seen: &Seen| seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
//! trial.check(Seen::default, note, observe)?;
//! # Ok(())
//! # }
//! ```

mod handling;
mod plan;
mod run;
mod trial;

pub use trial::{Difference, Trial};
