//! Redis or Valkey. Every call has a deadline; what it holds can be lost.

use std::fmt;
use std::time::Duration;

use ::redis::aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use ::redis::{AsyncConnectionConfig, Cmd, FromRedisValue, Pipeline, Script};

use crate::config::{self, Findings};
use crate::failure::Failure;
use crate::problem::Problem;

/// Why a call gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// It did not answer in time.
    #[error("redis did not answer within {0:?}")]
    Deadline(Duration),
    /// It could not be reached, or is not in a state to serve.
    #[error("redis is unavailable: {0}")]
    Unavailable(#[source] ::redis::RedisError),
    /// It refused the call: a mistake of ours, or a right that is missing.
    #[error("redis refused: {0}")]
    Refused(#[source] ::redis::RedisError),
}

impl RedisError {
    fn of(error: ::redis::RedisError, timeout: Duration) -> Self {
        if error.is_timeout() {
            return Self::Deadline(timeout);
        }
        let code = error.code().unwrap_or_default();
        // It is there but cannot serve: loading, out of memory, no quorum, moved.
        let busy = [
            "LOADING",
            "OOM",
            "MISCONF",
            "READONLY",
            "NOREPLICAS",
            "MASTERDOWN",
            "CLUSTERDOWN",
        ];
        if error.is_io_error() || error.is_unrecoverable_error() || busy.contains(&code) {
            Self::Unavailable(error)
        } else {
            Self::Refused(error)
        }
    }
}

impl From<RedisError> for Problem {
    fn from(error: RedisError) -> Self {
        match error {
            RedisError::Deadline(_) | RedisError::Unavailable(_) => {
                Self::unavailable("redis", error)
            }
            RedisError::Refused(_) => Self::internal(error),
        }
    }
}

/// A connection that many tasks share and that mends itself. Clones are the same connection.
#[derive(Clone)]
pub struct Client {
    server: ::redis::Client,
    shared: ConnectionManager,
    timeout: Duration,
}

impl Client {
    /// Prepares a connection; the first call opens it, and every call after a failure tries again.
    pub fn open(redis: &config::Redis) -> Result<Self, Failure> {
        let client = ::redis::Client::open(redis.info.clone()).map_err(Failure::internal)?;
        let manager = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(redis.timeout))
            .set_response_timeout(Some(redis.timeout))
            .set_number_of_retries(1)
            .set_max_delay(Duration::from_millis(100));
        let shared = client
            .get_connection_manager_lazy(manager)
            .map_err(Failure::internal)?;
        Ok(Self {
            server: client,
            shared,
            timeout: redis.timeout,
        })
    }

    /// The same, and waits up to `patience` for the first answer.
    pub async fn connect(redis: &config::Redis, patience: Duration) -> Result<Self, Failure> {
        let client = Self::open(redis)?;
        let started = tokio::time::Instant::now();
        loop {
            match client.ping().await {
                Ok(()) => return Ok(client),
                Err(error) if started.elapsed() >= patience => {
                    return Err(Failure::dependency("redis", error));
                }
                Err(error) => {
                    let error = error.to_string();
                    tracing::info!(error, "redis does not answer yet");
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Whether it answers.
    pub async fn ping(&self) -> Result<(), RedisError> {
        self.call::<String>(&::redis::cmd("PING")).await.map(|_| ())
    }

    /// Runs a command. Never one that blocks: see [`Client::dedicated`].
    pub async fn call<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        let mut connection = self.shared.clone();
        self.bounded(command.query_async(&mut connection)).await
    }

    /// Runs several commands in one round trip.
    pub async fn pipe<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, RedisError> {
        let mut connection = self.shared.clone();
        self.bounded(pipeline.query_async(&mut connection)).await
    }

    /// Runs a script, loading it when the server does not have it.
    pub async fn script<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&str],
        arguments: &[&[u8]],
    ) -> Result<T, RedisError> {
        let mut connection = self.shared.clone();
        let mut invocation = script.prepare_invoke();
        for key in keys {
            invocation.key(*key);
        }
        for argument in arguments {
            invocation.arg(*argument);
        }
        self.bounded(invocation.invoke_async(&mut connection)).await
    }

    /// A connection of one's own, for commands that block up to `block`: an answer is due that much
    /// later.
    pub async fn dedicated(&self, block: Duration) -> Result<Dedicated, RedisError> {
        let timeout = self.timeout.saturating_add(block);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(timeout));
        let opening = self
            .server
            .get_multiplexed_async_connection_with_config(&config);
        let connection = self.bounded(opening).await?;
        Ok(Dedicated {
            connection,
            timeout,
        })
    }

    /// The deadline of every call.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    async fn bounded<T>(
        &self,
        call: impl Future<Output = ::redis::RedisResult<T>>,
    ) -> Result<T, RedisError> {
        bounded(self.timeout, call).await
    }

    /// What stable mode wants: nothing is evicted, and what is written outlives a restart.
    /// `attested` is the operator's word where the server does not let itself be asked.
    pub async fn check(&self, attested: Option<&str>) -> Result<Findings, RedisError> {
        let mut findings = Findings::default();
        for (name, wanted) in [("maxmemory-policy", "noeviction"), ("appendonly", "yes")] {
            let command = ::redis::cmd("CONFIG").arg("GET").arg(name).to_owned();
            let value = match self.call::<Vec<String>>(&command).await {
                Ok(pair) => pair.into_iter().nth(1),
                Err(RedisError::Refused(_)) => None,
                Err(error) => return Err(error),
            };
            match value {
                Some(value) if value == wanted => {}
                Some(value) => {
                    findings.add("REDIS_URL", format!("the server runs with {name} {value}"));
                }
                None if attested.is_some() => {}
                None => findings.add(
                    "REDIS_URL",
                    format!(
                        "the server does not tell {name}; attest it in redis.attested_durability"
                    ),
                ),
            }
        }
        Ok(findings)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// A connection of one's own. It does not mend itself: after an error, ask for another.
pub struct Dedicated {
    connection: MultiplexedConnection,
    timeout: Duration,
}

impl Dedicated {
    /// Runs a command, also one that blocks.
    pub async fn call<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisError> {
        bounded(self.timeout, command.query_async(&mut self.connection)).await
    }
}

impl fmt::Debug for Dedicated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dedicated")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

async fn bounded<T>(
    timeout: Duration,
    call: impl Future<Output = ::redis::RedisResult<T>>,
) -> Result<T, RedisError> {
    match tokio::time::timeout(timeout, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(RedisError::of(error, timeout)),
        Err(_) => Err(RedisError::Deadline(timeout)),
    }
}
