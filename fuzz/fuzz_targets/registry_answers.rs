//! Any answer of a schema registry: the status on the first line, then the body. A schema in it is
//! parsed, with itself as a reference as well, and is then used for values.
#![no_main]

use avro::{Answer, Schema};
use libfuzzer_sys::fuzz_target;
use rig_fuzz::in_proportion;
use serde_json::json;

fn try_out(schema: &Schema) {
    for bytes in [&b""[..], &[0; 8], &[2; 64], &[0xff; 16]] {
        if let Ok(value) = in_proportion(bytes, || schema.decode(bytes)) {
            let _ = schema.encode(&value);
        }
    }
    for value in [json!({}), json!(null), json!([]), json!("x"), json!(1)] {
        if let Ok(encoded) = schema.encode(&value)
            && encoded.len() <= 4096
        {
            // Many values without any bytes are more than a message may have.
            let refused = schema.decode(&encoded).err().map(|error| error.reason);
            assert!(matches!(refused, None | Some("a value out of proportion to the message")));
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let (status, body) = match input.split_first_chunk::<4>() {
        Some((line, body)) if line[3] == b'\n' => {
            (str::from_utf8(&line[..3]).ok().and_then(|status| status.parse().ok()).unwrap_or(200), body)
        }
        _ => (200, input),
    };
    let Ok(answer) = in_proportion(body, || Answer::parse(status, body)) else { return };
    if let Ok(schema) = Schema::parse(&answer.schema, &[""; 0]) {
        try_out(&schema);
    }
    if let Ok(schema) = Schema::parse("\"int\"", &[&answer.schema]) {
        assert_eq!(schema.decode(&[2]), Ok(json!(1)));
    }
});
