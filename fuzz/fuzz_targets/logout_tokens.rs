//! Any claims as a logout token, its type on the first line: it is refused in a short text, or asks
//! for one revocation at most, up to a time that the token itself states.
#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use identity::{FeedConfig, LogoutEnds, logout};
use libfuzzer_sys::fuzz_target;
use rig_fuzz::{NOW, check_order, in_proportion};
use serde_json::Value;

/// Length limit of a refusal: the name of a claim, and what is wrong with it.
const LONGEST_ERROR: usize = 200;

static CONFIGS: LazyLock<[FeedConfig; 2]> = LazyLock::new(|| {
    let session = FeedConfig {
        client_ids: vec!["gateway".to_owned()],
        aliases: vec!["idp".into()],
        ..FeedConfig::new("idp", "https://idp.example")
    };
    [FeedConfig { logout_ends: LogoutEnds::User, ..session.clone() }, session]
});

fuzz_target!(|input: &str| {
    let (header_type, claims) = input.split_once('\n').unwrap_or(("", input));
    let header_type = Some(header_type).filter(|text| !text.is_empty());
    let Ok(Value::Object(claims)) = serde_json::from_str(claims) else { return };
    let now: SystemTime = UNIX_EPOCH + Duration::from_secs(NOW);
    for config in &*CONFIGS {
        match in_proportion(input.as_bytes(), || logout(&claims, header_type, config, now)) {
            Ok(orders) => {
                assert!(orders.len() <= 1 && !claims.contains_key("nonce"));
                let issued_at = claims["iat"].as_f64().expect("iat is checked");
                assert!(orders.iter().all(|order| order.issued_up_to as f64 <= issued_at.max(0.0) + 2.0));
                orders.iter().for_each(check_order);
            }
            Err(refused) => assert!(refused.to_string().len() < LONGEST_ERROR, "{refused}"),
        }
    }
});
