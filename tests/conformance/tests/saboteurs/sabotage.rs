//! Which promises are broken, how, and which case says so?

use potluck_conformance::{Case, Level, cases};

/// What a saboteur breaks. Everything else it forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sabotage {
    Nothing,
    // Publishing.
    HeadersDropped,
    HeaderNamesLowered,
    KeyDropped,
    BodyCut,
    BodyMangled,
    EmptyBodySkipped,
    SliceReversed,
    FirstDoubled,
    TailLost,
    RefusedPartlySent,
    OversizeSent,
    IllegalSent,
    CopySpoilsSlice,
    CopyLost,
    EmptySliceErrors,
    ReceiptBeforeDurable,
    PublishLingers,
    DroppedPublishWedges,
    DroppedPublishDoubles,
    CloseDropsPublishes,
    PublishAfterClose,
    TopicsCollide,
    // Groups and starts.
    GroupsIgnored,
    GroupOfItsOwn,
    StartAlwaysNew,
    StartAlwaysEarliest,
    StartAtFirstReceive,
    DeclareMovesStart,
    JoinTakesAway,
    // Receiving.
    DeadlineIgnored,
    NeverWaits,
    WaitsForFull,
    MoreThanMax,
    MaxHeldIgnored,
    SaturationSticks,
    EmptyIsError,
    DroppedReceiveLoses,
    SecondReceiveErrors,
    AttemptAlwaysOne,
    AttemptFlagOnly,
    AttemptJumpsBack,
    AttemptResetsAtCut,
    RedeliveredBare,
    AckedAtHandOver,
    // Settling.
    AckDoesNothing,
    AckFirstOnly,
    AckSentLater,
    AckWaits,
    AckCumulative,
    StaleUnnamed,
    StaleSettlesHolder,
    StrangersAccepted,
    OneStaleSpoilsAll,
    SettledTwiceErrors,
    SettleNothingErrors,
    ReleaseAcks,
    ReleaseDoesNothing,
    ReleaseFirstOnly,
    ReleaseToSelf,
    ReleaseRepublishes,
    ReleaseDeletes,
    RetentionIgnored,
    ExtendDoesNothing,
    ExtendAnswersOk,
    ExtendSteals,
    LeaseUntold,
    LeaseCutShort,
    // Leaving.
    CloseLoses,
    CloseStrands,
    CloseWaits,
    CloseDeletesName,
    CloseLeavesMember,
    SecondCloseErrors,
    StateStaysReady,
    NeverReclaimed,
    ReclaimsOnePage,
    ReclaimStopsAtDefect,
    NameKeepsLease,
    // Faults.
    CutLosesHeld,
    CutRepeatsAll,
    CutDeafens,
    CutErrorsForEver,
    CutReorders,
    CutAckIsOk,
    CutEndsSettling,
    CutLosesPublished,
    PublisherDiesAtCut,
    FreezeUnnoticed,
    IdleErrors,
    IdleStrandsNext,
    DefectEndsStream,
    DefectSwallowed,
    DeletedUnnoticed,
    DeleteTopicKeeps,
    DeleteGroupKeeps,
    TrimUncounted,
    TrimEndsStream,
    // Claims.
    OrderPerKeyOnly,
    LimitOverstated,
    LimitUnderstated,
    UndeclaredClaimedRefused,
    UndeclaredRefused,
    UnroutedClaimedRefused,
    UnroutedDropped,
    StartsClaimedSame,
    StartUnsupported,
    // Looking.
    PeekSettles,
    PeekCounts,
    PeekRepeatsPage,
    ReaderConsumes,
    ReaderAlwaysEarliest,
    DroppedReadLoses,
    StatusZero,
    MissingGroupIsEmpty,
    StatsDoubled,
    StaleUncounted,
    DescribesNothing,
    // A runtime's mistakes, made for it by who stands below.
    AcksBeforeCopy,
    CopyForgotten,
    AttemptsForgotten,
    AttemptsForgottenAtRestart,
    CopyUnpatched,
    LaneInTopic,
    LaneSkipsDelay,
    LaneLate,
    RetryHoldsSlot,
    ReasonDropped,
    OriginLost,
    HeadersDroppedOnCopy,
    KeyDroppedOnCopy,
    DeadLetterReencoded,
    SecondDeadLetter,
    DeadLetterTakesAll,
    BatchSharesFate,
    MalformedSwallowed,
    PoisonStops,
    PanicKeepsSlot,
    HangKeepsSlot,
    CrashGuardBlind,
    UnackedAfterSuccess,
    UnackedAfterCopy,
    LeaseKeptOnce,
    KeysForgotten,
    BackToFront,
    OneAtATime,
    SeenIsDone,
    PublisherClosedFirst,
    ReleaseLate,
}

impl Sabotage {
    /// The name in documents: the variant's, in the suite's spelling.
    pub(crate) fn name(self) -> String {
        let mut name = String::new();
        for c in format!("{self:?}").chars() {
            if c.is_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.extend(c.to_lowercase());
        }
        name
    }
}

/// A saboteur.
pub(crate) struct Row {
    pub(crate) sabotage: Sabotage,
    /// The case that names the promise, and must fail.
    pub(crate) case: &'static str,
    /// What is broken.
    pub(crate) breaks: &'static str,
    /// How that comes about, and where it was seen if it was.
    pub(crate) seen: &'static str,
}

impl Row {
    /// Whether a case has something to say of it: the runtime's only of the runtime.
    pub(crate) fn meets(&self, case: &Case) -> bool {
        let of_runtime = |level| level == Level::Runtime;
        let named = cases::all().find(|one| one.name == self.case);
        !of_runtime(case.level) || named.is_some_and(|named| of_runtime(named.level))
    }

    /// Whether it breaks what the model of random histories knows of.
    pub(crate) fn is_modelled(&self) -> bool {
        use Sabotage::*;
        matches!(
            self.sabotage,
            FirstDoubled
                | GroupsIgnored
                | GroupOfItsOwn
                | StartAlwaysEarliest
                | DeclareMovesStart
                | JoinTakesAway
                | MoreThanMax
                | MaxHeldIgnored
                | AttemptAlwaysOne
                | AttemptFlagOnly
                | AttemptJumpsBack
                | AckedAtHandOver
                | AckDoesNothing
                | AckFirstOnly
                | AckCumulative
                | StaleUnnamed
                | StaleSettlesHolder
                | OneStaleSpoilsAll
                | SettledTwiceErrors
                | SettleNothingErrors
                | ReleaseAcks
                | ReleaseRepublishes
                | ExtendDoesNothing
                | ExtendAnswersOk
                | ExtendSteals
                | LeaseCutShort
                | CloseLoses
                | NeverReclaimed
                | StatusZero
        )
    }
}
