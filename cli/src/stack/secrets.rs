//! The secrets of a stack: made once, one file a purpose.

use anyhow::Context as _;
use chassis::config::Mode;
use chassis::crypto::EventKey;
use chassis::rng::Rng;
use chassis::secrets::{Key32, Shape};
use mandate::id::KeyId;
use migrations::Role;

use crate::stack::acl;
use crate::stack::home::Home;

pub(crate) const ADMIN_TOKEN: &str = "secrets/admin-token";
pub(crate) const SERVICE_TOKEN: &str = "secrets/service-token";
pub(crate) const METRICS_TOKEN: &str = "secrets/metrics-token";
pub(crate) const SUPERUSER_URL: &str = "secrets/database-url";
pub(crate) const REDIS_URL: &str = "secrets/redis-url";
pub(crate) const SUPERUSER_PASSWORD: &str = "secrets/database-password";
pub(crate) const REDIS_PASSWORD: &str = "secrets/redis-password";
pub(crate) const PEPPER: &str = "secrets/pepper";
pub(crate) const STS_KEK: &str = "secrets/sts-kek";
pub(crate) const AUDIT_KEK: &str = "secrets/audit-kek";
pub(crate) const STREAM_KEY: &str = "secrets/coordinator-stream";

/// The keys that sign evidence and messages, by the name of their file.
pub(crate) const SIGNERS: [&str; 5] = [
    "sts-event",
    "coordinator-event",
    "coordinator-stream",
    "ext-authz-event",
    "audit-event",
];

const TOKENS: [&str; 5] = [
    ADMIN_TOKEN,
    SERVICE_TOKEN,
    METRICS_TOKEN,
    SUPERUSER_PASSWORD,
    REDIS_PASSWORD,
];
const KEYS: [&str; 3] = [PEPPER, STS_KEK, AUDIT_KEK];

/// The file of a signer's seed.
pub(crate) fn signer_file(name: &str) -> String {
    format!("secrets/{name}")
}

/// The file of a database role's password.
pub(crate) fn role_file(role: Role) -> String {
    format!("secrets/password-{role}")
}

/// The file of a service's password for Redis.
pub(crate) fn redis_file(service: &str) -> String {
    format!("secrets/redis-password-{service}")
}

/// Makes what is missing.
pub(crate) fn create(home: &Home) -> anyhow::Result<()> {
    let rng = Rng::from_system()?;
    let roles = Role::ALL.into_iter().map(role_file);
    let users = acl::services().map(redis_file);
    let tokens = TOKENS.iter().map(|file| (*file).to_owned());
    for file in tokens.chain(roles).chain(users) {
        if !home.data(&file).exists() {
            home.write(&file, rng.token().as_bytes())?;
        }
    }
    let signers = SIGNERS.iter().map(|name| signer_file(name));
    for file in KEYS.iter().map(|file| (*file).to_owned()).chain(signers) {
        if !home.data(&file).exists() {
            home.write(&file, encode(&rng.bytes::<32>()).as_bytes())?;
        }
    }
    Ok(())
}

/// The public half of a signer, as configuration wants it.
pub(crate) fn public_key(home: &Home, name: &str) -> anyhow::Result<String> {
    let seed = chassis::secrets::read(&home.data(&signer_file(name)), Shape::Key32, Mode::Dev)?;
    let seed = Key32::of(&seed).with_context(|| format!("{name} holds no key"))?;
    let key = EventKey::new(KeyId::parse(name)?, &seed)?;
    Ok(encode(&key.public()))
}

fn encode(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}
