//! Serving gRPC, and the service tokens that calls between our services carry.

use std::sync::Arc;

use secrecy::SecretString;
use tokio::net::TcpListener;
use tonic::transport::server::{Router, TcpIncoming};
use tonic::{Request, Status};

use crate::lifecycle::Lifecycle;
use crate::problem::Problem;
use crate::secrets;

/// Serves `router` until the soft token, then lets calls finish until the hard one.
pub fn serve(lifecycle: &Lifecycle, name: &'static str, listener: TcpListener, router: Router) {
    let soft = lifecycle.soft().clone();
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    lifecycle.spawn(name, async move {
        router
            .serve_with_incoming_shutdown(incoming, soft.cancelled_owned())
            .await
    });
}

/// Lets calls pass that carry the service token as `authorization: Bearer …`.
#[derive(Clone, Debug)]
pub struct ServiceToken {
    expected: Arc<SecretString>,
}

impl ServiceToken {
    /// Wants this token.
    pub fn new(expected: SecretString) -> Self {
        Self {
            expected: Arc::new(expected),
        }
    }

    /// Whether a call carries it.
    pub fn admits<T>(&self, request: &Request<T>) -> bool {
        let mut values = request.metadata().get_all("authorization").iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return false;
        };
        value
            .as_bytes()
            .split_at_checked(7)
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
            .is_some_and(|(_, token)| secrets::matches(&self.expected, token))
    }
}

impl tonic::service::Interceptor for ServiceToken {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        if self.admits(&request) {
            Ok(request)
        } else {
            Err(Problem::new("unauthenticated", 401, 16, "a service token is wanted").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "v9XkP2mQz7LwR4tYbN8sJc3Dv9XkP2mQ";

    fn admitted(values: &[&str]) -> bool {
        let mut request = Request::new(());
        for value in values {
            request
                .metadata_mut()
                .append("authorization", value.parse().unwrap());
        }
        ServiceToken::new(SecretString::from(TOKEN)).admits(&request)
    }

    #[test]
    fn admits_the_token_alone() {
        let good = format!("Bearer {TOKEN}");
        assert!(admitted(&[&good]));
        assert!(!admitted(&[]));
        assert!(!admitted(&[&good, &good]));
        assert!(!admitted(&["Bearer "]));
        assert!(!admitted(&[TOKEN]));
    }
}
