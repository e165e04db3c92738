//! What happened, in one canonical form: version 1.
//!
//! A version byte, then fields in ascending order of their tag: tag ‖ u32be length ‖ bytes. Absent values have no
//! field. Reading accepts exactly what writing gives.

mod field;

use mandate::id::{
    ApplicationId, BindingId, DecisionId, JournalId, KeyId, Label, MandateId, PolicyVersionId,
    RecordId, ResourceUri, ScopeSet, SessionId, ZoneId,
};
use uuid::Uuid;

use self::field::Field;
use crate::bytes::{Broken, Reader, push, push_with};
use crate::envelope::{Epoch, EventSigner, Producer};

/// The longest free text of an event.
pub const MAX_TEXT: usize = 512;
/// The most samples of a count.
pub const MAX_SAMPLES: usize = 8;

const VERSION: u8 = 1;
/// Enough room for the bytes of most events.
const USUAL: usize = 768;
/// What an origin signature is over, before the event's bytes.
const ORIGIN_DOMAIN: &[u8] = b"caracal-event-origin-v1\0";

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word in bytes, streams and searches.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The value of a word.
            pub fn parse(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

words! {
    /// What kind of thing happened.
    EventKind {
        /// An enforcement point decided.
        Decision = "decision",
        /// Refusals before a valid signature, counted.
        Refusals = "refusals",
        /// A mandate was minted.
        Mint = "mint",
        /// A mint was refused.
        MintRefused = "mint_refused",
        /// A session began.
        SessionStarted = "session_started",
        /// A session ended.
        SessionEnded = "session_ended",
        /// An id died.
        Revoked = "revoked",
        /// A cut-off rose.
        CutOff = "cut_off",
        /// An object was suspended, disabled, archived, or came back.
        StateChanged = "state_changed",
        /// Something was created or changed.
        AdminChange = "admin_change",
        /// A policy version became the active one.
        PolicyActivated = "policy_activated",
        /// A zone was created.
        ZoneCreated = "zone_created",
        /// A signing key was made or changed state.
        KeyChanged = "key_changed",
        /// A journal begins.
        JournalOpened = "journal_opened",
        /// A journal ends in order.
        JournalClosed = "journal_closed",
        /// A lease was granted.
        LeaseGranted = "lease_granted",
        /// A lease was settled.
        LeaseSettled = "lease_settled",
        /// A lease's use is not known.
        LeaseUnsettled = "lease_unsettled",
        /// What became of an allowed request.
        Outcome = "outcome",
    }
}

words! {
    /// How a decision came out.
    Outcome {
        /// Allowed.
        Allow = "allow",
        /// Refused.
        Deny = "deny",
        /// Refused because nothing could be decided.
        Unavailable = "unavailable",
    }
}

/// One of several requests that were counted together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The decision.
    pub decision_id: DecisionId,
    /// The proxy's id of the request; empty when it gave none.
    pub request_id: String,
    /// When, in nanoseconds since the Unix epoch.
    pub at_ns: i64,
}

/// How far a lease goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTerms {
    /// The most admissions.
    pub max_uses: u32,
    /// Its end, in nanoseconds since the Unix epoch.
    pub not_after_ns: i64,
}

/// Why bytes are no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are no canonical event of version 1")]
pub struct EventError;

impl From<Broken> for EventError {
    fn from(Broken: Broken) -> Self {
        Self
    }
}

