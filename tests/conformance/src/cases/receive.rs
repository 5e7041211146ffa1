//! Does a receive take what it may, wait as long as it should, and stay out of a settle's way; and
//! does whatever is dropped lose nothing?

use std::num::NonZeroUsize;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, timeout};

use super::core;
use super::settle::{NO_LEASE, another};
use crate::case::{Broken, Case, Verdict};
use crate::context::{Context, SOON};
use crate::holds;
use crate::member::receipts;

pub(super) const CASES: &[Case] = &[
    core(
        "receive_respects_max",
        "A receive hands over no more than it was asked for, and does not wait to fill up.",
        |context| receive_respects_max(context).boxed(),
    ),
    core(
        "receive_respects_wait",
        "A receive on a quiet topic ends as empty when its wait is over, not sooner and not later.",
        |context| receive_respects_wait(context).boxed(),
    ),
    core(
        "receive_wakes_for_message",
        "A receive that waits ends as soon as a message is published.",
        |context| receive_wakes_for_message(context).boxed(),
    ),
    core(
        "receives_take_turns",
        "Of two receives at once the second waits for its turn, within its own wait.",
        |context| receives_take_turns(context).boxed(),
    ),
    core(
        "receive_cancel_safe",
        "Receives that are dropped at any time lose nothing and double nothing.",
        |context| receive_cancel_safe(context).boxed(),
    ),
    core(
        "ack_passes_blocked_receive",
        "An ack, release or extend never waits behind a receive that waits.",
        |context| ack_passes_blocked_receive(context).boxed(),
    ),
    core(
        "settle_cancel_safe",
        "A settle that is dropped can be called again, and its message does not come again after.",
        |context| settle_cancel_safe(context).boxed(),
    ),
];

async fn receive_respects_max(context: &Context) -> Verdict {
    let to = context.declared().await?.lease(NO_LEASE);
    let publisher = context.transport().publisher().await?;
    let member = context.join(&to).await?;
    context.publish(&*publisher, &to.topic, 60).await?;
    let mut random = context.random();
    let mut came = 0;
    let deadline = Instant::now() + SOON;
    // `receive` fails when more come than were asked for.
    while came < 60 {
        holds!(
            Instant::now() < deadline,
            "{came} of 60 came within {SOON:?}"
        );
        let max = random.usize(1..8);
        let some = member.receive(max, Duration::from_millis(500)).await?;
        came += some.len();
        member.ack(&some).await?;
    }
    let wait = Duration::from_secs(5);
    let mut fastest = wait;
    for _ in 0..3 {
        context.publish(&*publisher, &to.topic, 1).await?;
        let began = Instant::now();
        let one = member.receive(100, wait).await?;
        holds!(one.len() == 1, "{} came of one message", one.len());
        member.ack(&one).await?;
        fastest = fastest.min(began.elapsed());
    }
    holds!(
        fastest < wait / 2,
        "one message of 100 asked for came after {fastest:?} only"
    );
    context.ledger.exactly_once([member.name()])
}

async fn receive_respects_wait(context: &Context) -> Verdict {
    let to = context.declared().await?;
    let member = context.join(&to).await?;
    for wait in [Duration::ZERO, Duration::from_secs(1)] {
        let began = Instant::now();
        let received = timeout(SOON, member.receive(10, wait)).await;
        let took = began.elapsed();
        let Ok(received) = received else {
            crate::broken!("a receive that should wait {wait:?} was not over after {took:?}");
        };
        let came = received?;
        holds!(came.is_empty(), "{} messages came of none", came.len());
        let (least, most) = (wait / 2, wait + Duration::from_secs(2));
        holds!(
            least <= took && took <= most,
            "a receive that should wait {wait:?} took {took:?}, over {least:?} to {most:?}"
        );
    }
    Ok(())
}

async fn receive_wakes_for_message(context: &Context) -> Verdict {
    let to = context.declared().await?;
    let publisher = context.transport().publisher().await?;
    let member = context.join(&to).await?;
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let receiving = async {
            let came = member.receive(10, SOON).await?;
            Ok::<_, Broken>((came, Instant::now()))
        };
        let publishing = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            context.publish(&*publisher, &to.topic, 1).await?;
            Ok(Instant::now())
        };
        let ((came, received), published) = tokio::try_join!(receiving, publishing)?;
        holds!(
            came.len() == 1,
            "{} came of one message to a receive that waited",
            came.len()
        );
        member.ack(&came).await?;
        fastest = fastest.min(received.saturating_duration_since(published));
    }
    let limit = Duration::from_secs(1);
    holds!(
        fastest < limit,
        "the fastest of three came {fastest:?} after it was published"
    );
    Ok(())
}

async fn receives_take_turns(context: &Context) -> Verdict {
    let to = context.declared().await?.lease(NO_LEASE);
    let publisher = context.transport().publisher().await?;
    let member = context.join(&to).await?;
    let long = async {
        let came = member.receive(10, Duration::from_secs(4)).await?;
        member.ack(&came).await
    };
    let short = async {
        // The other one has its turn by now, and keeps it until something comes.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let began = Instant::now();
        let came = member.receive(10, Duration::from_millis(500)).await?;
        let took = began.elapsed();
        let limit = Duration::from_secs(2);
        holds!(
            came.is_empty() && took < limit,
            "a second receive of 500 ms took {took:?} and had {}",
            came.len()
        );
        context.publish(&*publisher, &to.topic, 20).await
    };
    tokio::try_join!(long, short)?;
    let two = async {
        let deadline = Instant::now() + SOON;
        while context.ledger.distinct([member.name()]) < 20 {
            holds!(
                Instant::now() < deadline,
                "{}",
                context.ledger.counts([member.name()])
            );
            let pair = (member.receive(3, SOON / 50), member.receive(3, SOON / 50));
            let (one, other) = tokio::try_join!(pair.0, pair.1)?;
            member.ack(&one).await?;
            member.ack(&other).await?;
        }
        Ok(())
    };
    two.await?;
    context.ledger.exactly_once([member.name()])
}

