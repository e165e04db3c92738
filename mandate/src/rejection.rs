//! The one table of refusals: code, HTTP status, gRPC status, challenge, step.

/// What a refusal tells the client in `WWW-Authenticate` (RFC 6750 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// `Bearer` alone: no credential was given.
    Bare,
    /// `error="invalid_token"`.
    InvalidToken,
    /// `error="insufficient_scope"`.
    InsufficientScope,
    /// None: a credential would not help.
    None,
}

impl Challenge {
    /// The `error` parameter.
    pub const fn error(self) -> Option<&'static str> {
        match self {
            Self::Bare | Self::None => None,
            Self::InvalidToken => Some("invalid_token"),
            Self::InsufficientScope => Some("insufficient_scope"),
        }
    }
}

macro_rules! rejections {
    ($($name:ident $code:literal $http:literal $grpc:literal $challenge:ident $step:literal $meaning:literal;)*) => {
        /// Why a request or its mandate is refused. Closed: whoever adds one decides its row of the table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Rejection {
            $(#[doc = $meaning] $name,)*
        }

        impl Rejection {
            /// All of them, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable code.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The HTTP status.
            pub const fn http(self) -> u16 {
                match self { $(Self::$name => $http,)* }
            }

            /// The gRPC status code.
            pub const fn grpc(self) -> u8 {
                match self { $(Self::$name => $grpc,)* }
            }

            /// What goes into `WWW-Authenticate`.
            pub const fn challenge(self) -> Challenge {
                match self { $(Self::$name => Challenge::$challenge,)* }
            }

            /// The step of verification that refuses: 0 the request's form, 1–9 authenticate, 10–14 admit.
            pub const fn step(self) -> u8 {
                match self { $(Self::$name => $step,)* }
            }

            /// One sentence for people.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }
        }
    };
}

rejections! {
    PathRefused "path_refused" 400 3 None 0 "The path is not in its canonical form.";
    HostRefused "host_refused" 400 3 None 0 "The host is missing, doubled or not in its canonical form.";
    MethodRefused "method_refused" 400 3 None 0 "The method cannot be governed.";
    OverrideHeader "override_header" 400 3 None 0 "A header tries to override method or path.";
    CredentialMissing "credential_missing" 401 16 Bare 1 "The request carries no mandate.";
    CredentialDuplicate "credential_duplicate" 401 16 InvalidToken 1 "The request carries more than one credential.";
    CredentialMalformed "credential_malformed" 401 16 InvalidToken 1 "The Authorization header is not one bearer credential of visible ASCII.";
    CredentialTooLong "credential_too_long" 401 16 InvalidToken 1 "The credential is longer than 8 KiB.";
    Malformed "malformed" 401 16 InvalidToken 2 "The mandate is not three canonical base64url parts.";
    HeaderRefused "header_refused" 401 16 InvalidToken 3 "The mandate's header lacks a required parameter or has a refused one.";
    AlgorithmRefused "algorithm_refused" 401 16 InvalidToken 3 "The mandate's algorithm is not the one of its key.";
    JsonRefused "json_refused" 401 16 InvalidToken 4 "The mandate's JSON is invalid, too deep, or names a key twice.";
    KeyUnknown "key_unknown" 401 16 InvalidToken 5 "The zone's key set has no such key.";
    SignatureInvalid "signature_invalid" 401 16 InvalidToken 6 "The signature is not the key's.";
    TimesMalformed "times_malformed" 401 16 InvalidToken 7 "exp, nbf or iat is missing or no integer.";
    Expired "expired" 401 16 InvalidToken 7 "The mandate has expired.";
    NotYetValid "not_yet_valid" 401 16 InvalidToken 7 "The mandate is not valid yet.";
    LifetimeTooLong "lifetime_too_long" 401 16 InvalidToken 7 "The mandate lives longer than its use allows.";
    WrongIssuer "wrong_issuer" 401 16 InvalidToken 8 "Another issuer made the mandate.";
    WrongZone "wrong_zone" 401 16 InvalidToken 8 "The mandate belongs to another zone.";
    WrongUse "wrong_use" 401 16 InvalidToken 8 "The mandate is for another use.";
    WrongAudience "wrong_audience" 401 16 InvalidToken 8 "The mandate's audience is not what its use demands.";
    ClaimsMalformed "claims_malformed" 401 16 InvalidToken 9 "A required claim is missing, or of the wrong type or length.";
    ResourceNotGranted "resource_not_granted" 403 7 InsufficientScope 10 "The mandate does not name this resource.";
    ScopeMissing "scope_missing" 403 7 InsufficientScope 11 "The mandate lacks a scope that the operation requires.";
    HopsExceeded "hops_exceeded" 403 7 None 12 "The mandate was delegated more often than the binding allows.";
    ChainMalformed "chain_malformed" 403 7 None 12 "The mandate's delegation chain is not well formed.";
    ConfirmationUnsupported "confirmation_unsupported" 401 16 InvalidToken 13 "The mandate is bound to a key whose proof is not supported here.";
    Revoked "revoked" 401 16 InvalidToken 14 "The mandate, or what it came from, was revoked.";
    Suspended "suspended" 401 16 InvalidToken 14 "What the mandate came from is suspended.";
    Disabled "disabled" 401 16 InvalidToken 14 "What the mandate came from is disabled.";
    Archived "archived" 401 16 InvalidToken 14 "What the mandate came from is archived.";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_snake_case() {
        let codes: HashSet<&str> = Rejection::ALL
            .iter()
            .map(|rejection| rejection.code())
            .collect();
        assert_eq!(codes.len(), Rejection::ALL.len());
        assert!(codes.iter().all(|code| {
            code.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        }));
    }

    #[test]
    fn status_and_grpc_and_challenge_agree() {
        for rejection in Rejection::ALL {
            let (grpc, bearer) = match rejection.http() {
                400 => (3, false),
                401 => (16, true),
                403 => (7, false),
                other => panic!("{other}"),
            };
            assert_eq!(rejection.grpc(), grpc, "{rejection:?}");
            assert!(
                !bearer || rejection.challenge() != Challenge::None,
                "{rejection:?}"
            );
        }
    }
}
