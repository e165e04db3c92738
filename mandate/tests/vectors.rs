//! The vectors: what is made here is what lies in the file, and the file is what comes out.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
#![expect(clippy::too_many_lines, reason = "tables of cases")]

use std::collections::HashSet;

use mandate::{Challenge, Rejection};
use serde_json::{Value, json};

use cases::Case;

#[path = "vectors/admission.rs"]
mod admission;
#[path = "vectors/cases.rs"]
mod cases;
#[path = "vectors/requests.rs"]
mod requests;
#[path = "vectors/run.rs"]
mod run;
#[path = "vectors/token.rs"]
mod token;

const FILE: &str = include_str!("vectors/mandate.json");

/// The lists of the file, in the order in which they are run.
const LISTS: [&str; 7] = [
    "mandates",
    "credentials",
    "paths",
    "hosts",
    "methods",
    "headers",
    "operations",
];

fn made() -> Value {
    let mandates: Vec<Value> = cases::all()
        .into_iter()
        .chain(admission::all())
        .map(Case::into_json)
        .collect();
    let keys: Value = serde_json::from_str(&token::keys().to_jwks()).unwrap();
    json!({
        "about": "Each case goes in as written and must come out as `expect` says: the same natively and in a wasm VM. Times are seconds; `code` and `step` are those of the table of rejections.",
        "now": token::NOW,
        "zone": token::ZONE,
        "issuer": token::ISSUER,
        "keys": keys,
        "mandates": mandates,
        "credentials": requests::credentials(),
        "paths": requests::paths(),
        "hosts": requests::hosts(),
        "methods": requests::methods(),
        "headers": requests::headers(),
        "operations": requests::operations(),
    })
}

impl Case {
    fn into_json(self) -> Value {
        let mut case = json!({
            "name": self.name,
            "mandate": self.mandate,
            "use": self.usage,
            "expect": self.expect,
        });
        if !self.demand.is_null() {
            case["demand"] = self.demand;
        }
        if !self.revocations.is_empty() {
            case["revocations"] = Value::Array(self.revocations);
        }
        case
    }
}

/// One line a case, sorted keys.
fn printed(file: &Value) -> String {
    let mut members = Vec::new();
    for (name, value) in file.as_object().unwrap() {
        let text = match value {
            Value::Array(cases) => {
                let lines: Vec<String> = cases.iter().map(token::sorted).collect();
                format!("[\n    {}\n  ]", lines.join(",\n    "))
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Object(_) => token::sorted(value),
        };
        members.push(format!("  {}: {text}", json!(name)));
    }
    members.sort();
    format!("{{\n{}\n}}\n", members.join(",\n"))
}

fn committed() -> Value {
    serde_json::from_str(FILE).unwrap()
}

fn cases(file: &Value) -> Vec<&Value> {
    LISTS
        .iter()
        .flat_map(|list| file[*list].as_array().unwrap())
        .collect()
}

#[test]
fn the_file_holds_what_is_made_here() {
    let made = made();
    if made != committed() {
        let fresh = concat!(env!("CARGO_TARGET_TMPDIR"), "/mandate.json");
        std::fs::write(fresh, printed(&made)).unwrap();
        panic!(
            "mandate/tests/vectors/mandate.json is not what the builders make; if that is meant, take {fresh}"
        );
    }
}

#[test]
fn every_case_comes_out_as_written() {
    let file = committed();
    let verdicts = run::verdicts(FILE).unwrap();
    let cases = cases(&file);
    assert_eq!(verdicts.len(), cases.len());
    for (case, verdict) in cases.iter().zip(&verdicts) {
        assert_eq!(case["name"], verdict.name);
        assert_eq!(case["expect"], verdict.verdict, "{}", verdict.name);
    }
}

#[test]
fn every_rejection_has_a_case_and_no_name_occurs_twice() {
    let file = committed();
    let cases = cases(&file);
    let names: HashSet<&str> = cases
        .iter()
        .map(|case| case["name"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), cases.len());
    for rejection in Rejection::ALL {
        let found = cases
            .iter()
            .any(|case| case["expect"]["code"] == rejection.code());
        assert!(found, "{}", rejection.code());
    }
}

#[test]
fn malformed_mandates_come_by_the_dozen() {
    let file = committed();
    let refused = file["mandates"].as_array().unwrap().iter().filter(|case| {
        case["expect"]["step"]
            .as_u64()
            .is_some_and(|step| (1..=9).contains(&step))
    });
    assert!(refused.count() >= 150);
}

#[test]
fn a_mandate_that_is_refused_says_so_in_its_challenge() {
    for rejection in Rejection::ALL {
        let authenticating = (1..=9).contains(&rejection.step()) || rejection.step() == 14;
        if authenticating && *rejection != Rejection::CredentialMissing {
            assert_eq!(
                rejection.challenge(),
                Challenge::InvalidToken,
                "{}",
                rejection.code()
            );
        }
    }
}
