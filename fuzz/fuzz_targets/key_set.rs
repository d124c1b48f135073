//! Any document as the key set of an issuer: what is parsed is within its bounds, is the same when
//! it is parsed again, and each key is found by its name.
#![no_main]

use auth::KeySet;
use libfuzzer_sys::fuzz_target;
use rig_fuzz::in_proportion;

fuzz_target!(|input: &[u8]| {
    match in_proportion(input, || KeySet::parse(input)) {
        Ok(set) => {
            assert!(!set.is_empty() && set.len() + set.skipped().len() <= 256);
            assert!(KeySet::parse(input).as_ref() == Ok(&set));
            for key in set.keys() {
                assert_eq!(key.thumbprint().len(), 43, "a SHA-256 in base64url");
                assert!(key.kid().is_none_or(|kid| set.has_kid(kid)));
            }
            assert!(set.skipped().is_sorted_by_key(|key| key.index));
        }
        Err(error) => assert!(error.to_string().len() <= 500, "{error}"),
    }
});
