//! Changes to definitions, and how they are stored.

mod disk;
mod offers;
mod overlay;
mod shared;
mod stores;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::{Value, json};

use super::*;

/// A store that tests can inspect, and make fail.
#[derive(Clone, Default)]
struct Shelf {
    store: MemoryStore,
    fails: Arc<AtomicBool>,
}

impl Shelf {
    fn holding(bytes: &[u8]) -> Self {
        let shelf = Self::default();
        shelf.store.save(bytes, Revision::default()).unwrap();
        shelf
    }

    fn fail(&self) {
        self.fails.store(true, Relaxed);
    }

    fn text(&self) -> String {
        let saved = self.store.load().unwrap();
        saved.map(|saved| String::from_utf8(saved.bytes.into()).unwrap()).unwrap_or_default()
    }
}

impl Store for Shelf {
    fn load(&self) -> Result<Option<Saved>, StoreError> {
        self.store.load()
    }

    fn save(&self, bytes: &[u8], over: Revision) -> Result<Revision, StoreError> {
        if self.fails.load(Relaxed) {
            let error = std::io::Error::other("disk full");
            return Err(StoreError::Io { name: self.name(), error });
        }
        self.store.save(bytes, over)
    }

    fn changes(&self) -> Changes {
        self.store.changes()
    }

    fn name(&self) -> String {
        "shelf".to_owned()
    }
}

fn document(id: &str, name: &str) -> Value {
    json!({
        "id": id,
        "name": name,
        "version_data": {"default": {"endpoints": [{"id": "e", "path_regex": format!("/{id}"), "method": "GET"}]}},
        "proxy": {"target_url": "http://127.0.0.1", "port": 5555},
    })
}

fn try_load(file: &Value, shelf: &Shelf) -> Result<(Apis, Vec<String>), LoadError> {
    let (file, _) = Definitions::parse(file, &|_| None).unwrap();
    let (apis, warnings) = Apis::load(file, Box::new(shelf.clone()), |_| None)?;
    Ok((apis, warnings.into_iter().map(|warning| warning.0).collect()))
}

fn load(file: &Value, shelf: &Shelf) -> Apis {
    try_load(file, shelf).unwrap().0
}

/// Returns all definitions, as `id=name (number)`.
fn standing(apis: &Apis) -> Vec<String> {
    let shown = |it: &Standing| {
        let name = it.api.document["name"].as_str().unwrap();
        format!("{}={name} ({})", it.api.id, it.ref_number)
    };
    apis.standing().iter().map(shown).collect()
}

fn map(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[test]
fn changes_are_made_and_refused_as_in_rig() {
    let apis = load(&json!([]), &Shelf::default());
    apis.create(&document("a", "one")).unwrap();
    let error = apis.create(&document("a", "two")).unwrap_err();
    assert_eq!(error.to_string(), "API with id=a already exists.");
    // RIG checks the id before the rest.
    assert!(matches!(apis.create(&json!({"id": "a"})), Err(ChangeError::Exists(_))));
    assert_eq!(standing(&apis), ["a=one (0)"]);
    apis.merge("a", &map(document("other", "two"))).unwrap();
    assert_eq!(standing(&apis), ["a=two (1)"]);
    let ChangeError::Faults(faults) = apis.merge("a", &map(json!({"name": "three"}))).unwrap_err() else {
        panic!("no faults")
    };
    let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["/proxy: must be present", "/version_data: must be present"]);
    assert_eq!(standing(&apis), ["a=two (1)"]);
    let missing = "API with id=none doesn't exists.";
    assert_eq!(apis.merge("none", &map(document("none", "n"))).unwrap_err().to_string(), missing);
    assert_eq!(apis.delete("none").unwrap_err().to_string(), missing);
    apis.delete("a").unwrap();
    assert!(matches!(apis.delete("a"), Err(ChangeError::Missing(_))));
    assert_eq!(standing(&apis), [""; 0]);
    apis.create(&document("a", "again")).unwrap();
    assert_eq!(standing(&apis), ["a=again (0)"]);
}

#[test]
fn a_merge_keeps_the_members_that_it_does_not_have() {
    let mut inactive = document("a", "one");
    inactive["active"] = json!(false);
    let apis = load(&json!([inactive]), &Shelf::default());
    apis.merge("a", &map(document("a", "two"))).unwrap();
    let stands = apis.one("a").unwrap();
    assert!(!stands.api.active);
    assert_eq!(stands.api.document["name"], "two");
    assert!(apis.one("b").is_none());
}

