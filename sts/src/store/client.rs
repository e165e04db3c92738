//! What one token request needs to know, read in one statement.

use std::collections::BTreeMap;

use chassis::db::ZoneTx;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use mandate::id::{ApplicationId, Label, PolicyVersionId, ResourceUri, Scope, ScopeSet, SessionId};
use sqlx::types::Json;
use uuid::Uuid;

use crate::store::{StoreError, bad_row};

/// What is asked of the store.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    /// The client that says it asks.
    pub application: ApplicationId,
    /// Which of its secrets.
    pub secret: Uuid,
    /// The session, in an exchange.
    pub session: Option<SessionId>,
    /// The resources named.
    pub resources: &'a [ResourceUri],
    /// Now.
    pub now: Timestamp,
}

/// What the store holds of it.
#[derive(Debug)]
pub(crate) struct Known {
    /// HMAC of the secret, when there is such a live secret of such an application.
    pub secret_hmac: Option<Vec<u8>>,
    /// The application, when there is one.
    pub application: Option<Application>,
    /// The active policy version.
    pub policy: Option<PolicyVersionId>,
    /// The session, when it is this application's.
    pub session: Option<Session>,
    /// The resources named that exist.
    pub resources: Resources,
}

/// Resources that exist.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resources {
    /// Their scopes.
    pub scopes: BTreeMap<ResourceUri, ScopeSet>,
    /// The same as they are stored, to be compared under the locks of the mint.
    stored: Stored,
}

/// Scopes by resource, as they are stored.
pub(crate) type Stored = BTreeMap<String, Vec<String>>;

impl Resources {
    fn read(stored: Stored) -> Result<Self, StoreError> {
        let mut known = BTreeMap::new();
        for (identifier, held) in &stored {
            let identifier = resource("resources", identifier)?;
            known.insert(identifier, scopes("resources", held)?);
        }
        Ok(Self {
            scopes: known,
            stored,
        })
    }

    /// These resources as they are stored.
    pub(crate) fn stored(&self, resources: &[ResourceUri]) -> Stored {
        resources
            .iter()
            .filter_map(|uri| self.stored.get_key_value(uri.as_str()))
            .map(|(identifier, scopes)| (identifier.clone(), scopes.clone()))
            .collect()
    }
}

/// An application, as far as a mint cares.
#[derive(Debug)]
pub(crate) struct Application {
    /// Which version of it was read.
    pub version: i64,
    /// Labels the control plane gave it.
    pub labels: Vec<Label>,
}

/// A session, as far as a mint cares.
#[derive(Debug)]
pub(crate) struct Session {
    /// Itself.
    pub id: SessionId,
    /// Which version of it was read.
    pub version: i64,
    /// The sessions it descends from, root first.
    pub ancestors: Vec<SessionId>,
    /// `active`, `suspended`, `ended` or `expired`.
    pub state: String,
    /// When it runs out.
    pub expires_at: Timestamp,
    /// Labels the control plane gave it.
    pub labels: Vec<Label>,
    /// The scopes it is narrowed to.
    pub ceiling: Option<ScopeSet>,
    /// The resources it is narrowed to.
    pub resources: Option<Vec<ResourceUri>>,
}

impl Session {
    /// The sessions it descends from and itself, root first.
    pub(crate) fn lineage(&self) -> Vec<SessionId> {
        self.ancestors.iter().copied().chain([self.id]).collect()
    }
}

struct Row {
    application_version: Option<i64>,
    application_labels: Option<Vec<String>>,
    secret_hmac: Option<Vec<u8>>,
    policy: Option<Uuid>,
    session: Option<Uuid>,
    session_version: Option<i64>,
    session_state: Option<String>,
    session_expires_at: Option<jiff_sqlx::Timestamp>,
    session_labels: Option<Vec<String>>,
    session_ceiling: Option<Vec<String>>,
    session_resources: Option<Vec<String>>,
    session_ancestors: Option<Vec<Uuid>>,
    resources: Option<Json<Stored>>,
}

