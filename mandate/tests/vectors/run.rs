//! Runs the vectors. The same code natively and inside a wasm VM.

use jiff::Timestamp;
use mandate::id::{
    ApplicationId, Issuer, KeyId, ResourceUri, ScopeSet, SessionId, Subject, ZoneId,
};
use mandate::template::{Operation, OperationSet, Template, TemplateError};
use mandate::{
    CutOffAnchor, DeadId, Demand, KeySet, ObjectState, Proof, Rejection, Revocations, RustCrypto,
    StateAnchor, Trust, UnverifiedMandate, Use, canonical, credential,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

/// What came out of one case, in the form of its `expect`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// The case.
    pub(crate) name: String,
    /// What came out.
    pub(crate) verdict: Value,
}

#[derive(Deserialize)]
struct File {
    now: i64,
    zone: ZoneId,
    issuer: Issuer,
    keys: Value,
    mandates: Vec<MandateCase>,
    credentials: Vec<Credential>,
    paths: Vec<Raw>,
    hosts: Vec<Raw>,
    methods: Vec<Raw>,
    headers: Vec<Raw>,
    operations: Vec<Choice>,
}

#[derive(Deserialize)]
struct MandateCase {
    name: String,
    mandate: String,
    #[serde(rename = "use")]
    usage: Use,
    #[serde(default)]
    demand: Option<Asked>,
    #[serde(default)]
    revocations: Vec<Revoked>,
}

