//! `caracal demo`: real requests through the real Envoy, each decision found in the ledger afterwards, and the ledger
//! verified.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::args::{Common, Use};
use crate::command::{audit, revoke};
use crate::http::Answer;
use crate::outcome::{Exit, Failure, Outcome, Printer};
use crate::stack::connection::{Connection, Minted, Wanted};
use crate::stack::sample::{self, Application, Sample};

/// How long a decision may take to be in the ledger.
const LEDGER_PATIENCE: Duration = Duration::from_secs(30);
/// How long mandates may be dated ahead.
const CUT_OFF_PATIENCE: Duration = Duration::from_secs(15);
/// How long a revocation may take.
const REVOCATION_PATIENCE: Duration = Duration::from_secs(10);

/// What a case sent and got.
struct Case {
    name: &'static str,
    expected: u16,
    answer: Answer,
    took: Duration,
    in_ledger: bool,
}

/// A request of the sample.
struct Place {
    method: String,
    host: String,
    path: String,
    resource: String,
    scope: String,
}

impl Place {
    fn of(requests: &Value, part: &str) -> Self {
        let text = |name: &str| {
            requests
                .pointer(&format!("/{part}/{name}"))
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        Self {
            method: text("method"),
            host: text("host"),
            path: text("path"),
            resource: text("resource"),
            scope: text("scopes/0"),
        }
    }
}

struct Demo {
    stack: Connection,
    printer: Printer,
    application: Application,
    other: Application,
    allow: Place,
    deny_scope: Place,
    other_binding: Place,
    other_zone: Place,
    cases: Vec<Case>,
}

pub(crate) async fn run(common: &Common) -> Outcome<()> {
    let printer = Printer { json: common.json };
    let stack = Connection::open(common)?;
    let known = stack.sample()?;
    let requests = Sample::requests();
    let place = |part: &str| Place::of(&requests, part);
    let mut demo = Demo {
        printer,
        application: known.application(sample::ZONE, None)?.clone(),
        other: known.application(sample::OTHER_ZONE, None)?.clone(),
        allow: place("allow"),
        deny_scope: place("deny_scope"),
        other_binding: place("other_binding"),
        other_zone: place("other_zone"),
        cases: Vec::new(),
        stack,
    };
    let progress = printer.progress("sending requests through Envoy");
    let revoke_ms = demo.walk().await?;
    progress.set_message("looking for each decision in the ledger");
    demo.find_in_ledger().await?;
    progress.set_message("verifying the ledger");
    let verified = demo.stack.verify(None).await;
    drop(progress);
    demo.report(revoke_ms, verified)
}

impl Demo {
    async fn walk(&mut self) -> Outcome<f64> {
        let minted = self.mint(&self.allow, "5m").await?;
        let mandate = minted.mandate.clone();
        // It expires while the others run.
        let short = self.mint_short().await?;
        let minted_short = Instant::now();
        let foreign = self.mint_as(&self.other, &self.other_zone, 300).await?;
        let wiki = self.mint(&self.other_binding, "5m").await?;

        self.case("no_mandate", 401, &Self::at(&self.allow), None)
            .await?;
        self.case("allowed", 200, &Self::at(&self.allow), Some(&mandate))
            .await?;
        self.check_upstream(&mandate)?;
        self.case(
            "missing_scope",
            403,
            &Self::at(&self.deny_scope),
            Some(&mandate),
        )
        .await?;
        self.case(
            "wrong_zone",
            401,
            &Self::at(&self.allow),
            Some(&foreign.mandate),
        )
        .await?;
        self.case(
            "other_resource",
            403,
            &Self::at(&self.allow),
            Some(&wiki.mandate),
        )
        .await?;
        self.case(
            "other_binding",
            403,
            &Self::at(&self.other_binding),
            Some(&mandate),
        )
        .await?;
        tokio::time::sleep(Duration::from_millis(1200).saturating_sub(minted_short.elapsed()))
            .await;
        self.case("expired", 401, &Self::at(&self.allow), Some(&short.mandate))
            .await?;

        let revoke_ms = self.revoke_session(&minted).await?;
        self.case(
            "session_revoked",
            401,
            &Self::at(&self.allow),
            Some(&mandate),
        )
        .await?;
        self.cut_application_off().await?;
        Ok(revoke_ms)
    }

