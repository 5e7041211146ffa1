//! `potluck declare`: make a topic and a group exist.

use potluck::Subscription;

use crate::args::{Declare, Global, StartAt};
use crate::connect;
use crate::exit::{Exit, Run};
use crate::output::Talk;

pub(crate) fn run(args: &Declare, global: &Global, talk: Talk) -> Run {
    let Declare {
        topic,
        group,
        start,
    } = args;
    connect::with_broker(global, talk, async |broker| {
        let to = Subscription::new(topic.clone(), group.clone()).start(start.start());
        broker.answer(broker.transport.declare(&to)).await?;
        let from = match start {
            StartAt::Earliest => "the earliest message",
            StartAt::New => "the next message",
        };
        talk.note(format_args!(
            "group {group} of {topic} is there; if it is new, it starts at {from}"
        ));
        Ok(Exit::Ok)
    })
}