async fn receive_cancel_safe(context: &Context) -> Verdict {
    const COUNT: usize = 300;
    let to = context.declared().await?.lease(NO_LEASE);
    let publisher = context.transport().publisher().await?;
    let member = context.join(&to).await?;
    let publishing = async {
        for _ in 0..COUNT / 5 {
            context.publish(&*publisher, &to.topic, 5).await?;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok::<(), Broken>(())
    };
    let receiving = async {
        let mut random = context.random();
        let deadline = Instant::now() + SOON * 2;
        let mut dropped = 0;
        while context.ledger.distinct([member.name()]) < COUNT {
            let counts = context.ledger.counts([member.name()]);
            holds!(
                Instant::now() < deadline,
                "after {dropped} dropped receives: {counts}"
            );
            let receive = member.receive(random.usize(1..20), Duration::from_secs(1));
            let came = match random.u8(0..4) {
                0 => receive.now_or_never(),
                1 | 2 => timeout(Duration::from_micros(random.u64(1..4_000)), receive)
                    .await
                    .ok(),
                _ => timeout(Duration::from_millis(random.u64(1..100)), receive)
                    .await
                    .ok(),
            };
            match came {
                Some(came) => member.ack(&came?).await?,
                None => dropped += 1,
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    };
    tokio::try_join!(publishing, receiving)?;
    let before = context
        .sentinel(&*publisher, &*member.subscriber, &to)
        .await?;
    let counts = context.ledger.counts([member.name()]);
    holds!(before.is_empty(), "{} came late: {counts}", before.len());
    context.ledger.exactly_once([member.name()])
}

async fn ack_passes_blocked_receive(context: &Context) -> Verdict {
    let to = context.declared().await?.lease(NO_LEASE);
    let publisher = context.transport().publisher().await?;
    let member = context.join(&to).await?;
    context.publish(&*publisher, &to.topic, 3).await?;
    let all = member.take(3).await?;
    let wait = Duration::from_secs(6);
    let blocked = member.subscriber.receive(NonZeroUsize::MIN, wait);
    let limit = Duration::from_secs(3);
    let settling = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let began = Instant::now();
        let all_receipts = receipts(&all);
        let extended = timeout(limit, member.subscriber.extend(&all_receipts)).await;
        holds!(
            extended.is_ok(),
            "an extend waited behind a receive for {limit:?}"
        );
        let acked = timeout(limit, member.ack(&all[..2])).await;
        let Ok(acked) = acked else {
            crate::broken!("an ack waited behind a receive for {limit:?}");
        };
        acked?;
        let took = began.elapsed();
        holds!(
            took < limit,
            "settling behind a receive that waits {wait:?} took {took:?}"
        );
        let released = timeout(limit, member.release(&all[2..])).await;
        let Ok(released) = released else {
            crate::broken!("a release waited behind a receive for {limit:?}");
        };
        released
    };
    let blocked = async { blocked.await.map_err(Broken::from) };
    let (came, ()) = tokio::try_join!(blocked, settling)?;
    for delivery in &came {
        context
            .ledger
            .delivered(to.group.as_str(), member.name(), delivery);
    }
    holds!(
        came.len() == 1,
        "what was given back did not wake the receive that waited"
    );
    member.ack(&came).await
}

async fn settle_cancel_safe(context: &Context) -> Verdict {
    let to = context.declared().await?.lease(NO_LEASE);
    let publisher = context.transport().publisher().await?;
    context.publish(&*publisher, &to.topic, 60).await?;
    let connection = context.connect().await?;
    let member = context.join_over(&connection, &to).await?;
    let all = member.take(60).await?;
    let mut random = context.random();
    for receipt in receipts(&all) {
        let settling = [receipt];
        let settling = member.subscriber.ack(&settling);
        if random.bool() {
            let _ = settling.now_or_never();
        } else {
            let after = Duration::from_micros(random.u64(1..1_000));
            let _ = timeout(after, settling).await;
        }
    }
    // Stale are those that had arrived all the same.
    let all_receipts = receipts(&all);
    let again = member.subscriber.ack(&all_receipts);
    let Ok(again) = timeout(SOON, again).await else {
        crate::broken!("after dropped calls an ack does not answer within {SOON:?}");
    };
    let _ = again?;
    for delivery in &all {
        context.ledger.acked(to.group.as_str(), delivery);
    }
    member.subscriber.close().await?;
    let second = context.join(&another(&to)).await?;
    let before = context
        .sentinel(&*publisher, &*second.subscriber, &second.to)
        .await?;
    let counts = context.ledger.counts([member.name(), second.name()]);
    holds!(
        before.is_empty(),
        "{} came again after dropped and repeated acks: {counts}",
        before.len()
    );
    Ok(())
}
