//! The table of cases, as its file writes it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::Evidence;

/// The table: what is made first, the mandates that cases use, and the cases, in order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// What the file is for.
    pub about: String,
    /// Where requests go, by name.
    pub places: BTreeMap<String, Place>,
    /// Calls of the coordinator before all.
    pub setup: Vec<Step>,
    /// Mandates, by name: the arguments of `caracal mandate mint`.
    pub mandates: BTreeMap<String, Vec<String>>,
    /// The cases.
    pub cases: Vec<Case>,
}

/// Where a request goes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The method.
    pub method: String,
    /// The host.
    pub host: String,
    /// The path.
    pub path: String,
}

/// Something that changes the stack.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Step {
    /// Mints a mandate of the table anew.
    Mint(String),
    /// `caracal revoke KIND ID --wait everywhere`, with further arguments.
    Revoke(Vec<String>),
    /// A call of the coordinator as its operator. Of what it answers, the members named are kept under these names.
    Call {
        /// The method.
        method: String,
        /// The path.
        path: String,
        /// The body.
        #[serde(default)]
        body: Option<Value>,
        /// Names, and the members they keep.
        #[serde(default)]
        keep: BTreeMap<String, String>,
    },
}

/// A request and what must come of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// A sentence's beginning.
    pub name: String,
    /// What is changed before.
    #[serde(default)]
    pub before: Vec<Step>,
    /// The credential, after `Bearer `.
    #[serde(default)]
    pub mandate: Option<Recipe>,
    /// All values of `authorization`, in place of that; `{mandate}` stands for the mandate.
    #[serde(default)]
    pub authorization: Option<Vec<String>>,
    /// A place of the table.
    #[serde(default = "allowed_place")]
    pub at: String,
    /// In place of the place's method.
    #[serde(default)]
    pub method: Option<String>,
    /// In place of the place's host.
    #[serde(default)]
    pub host: Option<String>,
    /// In place of the place's path.
    #[serde(default)]
    pub path: Option<String>,
    /// More headers.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// HTTP status.
    pub status: u16,
    /// Our code, or `allowed`.
    pub code: String,
    /// The status of gRPC, where that is how the answer is given.
    #[serde(default)]
    pub grpc: Option<u8>,
    /// What the ledger has of it.
    pub evidence: Evidence,
    /// The change takes a moment: ask until it shows.
    #[serde(default)]
    pub until: bool,
    /// Headers that the upstream must have seen, or must not have seen where null.
    #[serde(default)]
    pub upstream: BTreeMap<String, Option<String>>,
}

/// A mandate to be.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Recipe {
    /// One of the table's, as the STS made it.
    Minted(String),
    /// One of the table's, changed and signed by a key of the drill.
    Altered(Box<Altered>),
    /// These characters.
    Text {
        /// With `{name}` for a mandate of the table, and `{name:flipped}` for one with another signature.
        text: String,
    },
}

/// How a mandate is changed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Altered {
    /// The mandate it is made of.
    pub of: String,
    /// The key that signs.
    #[serde(default = "usual_signer")]
    pub signer: String,
    /// Claims that are set. A string such as `now+60` becomes that second.
    #[serde(default)]
    pub set: Map<String, Value>,
    /// Claims that are taken away.
    #[serde(default)]
    pub drop: Vec<String>,
    /// Header parameters that are set.
    #[serde(default)]
    pub header: Map<String, Value>,
    /// The claims as they stand, in place of all that; `{claims}` stands for what is between their braces.
    #[serde(default)]
    pub raw: Option<String>,
}

fn allowed_place() -> String {
    "allow".to_owned()
}

fn usual_signer() -> String {
    "es-1".to_owned()
}
