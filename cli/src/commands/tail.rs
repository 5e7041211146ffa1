//! `potluck tail`: look at messages as they come, without a group.

use crate::args::{Form, Global, Tail};
use crate::connect;
use crate::exit::{Exit, Run, Stop};
use crate::lines::Lines;
use crate::log;
use crate::output::{self, Talk};
use crate::records::{self, Item, Writer};
use crate::until::Until;

pub(crate) fn run(args: &Tail, global: &Global, talk: Talk) -> Run {
    let Tail { topic, start, show } = args;
    connect::with_broker(global, talk, async |broker| {
        let reader = broker.transport.reader(topic, start.start());
        let reader = broker.answer(reader).await?;
        log::show(talk);
        let mut until = Until::new(show, talk)?;
        let (mut writer, mut lines) = (Writer::new(show.output), Lines::to_stdout()?);
        while let Some(most) = until.most() {
            let receive = reader.receive(most, until.wait());
            let Some(looks) = until.receive(receive, &*broker.transport).await? else {
                break;
            };
            for look in &looks {
                let problem = records::problem(&look.message, look.defect.as_ref());
                if let (Some(problem), Form::Raw) = (&problem, writer.form) {
                    output::error(records::complaint(look.id, problem));
                    continue;
                }
                let item = Item {
                    topic,
                    id: look.id,
                    message: &look.message,
                    attempt: None,
                    problem,
                };
                lines.add(|text| writer.write(&item, text));
            }
            lines.write().map_err(|(_, stop): (_, Stop)| stop)?;
            until.came(looks.len());
        }
        reader.close().await?;
        Ok(Exit::Ok)
    })
}
