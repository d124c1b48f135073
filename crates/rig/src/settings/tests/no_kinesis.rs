//! Settings of Kinesis in a build without it.

use super::*;

#[test]
fn what_needs_kinesis_is_a_mistake_that_names_the_feature() {
    for (name, value) in [("KINESIS_ENABLED", "yes"), ("KINESIS_STREAM", "a")] {
        let told = parse(&[], &[(name, value)]).unwrap_err();
        let kinesis = "Amazon Kinesis is not built in: build with --features kinesis";
        assert_eq!(told, format!("environment {name} = {value:?}: {kinesis}\n"));
    }
    assert!(parse(&[], &[("KINESIS_ENABLED", "no")]).is_ok());
}
