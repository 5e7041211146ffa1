//! What does every case need between a client and a broker? A proxy, a transport, a subscription
//! and a ledger.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use potluck_brokers::proxy::Proxy;
use potluck_brokers::wait;
use potluck_core::{Group, Peeked, Start, Subscription, Topic, Transport};
use tokio::time::{Instant, sleep};

use crate::Result;
use crate::counts::Counts;
use crate::ledger::Ledger;
use crate::load::{Consuming, Load, Members, Publishing};
use crate::suite::Run;

/// Tells the scenes of one process apart.
static SCENES: AtomicU32 = AtomicU32::new(1);
/// How long what is left may take, when all faults are healed.
const DRAIN_MAX: Duration = Duration::from_secs(60);

/// A broker that a case may end, freeze and start again.
#[async_trait]
pub trait Server: std::fmt::Debug + Send + Sync {
    /// Where it listens.
    fn addr(&self) -> SocketAddr;
    /// The URL of a client that reaches it at `at`, with these options (`a=1&b=2`, or none).
    fn url(&self, at: SocketAddr, options: &str) -> String;
    /// A transport to that URL.
    ///
    /// # Errors
    ///
    /// Those of `connect`.
    fn connect(&self, at: SocketAddr, options: &str) -> Result<Arc<dyn Transport>>;
    /// Ends it by SIGKILL.
    async fn kill(&self) -> Result;
    /// Starts it again, with what it kept, and waits until it serves.
    async fn restart(&self) -> Result;
    /// Ends every client's connection, as an operator may.
    async fn end_connections(&self) -> Result;
    /// Stops its process where it stands.
    async fn freeze(&self) -> Result;
    /// Lets it run on.
    fn thaw(&self) -> Result;
}

/// A client and its way to a broker.
#[derive(Debug)]
pub struct Scene<'a> {
    /// The run that it belongs to.
    pub run: &'a Run,
    /// What the transport goes through.
    pub proxy: Proxy,
    /// The client.
    pub transport: Arc<dyn Transport>,
    /// Where to consume.
    pub to: Subscription,
    /// What is written down.
    pub ledger: Arc<Ledger>,
}

impl<'a> Scene<'a> {
    /// Connects through a proxy and declares a topic and a group.
    ///
    /// # Errors
    ///
    /// When the broker does not serve.
    pub async fn open(run: &'a Run, server: &dyn Server, options: &str) -> Result<Self> {
        let number = SCENES.fetch_add(1, Ordering::Relaxed);
        let proxy = Proxy::start(server.addr()).await?;
        let transport = server.connect(proxy.addr(), options)?;
        let topic = Topic::new(&format!("faults.{number}"))?;
        let to = Subscription::new(topic, Group::new("workers")?);
        transport.declare(&to).await?;
        Ok(Self {
            run,
            proxy,
            transport,
            to,
            ledger: Arc::new(Ledger::new(number)),
        })
    }

    /// Starts a publishing load.
    ///
    /// # Errors
    ///
    /// Those of [`Load::start`].
    pub async fn publish(&self, load: Load) -> Result<Publishing> {
        load.start(&self.transport, &self.to.topic, &self.ledger)
            .await
    }

    /// Starts a consuming load.
    ///
    /// # Errors
    ///
    /// Those of [`Members::start`].
    pub async fn consume(&self, members: &Members) -> Result<Consuming> {
        members.start(&self.transport, &self.to, &self.ledger).await
    }

    /// Waits until so many messages are acknowledged and half of them handled: the load is on.
    ///
    /// # Errors
    ///
    /// When that takes longer than 30 s.
    pub async fn warm(&self, acked: usize) -> Result {
        let is_warm = async || self.ledger.acked() >= acked && self.ledger.handled() * 2 >= acked;
        wait::until(Duration::from_secs(30), "the load to be on", is_warm).await?;
        Ok(())
    }

