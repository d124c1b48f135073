//! The definitions of the file of one node, which several nodes serve.

use super::*;

/// A node's view of a store that several share.
struct View {
    store: MemoryStore,
    node: &'static str,
}

impl Store for View {
    fn load(&self) -> Result<Option<Saved>, StoreError> {
        self.store.load()
    }

    fn save(&self, bytes: &[u8], over: Revision) -> Result<Revision, StoreError> {
        self.store.save(bytes, over)
    }

    fn changes(&self) -> Changes {
        self.store.changes()
    }

    fn name(&self) -> String {
        "shared".to_owned()
    }

    fn node(&self) -> Option<String> {
        Some(self.node.to_owned())
    }
}

fn file(documents: &[Value]) -> Definitions {
    Definitions::parse(&json!(documents), &|_| None).unwrap().0
}

/// Starts a node with this file.
fn start(store: &MemoryStore, node: &'static str, documents: &[Value]) -> Apis {
    let view = View { store: store.clone(), node };
    let (apis, _) = Apis::load(file(documents), Box::new(view), |_| None).unwrap();
    apis.offer(Reading::Now).unwrap();
    apis
}

/// Returns what a node serves when it has read the store.
fn seen(apis: &Apis) -> Vec<String> {
    apis.catch_up().unwrap();
    standing(apis)
}

#[test]
fn a_file_of_one_node_serves_all() {
    let store = MemoryStore::default();
    let a = start(&store, "a", &[document("x", "one"), document("y", "one")]);
    let b = start(&store, "b", &[]);
    assert_eq!(standing(&b), ["x=one (0)", "y=one (0)"]);
    a.replace_file(file(&[document("x", "two")])).unwrap();
    assert_eq!(seen(&b), ["x=two (0)"]);
    // Changed or deleted through a port, it is not the file's any more.
    b.merge("x", &map(document("x", "three"))).unwrap();
    a.replace_file(file(&[document("x", "four"), document("z", "four")])).unwrap();
    assert_eq!(seen(&a), ["x=three (1)", "z=four (0)"]);
    b.catch_up().unwrap();
    b.delete("x").unwrap();
    b.delete("z").unwrap();
    b.create(&document("new", "of b")).unwrap();
    let restarted = start(&store, "a", &[document("x", "five"), document("z", "five")]);
    for node in [&a, &b, &restarted] {
        assert_eq!(seen(node), ["new=of b (0)"]);
    }
    b.create(&document("x", "again")).unwrap();
    assert_eq!(seen(&start(&store, "a", &[document("x", "six")])), ["new=of b (0)", "x=again (0)"]);
}

#[test]
fn of_two_files_the_one_that_was_read_last_wins() {
    let store = MemoryStore::default();
    let a = start(&store, "a", &[document("x", "a")]);
    let b = start(&store, "b", &[document("x", "b"), document("y", "b")]);
    for _ in 0..3 {
        // No node returns to its own without reading it again.
        a.offer(Reading::Before).unwrap();
        assert_eq!((seen(&a), seen(&b)), (standing(&b), standing(&a)));
        assert_eq!(standing(&a), ["x=b (0)", "y=b (0)"]);
    }
    let warnings = a.replace_file(file(&[document("x", "a2")])).unwrap();
    assert!(warnings.iter().any(|Warning(text)| text.contains("replaces the one of node b")), "{warnings:?}");
    assert_eq!(seen(&b), ["x=a2 (0)", "y=b (0)"]);
    // Whoever has it in its file offers what another has withdrawn.
    a.replace_file(file(&[])).unwrap();
    assert_eq!(standing(&a), ["y=b (0)"]);
    b.catch_up().unwrap();
    b.offer(Reading::Before).unwrap();
    assert_eq!(seen(&a), ["x=b (0)", "y=b (0)"]);
}

#[test]
fn an_offer_stays_without_its_node_and_is_withdrawn_by_it() {
    let store = MemoryStore::default();
    drop(start(&store, "a", &[document("x", "a")]));
    let b = start(&store, "b", &[]);
    assert_eq!(standing(&b), ["x=a (0)"]);
    let revision = b.revision();
    drop(start(&store, "a", &[document("x", "a")]));
    assert_eq!((seen(&b), b.revision()), (vec!["x=a (0)".to_owned()], revision), "nothing is stored again");
    drop(start(&store, "a", &[]));
    assert_eq!(seen(&b), Vec::<String>::new());
}
