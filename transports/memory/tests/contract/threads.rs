//! Does it hold on real threads, where a wake-up could be missed?

use std::collections::HashMap;
use std::sync::Mutex;

use super::*;
use potluck_memory::Bounds;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_or_doubled_while_all_run_at_once() {
    const PUBLISHERS: usize = 8;
    const EACH: usize = 500;
    // Small, so that publishers wait for acks and members wait for publishers all the time.
    let bounds = Bounds::default().max_messages(some(16));
    let transport = Broker::with_bounds(bounds).connect();
    let seen = Arc::new(Mutex::new(HashMap::<(usize, MessageId), u32>::new()));
    let mut tasks = Vec::new();
    for index in 0..6 {
        let name = ["a", "b"][index % 2];
        let to = to(name).max_held(some(4));
        let member = transport.subscriber(&to).await.unwrap();
        let seen = seen.clone();
        tasks.push(tokio::spawn(async move {
            loop {
                let got = member.receive(some(3), LONG).await.unwrap();
                // The last message ends the group's members one by one.
                let stop = |one: &&Delivery| one.message.body() == "stop";
                let work: Vec<_> = got.iter().filter(|one| !stop(one)).cloned().collect();
                for one in &work {
                    let mut seen = seen.lock().unwrap();
                    *seen.entry((index % 2, one.id)).or_default() += 1;
                }
                let settled = member.ack(&receipts(&work)).await.unwrap();
                assert_eq!(settled, nothing_stale());
                if work.len() < got.len() {
                    member.close().await.unwrap();
                    return;
                }
            }
        }));
    }
    let mut publishers = Vec::new();
    for _ in 0..PUBLISHERS {
        let transport = transport.clone();
        publishers.push(tokio::spawn(async move {
            for _ in 0..EACH / 5 {
                try_publish(&transport, &["x"; 5], LONG).await.unwrap();
            }
        }));
    }
    for publisher in publishers {
        publisher.await.unwrap();
    }
    try_publish(&transport, &["stop"], LONG).await.unwrap();
    for task in tasks {
        task.await.unwrap();
    }
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), PUBLISHERS * EACH * 2);
    assert!(seen.values().all(|times| *times == 1));
}
