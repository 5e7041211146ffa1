//! How is a transport wrapped in one of one's own? This one counts what is published. It keeps the
//! promises of the one inside: `cargo test -p potluck-examples --test own_transport`.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::{env, error::Error, sync::Arc, time::Duration};

use async_trait::async_trait;
use potluck::envelope::{FreeFood, FreeFoodEvent, Text};
use potluck::*;

/// Counts the messages that were given to its publishers.
#[derive(Debug)]
struct Counting {
    inner: Arc<dyn Transport>,
    published: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct CountingPublisher(Arc<dyn Publisher>, Arc<AtomicUsize>);

#[async_trait]
impl Publisher for CountingPublisher {
    async fn publish(
        &self,
        topic: &Topic,
        messages: &[Message],
        within: Duration,
    ) -> std::result::Result<Vec<MessageId>, PublishError> {
        self.1.fetch_add(messages.len(), Relaxed);
        self.0.publish(topic, messages, within).await
    }
}

/// No method has a default, so none is forgotten.
#[async_trait]
impl Transport for Counting {
    async fn publisher(&self) -> Result<Arc<dyn Publisher>> {
        let inner = self.inner.publisher().await?;
        Ok(Arc::new(CountingPublisher(inner, self.published.clone())))
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn state(&self) -> State {
        self.inner.state()
    }
    async fn changed(&self, since: State) -> State {
        self.inner.changed(since).await
    }
    async fn subscriber(&self, to: &Subscription) -> Result<Arc<dyn Subscriber>> {
        self.inner.subscriber(to).await
    }
    async fn declare(&self, to: &Subscription) -> Result<()> {
        self.inner.declare(to).await
    }
    async fn status(&self, topic: &Topic, group: &Group) -> Result<GroupStatus> {
        self.inner.status(topic, group).await
    }
    async fn peek(
        &self,
        topic: &Topic,
        group: &Group,
        after: Option<MessageId>,
        max: usize,
    ) -> Result<Page> {
        self.inner.peek(topic, group, after, max).await
    }
    async fn delete_group(&self, topic: &Topic, group: &Group) -> Result<()> {
        self.inner.delete_group(topic, group).await
    }
    async fn delete_topic(&self, topic: &Topic, groups: &[Group]) -> Result<()> {
        self.inner.delete_topic(topic, groups).await
    }
    async fn reader(&self, topic: &Topic, start: Start) -> Result<Arc<dyn Reader>> {
        self.inner.reader(topic, start).await
    }
    async fn describe(&self) -> Result<Description> {
        self.inner.describe().await
    }
    fn stats(&self) -> Stats {
        self.inner.stats()
    }
    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

/// A counting connection, and what it has counted.
pub(crate) fn connect(url: &str) -> Result<(Arc<dyn Transport>, Arc<AtomicUsize>)> {
    let published = Arc::new(AtomicUsize::new(0));
    let counting = Counting {
        inner: potluck::connect(url)?,
        published: published.clone(),
    };
    Ok((Arc::new(counting), published))
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn Error>> {
    let url = env::var("POTLUCK_URL").unwrap_or_else(|_| "memory:".to_owned());
    let (transport, published) = connect(&url)?;
    let bus = Bus::new(transport);
    let topic = Topic::new("examples.own-transport")?;
    for title in ["Soup", "Salad", "Stew"] {
        let food = FreeFood::new(Text::new(title)?);
        bus.publish(&topic, &FreeFoodEvent::builder(food).build())
            .await?;
    }
    println!("{} published", published.load(Relaxed));
    bus.close().await?;
    Ok(())
}
