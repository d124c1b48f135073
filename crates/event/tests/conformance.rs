//! Vectors: events and batches with their expected verdicts. The project's own vectors always run;
//! those of CloudEvents run with the feature `foreign-vectors`.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use bytes::Bytes;
use rig_event::{Event, ExtensionNames};
use serde::Deserialize;
use serde_json::value::RawValue;

/// A file of vectors. Events are kept as text, since duplicate members are part of the tests.
#[derive(Deserialize)]
struct Vectors<'a> {
    expect: &'a str,
    #[serde(borrow)]
    tests: Vec<Vector<'a>>,
}

#[derive(Deserialize)]
struct Vector<'a> {
    id: String,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    batch: Option<&'a RawValue>,
    /// Used instead of either, for text that is not JSON.
    text: Option<String>,
    /// What the text of the error must contain.
    names: Option<String>,
}

fn run(file: &str, read: impl Fn(&Bytes) -> Result<Vec<Event>, String>, at_least: usize) {
    let vectors: Vectors<'_> = serde_json::from_str(file).unwrap();
    assert!(vectors.tests.len() >= at_least, "{} vectors", vectors.tests.len());
    for vector in &vectors.tests {
        let json = vector.event.or(vector.batch).map(RawValue::get).or(vector.text.as_deref()).unwrap();
        let verdict = read(&Bytes::copy_from_slice(json.as_bytes()));
        match (vectors.expect, verdict) {
            ("valid", Ok(events)) => {
                for event in events {
                    assert!(json.contains(std::str::from_utf8(event.json()).unwrap()), "{}", vector.id);
                }
            }
            ("invalid", Err(error)) => {
                let names = vector.names.as_deref().unwrap();
                assert!(error.contains(names), "{}: {error:?} does not name {names:?}", vector.id);
            }
            (expected, verdict) => panic!("{}: expected {expected}, got {verdict:?}", vector.id),
        }
    }
}

fn one(json: &Bytes) -> Result<Vec<Event>, String> {
    Event::from_json(json.clone())
        .inspect(|event| assert_eq!(event.json(), json, "structured events are kept byte for byte"))
        .map(|event| vec![event])
        .map_err(|error| error.to_string())
}

fn batch(json: &Bytes) -> Result<Vec<Event>, String> {
    Event::batch_from_json(json.clone(), ExtensionNames::default()).map_err(|error| error.to_string())
}

#[test]
fn valid_events_are_accepted_byte_for_byte() {
    run(include_str!("vectors/valid-events.json"), one, 10);
}

#[test]
fn invalid_events_are_refused_and_the_error_names_why() {
    run(include_str!("vectors/invalid-events.json"), one, 25);
}

#[test]
fn valid_batches_are_accepted_slice_by_slice() {
    run(include_str!("vectors/valid-batches.json"), batch, 5);
}

#[test]
fn invalid_batches_are_refused_and_the_error_names_why() {
    run(include_str!("vectors/invalid-batches.json"), batch, 3);
}

/// The vectors of CloudEvents: `format/json/*.json` of the conformance repository, in the folder
/// that CLOUDEVENTS_VECTORS names.
#[cfg(feature = "foreign-vectors")]
#[test]
fn the_vectors_of_cloudevents_get_their_verdicts() {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Suite<'a> {
        test_type: String,
        #[serde(borrow)]
        tests: Vec<Case<'a>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Case<'a> {
        id: String,
        test_type: Option<String>,
        #[serde(borrow)]
        event: Option<&'a RawValue>,
        #[serde(borrow)]
        batch: Option<&'a RawValue>,
    }

    let folder =
        std::env::var("CLOUDEVENTS_VECTORS").expect("CLOUDEVENTS_VECTORS names the folder of the vectors");
    let mut wrong = Vec::new();
    for (file, count) in
        [("valid-events", 10), ("invalid-events", 25), ("valid-batches", 5), ("invalid-batches", 3)]
    {
        let text = std::fs::read_to_string(format!("{folder}/{file}.json")).unwrap();
        let suite: Suite<'_> = serde_json::from_str(text.trim_start_matches('\u{feff}')).unwrap();
        assert!(suite.tests.len() >= count, "{file} has {} tests", suite.tests.len());
        println!("{file}: {} tests", suite.tests.len());
        for case in suite.tests {
            let json: Bytes = case.event.or(case.batch).unwrap().get().to_owned().into_bytes().into();
            let expected = case.test_type.as_ref().unwrap_or(&suite.test_type);
            let verdict = if expected.ends_with("Batch") { batch(&json) } else { one(&json) };
            if expected.starts_with("Valid") != verdict.is_ok() {
                wrong.push(format!("{file} {}: {verdict:?}", case.id));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