    /// Waits for a moment at which publishes are in flight, so that the fault meets them.
    pub async fn busy(&self, in_flight: usize) {
        let end = Instant::now() + Duration::from_secs(2);
        while self.ledger.in_flight() < in_flight && Instant::now() < end {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until something that was begun after the mark is acknowledged and something is
    /// handled, and reports both times.
    ///
    /// # Errors
    ///
    /// None: what never comes is a finding.
    pub async fn recovered(&self, name: &str, most: Duration) -> Result {
        let is_back = async || {
            let recovery = self.ledger.recovery();
            recovery.publish.is_some() && recovery.handle.is_some()
        };
        // Somewhat longer than is allowed, so that what took too long is reported as measured.
        let _ = wait::until(self.run.limit(most) * 3, "the load to go on", is_back).await;
        let recovery = self.ledger.recovery();
        let limit = self.run.limit(most);
        let mut findings = self.run.findings();
        findings.within(&format!("{name} publish"), recovery.publish, limit);
        findings.within(&format!("{name} handle"), recovery.handle, limit);
        Ok(())
    }

    /// Waits until the group has nothing left and nothing was handled for a while.
    ///
    /// # Errors
    ///
    /// When that takes longer than a minute.
    pub async fn drain(&self) -> Result {
        let quiet = self
            .run
            .count(Duration::from_secs(5), Duration::from_secs(1));
        let end = Instant::now() + DRAIN_MAX;
        let mut since = Instant::now();
        let mut before = self.ledger.counts();
        while since.elapsed() < quiet {
            if Instant::now() > end {
                let left = self.transport.status(&self.to.topic, &self.to.group).await;
                return Err(format!("not drained in {DRAIN_MAX:?}: {left:?}; {before}").into());
            }
            sleep(Duration::from_millis(100)).await;
            let now = self.ledger.counts();
            if now != before || !self.is_settled().await {
                (before, since) = (now, Instant::now());
            }
        }
        Ok(())
    }

    async fn is_settled(&self) -> bool {
        let status = self.transport.status(&self.to.topic, &self.to.group).await;
        let nothing = |figure: potluck_core::Figure<u64>| figure.value().unwrap_or(0) == 0;
        status.is_ok_and(|status| nothing(status.backlog) && nothing(status.in_flight))
    }

    /// Ends the loads, drains, closes, and judges what holds for every case.
    ///
    /// # Errors
    ///
    /// When something does not end.
    pub async fn end(&self, publishing: Publishing, consuming: Consuming) -> Result<Counts> {
        publishing.finish().await?;
        self.drain().await?;
        consuming.stop().await?;
        self.close().await
    }

    /// Closes, and judges what holds for every case.
    ///
    /// # Errors
    ///
    /// When the transport cannot be closed.
    pub async fn close(&self) -> Result<Counts> {
        self.close_losing(0).await
    }

    /// The same where so many acknowledged messages may be lost, because the broker lost them.
    ///
    /// # Errors
    ///
    /// When the transport cannot be closed.
    pub async fn close_losing(&self, most: usize) -> Result<Counts> {
        self.transport.close().await?;
        let counts = self.ledger.counts();
        self.run.judge(&counts, most);
        let errors = self.ledger.errors();
        let mut findings = self.run.findings();
        findings.holds(errors.is_empty(), format!("the load saw {errors:?}"));
        Ok(counts)
    }

    /// The bodies of all that the topic holds.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub async fn stored(&self) -> Result<Vec<Vec<u8>>> {
        let all = all(&self.transport, &self.to.topic).await?;
        Ok(all.iter().map(|one| one.message.body().to_vec()).collect())
    }
}

/// All that a topic holds.
///
/// # Errors
///
/// When it cannot be read.
pub async fn all(transport: &Arc<dyn Transport>, topic: &Topic) -> Result<Vec<Peeked>> {
    let reader = transport.reader(topic, Start::Earliest).await?;
    let page = NonZeroUsize::MIN.saturating_add(999);
    let mut all = Vec::new();
    loop {
        let peeked = reader.receive(page, Duration::from_millis(500)).await?;
        if peeked.is_empty() {
            reader.close().await?;
            return Ok(all);
        }
        all.extend(peeked);
    }
}
