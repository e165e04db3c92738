//! Parameters of paths. One that is not an id is as good as one that is not there.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;
use uuid::Uuid;

use crate::app::App;
use crate::error::Error;

/// A parameter by name.
pub(crate) async fn parameter(
    parts: &mut Parts,
    app: &Arc<App>,
    name: &'static str,
) -> Result<String, Error> {
    let parameters = RawPathParams::from_request_parts(parts, app)
        .await
        .map_err(|_| Error::NotFound("object"))?;
    parameters
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value.to_owned())
        .ok_or(Error::NotFound("object"))
}

/// The id of the object that the path names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Id(pub(crate) Uuid);

impl FromRequestParts<Arc<App>> for Id {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Error> {
        let text = parameter(parts, app, "id").await?;
        uuid(&text).map(Self).ok_or(Error::NotFound("object"))
    }
}

/// A UUID as we write it, and no other spelling of it.
pub(crate) fn uuid(text: &str) -> Option<Uuid> {
    let uuid = Uuid::try_parse(text).ok()?;
    (uuid.hyphenated().to_string() == text).then_some(uuid)
}

#[cfg(test)]
mod tests {
    use super::uuid;

    #[test]
    fn takes_ids_as_we_write_them_only() {
        let id = "0199c0de-0000-7000-8000-00000000000a";
        assert!(uuid(id).is_some());
        for other in [
            "",
            "x",
            &id.to_uppercase(),
            &id.replace('-', ""),
            &format!("{{{id}}}"),
        ] {
            assert!(uuid(other).is_none(), "{other}");
        }
    }
}
