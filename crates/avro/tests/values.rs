//! JSON into Avro and back, against known bytes and against another implementation.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use apache_avro::types::Value as Foreign;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use rig_avro::Schema;
use serde_json::{Value, json};

const NONE: [&str; 0] = [];

fn schema(text: &str) -> Schema {
    Schema::parse(text, &NONE).unwrap()
}

fn encoded(text: &str, value: &Value) -> Vec<u8> {
    schema(text).encode(value).unwrap_or_else(|error| panic!("{text} {value}: {error}"))
}

fn refused(text: &str, value: &Value) -> String {
    schema(text).encode(value).unwrap_err().to_string()
}

/// A schema with an order: nested records, arrays of them, a map, logical types and recursion.
const ORDER: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
    {"name":"id","type":"long"},
    {"name":"customer","type":{"type":"record","name":"Customer","fields":[
        {"name":"name","type":"string"},
        {"name":"address","type":["null",{"type":"record","name":"Address","fields":[
            {"name":"city","type":"string"}]}],"default":null}]}},
    {"name":"lines","type":{"type":"array","items":{"type":"record","name":"Line","fields":[
        {"name":"sku","type":"string"},
        {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}},
        {"name":"state","type":{"type":"enum","name":"State","symbols":["NEW","SENT"]},"default":"NEW"}]}}},
    {"name":"labels","type":{"type":"map","values":["null","int","string"]},"default":{}},
    {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"},"default":0},
    {"name":"day","type":{"type":"int","logicalType":"date"},"default":0},
    {"name":"key","type":{"type":"string","logicalType":"uuid"},"default":"00000000-0000-0000-0000-000000000000"},
    {"name":"hash","type":{"type":"fixed","name":"Hash","size":2},"default":"\u0000\u00ff"},
    {"name":"blob","type":"bytes","default":"\u00ff"},
    {"name":"parts","type":{"type":"array","items":"Order"},"default":[]}]}"#;

fn order() -> Value {
    json!({
        "id": 9_007_199_254_740_993_i64,
        "customer": {"name": "Zoë", "address": {"city": "Bonn"}},
        "lines": [{"sku": "a", "price": "12.30", "state": "SENT"}, {"sku": "b", "price": "-0.01", "state": "NEW"}],
        "labels": {"absent": null, "count": 7, "text": "x"},
        "at": "2026-01-31T12:00:00.5Z",
        "day": "2026-01-31",
        "key": "550e8400-e29b-41d4-a716-446655440000",
        "hash": "AQI=",
        "blob": "/w==",
        "parts": []
    })
}

