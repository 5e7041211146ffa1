//! The yardstick: redis-rs used as well as one can by hand.

use std::time::{Duration, Instant};

use redis::Value;
use redis::aio::MultiplexedConnection;

use super::{Bench, GROUP, Meter, TOPIC, Work, age, in_flight, stamped};
use crate::rounds::{Result, Sample};

impl Bench {
    pub(super) async fn raw(&self, work: Work) -> Result<Sample> {
        let mut connection = self.connection().await?;
        let count = work.messages();
        let meter = Meter::start(count);
        match work {
            Work::PublishOne => {
                for _ in 0..count {
                    self.xadd().exec_async(&mut connection).await?;
                }
            }
            Work::PublishInFlight => {
                let send = || {
                    let (mut connection, xadd) = (connection.clone(), self.xadd());
                    async move { xadd.exec_async(&mut connection).await }
                };
                in_flight(256, count, send).await?;
            }
            Work::PublishSlices => {
                for _ in 0..count / 100 {
                    let mut pipe = redis::Pipeline::with_capacity(100);
                    for _ in 0..100 {
                        pipe.add_command(self.xadd());
                    }
                    pipe.exec_async(&mut connection).await?;
                }
            }
            Work::Consume => return self.raw_consume(connection, count).await,
            Work::EndToEnd => return self.raw_end_to_end(connection, count).await,
        }
        Ok(meter.rate())
    }

    fn xadd(&self) -> redis::Cmd {
        let mut xadd = redis::cmd("XADD");
        xadd.arg(TOPIC).arg("*").arg("data").arg(&self.body[..]);
        xadd
    }

    /// The next read is sent before the acknowledgement of the last has answered.
    async fn raw_consume(&self, mut acks: MultiplexedConnection, count: usize) -> Result<Sample> {
        self.transport.declare(&self.to()?).await?;
        self.fill(&*self.transport.publisher().await?, count)
            .await?;
        let mut reads = self.connection().await?;
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP")
            .arg(GROUP)
            .arg("raw")
            .arg("COUNT")
            .arg(1000)
            .arg("BLOCK")
            .arg(500);
        read.arg("STREAMS").arg(TOPIC).arg(">");
        let meter = Meter::start(count);
        let mut seen = 0;
        let mut page = reads.send_packed_command(&read).await?;
        while seen < count {
            let ids = ids(&page);
            seen += ids.len();
            let mut ack = redis::cmd("XACK");
            ack.arg(TOPIC).arg(GROUP).arg(ids);
            let (acked, next) = if seen < count {
                tokio::join!(
                    acks.send_packed_command(&ack),
                    reads.send_packed_command(&read)
                )
            } else {
                (acks.send_packed_command(&ack).await, Ok(Value::Nil))
            };
            acked?;
            page = next?;
        }
        Ok(meter.rate())
    }

    async fn raw_end_to_end(
        &self,
        mut publish: MultiplexedConnection,
        count: usize,
    ) -> Result<Sample> {
        self.transport.declare(&self.to()?).await?;
        let (mut reads, mut acks) = (self.connection().await?, self.connection().await?);
        let epoch = Instant::now();
        let meter = Meter::start(count);
        let sender = tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(1));
            for _ in 0..count {
                tick.tick().await;
                let mut xadd = redis::cmd("XADD");
                xadd.arg(TOPIC)
                    .arg("*")
                    .arg("data")
                    .arg(&stamped(epoch)[..]);
                if xadd.exec_async(&mut publish).await.is_err() {
                    break;
                }
            }
        });
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP")
            .arg(GROUP)
            .arg("raw")
            .arg("COUNT")
            .arg(100)
            .arg("BLOCK")
            .arg(500);
        read.arg("STREAMS").arg(TOPIC).arg(">");
        let mut latencies = Vec::with_capacity(count);
        while latencies.len() < count {
            let page = reads.send_packed_command(&read).await?;
            latencies.extend(bodies(&page).into_iter().map(|body| age(epoch, body)));
            redis::cmd("XACK")
                .arg(TOPIC)
                .arg(GROUP)
                .arg(ids(&page))
                .exec_async(&mut acks)
                .await?;
        }
        sender.await?;
        Ok(meter.median(latencies))
    }
}

fn entries(page: &Value) -> &[Value] {
    let Value::Array(streams) = page else {
        return &[];
    };
    let Some(Value::Array(stream)) = streams.first() else {
        return &[];
    };
    let Some(Value::Array(entries)) = stream.get(1) else {
        return &[];
    };
    entries
}

fn ids(page: &Value) -> Vec<Vec<u8>> {
    let id = |entry: &Value| match entry {
        Value::Array(parts) => match parts.first() {
            Some(Value::BulkString(id)) => Some(id.clone()),
            _ => None,
        },
        _ => None,
    };
    entries(page).iter().filter_map(id).collect()
}

fn bodies(page: &Value) -> Vec<&[u8]> {
    let mut bodies = Vec::new();
    for entry in entries(page) {
        let Value::Array(parts) = entry else { continue };
        let Some(Value::Array(fields)) = parts.get(1) else {
            continue;
        };
        if let Some(Value::BulkString(body)) = fields.get(1) {
            bodies.push(body.as_slice());
        }
    }
    bodies
}