/// Reads it. An application that does not exist costs what one that does costs.
pub(crate) async fn read(tx: &mut ZoneTx, asked: &Question<'_>) -> Result<Known, StoreError> {
    let resources: Vec<String> = asked
        .resources
        .iter()
        .map(|resource| resource.as_str().to_owned())
        .collect();
    let row = sqlx::query_as!(
        Row,
        r#"
        SELECT a.version AS "application_version?",
               a.labels AS "application_labels?",
               k.hmac AS "secret_hmac?",
               p.active_id AS "policy?",
               s.id AS "session?",
               s.version AS "session_version?",
               s.state AS "session_state?",
               s.expires_at AS "session_expires_at?",
               s.labels AS "session_labels?",
               s.ceiling AS "session_ceiling?",
               s.resources AS "session_resources?",
               (WITH RECURSIVE up AS (
                    SELECT parent.id, parent.parent_id, 1 AS height
                    FROM sessions AS parent
                    WHERE parent.zone_id = $1 AND parent.id = s.parent_id
                    UNION ALL
                    SELECT above.id, above.parent_id, up.height + 1
                    FROM up
                    JOIN sessions AS above ON above.zone_id = $1 AND above.id = up.parent_id
                    WHERE up.height < 32
                )
                SELECT array_agg(up.id ORDER BY up.height DESC) FROM up
               ) AS "session_ancestors?",
               (SELECT jsonb_object_agg(r.identifier, to_jsonb(r.scopes))
                FROM resources AS r
                WHERE r.zone_id = $1 AND r.identifier = ANY($5)
               ) AS "resources?: Json<Stored>"
        FROM (SELECT 1 AS one) AS request
        LEFT JOIN applications AS a ON a.zone_id = $1 AND a.id = $2
        LEFT JOIN application_secrets AS k
               ON k.zone_id = $1
              AND k.application_id = $2
              AND k.id = $3
              AND k.revoked_at IS NULL
              AND (k.expires_at IS NULL OR k.expires_at > $6)
        LEFT JOIN policy_heads AS p ON p.zone_id = $1
        LEFT JOIN sessions AS s ON s.zone_id = $1 AND s.id = $4 AND s.application_id = $2
        "#,
        tx.zone().as_uuid(),
        asked.application.as_uuid(),
        asked.secret,
        asked.session.map(SessionId::as_uuid),
        &resources,
        asked.now.to_sqlx() as _,
    )
    .fetch_one(tx.as_mut())
    .await?;
    row.try_into()
}

/// Those of these resources that exist.
pub(crate) async fn resources(
    tx: &mut ZoneTx,
    asked: &[ResourceUri],
) -> Result<Resources, StoreError> {
    let identifiers: Vec<String> = asked
        .iter()
        .map(|resource| resource.as_str().to_owned())
        .collect();
    let rows = sqlx::query!(
        r#"
        SELECT identifier, scopes
        FROM resources
        WHERE zone_id = $1 AND identifier = ANY($2)
        "#,
        tx.zone().as_uuid(),
        &identifiers,
    )
    .fetch_all(tx.as_mut())
    .await?;
    Resources::read(
        rows.into_iter()
            .map(|row| (row.identifier, row.scopes))
            .collect(),
    )
}

impl TryFrom<Row> for Known {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let application = match (row.application_version, row.application_labels) {
            (Some(version), Some(given)) => Some(Application {
                version,
                labels: labels("applications", &given)?,
            }),
            _ => None,
        };
        let session = match (row.session, row.session_state, row.session_expires_at) {
            (Some(id), Some(state), Some(expires_at)) => Some(Session {
                id: SessionId::from_uuid(id),
                version: row.session_version.unwrap_or_default(),
                ancestors: row
                    .session_ancestors
                    .unwrap_or_default()
                    .into_iter()
                    .map(SessionId::from_uuid)
                    .collect(),
                state,
                expires_at: expires_at.to_jiff(),
                labels: labels("sessions", &row.session_labels.unwrap_or_default())?,
                ceiling: row
                    .session_ceiling
                    .map(|list| scopes("sessions", &list))
                    .transpose()?,
                resources: row
                    .session_resources
                    .map(|list| list.iter().map(|uri| resource("sessions", uri)).collect())
                    .transpose()?,
            }),
            _ => None,
        };
        let resources = row.resources.map(|Json(stored)| stored).unwrap_or_default();
        Ok(Self {
            secret_hmac: row.secret_hmac,
            application,
            policy: row.policy.map(PolicyVersionId::from_uuid),
            session,
            resources: Resources::read(resources)?,
        })
    }
}

fn labels(table: &'static str, given: &[String]) -> Result<Vec<Label>, StoreError> {
    given
        .iter()
        .map(|label| Label::parse(label).map_err(|_| bad_row(table, label)))
        .collect()
}

fn scopes(table: &'static str, given: &[String]) -> Result<ScopeSet, StoreError> {
    let scopes: Vec<Scope> = given
        .iter()
        .map(|scope| Scope::parse(scope).map_err(|_| bad_row(table, scope)))
        .collect::<Result<_, _>>()?;
    ScopeSet::new(scopes).map_err(|_| bad_row(table, "more scopes than a set may hold"))
}

fn resource(table: &'static str, given: &str) -> Result<ResourceUri, StoreError> {
    ResourceUri::parse(given).map_err(|_| bad_row(table, given))
}