#[test]
fn the_examples_of_the_specification_have_its_bytes() {
    let record = r#"{"type":"record","name":"test","fields":[
        {"name":"a","type":"long"},{"name":"b","type":"string"}]}"#;
    let cases = [
        (record, json!({"a": 27, "b": "foo"}), &[0x36, 0x06, 0x66, 0x6f, 0x6f][..]),
        (r#"{"type":"array","items":"long"}"#, json!([3, 27]), &[0x04, 0x06, 0x36, 0x00]),
        (r#"["null","string"]"#, json!(null), &[0x00]),
        (r#"["null","string"]"#, json!("a"), &[0x02, 0x02, 0x61]),
        (r#"{"type":"enum","name":"Foo","symbols":["A","B","C","D"]}"#, json!("D"), &[0x06]),
        ("\"long\"", json!(-64), &[0x7f]),
        ("\"long\"", json!(64), &[0x80, 0x01]),
        ("\"string\"", json!("foo"), &[0x06, 0x66, 0x6f, 0x6f]),
        ("\"boolean\"", json!(true), &[0x01]),
        ("\"float\"", json!(1.5), &[0, 0, 0xc0, 0x3f]),
        (r#"{"type":"map","values":"int"}"#, json!({"k": 1}), &[0x02, 0x02, 0x6b, 0x02, 0x00]),
    ];
    for (text, value, bytes) in cases {
        assert_eq!(encoded(text, &value), bytes, "{text}");
        assert_eq!(schema(text).decode(bytes), Ok(value), "{text}");
    }
    let block_with_length = [0x03, 0x04, 0x06, 0x36, 0x00];
    assert_eq!(schema(r#"{"type":"array","items":"long"}"#).decode(&block_with_length), Ok(json!([3, 27])));
}

#[test]
fn b04_nested_records_are_nested_objects() {
    let bytes = encoded(ORDER, &order());
    assert_eq!(schema(ORDER).decode(&bytes), Ok(order()));
    let mut whole = order();
    whole["parts"] = json!([order(), order()]);
    assert_eq!(schema(ORDER).decode(&encoded(ORDER, &whole)), Ok(whole));
}

#[test]
fn absent_members_take_the_defaults_of_their_fields() {
    let least = json!({"id": 1, "customer": {"name": "x"}, "lines": [{"sku": "a", "price": 1}]});
    let decoded = schema(ORDER).decode(&encoded(ORDER, &least)).unwrap();
    let expected = json!({
        "id": 1,
        "customer": {"name": "x", "address": null},
        "lines": [{"sku": "a", "price": "1.00", "state": "NEW"}],
        "labels": {},
        "at": "1970-01-01T00:00:00Z",
        "day": "1970-01-01",
        "key": "00000000-0000-0000-0000-000000000000",
        "hash": "AP8=",
        "blob": "/w==",
        "parts": []
    });
    assert_eq!(decoded, expected);
}

#[test]
fn what_does_not_fit_is_named_by_its_pointer() {
    let with = |pointer: &str, value: Value| {
        let mut order = order();
        *order.pointer_mut(pointer).unwrap() = value;
        refused(ORDER, &order)
    };
    assert_eq!(with("/id", json!("7")), "/id: expected long");
    assert_eq!(with("/id", json!(1.0)), "/id: expected long, without decimal point or exponent");
    let large: Value = serde_json::from_str("9223372036854775808").unwrap();
    assert_eq!(with("/id", large), "/id: the number does not fit long");
    assert_eq!(with("/customer", json!([])), "/customer: expected an object");
    assert_eq!(with("/customer", json!({})), "/customer/name: missing");
    assert_eq!(with("/customer/address", json!({"city": 7})), "/customer/address/city: expected string");
    assert_eq!(
        with("/customer/address", json!(7)),
        "/customer/address: fits no branch of the union (null, shop.Address)"
    );
    assert_eq!(
        with("/lines/1/price", json!("0.001")),
        "/lines/1/price: more decimal places than the decimal has"
    );
    assert_eq!(with("/lines/1/price", json!(1e9)), "/lines/1/price: more digits than the decimal has");
    assert_eq!(with("/lines/0/state", json!("LOST")), "/lines/0/state: not a symbol of the enum");
    assert_eq!(with("/lines/0/state", json!(0)), "/lines/0/state: expected a symbol of the enum");
    assert_eq!(with("/lines", json!({})), "/lines: expected an array");
    assert_eq!(
        with("/labels", json!({"a/b~c": 1.5})),
        "/labels/a~1b~0c: fits no branch of the union (null, int, string)"
    );
    assert_eq!(with("/at", json!("yesterday")), "/at: expected timestamp");
    assert_eq!(with("/day", json!("2026-02-30")), "/day: expected date");
    assert_eq!(with("/key", json!("x")), "/key: expected UUID");
    assert_eq!(with("/hash", json!("AQ==")), "/hash: expected 2 bytes");
    assert_eq!(with("/blob", json!("not Base64!")), "/blob: expected Base64");
    let mut order = order();
    order["customer"]["e\nmail"] = json!(7);
    assert_eq!(refused(ORDER, &order), "/customer/e\u{fffd}mail: the record shop.Customer has no such field");
    assert_eq!(refused(ORDER, &json!(7)), "expected an object");
    assert_eq!(refused("\"int\"", &json!(2_147_483_648_i64)), "the number does not fit int");
    assert_eq!(refused("\"float\"", &json!(1e300)), "the number does not fit float");
    assert_eq!(
        refused("\"double\"", &serde_json::from_str("1e999").unwrap()),
        "the number does not fit double"
    );
    let name = "x".repeat(10_000);
    assert!(refused(ORDER, &json!({"id": 1, "customer": {"name": "x"}, "lines": [], name: 1})).len() < 200);
}

#[test]
fn a_union_takes_the_first_branch_that_fits() {
    for (union, value, branch) in [
        (r#"["string","null"]"#, json!(null), 1),
        (r#"["int","long","double"]"#, json!(7), 0),
        (r#"["int","long","double"]"#, json!(5_000_000_000_i64), 1),
        (r#"["int","long","double"]"#, json!(0.5), 2),
        (r#"["bytes","string"]"#, json!("AQI="), 0),
        (r#"["bytes","string"]"#, json!("plain text"), 1),
        (
            r#"[{"type":"record","name":"a","fields":[{"name":"x","type":"int"}]},
             {"type":"record","name":"b","fields":[{"name":"y","type":"int"}]}]"#,
            json!({"y": 1}),
            1,
        ),
    ] {
        assert_eq!(encoded(union, &value)[0], branch * 2, "{union} {value}");
    }
    assert_eq!(refused(r#"["int"]"#, &json!(null)), "fits no branch of the union (int)");
}

#[test]
fn unions_in_unions_do_not_take_time_without_a_limit() {
    // Each level fits the second branch only, which shows after all levels within.
    let mut value = json!(null);
    for _ in 0..60 {
        value = json!({"next": value, "y": 1});
    }
    let union = json!({"type": "record", "name": "b", "fields": [
        {"name": "next", "type": ["null", {"type": "record", "name": "a", "fields": [
            {"name": "next", "type": ["null", "a", "b"]}, {"name": "x", "type": "int"}]}, "b"]},
        {"name": "y", "type": "int"}]});
    let error = refused(&union.to_string(), &value);
    assert!(error.ends_with("too many values, or branches of unions to try"), "{error}");
}

#[test]
fn a_short_value_does_not_become_a_long_encoding() {
    let text = "x".repeat(100_000);
    let schema = json!({"type": "array", "items": {"type": "record", "name": "r", "fields": [
        {"name": "text", "type": "string", "default": text}]}});
    let error = refused(&schema.to_string(), &Value::Array(vec![json!({}); 10_000]));
    assert_eq!(error, "/671/text: longer than 64 MiB in Avro");
}

#[test]
fn values_nested_too_deep_are_refused() {
    let list = r#"{"type":"record","name":"l","fields":[{"name":"n","type":["null","l"]}]}"#;
    let nested = |levels| (0..levels).fold(json!(null), |inner, _| json!({"n": inner}));
    assert!(schema(list).encode(&nested(100)).is_ok());
    assert!(refused(list, &nested(101)).ends_with("nested deeper than 100 levels"));
}

#[test]
fn logical_types_are_text() {
    for (text, value, bytes) in [
        (
            r#"{"type":"long","logicalType":"timestamp-micros"}"#,
            json!("1970-01-01T00:00:00.000001Z"),
            &[2][..],
        ),
        (r#"{"type":"long","logicalType":"timestamp-nanos"}"#, json!("1970-01-01T00:00:00.000000001Z"), &[2]),
        (r#"{"type":"long","logicalType":"local-timestamp-millis"}"#, json!("1970-01-01T00:00:00.001"), &[2]),
        (r#"{"type":"long","logicalType":"time-micros"}"#, json!(1), &[2]),
        (r#"{"type":"int","logicalType":"time-millis"}"#, json!(1), &[2]),
        (r#"{"type":"int","logicalType":"date"}"#, json!("1970-01-02"), &[2]),
        (
            r#"{"type":"fixed","name":"d","size":3,"logicalType":"decimal","precision":6,"scale":1}"#,
            json!("-0.1"),
            &[0xff, 0xff, 0xff],
        ),
        (
            r#"{"type":"fixed","name":"u","size":16,"logicalType":"uuid"}"#,
            json!("00010203-0405-0607-0809-0a0b0c0d0e0f"),
            &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        ),
        (
            r#"{"type":"fixed","name":"u","size":12,"logicalType":"duration"}"#,
            json!("AAAAAAAAAAAAAAAA"),
            &[0; 12],
        ),
        (r#"{"type":"string","logicalType":"unheard-of"}"#, json!("x"), &[2, b'x']),
    ] {
        assert_eq!(encoded(text, &value), bytes, "{text}");
        assert_eq!(schema(text).decode(bytes), Ok(value), "{text}");
    }
    let millis = r#"{"type":"long","logicalType":"timestamp-millis"}"#;
    let far = json!(i64::MAX);
    assert_eq!(schema(millis).decode(&encoded(millis, &far)), Ok(far));
    assert_eq!(encoded(millis, &json!(1)), encoded(millis, &json!("1970-01-01T01:00:00.001+01:00")));
}

/// A document that fits `SHAPE`, in the form that decoding gives it.
fn document() -> impl Strategy<Value = Value> {
    let leaf = (any::<i32>(), any::<i64>(), any::<bool>(), ".*", proptest::option::of("[a-z]*"));
    let shape = leaf.prop_map(|(int, long, flag, text, name)| {
        json!({"int": int, "long": long, "flag": flag, "text": text, "name": name, "map": {}, "children": []})
    });
    shape.prop_recursive(4, 30, 4, |inner| {
        (inner.clone(), btree_map(".{0,3}", -1e300..1e300, 0..3), vec(inner, 0..4)).prop_map(
            |(mut whole, map, children)| {
                whole["map"] = json!(map);
                whole["children"] = Value::Array(children);
                whole
            },
        )
    })
}

const SHAPE: &str = r#"{"type":"record","name":"Node","fields":[
    {"name":"int","type":"int"},{"name":"long","type":"long"},{"name":"flag","type":"boolean"},
    {"name":"text","type":"string"},{"name":"name","type":["null","string"]},
    {"name":"map","type":{"type":"map","values":"double"}},
    {"name":"children","type":{"type":"array","items":"Node"}}]}"#;

/// The other implementation's value as JSON.
fn plain(value: Foreign) -> Value {
    match value {
        Foreign::Null => Value::Null,
        Foreign::Boolean(value) => value.into(),
        Foreign::Int(value) => value.into(),
        Foreign::Long(value) => value.into(),
        Foreign::Double(value) => value.into(),
        Foreign::String(value) => value.into(),
        Foreign::Union(_, value) => plain(*value),
        Foreign::Array(items) => items.into_iter().map(plain).collect(),
        Foreign::Map(entries) => {
            Value::Object(entries.into_iter().map(|(name, value)| (name, plain(value))).collect())
        }
        Foreign::Record(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (name, plain(value))).collect())
        }
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_is_decoded_here_and_by_others(document in document()) {
        let bytes = encoded(SHAPE, &document);
        let decoded = schema(SHAPE).decode(&bytes).unwrap();
        prop_assert_eq!(&decoded, &document);
        let foreign = apache_avro::Schema::parse_str(SHAPE).unwrap();
        let read = apache_avro::reader::datum::GenericDatumReader::builder(&foreign).build().unwrap();
        let value = read.read_value(&mut &bytes[..]).unwrap();
        prop_assert_eq!(plain(value), document);
    }

    #[test]
    fn what_others_encode_is_decoded(longs in vec(any::<i64>(), 0..20), text in ".*", scale in 0u8..5) {
        let text_of = |scale| format!(r#"{{"type":"record","name":"r","fields":[
            {{"name":"longs","type":{{"type":"array","items":"long"}}}},{{"name":"text","type":["null","string"]}},
            {{"name":"price","type":{{"type":"bytes","logicalType":"decimal","precision":30,"scale":{scale}}}}}]}}"#);
        let foreign = apache_avro::Schema::parse_str(&text_of(scale)).unwrap();
        let unscaled = longs.first().copied().unwrap_or_default();
        let value = Foreign::Record(vec![
            ("longs".to_owned(), Foreign::Array(longs.iter().copied().map(Foreign::Long).collect())),
            ("text".to_owned(), Foreign::Union(1, Box::new(Foreign::String(text.clone())))),
            ("price".to_owned(), Foreign::Decimal(apache_avro::Decimal::from(unscaled.to_be_bytes()))),
        ]);
        let write = apache_avro::writer::datum::GenericDatumWriter::builder(&foreign).build().unwrap();
        let bytes = write.write_value_to_vec(value).unwrap();
        let decoded = schema(&text_of(scale)).decode(&bytes).unwrap();
        prop_assert_eq!(&decoded["longs"], &json!(longs));
        prop_assert_eq!(&decoded["text"], &json!(text));
        let digits: String = decoded["price"].as_str().unwrap().chars().filter(|char| *char != '.').collect();
        prop_assert_eq!(digits.parse::<i64>().unwrap(), unscaled);
    }
}