#[test]
fn what_is_not_stored_is_not_served() {
    let shelf = Shelf::default();
    let apis = load(&json!([document("a", "file")]), &shelf);
    let table = apis.table().clone();
    shelf.fail();
    assert!(matches!(apis.create(&document("b", "n")), Err(ChangeError::Store(_))));
    assert!(matches!(apis.merge("a", &map(document("a", "n"))), Err(ChangeError::Store(_))));
    assert!(matches!(apis.delete("a"), Err(ChangeError::Store(_))));
    assert!(matches!(apis.replace_all(&json!([]), None, false), Err(ChangeError::Store(_))));
    assert_eq!(standing(&apis), ["a=file (0)"]);
    assert!(Arc::ptr_eq(&table, &apis.table()));
}

#[test]
fn a_change_makes_another_table() {
    let apis = load(&json!([]), &Shelf::default());
    let before = apis.table().clone();
    apis.create(&document("a", "n")).unwrap();
    assert!(!Arc::ptr_eq(&before, &apis.table()));
}

#[test]
fn a_list_is_taken_whole_or_not_at_all() {
    let shelf = Shelf::default();
    let apis = load(&json!([document("a", "file"), document("b", "file")]), &shelf);
    let mut wrong = document("d", "n");
    wrong["proxy"]["port"] = json!(0);
    let list = json!([document("a", "new"), wrong, document("a", "twice"), 5]);
    let ChangeError::Faults(faults) = apis.replace_all(&list, None, false).unwrap_err() else {
        panic!("no faults")
    };
    let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        ["/1/proxy/port: must be between 1 and 65535", "/2/id: must be unique", "/3: must be object"]
    );
    assert_eq!(standing(&apis), ["a=file (0)", "b=file (0)"]);
    assert_eq!(shelf.text(), "");
    assert!(matches!(apis.replace_all(&json!({}), None, false), Err(ChangeError::Faults(_))));

    let list = json!([document("a", "new"), document("c", "n")]);
    let shown = |dry_run| {
        let (differences, _) = apis.replace_all(&list, None, dry_run).unwrap();
        differences.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let told = ["changed a: /name", "removed b", "added c"];
    assert_eq!(shown(true), told);
    assert_eq!(standing(&apis), ["a=file (0)", "b=file (0)"]);
    assert_eq!(shelf.text(), "");
    assert_eq!(shown(false), told);
    assert_eq!(standing(&apis), ["a=new (1)", "c=n (0)"]);
    let before = apis.one("a").unwrap().timestamp;
    assert_eq!(shown(false), [""; 0]);
    assert_eq!(apis.one("a").unwrap().timestamp, before);
}

#[test]
fn differences_have_pointers_but_not_all() {
    let one = map(json!({"id": "a", "x": {"y~/": [1, 2], "same": 1}, "gone": null}));
    let other = map(json!({"id": "a", "x": {"y~/": [1, 3, 4], "same": 1}, "more": {}}));
    let differences = difference(&[one], &[other]);
    let told = ["/gone", "/x/y~0~1/1", "/x/y~0~1/2", "/more"];
    assert_eq!(
        differences,
        [Difference { id: "a".to_owned(), what: "changed", pointers: told.map(str::to_owned).into() }]
    );
    let numbered = |number: u64| {
        let members = (0..100).map(|name| (name.to_string(), json!(number)));
        let mut document: Map<_, _> = members.collect();
        document.insert("id".to_owned(), json!("a"));
        document
    };
    assert_eq!(difference(&[numbered(1)], &[numbered(2)])[0].pointers.len(), 20);
}

#[test]
fn a_node_has_bounds() {
    let endpoints = |count: usize| {
        let one = |number: usize| json!({"id": number.to_string(), "path_regex": "/x", "method": "GET"});
        (0..count).map(one).collect::<Vec<_>>()
    };
    let apis = load(&json!([]), &Shelf::default());
    let mut large = document("0", "n");
    large["version_data"]["default"]["endpoints"] = json!(endpoints(20_000));
    let mut list = Vec::new();
    for number in 0..5 {
        large["id"] = json!(number.to_string());
        list.push(large.clone());
    }
    list.push(document("more", "n"));
    let ChangeError::Faults(faults) = apis.replace_all(&json!(list), None, true).unwrap_err() else {
        panic!("no faults")
    };
    assert_eq!(faults[0].to_string(), "the APIs of a node have at most 100000 endpoints");
    let many = json!(vec![json!({}); 10_001]);
    let faults = Definitions::parse(&many, &|_| None).unwrap_err();
    assert_eq!(faults[0].to_string(), "must have at most 10000 entries");
    let faults = Definitions::parse(&json!(vec![json!({}); 10_000]), &|_| None).unwrap_err();
    assert_eq!(faults.len(), 1000);
}
