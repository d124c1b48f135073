//! Settings of Kinesis in a build without it.

use super::*;

#[test]
fn what_needs_kinesis_is_a_mistake_that_names_the_feature() {
    let told = parse(&[], &[("KINESIS_ENABLED", "yes")]).unwrap_err();
    let kinesis = "Kinesis is not built in: build with --features kinesis";
    assert_eq!(told, format!("environment KINESIS_ENABLED = \"yes\": {kinesis}\n"));
    assert!(parse(&[], &[("KINESIS_STREAM", "a"), ("KINESIS_ENABLED", "no")]).is_ok());
}
