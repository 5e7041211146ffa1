//! What a delivery is: an event for a handler, or why it is none.

use std::sync::Arc;

use potluck_core::envelope::{Payload, Verdict};
use potluck_core::{Defect, Delivery};

use crate::dead_letter::Reason;
use crate::handler::{Route, Routes};
use crate::policy::OtherMajor;

/// Why a delivery is for no handler.
#[derive(Debug)]
pub(crate) struct Unfit {
    pub(crate) reason: Reason,
    /// What is wrong, in words that quote nothing of it.
    pub(crate) error: String,
}

impl Unfit {
    pub(crate) fn new(reason: Reason, error: impl ToString) -> Self {
        Self {
            reason,
            error: error.to_string(),
        }
    }
}

/// Finds the handler for a delivery. What is refused is refused in this order: malformed; without
/// type or version; of a type that nobody handles; of another major version, if those are rejected.
/// Whether the body is valid only decoding tells.
pub(crate) fn route(
    delivery: &Delivery,
    routes: &Routes,
    other_major: OtherMajor,
) -> Result<(Arc<Route>, Payload), Unfit> {
    if let Some(defect) = &delivery.defect {
        let reason = match defect {
            Defect::TooLarge { .. } => Reason::TooLarge,
            _ => Reason::Malformed,
        };
        return Err(Unfit::new(reason, defect));
    }
    let payload = Payload::check(delivery.message.body().clone()).map_err(|malformed| {
        let too_large = malformed.reason() == Reason::TooLarge.as_str();
        let reason = if too_large {
            Reason::TooLarge
        } else {
            Reason::Malformed
        };
        Unfit::new(reason, malformed)
    })?;
    let kind = payload.kind();
    let Some(kind) = kind else {
        return Err(Unfit::new(
            Reason::Invalid,
            "there is no `type` that is a string",
        ));
    };
    let version = match payload.version() {
        None => return Err(Unfit::new(Reason::Invalid, "there is no `schema_version`")),
        Some(Err(error)) => return Err(Unfit::new(Reason::BadVersion, error)),
        Some(Ok(version)) => version,
    };
    let Some(route) = routes.get(&*kind).cloned() else {
        let error = "no handler is registered for its `type`";
        return Err(Unfit::new(Reason::UnregisteredType, error));
    };
    let other = route.watch.judge(version) == Verdict::OtherMajor;
    if other && other_major == OtherMajor::Reject {
        let error = format!("Unsupported schema version: {version}");
        return Err(Unfit::new(Reason::UnsupportedVersion, error));
    }
    drop(kind);
    Ok((route, payload))
}
