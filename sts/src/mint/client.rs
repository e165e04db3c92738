//! Client authentication: what an unknown id costs is what a wrong secret costs.

use chassis::crypto::MacKey;
use mandate::id::ApplicationId;
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use crate::error::Refusal;
use crate::store::client::{Application, Known};
use crate::token::credential::Presented;

/// What a secret of ours starts with: `cs_<id>_<random>`.
const PREFIX: &str = "cs_";

/// A credential taken apart. One that is malformed names the nil ids, which exist nowhere, so that
/// it takes the same way as any other.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) application: ApplicationId,
    pub(crate) secret: Uuid,
    presented: SecretString,
}

impl Claimed {
    pub(crate) fn of(presented: Presented) -> Self {
        let application = ApplicationId::parse(&presented.client_id)
            .unwrap_or(ApplicationId::from_uuid(Uuid::nil()));
        let secret = secret_id(presented.secret.expose_secret()).unwrap_or_default();
        Self {
            application,
            secret,
            presented: presented.secret,
        }
    }

    /// Checks the secret against what is stored of it.
    pub(crate) fn verify<'a>(
        &self,
        known: &'a Known,
        pepper: &MacKey,
    ) -> Result<&'a Application, Refusal> {
        let stored = known.secret_hmac.as_deref().unwrap_or(&[0; 32]);
        let matches = pepper.verify(&[self.presented.expose_secret().as_bytes()], stored);
        match (&known.application, &known.secret_hmac, matches) {
            (Some(application), Some(_), true) => Ok(application),
            (_, _, _) => Err(Refusal::ClientUnknown),
        }
    }
}

fn secret_id(secret: &str) -> Option<Uuid> {
    let (id, random) = secret.strip_prefix(PREFIX)?.split_once('_')?;
    if random.is_empty() {
        return None;
    }
    Uuid::try_parse(id).ok()
}

#[cfg(test)]
mod tests {
    use chassis::secrets::Key32;

    use super::*;
    use crate::store::client::Resources;

    const APPLICATION: &str = "018f0000-0000-7000-8000-00000000000a";
    const SECRET: &str = "cs_018f0000-0000-7000-8000-00000000000b_c2VjcmV0";

    fn verdict(client_id: &str, secret: &str, stored: Option<&str>, exists: bool) -> bool {
        let pepper = MacKey::new(&Key32::new([7; 32]));
        let known = Known {
            secret_hmac: stored.map(|stored| pepper.tag(&[stored.as_bytes()]).to_vec()),
            application: exists.then(|| Application {
                version: 1,
                labels: Vec::new(),
            }),
            policy: None,
            session: None,
            resources: Resources::default(),
        };
        let presented = Presented {
            client_id: client_id.to_owned(),
            secret: SecretString::from(secret),
        };
        Claimed::of(presented).verify(&known, &pepper).is_ok()
    }

    #[test]
    fn takes_the_secret_and_nothing_else() {
        assert!(verdict(APPLICATION, SECRET, Some(SECRET), true));
        assert!(!verdict(
            APPLICATION,
            "cs_018f0000-0000-7000-8000-00000000000b_other",
            Some(SECRET),
            true
        ));
        assert!(!verdict(APPLICATION, SECRET, None, true));
        assert!(!verdict(APPLICATION, SECRET, Some(SECRET), false));
    }

    #[test]
    fn what_is_malformed_names_the_nil_ids() {
        for secret in [
            "",
            "cs_",
            "x",
            "cs_nope_x",
            "cs_018f0000-0000-7000-8000-00000000000b",
        ] {
            assert_eq!(secret_id(secret), None, "{secret}");
        }
        let presented = Presented {
            client_id: "nobody".to_owned(),
            secret: SecretString::from("x"),
        };
        let claimed = Claimed::of(presented);
        assert!(claimed.application.as_uuid().is_nil() && claimed.secret.is_nil());
    }
}
