//! Any bytes as an Avro value; the first byte chooses the schema. What is decoded is encoded
//! again, and decoded to the same value if the schema has no ambiguous unions. Then the bytes as
//! JSON: what can be encoded can be decoded.
#![no_main]

use std::sync::LazyLock;

use avro::Schema;
use libfuzzer_sys::fuzz_target;
use rig_fuzz::in_proportion;
use serde_json::Value;

/// Schemas, and whether a decoded value can always be encoded to what it was.
const SCHEMAS: [(&str, bool); 8] = [
    (r#"{"type":"record","name":"list","fields":[{"name":"next","type":["null","list"]}]}"#, true),
    (
        r#"{"type":"record","name":"node","fields":[{"name":"name","type":"string"},
            {"name":"children","type":{"type":"array","items":"node"}},
            {"name":"labels","type":{"type":"map","values":["null","long","string"]}}]}"#,
        true,
    ),
    (
        r#"{"type":"array","items":{"type":"record","name":"empty","fields":[{"name":"none","type":"null"}]}}"#,
        true,
    ),
    (
        r#"{"type":"record","name":"times","fields":[
            {"name":"a","type":{"type":"long","logicalType":"timestamp-millis"}},
            {"name":"b","type":{"type":"long","logicalType":"timestamp-micros"}},
            {"name":"c","type":{"type":"long","logicalType":"timestamp-nanos"}},
            {"name":"d","type":{"type":"long","logicalType":"local-timestamp-millis"}},
            {"name":"e","type":{"type":"int","logicalType":"date"}}]}"#,
        true,
    ),
    (
        r#"{"type":"array","items":["boolean","int","double",
            {"type":"enum","name":"e","symbols":["A","B"]},
            {"type":"map","values":{"type":"fixed","name":"f","size":3}}]}"#,
        false,
    ),
    // The precision is larger than any that fits, since decoding does not check it.
    (
        r#"{"type":"array","items":{"type":"bytes","logicalType":"decimal","precision":1200,"scale":7}}"#,
        false,
    ),
    (r#"["null","bytes","string","float",{"type":"array","items":"bytes"}]"#, false),
    (
        r#"{"type":"record","name":"ids","fields":[
            {"name":"a","type":{"type":"fixed","name":"u","size":16,"logicalType":"uuid"}},
            {"name":"b","type":{"type":"fixed","name":"d","size":9,"logicalType":"decimal","precision":22,"scale":2}},
            {"name":"c","type":{"type":"bytes"}}]}"#,
        true,
    ),
];

static PARSED: LazyLock<Vec<Schema>> = LazyLock::new(|| {
    SCHEMAS.iter().map(|(text, _)| Schema::parse(text, &[""; 0]).expect("a schema")).collect()
});

/// Decodes what was encoded. `None` if it has too many values without any bytes.
fn decoded(schema: &Schema, encoded: &[u8]) -> Option<Value> {
    match schema.decode(encoded) {
        Ok(value) => Some(value),
        Err(error) => {
            assert_eq!(error.reason, "a value out of proportion to the message");
            None
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, bytes)) = input.split_first() else { return };
    let choice = usize::from(*choice) % SCHEMAS.len();
    let schema = &PARSED[choice];
    if let Ok(value) = in_proportion(bytes, || schema.decode(bytes)) {
        match schema.encode(&value) {
            Ok(encoded) => {
                let again = decoded(schema, &encoded);
                assert!(!SCHEMAS[choice].1 || again.is_none_or(|again| again == value));
            }
            Err(error) => assert!(!SCHEMAS[choice].1, "{error}"),
        }
    }
    if let Ok(value) = serde_json::from_slice(bytes)
        && let Ok(encoded) = in_proportion(bytes, || schema.encode(&value))
    {
        decoded(schema, &encoded);
    }
});
