//! Which broker is meant, and how does a command get at it?

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use potluck::Transport;
use potluck::capabilities::Durability;
use potluck::url::BrokerUrl;

use crate::args::{Broker as Place, Global, NamedBy};
use crate::exit::{Exit, Run, Stop};
use crate::files;
use crate::output::Talk;

/// The largest file that is read for a URL.
const URL_FILE_MAX: usize = 64 * 1024;
/// How long nothing is said while the broker does not answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// A broker's URL, and where it comes from.
pub(crate) struct Address {
    /// It may hold a password: see [`shown`](Self::shown).
    pub(crate) url: String,
    pub(crate) from: String,
}

impl Address {
    /// The URL as it may be shown.
    pub(crate) fn shown(&self) -> Result<String, Stop> {
        let shown = BrokerUrl::parse(&self.url)?.to_string();
        Ok(shown.trim_end_matches("//").to_owned())
    }
}

/// The address that is named, by the flag, the environment or a file.
pub(crate) fn named(global: &Global, talk: Talk) -> Result<Option<Address>, Stop> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let Some((place, by)) = global.broker(variable) else {
        return Ok(None);
    };
    let differ = |ours| variable("REDIS_URL").is_some_and(|theirs| ours != theirs);
    if by == NamedBy::PotluckUrl && variable("POTLUCK_URL").is_some_and(differ) {
        talk.warn("POTLUCK_URL and REDIS_URL differ; POTLUCK_URL counts");
    }
    at(place, by.as_str().to_owned()).map(Some)
}

/// The address that a setting names, which is a URL or a file with one in it.
pub(crate) fn address(value: &str, from: String) -> Result<Address, Stop> {
    at(Place::of(value.to_owned()), from)
}

fn at(place: Place, from: String) -> Result<Address, Stop> {
    Ok(match place {
        Place::Url(url) => Address { url, from },
        Place::InFile(file) => Address {
            url: url_in(&file)?,
            from: format!("{from}, in {}", file.display()),
        },
    })
}

/// The same, for commands that make no sense without a broker.
pub(crate) fn needed(global: &Global, talk: Talk) -> Result<Address, Stop> {
    named(global, talk)?.ok_or_else(|| {
        let text = "no broker is named; give its URL, such as -u redis://localhost:6379, or set POTLUCK_URL or REDIS_URL";
        Stop::failed(Exit::Usage, text)
    })
}

/// The broker of a command that also takes it as an argument.
pub(crate) fn chosen(url: Option<&str>, global: &Global, talk: Talk) -> Result<Address, Stop> {
    match url {
        Some(url) => Ok(Address {
            url: url.to_owned(),
            from: "the command line".to_owned(),
        }),
        None => needed(global, talk),
    }
}

fn url_in(file: &Path) -> Result<String, Stop> {
    let bad = |text: String| Stop::failed(Exit::BadConfig, text);
    let text = files::read(file, URL_FILE_MAX).map_err(bad)?;
    let text = String::from_utf8_lossy(&text);
    match text.lines().next().map(str::trim) {
        Some(url) if !url.is_empty() => Ok(url.to_owned()),
        _ => Err(bad(format!(
            "{} is empty; write the broker's URL on its first line",
            file.display()
        ))),
    }
}

/// Runs to the end. A thread of its own drives the broker's connections while standard output
/// blocks this one.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Stop>>) -> Result<T, Stop> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Stop::failed(Exit::Failed, format!("cannot start: {error}")))?;
    let result = runtime.block_on(work);
    // Looking up a host's name cannot be cancelled, and nobody waits for it any more.
    runtime.shutdown_background();
    result
}

/// An open broker.
pub(crate) struct Broker {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) address: Address,
    pub(crate) talk: Talk,
}

impl Broker {
    /// Waits for the broker's answer. A person is told what is waited for.
    pub(crate) async fn answer<T>(
        &self,
        asked: impl Future<Output = potluck::Result<T>>,
    ) -> Result<T, Stop> {
        let mut asked = std::pin::pin!(asked);
        if let Ok(answer) = tokio::time::timeout(PATIENCE, &mut asked).await {
            return Ok(answer?);
        }
        let (shown, state) = (self.address.shown()?, self.transport.state());
        self.talk
            .note(format_args!("waiting for {shown}, which is {state}"));
        Ok(asked.await?)
    }
}

/// Opens the broker that is named, lets a command work with it, and closes it.
pub(crate) fn with_broker(
    global: &Global,
    talk: Talk,
    work: impl AsyncFnOnce(&Broker) -> Run,
) -> Run {
    let address = needed(global, talk)?;
    block_on(async {
        let broker = Broker {
            transport: potluck::connect(&address.url)?,
            address,
            talk,
        };
        note_if_in_memory(&*broker.transport, talk);
        let run = work(&broker).await;
        if let Err(error) = broker.transport.close().await {
            talk.warn(error);
        }
        run
    })
}

/// Says so where a broker is nobody else's.
pub(crate) fn note_if_in_memory(transport: &dyn Transport, talk: Talk) {
    if transport.capabilities().durability == Durability::Process {
        talk.note("this broker is in the memory of this process and ends with it");
    }
}