#[derive(Deserialize)]
struct Asked {
    resource: ResourceUri,
    scopes: ScopeSet,
    max_hops: u8,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Revoked {
    Dead {
        id: Uuid,
        until: i64,
    },
    DeadKey {
        id: KeyId,
        until: i64,
    },
    CutOff {
        anchor: String,
        id: String,
        not_before: i64,
    },
    State {
        anchor: String,
        id: String,
        state: String,
    },
}

#[derive(Deserialize)]
struct Credential {
    name: String,
    values: Vec<String>,
}

#[derive(Deserialize)]
struct Raw {
    name: String,
    raw: String,
}

#[derive(Deserialize)]
struct Choice {
    name: String,
    operations: Vec<Offered>,
    method: String,
    path: String,
}

#[derive(Deserialize)]
struct Offered {
    method: String,
    template: String,
}

/// The verdict of every case, in the order of the file.
pub(crate) fn verdicts(text: &str) -> Result<Vec<Verdict>, String> {
    let file: File = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let keys = KeySet::from_jwks(&file.keys.to_string()).map_err(|error| error.to_string())?;
    let now = Timestamp::from_second(file.now).map_err(|error| error.to_string())?;
    let mut all = Vec::new();
    let mut push = |name: &str, verdict: Value| {
        all.push(Verdict {
            name: name.to_owned(),
            verdict,
        });
    };
    for case in &file.mandates {
        let trust = Trust {
            zone: file.zone,
            issuer: file.issuer.clone(),
            usage: case.usage,
        };
        push(&case.name, case.verdict(&trust, &keys, now)?);
    }
    for case in &file.credentials {
        let values: Vec<&[u8]> = case.values.iter().map(String::as_bytes).collect();
        let found = credential::bearer(&values).map(|found| String::from_utf8_lossy(found));
        push(
            &case.name,
            found.map_or_else(refused, |found| json!({ "credential": found })),
        );
    }
    for case in &file.paths {
        let found = canonical::path(case.raw.as_bytes());
        let shown = found.map_or_else(
            refused,
            |found| json!({ "path": found.path(), "query": found.query() }),
        );
        push(&case.name, shown);
    }
    for case in &file.hosts {
        let found = canonical::host(case.raw.as_bytes());
        push(
            &case.name,
            found.map_or_else(refused, |found| json!({ "host": found.as_str() })),
        );
    }
    for case in &file.methods {
        let found = canonical::method(case.raw.as_bytes());
        push(
            &case.name,
            found.map_or_else(refused, |found| json!({ "method": found })),
        );
    }
    for case in &file.headers {
        let name = case.raw.as_bytes();
        let shown = canonical::refuse_override(name)
            .map_or_else(refused, |()| json!({ "owned": mandate::is_owned(name) }));
        push(&case.name, shown);
    }
    for case in &file.operations {
        push(&case.name, case.verdict());
    }
    Ok(all)
}

fn refused(rejection: Rejection) -> Value {
    json!({ "code": rejection.code(), "step": rejection.step() })
}

impl MandateCase {
    fn verdict(&self, trust: &Trust, keys: &KeySet, now: Timestamp) -> Result<Value, String> {
        let mut revocations = Revocations::new();
        for revoked in &self.revocations {
            revoked.apply(&mut revocations)?;
        }
        let genuine = UnverifiedMandate::parse(self.mandate.as_bytes())
            .and_then(|mandate| mandate.authenticate(trust, keys, &RustCrypto, now));
        let outcome = genuine.and_then(|mandate| match &self.demand {
            Some(asked) => {
                let demand = Demand {
                    resource: &asked.resource,
                    scopes: &asked.scopes,
                    max_hops: asked.max_hops,
                    proof: Proof::None,
                };
                mandate
                    .admit(&demand, &revocations, now)
                    .map(|_| json!({ "admitted": true }))
            }
            None => mandate
                .live(&revocations, now)
                .map(|()| json!({ "live": true })),
        });
        Ok(outcome.unwrap_or_else(refused))
    }
}

impl Revoked {
    fn apply(&self, revocations: &mut Revocations) -> Result<(), String> {
        let at = |second: i64| Timestamp::from_second(second).map_err(|error| error.to_string());
        match self {
            Self::Dead { id, until } => revocations.kill(DeadId::Id(*id), at(*until)?),
            Self::DeadKey { id, until } => revocations.kill(DeadId::Key(id.clone()), at(*until)?),
            Self::CutOff {
                anchor,
                id,
                not_before,
            } => {
                revocations.cut_off(cut_off_anchor(anchor, id)?, *not_before);
            }
            Self::State { anchor, id, state } => {
                revocations.set_state(state_anchor(anchor, id)?, object_state(state)?);
            }
        }
        Ok(())
    }
}

fn cut_off_anchor(anchor: &str, id: &str) -> Result<CutOffAnchor, String> {
    let parsed = match anchor {
        "zone" => Ok(CutOffAnchor::Zone),
        "application" => ApplicationId::parse(id).map(CutOffAnchor::Application),
        "subject" => Subject::parse(id).map(CutOffAnchor::Subject),
        "resource" => ResourceUri::parse(id).map(CutOffAnchor::Resource),
        other => return Err(format!("no anchor of a cut-off: {other}")),
    };
    parsed.map_err(|error| error.to_string())
}

fn state_anchor(anchor: &str, id: &str) -> Result<StateAnchor, String> {
    let parsed = match anchor {
        "zone" => Ok(StateAnchor::Zone),
        "application" => ApplicationId::parse(id).map(StateAnchor::Application),
        "subject" => Subject::parse(id).map(StateAnchor::Subject),
        "resource" => ResourceUri::parse(id).map(StateAnchor::Resource),
        "session" => SessionId::parse(id).map(StateAnchor::Session),
        other => return Err(format!("no anchor of a state: {other}")),
    };
    parsed.map_err(|error| error.to_string())
}

fn object_state(state: &str) -> Result<ObjectState, String> {
    match state {
        "active" => Ok(ObjectState::Active),
        "suspended" => Ok(ObjectState::Suspended),
        "disabled" => Ok(ObjectState::Disabled),
        "archived" => Ok(ObjectState::Archived),
        other => Err(format!("no state: {other}")),
    }
}

impl Choice {
    fn verdict(&self) -> Value {
        let operations: Result<Vec<Operation>, TemplateError> = self
            .operations
            .iter()
            .map(|offered| {
                Ok(Operation {
                    method: offered.method.clone(),
                    template: Template::parse(&offered.template)?,
                    scopes: ScopeSet::default(),
                })
            })
            .collect();
        let set = match operations.and_then(OperationSet::new) {
            Ok(set) => set,
            Err(TemplateError::Form(template)) => return json!({ "no_template": template }),
            Err(TemplateError::Method(method)) => return json!({ "no_method": method }),
            Err(TemplateError::Overlap { first, second, .. }) => {
                return json!({ "overlap": [first, second] });
            }
        };
        match canonical::path(self.path.as_bytes()) {
            Ok(path) => {
                let found = set.find(&self.method, &path);
                json!({ "operation": found.map(|operation| operation.template.as_str()) })
            }
            Err(rejection) => refused(rejection),
        }
    }
}
