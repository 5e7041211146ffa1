//! What does a worker leave behind when it is killed? A consumer to kill: it names each message on
//! standard output, flushed, before it acknowledges it.
//!
//! `faults-consumer URL TOPIC GROUP LEASE_MS HOLD_MS`. It leaves in good order when its input ends.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use potluck_core::{Group, Subscription, Topic, Transport};
use potluck_faults::Result;
use potluck_faults::load::Members;
use tokio::sync::Notify;

fn main() -> Result {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [url, topic, group, lease, hold] = arguments.as_slice() else {
        return Err("usage: faults-consumer URL TOPIC GROUP LEASE_MS HOLD_MS".into());
    };
    let to = Subscription::new(Topic::new(topic)?, Group::new(group)?)
        .lease(Duration::from_millis(lease.parse()?));
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(consume(url, &to, Duration::from_millis(hold.parse()?)))
}

fn connect(url: &str) -> Result<Arc<dyn Transport>> {
    match url.split_once(':') {
        Some(("redis" | "rediss", _)) => Ok(potluck_redis::connect(url)?),
        _ => Err("no transport for this URL".into()),
    }
}

async fn consume(url: &str, to: &Subscription, hold: Duration) -> Result {
    let transport = connect(url)?;
    let subscriber = transport.subscriber(to).await?;
    let ended = Arc::new(Notify::new());
    let tell = ended.clone();
    std::thread::spawn(move || {
        // Nobody writes there; it ends with whoever started us.
        let _ = std::io::stdin().read(&mut [0]);
        tell.notify_one();
    });
    let slice = Members::new(1).slice;
    loop {
        let deliveries = tokio::select! {
            deliveries = subscriber.receive(slice, Duration::from_millis(500)) => deliveries?,
            () = ended.notified() => break,
        };
        let mut lines = Vec::new();
        for delivery in &deliveries {
            lines.extend_from_slice(delivery.message.body());
            lines.push(b'\n');
        }
        let mut output = std::io::stdout().lock();
        output.write_all(&lines)?;
        output.flush()?;
        drop(output);
        if !deliveries.is_empty() {
            tokio::time::sleep(hold).await;
        }
        let receipts: Vec<_> = deliveries.iter().map(|delivery| delivery.receipt).collect();
        // What is stale comes again, and is named again.
        let _ = subscriber.ack(&receipts).await?;
    }
    Ok(transport.close().await?)
}
