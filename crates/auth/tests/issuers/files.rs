//! Key sets in files.

use std::sync::Arc;
use std::time::Duration;

use rig_auth::{
    Audience, EndedMark, IssuerConfig, Issuers, KeysFrom, Mark, OpenConnections, check_issuer, keep_keys,
};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::keys::{SigningKey, key_set};

/// Notes whose connections are terminated.
struct Connections(mpsc::UnboundedSender<EndedMark>);

impl OpenConnections for Connections {
    fn have(&self, _: &Mark) -> bool {
        true
    }

    fn end(&self, ended: EndedMark) {
        drop(self.0.send(ended));
    }
}

/// Time is paused: the pauses between looks at the file take none, but their order is kept.
#[tokio::test(start_paused = true)]
async fn a_file_is_read_again_when_it_changes_and_its_keys_are_withdrawn_like_others() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("keys.json");
    let (a, b) = (SigningKey::new("a"), SigningKey::new("b"));
    let mut config = IssuerConfig::new("kc", "https://id.example", Audience::Any);
    config.keys = KeysFrom::File(path.clone());
    let issuers = Issuers::new(vec![config.clone()]);
    let issuer = issuers.iter().next().unwrap().clone();
    let (told, mut withdrawn) = mpsc::unbounded_channel::<EndedMark>();
    let task = tokio::spawn(keep_keys(issuer.clone(), Arc::new(Connections(told)), std::future::pending()));
    let wait = async |what: &str, holds: &dyn Fn() -> bool| {
        let waited = timeout(Duration::from_secs(3600), async {
            while !holds() {
                sleep(Duration::from_secs(1)).await;
            }
        });
        assert!(waited.await.is_ok(), "{what}: {:?}", issuer.state());
    };

    let error = check_issuer(&config).await.unwrap_err();
    assert_eq!(error, format!("{}: No such file or directory (os error 2)", path.display()));
    wait("a missing file is named", &|| issuer.state().last_error == Some(error.clone())).await;
    std::fs::write(&path, key_set(&[&a, &b])).unwrap();
    wait("the file is found", &|| issuer.state().keys == 2).await;
    let checked = check_issuer(&config).await.unwrap();
    assert_eq!((checked.metadata, checked.key_set), (None, path.display().to_string()));

    // Half written, then without the key "b".
    std::fs::write(&path, &key_set(&[&a])[..50]).unwrap();
    wait("what is wrong is named", &|| issuer.state().last_error.is_some()).await;
    assert_eq!(issuer.state().keys, 2);
    std::fs::write(&path, key_set(&[&a])).unwrap();
    wait("the file is read again", &|| issuer.state().keys == 1).await;
    assert_eq!(issuer.state().last_error, None);
    assert!(withdrawn.try_recv().is_err());
    let key =
        timeout(Duration::from_secs(40), withdrawn.recv()).await.expect("within 30 s and a look").unwrap();
    assert_eq!(&*key.mark.issuer, "https://id.example");
    sleep(Duration::from_secs(3600)).await;
    assert!(withdrawn.try_recv().is_err());
    assert!(issuer.state().age.unwrap() < Duration::from_secs(10));

    // A file that can no longer be used is a key set that can no longer be fetched.
    std::fs::write(&path, r#"{"keys":[]}"#).unwrap();
    wait("an empty set is named", &|| issuer.state().last_error.is_some()).await;
    assert!(issuer.state().last_error.unwrap().contains("no usable key"));
    sleep(Duration::from_secs(3500)).await;
    assert_eq!(issuer.state().keys, 1);
    sleep(Duration::from_secs(200)).await;
    assert_eq!(issuer.state().keys, 0);
    std::fs::write(&path, key_set(&[&a])).unwrap();
    wait("it comes back", &|| issuer.state().keys == 1).await;
    task.abort();
    drop(Arc::clone(&issuer));
}
