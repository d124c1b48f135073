//! The log on disk answers as the log in memory does.

use proptest::prelude::*;
use session::MemoryLog;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Append { id: u8, issued_up_to: Option<u64>, minutes: u64, extends: bool, disconnects: bool },
    Lift(u8),
    Find(u8),
    Page(usize),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0u8..4;
    prop_oneof![
        6 => (id.clone(), prop::option::of(0u64..2), 1u64..4, any::<bool>(), any::<bool>()).prop_map(
            |(id, issued_up_to, minutes, extends, disconnects)| Step::Append {
                id,
                issued_up_to,
                minutes,
                extends,
                disconnects
            }
        ),
        2 => id.clone().prop_map(Step::Lift),
        2 => id.prop_map(Step::Find),
        1 => (0usize..5).prop_map(Step::Page),
        1 => Just(Step::Restart),
    ]
}

/// What both must agree on: times differ by what passes between two calls.
fn essence(record: &session::Record) -> (u64, String, Option<u64>, Mode, Duration) {
    let revocation = &record.revocation;
    (record.seq, revocation.id.to_string(), revocation.issued_up_to, revocation.mode, revocation.validity)
}

fn appended(appended: &Appended) -> String {
    match appended {
        Appended::Known(record) => format!("known {:?}", essence(record)),
        other => format!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn disk_and_memory_agree(steps in prop::collection::vec(step(), 1..25)) {
        let folder = Temporary::new();
        let mut journal = Some(folder.open());
        let memory = MemoryLog::new();
        for (number, step) in steps.into_iter().enumerate() {
            let disk = journal.as_ref().expect("it is opened again at once");
            match step {
                Step::Append { id: n, issued_up_to, minutes, extends, disconnects } => {
                    // No two last equally long: which of those ends later is a matter of microseconds.
                    let validity = MINUTE * minutes as u32 + Duration::from_secs(number as u64);
                    let revocation = Revocation {
                        issued_up_to,
                        extends: extends && !disconnects,
                        mode: if disconnects { Mode::Disconnect } else { Mode::Revoke },
                        ..revocation(&n.to_string(), validity)
                    };
                    let (one, other) = (disk.append(&revocation).unwrap(), memory.append(&revocation).unwrap());
                    prop_assert_eq!(appended(&one), appended(&other));
                }
                Step::Lift(n) => {
                    let n = id(&n.to_string());
                    let (one, other) = (disk.lift(&n, None).unwrap(), memory.lift(&n, None).unwrap());
                    prop_assert_eq!(one.as_ref().map(essence), other.as_ref().map(essence));
                }
                Step::Find(n) => {
                    let n = id(&n.to_string());
                    let (one, other) = (disk.find(&n).unwrap(), memory.find(&n).unwrap());
                    prop_assert_eq!(one.as_ref().map(essence), other.as_ref().map(essence));
                }
                Step::Page(limit) => {
                    let (one, other) = (disk.page(Some(9), limit).unwrap(), memory.page(Some(9), limit).unwrap());
                    let essences = |page: &[session::Record]| page.iter().map(essence).collect::<Vec<_>>();
                    prop_assert_eq!(essences(&one), essences(&other));
                }
                Step::Restart => {
                    drop(journal.take());
                    journal = Some(folder.open());
                }
            }
        }
    }
}
