//! Several nodes over one store.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::timeout;

use super::*;

/// Two nodes with the same file over one store.
fn nodes(file: &Value) -> [Arc<Apis>; 2] {
    let shelf = Shelf::default();
    [(), ()].map(|()| Arc::new(load(file, &shelf)))
}

async fn until(is_so: impl Fn() -> bool) {
    let waited = timeout(Duration::from_secs(10), async {
        while !is_so() {
            yield_now().await;
        }
    });
    waited.await.expect("it becomes so");
}

#[tokio::test]
async fn what_is_changed_at_one_node_is_served_at_the_other() {
    let [a, b] = nodes(&json!([document("file", "file")]));
    let following = tokio::spawn(b.clone().follow());
    // Once it has been polled, it follows the store.
    yield_now().await;
    a.create(&document("new", "one")).unwrap();
    until(|| b.one("new").is_some()).await;
    assert_eq!(standing(&b), ["file=file (0)", "new=one (0)"]);
    assert_eq!(b.table().upstreams().count(), 2);

    a.merge("new", &map(document("new", "two"))).unwrap();
    a.delete("file").unwrap();
    until(|| b.one("file").is_none()).await;
    assert_eq!(standing(&b), ["new=two (1)"]);
    assert_eq!(standing(&b), standing(&a));

    // In the other direction: changes of the other node are based on that one.
    b.create(&document("file", "again")).unwrap();
    assert_eq!(standing(&b), ["file=again (0)", "new=two (1)"]);
    following.abort();
}

#[test]
fn what_is_stored_at_once_is_made_one_after_the_other_and_nothing_is_lost() {
    const EACH: usize = 20;
    let [a, b] = nodes(&json!([document("both", "file")]));
    thread::scope(|scope| {
        for (name, apis) in [("a", &a), ("b", &b), ("c", &a)] {
            scope.spawn(move || {
                for number in 0..EACH {
                    apis.create(&document(&format!("{name}{number}"), "n")).unwrap();
                    apis.merge("both", &map(document("both", name))).unwrap();
                }
            });
        }
    });
    // Even a missing definition makes a node read the store again.
    assert!(matches!(b.delete("none"), Err(ChangeError::Missing(_))));
    let stands = standing(&b);
    assert_eq!(stands.len(), 3 * EACH + 1);
    assert!(stands.iter().any(|it| it.starts_with("both=") && it.ends_with(&format!("({})", 3 * EACH))));
}

#[test]
fn a_change_that_comes_second_sees_the_first() {
    let [a, b] = nodes(&json!([]));
    a.create(&document("x", "a")).unwrap();
    assert!(matches!(b.create(&document("x", "b")), Err(ChangeError::Exists(_))));
    b.merge("x", &map(document("x", "b"))).unwrap();
    a.delete("x").unwrap();
    assert!(matches!(b.delete("x"), Err(ChangeError::Missing(_))));
}

#[test]
fn what_this_node_cannot_serve_leaves_the_old_definitions() {
    let shelf = Shelf::default();
    let apis = load(&json!([document("a", "file")]), &shelf);
    for bytes in [
        "{",
        r#"{"format": 2}"#,
        r#"{"format":1,"apis":{"b":{"document":{"id":"b"},"ref_number":0,"timestamp":""}}}"#,
    ] {
        let saved = Saved { bytes: bytes.into(), revision: Revision(1) };
        assert!(apis.reload(&saved).is_err(), "{bytes}");
        assert_eq!(standing(&apis), ["a=file (0)"]);
    }
}

#[test]
fn an_older_revision_is_not_served() {
    let shelf = Shelf::default();
    let apis = load(&json!([]), &shelf);
    let old = Saved { bytes: shelf.text().into(), revision: Revision::default() };
    apis.create(&document("a", "n")).unwrap();
    let first = shelf.load().unwrap().unwrap();
    apis.delete("a").unwrap();
    for saved in [old, first] {
        apis.reload(&saved).unwrap();
        assert_eq!(standing(&apis), [""; 0]);
    }
}

/// Blocks inside of `save` until it is released.
struct Slow {
    store: MemoryStore,
    entered: mpsc::Sender<()>,
    go_on: Mutex<mpsc::Receiver<()>>,
}

impl Store for Slow {
    fn load(&self) -> Result<Option<Saved>, StoreError> {
        self.store.load()
    }

    fn save(&self, bytes: &[u8], over: Revision) -> Result<Revision, StoreError> {
        self.entered.send(()).unwrap();
        self.go_on.lock().recv().unwrap();
        self.store.save(bytes, over)
    }

    fn changes(&self) -> Changes {
        self.store.changes()
    }

