//! Connections to services of AWS: where they are, the credentials, and what went wrong.

use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_sdk_kinesis::config::http::HttpResponse;
use aws_sdk_kinesis::config::{Credentials, SharedHttpClient};
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::{Builder, tls};
use hyper_util::client::legacy as client;

use super::credentials::Patient;
use super::{AccessKey, KinesisAccess};

/// Limit of the time to connect.
const CONNECT: Duration = Duration::from_secs(3);

/// The longest text of an error that is logged. It may name the account, the user and the stream,
/// but never holds records.
const TEXT: usize = 300;

/// All connections of the process are in one pool, with one set of certificate authorities.
static HTTP: LazyLock<SharedHttpClient> = LazyLock::new(|| {
    Builder::new().tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc)).build_https()
});

/// Returns the configuration of a client. Without a key, the credentials are looked for as all SDKs
/// of AWS do: environment, profile files, web identity, ECS and EKS, EC2. They are looked for when
/// they are first needed. Each attempt may take the time `timeout`, but the load of credentials may
/// take longer; `attempts` includes the first.
pub(crate) async fn configure(
    access: &KinesisAccess,
    endpoint: Option<&str>,
    timeout: Duration,
    attempts: u32,
) -> SdkConfig {
    let KinesisAccess { region, key, .. } = access;
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(timeout);
    let loader = loader(region)
        .retry_config(RetryConfig::standard().with_max_attempts(attempts))
        .timeout_config(timeouts.build());
    let loader = match key {
        Some(AccessKey { id, secret }) => {
            loader.credentials_provider(Credentials::new(id, secret, None, None, "configuration"))
        }
        // With its own attempts and times, not with those of requests.
        None => match Box::pin(self::loader(region).load()).await.credentials_provider() {
            Some(chain) => loader.credentials_provider(Patient::new(chain)),
            None => loader,
        },
    };
    let loader = match endpoint {
        Some(endpoint) => loader.endpoint_url(endpoint),
        None => loader,
    };
    Box::pin(loader.load()).await
}

fn loader(region: &str) -> ConfigLoader {
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(HTTP.clone())
        .region(Region::new(region.to_owned()))
}

/// What kind of trouble a request ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// No connection was made, so nothing was sent.
    Unreached,
    /// The service does not answer, or is not well. It may have received the request.
    Away,
    /// No answer came in time.
    Late,
    /// Too many requests.
    Throttled,
    /// There is no such stream, shard or table.
    Missing,
    /// A row does not fulfil the condition of a change.
    Condition,
    /// The iterator is too old.
    Expired,
    /// A parameter is refused.
    Invalid,
    /// What else the service refuses, such as access.
    Refused,
}

/// Why a request has failed.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub(crate) trouble: Trouble,
    /// For the log.
    text: String,
}

impl Failed {
    pub(crate) fn new(trouble: Trouble, text: impl Into<String>) -> Self {
        Self { trouble, text: text.into() }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<E> From<SdkError<E, HttpResponse>> for Failed
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        if let Some(refused) = error.as_service_error() {
            let code = refused.code().unwrap_or("an unknown error");
            let text = refused.message().map_or(code.to_owned(), |message| format!("{code}: {message}"));
            let trouble = match Trouble::of(code) {
                Trouble::Refused if is_ill(&error) => Trouble::Away,
                trouble => trouble,
            };
            return Self::new(trouble, text.chars().take(TEXT).collect::<String>());
        }
        // The innermost says most: "Connection refused".
        let (mut cause, mut is_unreached): (&dyn std::error::Error, _) = (&error, false);
        while let Some(deeper) = cause.source() {
            cause = deeper;
            is_unreached |= cause.downcast_ref::<client::Error>().is_some_and(client::Error::is_connect);
        }
        let trouble = match &error {
            _ if is_unreached => Trouble::Unreached,
            SdkError::TimeoutError(_) => Trouble::Late,
            SdkError::DispatchFailure(failure) if failure.is_timeout() => Trouble::Late,
            _ => Trouble::Away,
        };
        Self::new(trouble, format!("{error}: {cause}").chars().take(TEXT).collect::<String>())
    }
}

/// Returns whether an answer has a status of 500 or more.
fn is_ill<E>(error: &SdkError<E, HttpResponse>) -> bool {
    error.raw_response().is_some_and(|response| response.status().is_server_error())
}

impl Trouble {
    /// Returns what an error code of AWS means.
    fn of(code: &str) -> Self {
        match code {
            "ExpiredIteratorException" => Self::Expired,
            "ResourceNotFoundException" => Self::Missing,
            "ConditionalCheckFailedException" => Self::Condition,
            "InvalidArgumentException" | "ValidationException" => Self::Invalid,
            "ProvisionedThroughputExceededException"
            | "LimitExceededException"
            | "KMSThrottlingException"
            | "RequestLimitExceeded"
            | "Throttling"
            | "ThrottlingException" => Self::Throttled,
            "InternalFailure"
            | "InternalFailureException"
            | "InternalServerError"
            | "InternalError"
            | "ServiceUnavailable"
            | "ServiceUnavailableException" => Self::Away,
            _ => Self::Refused,
        }
    }
}
