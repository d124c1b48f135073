//! An issuer with the tasks that keep what it says, and the verifier of its tokens.

use std::sync::Arc;
use std::time::Duration;

use rig_auth::{
    ConfiguredKey, Issuer, IssuerConfig, Issuers, TokenConfig, TokenError, Verifier, keep_keys, keep_lists,
};
use tokio::task::JoinHandle;

/// A gateway without ports and connections.
pub(crate) struct Gateway {
    pub(crate) issuers: Issuers,
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) verifier: Verifier,
    tasks: [JoinHandle<()>; 2],
}

impl Gateway {
    pub(crate) fn start(config: IssuerConfig) -> Self {
        let issuers = Issuers::new(vec![config]);
        let issuer = issuers.iter().next().unwrap().clone();
        let algorithms = "HS256".parse().unwrap();
        let key = Arc::new(ConfiguredKey::load(None, &algorithms).unwrap());
        let config = TokenConfig { algorithms, issuer: None, audience: Vec::new(), leeway: Duration::ZERO };
        let verifier = Verifier::new(key, config).with_issuers(issuers.clone());
        let tasks = [
            tokio::spawn(keep_keys(issuer.clone(), Arc::new(()), std::future::pending())),
            tokio::spawn(keep_lists(issuer.clone(), Arc::new(()), std::future::pending())),
        ];
        Self { issuers, issuer, verifier, tasks }
    }

    pub(crate) async fn verdict(&self, token: &str) -> Result<(), TokenError> {
        self.verifier.verify_fetching(token).await.map(drop)
    }

    pub(crate) fn metrics(&self) -> String {
        let mut registry = prometheus_client::registry::Registry::default();
        self.issuers.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
