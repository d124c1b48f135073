use super::*;

const NONE: [&str; 0] = [];

fn refused(text: &str) -> String {
    Schema::parse(text, &NONE).unwrap_err().to_string()
}

#[test]
fn what_is_no_schema_is_an_error() {
    assert_eq!(refused("{"), "not JSON");
    for text in ["", "7", "\"strin\"", "{}", r#"{"type":"record","name":"a"}"#, "[]garbage"] {
        assert!(Schema::parse(text, &NONE).is_err(), "{text}");
    }
    let field = r#"{"type":"record","name":"a","fields":[7]}"#;
    assert_eq!(refused(field), "a field of a record is not an object");
    let twice = r#"["null",{"type":"record","name":"a","fields":[
        {"name":"x","type":{"type":"fixed","name":"a","size":2}}]}]"#;
    assert!(refused(twice).contains("defined twice"), "{}", refused(twice));
    let scale = r#"{"type":"bytes","logicalType":"decimal","precision":9999999,"scale":9999999}"#;
    assert_eq!(refused(scale), "a decimal has too many digits");
    let branches = Value::Array(vec![json!("null"); MOST_BRANCHES + 1]).to_string();
    assert!(refused(&branches).contains("more than 1000 branches"));
    assert!(refused(&" ".repeat(LONGEST + 1)).starts_with("longer than"));
}

#[test]
fn a_schema_as_deep_as_json_may_be_is_parsed_or_refused() {
    for open in [r#"{"type":"#, r#"{"type":"array","items":"#, r#"{"type":"map","values":"#] {
        for depth in [50, 120, 126, 127, 1_000, 100_000] {
            let text = format!("{}\"int\"{}", open.repeat(depth), "}".repeat(depth));
            assert_eq!(Schema::parse(&text, &NONE).is_ok(), depth < 128, "{depth}");
        }
    }
    let mut record = json!("int");
    for depth in 0..40 {
        record =
            json!({"type": "record", "name": format!("r{depth}"), "fields": [{"name": "f", "type": record}]});
    }
    assert!(Schema::parse(&record.to_string(), &NONE).is_ok());
}

#[test]
fn a_long_chain_of_names_needs_no_deep_stack() {
    let mut types = vec![json!({"type": "fixed", "name": "t0", "size": 1})];
    for index in 1..999 {
        let fields = json!([{"name": "f", "type": format!("t{}", index - 1)}]);
        types.push(json!({"type": "record", "name": format!("t{index}"), "fields": fields}));
    }
    let schema = Schema::parse(&Value::Array(types).to_string(), &NONE).unwrap();
    assert_eq!(schema.decode(&[0, 7]).unwrap(), json!("Bw=="));
}

#[test]
fn references_are_known_by_name() {
    let colour = r#"{"type":"enum","name":"Colour","namespace":"paint","symbols":["RED"]}"#;
    let dot = r#"{"type":"record","name":"Dot","namespace":"paint","fields":[
        {"name":"colour","type":"Colour"}]}"#;
    let list = r#"{"type":"array","items":"paint.Dot"}"#;
    let schema = Schema::parse(list, &[colour, dot]).unwrap();
    assert_eq!(schema.decode(&[2, 0, 0]).unwrap(), json!([{"colour": "RED"}]));
    assert!(Schema::parse(list, &[dot]).is_err());
    assert!(Schema::parse(list, &[colour, dot, dot]).is_err());
}

#[test]
fn names_that_registries_in_java_take_are_parsed() {
    let key = r#"{"type":"record","name":"Key","namespace":"abc-123.table$","fields":[
        {"name":"größe","type":{"type":"enum","name":"Outer$.Größe","symbols":["groß","a-b \"\\"]}},
        {"name":"a/b","type":"int"}]}"#;
    let keys = r#"{"type":"array","items":"abc-123.table$.Key"}"#;
    let schema = Schema::parse(keys, &[key]).unwrap();
    let value = json!([{"größe": "a-b \"\\", "a/b": 1}]);
    let encoded = schema.encode(&value).unwrap();
    assert_eq!(encoded, [2, 2, 2, 0]);
    assert_eq!(schema.decode(&encoded).unwrap(), value);
    let error = schema.encode(&json!([{"größe": "groß", "a/b": ""}])).unwrap_err().to_string();
    assert_eq!(error, "/0/a~1b: expected int");
}

#[test]
fn names_are_neither_empty_nor_long_nor_have_control_characters() {
    let of_type = |name: &str| json!({"type": "fixed", "name": name, "size": 1});
    let of_namespace = |name: &str| json!({"type": "fixed", "name": "a", "namespace": name, "size": 1});
    let of_symbol = |name: &str| json!({"type": "enum", "name": "a", "symbols": [name]});
    let of_field =
        |name: &str| json!({"type": "record", "name": "a", "fields": [{"name": name, "type": "int"}]});
    let (longest, too_long) = ("ä".repeat(1_000), "ä".repeat(1_001));
    for name in [&*longest, "a"] {
        for schema in [of_type(name), of_namespace(name), of_symbol(name), of_field(name)] {
            assert!(Schema::parse(&schema.to_string(), &NONE).is_ok(), "{schema}");
        }
    }
    for name in ["a\nb", "\u{85}", &too_long] {
        for schema in [of_type(name), of_namespace(name), of_symbol(name), of_field(name)] {
            let error = refused(&schema.to_string());
            assert!(!error.contains(char::is_control), "{error:?}");
        }
    }
    for schema in [of_type(""), of_type("a."), of_symbol(""), of_field("")] {
        refused(&schema.to_string());
    }
}

#[test]
fn defaults_that_never_terminate_are_not_resolved() {
    let text = r#"{"type":"record","name":"a","fields":[
        {"name":"b","type":{"type":"record","name":"b","fields":[
            {"name":"a","type":"a","default":{}}]},"default":{}},
        {"name":"self","type":"a","default":{}}]}"#;
    let schema = Schema::parse(text, &NONE).unwrap();
    let error = schema.encode(&json!({})).unwrap_err().to_string();
    assert!(error.ends_with("nested deeper than 100 levels"), "{error}");
}
