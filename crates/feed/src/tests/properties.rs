use proptest::prelude::*;
use serde_json::json;
use tokio::runtime::Builder;

use super::logouts;
use super::world::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// In whichever order statements about a user come: no bound and no end moves to an earlier
    /// time, and no token that an earlier statement has made illegal is legal again.
    #[test]
    fn a_statement_never_moves_anything_earlier(ages in prop::collection::vec(0_u64..3000, 1..12)) {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (world, began) = (World::new(), now());
            let mut last = (0, 0);
            for age in &ages {
                let token = sign("JWT", &logouts::claims(began - age, json!({ "sub": "alice" })));
                prop_assert_eq!(world.log_out(&token).await.status, 200);
                let records = world.records().await;
                prop_assert_eq!(records.len(), 1);
                let ends = now() + records[0].left.as_secs() + 1;
                let bound = records[0].revocation.issued_up_to.unwrap();
                prop_assert!(bound >= last.0 && ends + 2 >= last.1, "{last:?}");
                last = (bound, ends);
            }
            let youngest = ages.iter().min().unwrap();
            let open = |iat: u64| world.open(json!({ "sub": "alice", "sid": "s", "iat": iat }));
            prop_assert!(open(began - youngest + 2).is_none());
            prop_assert_eq!(last.0, began - youngest + 2);
            Ok(())
        })?;
    }
}
