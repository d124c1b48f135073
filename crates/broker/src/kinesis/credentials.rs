//! Credentials that may take longer to load than an attempt of a request.

use std::time::{Duration, SystemTime};

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, Result, SharedCredentialsProvider, future};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Limit of the time to load credentials. After that, the load fails, and the next request begins
/// another.
const LOADING: Duration = Duration::from_secs(60);

/// Loads the credentials of a provider in a task of its own.
///
/// The time of an attempt includes that of the load, and an attempt that is cut off drops the
/// future of the load. This one leaves the task alone, and the next attempt waits for the same.
#[derive(Debug)]
pub(crate) struct Patient {
    provider: SharedCredentialsProvider,
    loading: Mutex<Option<JoinHandle<Result>>>,
}

impl Patient {
    pub(crate) fn new(provider: SharedCredentialsProvider) -> Self {
        Self { provider, loading: Mutex::default() }
    }

    async fn load(&self) -> Result {
        let mut loading = self.loading.lock().await;
        let was_begun = loading.is_some();
        let task = loading.get_or_insert_with(|| {
            let provider = self.provider.clone();
            tokio::spawn(async move {
                let loaded = timeout(LOADING, provider.provide_credentials()).await;
                loaded.unwrap_or_else(|_| Err(CredentialsError::provider_timed_out(LOADING)))
            })
        });
        let loaded = task.await.unwrap_or_else(|panic| Err(CredentialsError::unhandled(panic)));
        *loading = None;
        let is_expired = |at: SystemTime| was_begun && at <= SystemTime::now();
        if loaded.as_ref().is_ok_and(|credentials| credentials.expiry().is_some_and(is_expired)) {
            // No request came since then. The next attempt loads others.
            return Err(CredentialsError::provider_error("the credentials have expired"));
        }
        loaded
    }
}

impl ProvideCredentials for Patient {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.load())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use aws_credential_types::Credentials;
    use tokio::time::sleep;

    use super::*;
    use crate::kinesis::aws::{Failed, Trouble, configure};
    use crate::kinesis::{AccessKey, KinesisAccess};

    /// Limit of an attempt.
    const LIMIT: Duration = Duration::from_millis(200);

    /// Takes longer than an attempt, and counts how often it is asked.
    #[derive(Clone, Debug, Default)]
    struct Slow {
        asked: Arc<AtomicUsize>,
        expiry: Option<SystemTime>,
    }

    impl ProvideCredentials for Slow {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::new(async {
                self.asked.fetch_add(1, Ordering::Relaxed);
                sleep(LIMIT * 5 / 2).await;
                Ok(Credentials::new("id", "secret", None, self.expiry, "test"))
            })
        }
    }

    fn patient(slow: &Slow) -> Patient {
        Patient::new(SharedCredentialsProvider::new(slow.clone()))
    }

    fn access(key: Option<AccessKey>) -> KinesisAccess {
        KinesisAccess { region: "eu-west-1".into(), endpoint: None, key }
    }

    #[tokio::test]
    async fn credentials_that_take_longer_than_an_attempt_are_loaded_once() {
        let key = AccessKey { id: "other".into(), secret: "other".into() };
        let endpoint = format!("http://{}", rig_tests::unused_address());
        let config = configure(&access(Some(key)), Some(&endpoint), LIMIT, 1).await;
        let slow = Slow::default();
        let config = aws_sdk_dynamodb::config::Builder::from(&config).credentials_provider(patient(&slow));
        let client = aws_sdk_dynamodb::Client::from_conf(config.build());
        let mut troubles = Vec::new();
        for _ in 0..20 {
            let asked = Box::pin(client.list_tables().send()).await;
            troubles.push(Failed::from(asked.expect_err("there is no DynamoDB")).trouble);
            if troubles.last() == Some(&Trouble::Unreached) {
                break;
            }
        }
        assert_eq!(troubles.first(), Some(&Trouble::Late));
        assert_eq!(troubles.last(), Some(&Trouble::Unreached), "it has credentials: {troubles:?}");
        assert_eq!(slow.asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_that_have_expired_since_they_were_loaded_are_not_used() {
        let slow = Slow { expiry: Some(SystemTime::now()), ..Slow::default() };
        let patient = patient(&slow);
        assert!(timeout(LIMIT, patient.provide_credentials()).await.is_err(), "it is cut off");
        sleep(LIMIT * 5).await;
        assert!(patient.provide_credentials().await.is_err());
        assert!(patient.provide_credentials().await.is_ok(), "those are new");
        assert_eq!(slow.asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn those_of_the_environment_are_waited_for() {
        let provider = configure(&access(None), None, LIMIT, 1).await.credentials_provider();
        let text = format!("{provider:?}");
        assert!(text.contains("Patient"), "{text}");
    }
}