    /// A mandate of one second. Just after a cut-off, as of another demo, mandates are dated ahead, and one so short would
    /// be over before it begins: then it is waited for.
    async fn mint_short(&self) -> Outcome<Minted> {
        let started = Instant::now();
        loop {
            match self.mint(&self.allow, "1s").await {
                Err(failure)
                    if failure.code == "no_time_left" && started.elapsed() < CUT_OFF_PATIENCE =>
                {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                minted => return minted,
            }
        }
    }

    /// Revokes the mandate's session and sends with it until it is refused.
    async fn revoke_session(&mut self, minted: &Minted) -> Outcome<f64> {
        let session = minted.session.clone().unwrap_or_default();
        let started = Instant::now();
        self.stack
            .revoke(sample::ZONE, "session", &session, "demo", false)
            .await?;
        while self.passes(&minted.mandate).await {
            if started.elapsed() > REVOCATION_PATIENCE {
                return Err(Failure::new(
                    Exit::Failed,
                    "not_revoked",
                    "a revoked session's mandate still passes after 10 s",
                ));
            }
        }
        Ok(started.elapsed().as_secs_f64() * 1000.0)
    }

    /// Cuts the application off: all its mandates stop; enabled again, a fresh one works.
    async fn cut_application_off(&mut self) -> Outcome<()> {
        let before = self.mint(&self.allow, "5m").await?;
        let id = self.application.id.clone();
        let report = self
            .stack
            .revoke(sample::ZONE, "application", &id, "demo", true)
            .await?;
        revoke::confirmed(&report)?;
        self.case(
            "application_cut_off",
            401,
            &Self::at(&self.allow),
            Some(&before.mandate),
        )
        .await?;
        let path = format!("/v1/zones/{}/applications/{id}/enable", sample::ZONE);
        let enabled = self
            .stack
            .coordinator
            .json(Method::POST, &path, &self.stack.admin, Some(&json!({})))
            .await?;
        enabled.accepted("enabling the application")?;
        let fresh = self.mint(&self.allow, "5m").await?;
        let started = Instant::now();
        while !self.passes(&fresh.mandate).await {
            if started.elapsed() > REVOCATION_PATIENCE {
                break;
            }
        }
        self.case(
            "application_enabled",
            200,
            &Self::at(&self.allow),
            Some(&fresh.mandate),
        )
        .await?;
        self.case(
            "cut_off_holds",
            401,
            &Self::at(&self.allow),
            Some(&before.mandate),
        )
        .await
    }

    async fn mint(&self, place: &Place, ttl: &str) -> Outcome<Minted> {
        let ttl = crate::args::seconds(ttl).unwrap_or(300);
        self.mint_as(&self.application, place, ttl).await
    }

    async fn mint_as(
        &self,
        application: &Application,
        place: &Place,
        ttl_seconds: u64,
    ) -> Outcome<Minted> {
        let wanted = Wanted {
            usage: Use::Resource,
            resource: &place.resource,
            scopes: vec![&place.scope],
            ttl_seconds,
        };
        self.stack.mint(application, None, &wanted).await
    }

    fn at(place: &Place) -> (String, String, String) {
        (place.method.clone(), place.host.clone(), place.path.clone())
    }

    async fn send(&self, at: &(String, String, String), mandate: Option<&str>) -> Outcome<Answer> {
        self.stack.envoy.through(&at.0, &at.1, &at.2, mandate).await
    }

    /// Whether a request with this mandate passes. One that is cut off while it runs, because its authority ends, does not.
    async fn passes(&self, mandate: &str) -> bool {
        let answer = self.send(&Self::at(&self.allow), Some(mandate)).await;
        answer.is_ok_and(|answer| answer.status == 200)
    }

    async fn case(
        &mut self,
        name: &'static str,
        expected: u16,
        at: &(String, String, String),
        mandate: Option<&str>,
    ) -> Outcome<()> {
        let started = Instant::now();
        let mut answer = self.send(at, mandate).await?;
        let took = started.elapsed();
        answer.decision = answer
            .decision
            .or_else(|| upstream_header(&answer.body, "x-caracal-decision"));
        self.cases.push(Case {
            name,
            expected,
            answer,
            took,
            in_ledger: false,
        });
        Ok(())
    }

    /// The upstream must see who asks, and no mandate.
    fn check_upstream(&self, mandate: &str) -> Outcome<()> {
        let Some(case) = self.cases.last() else {
            return Ok(());
        };
        let seen = case.answer.body.to_string();
        let identity = upstream_header(&case.answer.body, "x-caracal-client")
            .is_some_and(|client| client == self.application.id);
        if case.answer.status == 200 && (!identity || seen.contains(mandate)) {
            let why = "the upstream did not see the identity headers, or saw the mandate";
            return Err(Failure::new(Exit::Failed, "upstream", why));
        }
        Ok(())
    }

    async fn find_in_ledger(&mut self) -> Outcome<()> {
        let started = Instant::now();
        for index in 0..self.cases.len() {
            let Some(decision) = self
                .cases
                .get(index)
                .and_then(|case| case.answer.decision.clone())
            else {
                continue;
            };
            loop {
                let found = self
                    .stack
                    .search(None, &[("decision_id", decision.clone())])
                    .await?;
                if !found.is_empty() {
                    if let Some(case) = self.cases.get_mut(index) {
                        case.in_ledger = true;
                    }
                    break;
                }
                if started.elapsed() > LEDGER_PATIENCE {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    fn report(&self, revoke_ms: f64, verified: Outcome<Value>) -> Outcome<()> {
        let mut passed = true;
        for case in &self.cases {
            passed &= self.show(case)?;
        }
        let verified = verdict(passed, verified);
        let revoke_ms = (revoke_ms * 100.0).round() / 100.0;
        let cases = self.cases.len();
        let summary = json!({
            "ok": verified.failure.is_none(), "cases": cases, "revoke_ms": revoke_ms, "verified": verified.report,
        });
        self.printer.document(&summary, || {
            format!(
                "{cases} cases; the revocation reached Envoy in {revoke_ms} ms; {}",
                verified.words
            )
        })?;
        verified.failure.map_or(Ok(()), Err)
    }

    /// Prints a case, and says whether it came out as expected.
    fn show(&self, case: &Case) -> Outcome<bool> {
        let passed = case.answer.status == case.expected && case.in_ledger;
        let code = case.answer.code();
        let ms = (case.took.as_secs_f64() * 1e5).round() / 100.0;
        let line = json!({
            "case": case.name, "expected": case.expected, "status": case.answer.status, "code": code,
            "decision_id": case.answer.decision, "in_ledger": case.in_ledger, "ms": ms,
        });
        let mark = if passed { "ok    " } else { "FAILED" };
        self.printer.document(&line, || {
            format!("{mark} {:20} {} {code}", case.name, case.answer.status)
        })?;
        Ok(passed)
    }
}

/// What the demo ends with.
struct Ended {
    /// The verification's report, or why there is none.
    report: Value,
    /// The same for people.
    words: &'static str,
    failure: Option<Failure>,
}

/// Cases and verification together. Of two failures, that of the ledger is the worse.
fn verdict(passed: bool, verified: Outcome<Value>) -> Ended {
    let of_cases = || {
        let why = "a case did not come out as expected";
        (!passed).then(|| Failure::new(Exit::Failed, "demo_failed", why))
    };
    match verified {
        Ok(report) if audit::sound(&report) => Ended {
            report,
            words: "the ledger verifies",
            failure: of_cases(),
        },
        Ok(report) => Ended {
            words: "the ledger was tampered with",
            failure: Some(audit::tampered(&report)),
            report,
        },
        Err(failure) => Ended {
            report: json!({ "ok": false, "error": failure.code }),
            words: "the ledger was not verified",
            failure: Some(failure),
        },
    }
}

/// A header of the request as the echo upstream saw it.
fn upstream_header(body: &Value, name: &str) -> Option<String> {
    body.get("headers")?.as_array()?.iter().find_map(|pair| {
        let [known, value] = pair.as_array()?.as_slice() else {
            return None;
        };
        known
            .as_str()?
            .eq_ignore_ascii_case(name)
            .then(|| value.as_str().unwrap_or_default().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(passed: bool, verified: Outcome<Value>, code: Option<&str>, exit: Option<Exit>) {
        let ended = verdict(passed, verified);
        let failure = ended.failure.as_ref();
        assert_eq!(failure.map(|failure| failure.code.as_str()), code);
        assert_eq!(failure.map(|failure| failure.exit), exit);
    }

    #[test]
    fn a_demo_is_good_when_every_case_is_and_the_ledger_verifies() {
        let sound = || Ok(json!({ "ok": true, "zones": [] }));
        let zone = json!({ "zone": "a", "events": 2, "findings": [{ "seq": 2, "what": "w" }] });
        let edited = || Ok(json!({ "ok": false, "zones": [zone] }));
        let failed = Some(Exit::Failed);
        let found = Some(Exit::Tampered);
        check(true, sound(), None, None);
        check(false, sound(), Some("demo_failed"), failed);
        check(true, edited(), Some("tampered"), found);
        check(false, edited(), Some("tampered"), found);
        let gone = || Err(Failure::unavailable("audit does not answer"));
        let unavailable = Some(Exit::Unavailable);
        check(true, gone(), Some("unavailable"), unavailable);
        let report = verdict(true, gone()).report;
        assert_eq!(report, json!({ "ok": false, "error": "unavailable" }));
        assert_eq!(verdict(true, sound()).report["ok"], true);
    }
}
