//! The roles services log in as, one a service and purpose.

use std::fmt;
use std::str::FromStr;

/// A role of the database that can log in. None owns a table or passes by row-level security.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The STS, serving one zone at a time.
    Sts,
    /// The STS, giving new zones their first keys.
    Keeper,
    /// The coordinator, serving one zone at a time.
    Coordinator,
    /// The coordinator, listing zones.
    Operator,
    /// The coordinator's sequencer.
    Sequencer,
    /// The coordinator, building snapshots for enforcement points.
    Snapshot,
    /// The ledger's writer.
    AuditWriter,
    /// Search in one zone's ledger.
    AuditReader,
    /// Search and verification across zones.
    AuditOperator,
    /// Removing what is over.
    Retention,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Sts,
        Self::Keeper,
        Self::Coordinator,
        Self::Operator,
        Self::Sequencer,
        Self::Snapshot,
        Self::AuditWriter,
        Self::AuditReader,
        Self::AuditOperator,
        Self::Retention,
    ];

    /// Its name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sts => "caracal_sts",
            Self::Keeper => "caracal_keeper",
            Self::Coordinator => "caracal_coordinator",
            Self::Operator => "caracal_operator",
            Self::Sequencer => "caracal_sequencer",
            Self::Snapshot => "caracal_snapshot",
            Self::AuditWriter => "caracal_audit_writer",
            Self::AuditReader => "caracal_audit_reader",
            Self::AuditOperator => "caracal_audit_operator",
            Self::Retention => "caracal_retention",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A name that is no role's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no role `{0}`")]
pub struct UnknownRole(pub String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(name: &str) -> Result<Self, UnknownRole> {
        Self::ALL
            .into_iter()
            .find(|role| role.name() == name)
            .ok_or_else(|| UnknownRole(name.to_owned()))
    }
}
