//! The routes, and the OpenAPI document made of them.

use std::sync::Arc;

use axum::Router;
use serde::Serialize;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::{applications, bindings, policies, resources, revocations, sessions, zones};
use crate::app::App;
use crate::error::Finding;

/// An error (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProblemDocument {
    /// `urn:caracal:problem:` and the code.
    #[serde(rename = "type")]
    kind: String,
    /// The same for every error of this status.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What happened this time.
    detail: String,
    /// The stable code.
    code: String,
    /// The code again.
    error: String,
    /// The id of the request.
    request_id: Option<String>,
    /// Everything that was wrong with what was sent.
    findings: Option<Vec<Finding>>,
}

/// The document's frame.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Caracal coordinator",
        description = "The control plane: zones, applications, resources, bindings, policies, sessions, revocations. \
                       Changes take an `Idempotency-Key`; versioned objects have an `ETag` and are replaced with `If-Match`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    security(("bearer" = [])),
    modifiers(&Bearer),
)]
struct Frame;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.description = Some(
            "An operator's token; for sessions also an application's session mandate.".to_owned(),
        );
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(Frame::openapi())
        .routes(routes!(zones::create, zones::list))
        .routes(routes!(zones::get))
        .routes(routes!(zones::archive))
        .routes(routes!(zones::restore))
        .routes(routes!(applications::create, applications::list))
        .routes(routes!(applications::get))
        .routes(routes!(applications::disable))
        .routes(routes!(applications::enable))
        .routes(routes!(applications::rotate))
        .routes(routes!(resources::create, resources::list))
        .routes(routes!(resources::get, resources::update))
        .routes(routes!(resources::disable))
        .routes(routes!(resources::enable))
        .routes(routes!(bindings::create, bindings::list))
        .routes(routes!(bindings::get, bindings::update))
        .routes(routes!(bindings::disable))
        .routes(routes!(bindings::enable))
        .routes(routes!(policies::create, policies::list))
        .routes(routes!(policies::validate))
        .routes(routes!(policies::active))
        .routes(routes!(policies::activation_status))
        .routes(routes!(policies::get))
        .routes(routes!(policies::activate))
        .routes(routes!(sessions::start, sessions::list))
        .routes(routes!(sessions::get))
        .routes(routes!(sessions::end))
        .routes(routes!(sessions::suspend))
        .routes(routes!(sessions::resume))
        .routes(routes!(revocations::create, revocations::list))
}

/// The admin API over an app.
pub(crate) fn router(app: Arc<App>) -> Router {
    let (router, _document) = routes().split_for_parts();
    router.with_state(app)
}

/// The OpenAPI document, as `docs/openapi/coordinator.json` holds it.
pub fn openapi() -> Result<String, serde_json::Error> {
    let (_router, document) = routes().split_for_parts();
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The committed document is the one the code makes. `UPDATE_GENERATED=1` writes it anew.
    #[test]
    fn the_generated_document_is_the_committed_one() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../docs/openapi/coordinator.json"
        );
        let made = openapi().unwrap();
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            std::fs::create_dir_all(std::path::Path::new(path).parent().unwrap()).unwrap();
            std::fs::write(path, &made).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == made,
            "docs/openapi/coordinator.json is not what the code makes"
        );
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_and_documents_its_errors() {
        let document: serde_json::Value = serde_json::from_str(&openapi().unwrap()).unwrap();
        let mut names = std::collections::BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let name = operation["operationId"].as_str().unwrap();
                assert!(names.insert(name.to_owned()), "{name} twice");
                assert!(
                    operation["responses"].get("default").is_some(),
                    "{method} {path}"
                );
            }
        }
        assert!(names.len() >= 30, "{names:?}");
    }
}
