use serde_json::json;

use super::*;

const NONE: [&str; 0] = [];

fn decoded(schema: &str, bytes: &[u8]) -> std::result::Result<Value, &'static str> {
    Schema::parse(schema, &NONE).unwrap().decode(bytes).map_err(|error| error.reason)
}

fn at_most(limit: usize, text: &str, bytes: &[u8]) {
    assert!(bytes.len() <= limit);
    assert_eq!(decoded(text, bytes), Err("a value out of proportion to the message"));
}

#[test]
fn numbers_have_all_their_digits() {
    let long = |bytes: &[u8]| decoded("\"long\"", bytes);
    assert_eq!(long(&[0x01]), Ok(json!(-1)));
    assert_eq!(long(&[0x80, 0x01]), Ok(json!(64)));
    assert_eq!(long(&[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), Ok(json!(i64::MAX)));
    assert_eq!(long(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), Ok(json!(i64::MIN)));
    assert_eq!(long(&[0xff; 10]), Err("a number is larger than a long"));
    assert_eq!(long(&[0xff; 9]), Err("cut off"));
    assert_eq!(decoded("\"int\"", &[0x80, 0x80, 0x80, 0x80, 0x10]), Err("a number is larger than an int"));
    assert_eq!(decoded("\"float\"", &0.1f32.to_le_bytes()).unwrap().to_string(), "0.1");
    assert_eq!(decoded("\"double\"", &0.1f64.to_le_bytes()).unwrap().to_string(), "0.1");
}

#[test]
fn numbers_that_are_not_finite_are_null() {
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(decoded("\"double\"", &number.to_le_bytes()), Ok(Value::Null));
        #[expect(clippy::cast_possible_truncation, reason = "stays what it is")]
        let number = number as f32;
        assert_eq!(decoded("\"float\"", &number.to_le_bytes()), Ok(Value::Null));
    }
}

#[test]
fn what_is_cut_off_or_too_long_is_an_error() {
    for (schema, whole) in [
        ("\"boolean\"", &[1][..]),
        ("\"string\"", &[6, b'f', b'o', b'o']),
        ("\"bytes\"", &[6, 1, 2, 3]),
        ("\"double\"", &[0; 8]),
        (r#"{"type":"array","items":"string"}"#, &[2, 2, b'x', 0]),
        (r#"{"type":"map","values":"boolean"}"#, &[1, 6, 2, b'x', 1, 0]),
        (r#"{"type":"fixed","name":"f","size":2}"#, &[1, 2]),
    ] {
        assert!(decoded(schema, whole).is_ok(), "{schema}");
        for length in 0..whole.len() {
            assert_eq!(decoded(schema, &whole[..length]), Err("cut off"), "{schema} {length}");
        }
        let longer = [whole, &[0]].concat();
        assert_eq!(decoded(schema, &longer), Err("more bytes than the schema has values"), "{schema}");
    }
    assert_eq!(decoded("\"boolean\"", &[2]), Err("a boolean is neither 0 nor 1"));
    assert_eq!(decoded("\"string\"", &[2, 0xff]), Err("a text is not UTF-8"));
    assert_eq!(decoded("\"string\"", &[1]), Err("a length is negative"));
    assert_eq!(
        decoded("\"bytes\"", &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        Err("cut off")
    );
    assert_eq!(decoded("[\"null\"]", &[2]), Err("a union has no branch of this number"));
    assert_eq!(
        decoded(r#"{"type":"enum","name":"e","symbols":["A"]}"#, &[1]),
        Err("an enum has no symbol of this number")
    );
}

#[test]
fn a_short_message_never_becomes_a_large_value() {
    let many = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    let least = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0];
    at_most(10, r#"{"type":"array","items":"null"}"#, &many);
    at_most(11, r#"{"type":"array","items":"null"}"#, &least);
    at_most(10, r#"{"type":"array","items":{"type":"record","name":"r","fields":[]}}"#, &many);
    at_most(10, r#"{"type":"array","items":{"type":"fixed","name":"f","size":0}}"#, &many);
    let mut doubling = json!({"type": "record", "name": "r0", "fields": [{"name": "a", "type": "null"}]});
    for level in 1..30 {
        let again = format!("r{}", level - 1);
        let fields = json!([{"name": "a", "type": doubling}, {"name": "b", "type": again}]);
        doubling = json!({"type": "record", "name": format!("r{level}"), "fields": fields});
    }
    at_most(0, &doubling.to_string(), &[]);
}

#[test]
fn a_recursive_value_is_as_deep_as_json_allows() {
    let list = r#"{"type":"record","name":"l","fields":[{"name":"n","type":["null","l"]}]}"#;
    let nested = |levels| [vec![2; levels], vec![0]].concat();
    assert!(decoded(list, &nested(DEEPEST - 1)).is_ok());
    for levels in [DEEPEST, 1 << 20] {
        assert_eq!(decoded(list, &nested(levels)), Err("nested deeper than 100 levels"));
    }
    let endless = r#"{"type":"record","name":"l","fields":[{"name":"n","type":"l"}]}"#;
    assert!(decoded(endless, &[]).is_err());
}

#[test]
fn a_large_message_of_small_records_is_decoded() {
    let list =
        r#"{"type":"array","items":{"type":"record","name":"r","fields":[{"name":"small","type":"int"}]}}"#;
    let bytes = [&[0x80, 0xb5, 0x18][..], &[2; 200_000], &[0]].concat();
    assert_eq!(decoded(list, &bytes).unwrap().as_array().map(Vec::len), Some(200_000));
}
