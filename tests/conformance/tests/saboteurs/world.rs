//! What do all connections of one saboteur share?

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use potluck_conformance::{Faults, Hook, Target};
use potluck_core::{
    Defect, Error, ErrorKind, Group, Headers, Message, MessageId, Subscription, Topic, Transport,
};
use potluck_memory::Broker;

use crate::meddler::Memory;
use crate::sabotage::Sabotage;
use crate::subscriber::BrokenSubscriber;
use crate::transport::BrokenTransport;

/// What a round trip takes. So calls overlap as they do on a network, and whoever asks again and
/// again does not stop a paused clock.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// A message as a group sees it.
type Handed = (Topic, Group, MessageId);

/// A broker in memory, and what a saboteur remembers across connections.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) broker: Broker,
    sabotage: Sabotage,
    cuts: AtomicU64,
    freezes: AtomicU64,
    numbers: AtomicU64,
    pub(crate) members: Mutex<Vec<Weak<BrokenSubscriber>>>,
    /// The groups of each topic that was declared.
    pub(crate) groups: Mutex<HashMap<Topic, HashSet<Group>>>,
    /// The last count of each message, and the count at the last cut.
    pub(crate) attempts: Mutex<HashMap<Handed, (u32, u32)>>,
    /// What is remembered of a runtime.
    pub(crate) memory: Mutex<Memory>,
    /// Members that nobody lets go.
    pub(crate) leaked: Mutex<Vec<Arc<dyn potluck_core::Subscriber>>>,
}

impl World {
    pub(crate) fn new(sabotage: Sabotage) -> Arc<Self> {
        Arc::new(Self {
            broker: Broker::new(),
            sabotage,
            cuts: AtomicU64::new(0),
            freezes: AtomicU64::new(0),
            numbers: AtomicU64::new(1_000_000),
            members: Mutex::default(),
            groups: Mutex::default(),
            attempts: Mutex::default(),
            memory: Mutex::default(),
            leaked: Mutex::default(),
        })
    }

    /// The saboteur as the suite sees it.
    pub(crate) fn target(self: &Arc<Self>, name: &str) -> Target {
        let world = self.clone();
        let connect = move || {
            let world = world.clone();
            async move { Ok(Arc::new(BrokenTransport::new(world)) as Arc<dyn Transport>) }
        };
        Target::new(name, connect).with_faults(Arc::new(Strikes(self.clone())))
    }

    pub(crate) fn sabotage(&self) -> Sabotage {
        self.sabotage
    }

    pub(crate) fn is(&self, sabotage: Sabotage) -> bool {
        self.sabotage == sabotage
    }

    /// How often connections were cut.
    pub(crate) fn cuts(&self) -> u64 {
        self.cuts.load(Relaxed)
    }

    /// How often connections were frozen.
    pub(crate) fn freezes(&self) -> u64 {
        self.freezes.load(Relaxed)
    }

    /// An id that no message has.
    pub(crate) fn invented_id(&self) -> MessageId {
        MessageId::single(self.numbers.fetch_add(1, Relaxed))
    }

    /// The members that live, of this group or of all.
    pub(crate) fn members(&self, of: Option<&Subscription>) -> Vec<Arc<BrokenSubscriber>> {
        let mut members = lock(&self.members);
        members.retain(|member| member.strong_count() > 0);
        let all = members.iter().filter_map(Weak::upgrade);
        let same = |member: &Arc<BrokenSubscriber>| {
            of.is_none_or(|to| to.topic == member.to.topic && to.group == member.to.group)
        };
        all.filter(same).collect()
    }

    fn cut(&self) {
        self.cuts.fetch_add(1, Relaxed);
        for (before, at_cut) in lock(&self.attempts).values_mut() {
            *at_cut = *before;
        }
        self.broker.cut();
    }
}

/// What breaks for every connection at once.
struct Strikes(Arc<World>);

#[async_trait]
impl Faults for Strikes {
    fn offers(&self, _: Hook) -> bool {
        true
    }

    async fn cut(&self) {
        if self.0.is(Sabotage::CutLosesHeld) {
            for member in self.0.members(None) {
                member.ack_held().await;
            }
        }
        if self.0.is(Sabotage::CutRepeatsAll) {
            self.repeat_all().await;
        }
        self.0.cut();
    }

    /// Honest ones notice in time, and make new connections.
    async fn freeze(&self) {
        self.0.freezes.fetch_add(1, Relaxed);
        self.cut().await;
    }

    async fn restart(&self) {
        self.cut().await;
    }

    async fn inject(&self, topic: &Topic, bytes: Bytes) {
        let mut headers = Headers::new();
        headers.set("foreign", bytes);
        let record = Message::received(Bytes::new(), headers, None);
        let _ = self.0.broker.inject(topic, &record, Some(Defect::NoBody));
    }

    async fn trim(&self, topic: &Topic) {
        self.0.broker.trim(topic);
    }
}

impl Strikes {
    /// Makes every group again, from the earliest message.
    async fn repeat_all(&self) {
        let admin = self.0.broker.connect();
        let groups = lock(&self.0.groups).clone();
        for (topic, groups) in groups {
            for group in groups {
                let to = Subscription::new(topic.clone(), group.clone());
                let _ = admin.delete_group(&topic, &group).await;
                let _ = admin.declare(&to).await;
            }
        }
        for member in self.0.members(None) {
            member.rejoin().await;
        }
    }
}

/// A lock is as good as any after a panic: the case has failed already.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn error(kind: ErrorKind, operation: &'static str) -> Error {
    Error::new(kind, operation, "sabotage")
}
