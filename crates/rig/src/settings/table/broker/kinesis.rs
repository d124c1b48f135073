//! Amazon Kinesis.

use super::super::{Group, ValueKind, setting, text};

const REGION: ValueKind = text("REGION", "a region of AWS, such as eu-west-1");
const URL: ValueKind = text("URL", "a URL with a host and nothing after it, such as http://localhost:4566");

pub(crate) const GROUP: Group = Group {
    heading: "Amazon Kinesis",
    settings: &[
        setting(
            "KINESIS_ENABLED",
            "false",
            ValueKind::Switch,
            "Whether events come from Kinesis. Credentials come from where all SDKs of AWS look: environment, profile, web identity, ECS, EKS, EC2",
        ),
        setting(
            "KINESIS_STREAM",
            "RIG-outbound",
            text("NAME", "the name of a stream: 1 to 128 letters, digits, and . - _"),
            "The stream that events come from",
        ),
        setting(
            "KINESIS_SOURCE_MODE",
            "group",
            ValueKind::Word(&["group", "broadcast"]),
            "group: one gateway receives an event and passes it to the others of its cluster; broadcast: each receives it from Kinesis, from its start on",
        ),
        setting(
            "KINESIS_APP_NAME",
            "Reactive-Interaction-Gateway",
            text("NAME", "the name of a table: 3 to 255 letters, digits, and . - _"),
            "The group of gateways that share the stream, which is the table of DynamoDB where they keep how far it was read",
        ),
        setting(
            "KINESIS_INITIAL_POSITION",
            "latest",
            ValueKind::Word(&["latest", "trim_horizon"]),
            "Where a new group begins: with what comes from then on, or with the oldest event that is still there",
        ),
        setting("KINESIS_AWS_REGION", "eu-west-1", REGION, "The region of the stream and of the table"),
        setting(
            "KINESIS_ENDPOINT",
            "",
            URL,
            "Where Kinesis is, also that which events are sent to; not set: in the region of AWS",
        ),
        setting("KINESIS_DYNAMODB_ENDPOINT", "", URL, "Where DynamoDB is; not set: in the region of AWS"),
        setting(
            "PROXY_KINESIS_REQUEST_REGION",
            "eu-west-1",
            REGION,
            "The region of the streams that endpoints with target: kinesis send events to",
        ),
    ],
};
