//! All cases, a file per theme and a row per case.

mod admin;
mod faults;
mod faults_flow;
mod faults_members;
mod faults_topics;
mod groups;
mod leases;
mod lifecycle;
mod observe;
mod ordering;
mod publish;
mod receive;
mod refusals;
mod runtime;
mod runtime_dead;
mod runtime_end;
mod runtime_flow;
mod settle;

use std::time::Duration;

use crate::case::{Case, Hook, Level};
use crate::context::Context;

/// How long a case may take unless its row says more.
const BUDGET: Duration = Duration::from_secs(30);

/// Every case of the suite, in the order in which documents list them.
pub fn all() -> impl Iterator<Item = &'static Case> {
    [
        publish::CASES,
        refusals::CASES,
        receive::CASES,
        groups::CASES,
        ordering::CASES,
        settle::CASES,
        leases::CASES,
        lifecycle::CASES,
        observe::CASES,
        admin::CASES,
        faults::CASES,
        faults_members::CASES,
        faults_topics::CASES,
        runtime::CASES,
        runtime_dead::CASES,
        runtime_flow::CASES,
        runtime_end::CASES,
    ]
    .into_iter()
    .flatten()
}

/// A row: a case for all transports.
const fn core(
    name: &'static str,
    promise: &'static str,
    run: for<'a> fn(&'a Context) -> futures_util::future::BoxFuture<'a, crate::Verdict>,
) -> Case {
    Case {
        name,
        promise,
        level: Level::Core,
        needs: None,
        budget: BUDGET,
        run,
    }
}

/// A row: a case whose assertion follows from what is claimed.
const fn claimed(
    name: &'static str,
    promise: &'static str,
    run: for<'a> fn(&'a Context) -> futures_util::future::BoxFuture<'a, crate::Verdict>,
) -> Case {
    Case {
        name,
        promise,
        level: Level::Capability,
        needs: None,
        budget: BUDGET,
        run,
    }
}

/// A row: a case that breaks something.
const fn fault(
    name: &'static str,
    promise: &'static str,
    hook: Hook,
    run: for<'a> fn(&'a Context) -> futures_util::future::BoxFuture<'a, crate::Verdict>,
) -> Case {
    Case {
        name,
        promise,
        level: Level::Fault,
        needs: Some(hook),
        budget: Duration::from_secs(60),
        run,
    }
}

/// A row: a case of the consumer runtime over the transport.
const fn runtime(
    name: &'static str,
    promise: &'static str,
    run: for<'a> fn(&'a Context) -> futures_util::future::BoxFuture<'a, crate::Verdict>,
) -> Case {
    Case {
        name,
        promise,
        level: Level::Runtime,
        needs: None,
        budget: BUDGET,
        run,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_fit_into_topics() {
        let mut names = std::collections::HashSet::new();
        for case in all() {
            assert!(names.insert(case.name), "{} is there twice", case.name);
            assert!(
                case.name.len() <= 40 && case.promise.ends_with('.'),
                "{}",
                case.name
            );
        }
    }
}