    fn name(&self) -> String {
        "slow".to_owned()
    }
}

#[test]
fn no_lock_is_held_while_a_change_is_stored() {
    let store = MemoryStore::default();
    let ((entered, enters), (lets, go_on)) = (mpsc::channel(), mpsc::channel());
    let slow = Slow { store: store.clone(), entered, go_on: Mutex::new(go_on) };
    let (apis, _) = Apis::load(Definitions::default(), Box::new(slow), |_| None).unwrap();
    let (other, _) = Apis::load(Definitions::default(), Box::new(store.clone()), |_| None).unwrap();
    thread::scope(|scope| {
        let changing = scope.spawn(|| apis.create(&document("slow", "n")));
        enters.recv().unwrap();
        other.create(&document("other", "n")).unwrap();
        apis.reload(&store.load().unwrap().unwrap()).unwrap();
        assert_eq!(standing(&apis), ["other=n (0)"]);
        // The first attempt conflicts.
        lets.send(()).unwrap();
        lets.send(()).unwrap();
        changing.join().unwrap().unwrap();
    });
    assert_eq!(standing(&apis), ["other=n (0)", "slow=n (0)"]);
    assert_eq!(enters.try_iter().count(), 1);
}

/// What happens between the next save and the return of `save`.
type AfterSave = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// Runs `after_save` once, before the node learns that it has saved.
struct Interrupted {
    store: MemoryStore,
    after_save: AfterSave,
}

impl Store for Interrupted {
    fn load(&self) -> Result<Option<Saved>, StoreError> {
        self.store.load()
    }

    fn save(&self, bytes: &[u8], over: Revision) -> Result<Revision, StoreError> {
        let revision = self.store.save(bytes, over)?;
        let after_save = self.after_save.lock().take();
        if let Some(after_save) = after_save {
            after_save();
        }
        Ok(revision)
    }

    fn changes(&self) -> Changes {
        self.store.changes()
    }

    fn name(&self) -> String {
        "interrupted".to_owned()
    }
}

fn file_of(id: &str) -> Definitions {
    Definitions::parse(&json!([document(id, "n")]), &|_| None).unwrap().0
}

#[test]
fn a_new_file_is_served_even_if_the_store_is_read_before_it_is() {
    let (store, after_save) = (MemoryStore::default(), AfterSave::default());
    let interrupted = Interrupted { store: store.clone(), after_save: after_save.clone() };
    let (apis, _) = Apis::load(Definitions::default(), Box::new(interrupted), |_| None).unwrap();
    let apis = Arc::new(apis);
    apis.create(&document("posted", "n")).unwrap();
    *after_save.lock() = Some(Box::new({
        let apis = apis.clone();
        move || _ = apis.reload(&store.load().unwrap().unwrap()).unwrap()
    }));
    apis.replace_file(file_of("of-file")).unwrap();
    assert_eq!(standing(&apis), ["of-file=n (0)", "posted=n (0)"]);
}

#[test]
fn a_new_file_is_served_even_if_a_later_revision_is_being_read() {
    let (store, after_save) = (MemoryStore::default(), AfterSave::default());
    let interrupted = Interrupted { store: store.clone(), after_save: after_save.clone() };
    // The first time, parsing the other node's definition blocks at its variable.
    let ((entered, enters), (lets, go_on)) = (mpsc::channel(), mpsc::channel::<()>());
    let first = Mutex::new(Some((entered, go_on)));
    let variables = move |_: &str| {
        if let Some((entered, go_on)) = first.lock().take() {
            entered.send(()).unwrap();
            go_on.recv().unwrap();
        }
        Some("localhost".to_owned())
    };
    let (apis, _) = Apis::load(Definitions::default(), Box::new(interrupted), variables).unwrap();
    let apis = Arc::new(apis);
    let (reader, reading) = mpsc::channel();
    *after_save.lock() = Some(Box::new({
        let apis = apis.clone();
        move || {
            let mut named = document("other", "n");
            named["proxy"]["use_env"] = true.into();
            named["proxy"]["target_url"] = "OTHER_HOST".into();
            let given = |_: &str| Some("localhost".to_owned());
            let (other, _) = Apis::load(Definitions::default(), Box::new(store.clone()), given).unwrap();
            other.create(&named).unwrap();
            let latest = store.load().unwrap().unwrap();
            reader.send(thread::spawn(move || _ = apis.reload(&latest).unwrap())).unwrap();
            enters.recv().unwrap();
        }
    }));
    apis.replace_file(file_of("of-file")).unwrap();
    lets.send(()).unwrap();
    reading.recv().unwrap().join().unwrap();
    assert_eq!(standing(&apis), ["of-file=n (0)", "other=n (0)"]);
}