macro_rules! event {
    ($($tag:literal $(#[$doc:meta])* $name:ident: $type:ty,)*) => {
        /// One event. Required fields first; what does not apply is absent.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Event {
            /// What kind of thing happened.
            pub kind: EventKind,
            /// The journal that carries it.
            pub journal_id: JournalId,
            /// Its dense number within journal and zone.
            pub counter: u64,
            /// When, in nanoseconds since the Unix epoch.
            pub at_ns: i64,
            $($(#[$doc])* pub $name: Option<$type>,)*
        }

        impl Event {
            /// An event with nothing but what every event has.
            pub fn new(kind: EventKind, at_ns: i64) -> Self {
                Self { kind, journal_id: JournalId::from_uuid(Uuid::nil()), counter: 0, at_ns, $($name: None,)* }
            }

            /// The canonical bytes.
            pub fn encode(&self) -> Vec<u8> {
                let mut out = Vec::with_capacity(USUAL);
                self.encode_into(&mut out);
                out
            }

            /// Appends them.
            pub(crate) fn encode_into(&self, out: &mut Vec<u8>) {
                out.push(VERSION);
                out.push(1);
                push(out, self.kind.as_str().as_bytes());
                field(out, 2, &self.journal_id);
                field(out, 3, &self.counter);
                field(out, 4, &self.at_ns);
                $(if let Some(value) = &self.$name {
                    field(out, $tag, value);
                })*
            }

            /// Reads canonical bytes; anything else is refused.
            pub fn decode(bytes: &[u8]) -> Result<Self, EventError> {
                let mut reader = Reader::new(bytes);
                if reader.byte()? != VERSION {
                    return Err(EventError);
                }
                let kind = std::str::from_utf8(required(&mut reader, 1)?).ok().and_then(EventKind::parse).ok_or(EventError)?;
                let mut event = Self::new(kind, 0);
                event.journal_id = Field::read(required(&mut reader, 2)?)?;
                event.counter = Field::read(required(&mut reader, 3)?)?;
                event.at_ns = Field::read(required(&mut reader, 4)?)?;
                let mut last = 4_u8;
                while !reader.is_empty() {
                    let tag = reader.byte()?;
                    if tag <= last {
                        return Err(EventError);
                    }
                    last = tag;
                    let bytes = reader.field()?;
                    match tag {
                        $($tag => event.$name = Some(Field::read(bytes)?),)*
                        _ => return Err(EventError),
                    }
                }
                Ok(event)
            }
        }
    };
}

event! {
    10 /// The zone; none for the deployment.
    zone: ZoneId,
    11 /// How the decision came out.
    decision: Outcome,
    12 /// The stable code.
    code: String,
    13 /// Our id of the decision.
    decision_id: DecisionId,
    14 /// The proxy's id of the request; untrusted.
    request_id: String,
    15 /// The application.
    application: ApplicationId,
    16 /// The governed run.
    session: SessionId,
    17 /// The subject, as a zone-keyed pseudonym.
    subject_pseudonym: [u8; 16],
    18 /// The resource.
    resource: ResourceUri,
    19 /// The binding.
    binding: BindingId,
    20 /// The operation's template, never a raw path.
    operation: String,
    21 /// The method.
    method: String,
    22 /// The mandate.
    jti: MandateId,
    23 /// The authority record.
    sid: RecordId,
    24 /// The top of its lineage.
    root_sid: RecordId,
    25 /// What the mandate is for.
    usage: String,
    26 /// Its expiry, seconds since the Unix epoch.
    exp: i64,
    27 /// Its scopes.
    scopes: ScopeSet,
    28 /// Its labels.
    labels: Vec<Label>,
    29 /// The policy version.
    policy_version: PolicyVersionId,
    30 /// The epoch of the memory that was decided from.
    epoch: Epoch,
    31 /// Its position.
    pos: u64,
    32 /// The lease.
    lease_id: DecisionId,
    33 /// Its terms.
    lease: LeaseTerms,
    34 /// SHA-256 of the disclosure that holds what is personal.
    disclosure_digest: [u8; 32],
    35 /// How many were counted together.
    count: u64,
    36 /// Over how long, in nanoseconds.
    window_ns: u64,
    37 /// The peer's network prefix.
    peer: String,
    38 /// Some of those counted.
    samples: Vec<Sample>,
    39 /// Who did it: a named token, or a service.
    actor: String,
    40 /// The kind of object it was done to.
    object_kind: String,
    41 /// That object.
    object_id: String,
    42 /// More, for people.
    detail: String,
    43 /// A time it sets: a cut-off's seconds, a deadline.
    not_before: i64,
    250 /// The key of whoever wrote it, where another numbered it.
    origin_kid: KeyId,
    251 /// That key's signature.
    origin_sig: [u8; 64],
}

impl Event {
    /// The same event without what reading would refuse: texts are cut, samples left out, empty lists absent. Evidence
    /// is never lost because somebody sent a long header.
    #[must_use]
    pub fn fitted(mut self) -> Self {
        let texts = [
            &mut self.code,
            &mut self.request_id,
            &mut self.operation,
            &mut self.method,
            &mut self.usage,
            &mut self.peer,
            &mut self.actor,
            &mut self.object_kind,
            &mut self.object_id,
            &mut self.detail,
        ];
        texts.into_iter().flatten().for_each(cut);
        if let Some(samples) = &mut self.samples {
            samples.truncate(MAX_SAMPLES);
            for sample in samples {
                cut(&mut sample.request_id);
            }
        }
        self.samples = self.samples.filter(|samples| !samples.is_empty());
        self.labels = self.labels.filter(|labels| !labels.is_empty());
        self
    }

    /// Signs as its writer. The signature covers everything but journal and counter, which whoever numbers it sets.
    #[must_use]
    pub fn sign_origin(self, signer: &(impl EventSigner + ?Sized)) -> Self {
        let mut event = self.fitted();
        event.origin_kid = Some(signer.kid().clone());
        event.origin_sig = Some(signer.sign(&event.origin_bytes()));
        event
    }

    /// Whether the writer's signature is this producer's.
    pub fn origin_signed_by(&self, producer: &Producer) -> bool {
        self.origin_sig
            .is_some_and(|signature| producer.signed(&self.origin_bytes(), &signature))
    }

    fn origin_bytes(&self) -> Vec<u8> {
        let mut bare = self.clone();
        bare.journal_id = JournalId::from_uuid(Uuid::nil());
        bare.counter = 0;
        bare.origin_sig = None;
        let mut out = ORIGIN_DOMAIN.to_vec();
        bare.encode_into(&mut out);
        out
    }
}

/// Cuts a text to what an event may hold, between characters.
fn cut(text: &mut String) {
    while text.len() > MAX_TEXT {
        text.pop();
    }
}

fn field(out: &mut Vec<u8>, tag: u8, value: &impl Field) {
    out.push(tag);
    push_with(out, |out| value.write(out));
}

fn required<'a>(reader: &mut Reader<'a>, tag: u8) -> Result<&'a [u8], EventError> {
    if reader.byte()? != tag {
        return Err(EventError);
    }
    Ok(reader.field()?)
}
