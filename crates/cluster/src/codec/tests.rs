use proptest::option;
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::*;
use session::LostLease;

const SUBJECT: &str = "rig.c.s.op.x";

fn codec(seals_names: bool) -> Codec {
    Codec::new("c", Keys::new("test-cookie", None), seals_names)
}

fn life() -> impl Strategy<Value = Incarnation> {
    any::<[u8; Incarnation::BYTES]>().prop_map(Incarnation::from_bytes)
}

fn shared() -> impl Strategy<Value = Shared> {
    let text = || "[a-zé/ \"]{1,20}";
    let validity = prop_oneof![Just(Duration::MAX), (0..1_u64 << 40).prop_map(Duration::from_millis)];
    let of = (option::of("/[a-z]{1,5}"), option::of(text()));
    let revoke = (text(), text(), of, validity, option::of(any::<u64>())).prop_flat_map(
        move |(id, value, (claim, issuer), validity, issued_up_to)| {
            (option::of(text()), option::of(text()), any::<bool>(), any::<bool>()).prop_map(
                move |(by, reason, extends, disconnects)| {
                    let value = value.parse().expect("it is a name");
                    Operation::Revoke(Revocation {
                        id: RevocationId::new(&id).expect("it is an id"),
                        selector: match &claim {
                            Some(claim) => Selector::of_claim(claim.as_str(), value),
                            None => Selector::session(value),
                        }
                        .issued_by(issuer.as_deref().map(Into::into)),
                        issued_up_to,
                        mode: if disconnects { Mode::Disconnect } else { Mode::Revoke },
                        validity,
                        by,
                        reason,
                        extends,
                    })
                },
            )
        },
    );
    let lift = (text(), option::of(text()))
        .prop_map(|(id, by)| Operation::Lift { id: RevocationId::new(&id).expect("it is an id"), by });
    (life(), any::<u64>(), any::<u32>(), prop_oneof![revoke, lift]).prop_map(
        |(life, number, revision, operation)| Shared { tag: Tag { life, number }, revision, operation },
    )
}

fn beat() -> impl Strategy<Value = Beat> {
    (
        life(),
        "[a-z]{1,9}",
        any::<[u64; 4]>(),
        any::<u128>(),
        any::<[bool; 2]>(),
        prop::collection::vec(life(), 0..3),
        option::of("[a-zé/ \"]{1,20}"),
    )
        .prop_map(|(life, node, numbers, epoch, flags, ends, refused)| Beat {
            version: NEWEST,
            life,
            node: NodeName::from(node.as_str()),
            count: numbers[0],
            applied: Position { epoch: Epoch(epoch), sequence: numbers[1] },
            newest: numbers[3] >> 1,
            settled: numbers[2],
            pending: numbers[3],
            lease: Duration::from_millis(numbers[0] >> 20),
            policy: [LostLease::Open, LostLease::ClosedNew, LostLease::Closed][numbers[1] as usize % 3],
            ends,
            has_history: flags[0],
            leaving: flags[1],
            definitions: ServedDefinitions {
                revision: numbers[2],
                refused: refused.map(|reason| RefusedDefinitions { revision: numbers[1], reason }),
            },
        })
}

proptest! {
    #[test]
    fn operations_are_read_as_they_were_written(shared in shared(), seals: bool, epoch: u128) {
        let codec = codec(seals);
        let bytes = codec.operation(SUBJECT, Epoch(epoch), &shared);
        let stored = codec.stored(SUBJECT, 7, 8, &bytes);
        prop_assert_eq!(stored.position, Position { epoch: Epoch(epoch), sequence: 7 });
        prop_assert_eq!(stored.content, Content::Operation(shared.clone()));
        for message in [
            Direct::Operation(shared.clone()),
            Direct::Supplied { life: shared.tag.life, after: 1, upto: 2, operations: vec![shared.clone()] },
            Direct::Missing { life: shared.tag.life, after: 3 },
        ] {
            let bytes = codec.direct(None, Epoch(epoch), &message);
            prop_assert_eq!(codec.read_direct(None, &bytes), Ok(message));
        }
    }

    #[test]
    fn beats_are_read_as_they_were_written(beat in beat(), epoch: u128) {
        let (codec, subject) = (codec(true), "rig.c.s.beat.a");
        let stored = codec.stored(subject, 7, 8, &codec.beat(subject, Epoch(epoch), &beat));
        prop_assert_eq!(stored.position.epoch, Epoch(epoch));
        prop_assert_eq!(stored.content, Content::Beat(beat));
    }

    #[test]
    fn a_changed_message_is_forged(shared in shared(), at: prop::sample::Index, bit in 0..8_u32) {
        let codec = codec(true);
        let mut bytes = codec.operation(SUBJECT, Epoch(1), &shared);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(matches!(codec.stored(SUBJECT, 1, 1, &bytes).content, Content::Forged(_)));
    }

    #[test]
    fn arbitrary_bytes_are_forged(bytes: Vec<u8>) {
        prop_assert!(matches!(codec(true).stored(SUBJECT, 1, 1, &bytes).content, Content::Forged(_)));
        prop_assert_eq!(codec(true).read_direct(None, &bytes), Err(Undecodable::Forged));
    }
}

#[test]
fn definitions_have_one_subject() {
    let content = |subject| codec(true).stored(subject, 1, 1, b"!").content;
    assert_eq!(content("rig.c.s.apis"), Content::Definitions);
    for subject in ["rig.c.s.op.s.apis", "rig.c.s.beat.s.apis", "rig.d.s.apis", "x.rig.c.s.apis"] {
        assert!(matches!(content(subject), Content::Forged(_)), "{subject}");
    }
}

fn example() -> Shared {
    let mut revocation = Revocation::blacklist(&"alice-laptop".parse().unwrap(), Duration::from_secs(60));
    revocation.by = Some("bob".to_owned());
    let life = Incarnation::from_bytes([7; Incarnation::BYTES]);
    Shared { tag: Tag { life, number: 17 }, revision: 1, operation: Operation::Revoke(revocation) }
}

fn example_beat() -> Beat {
    Beat {
        version: NEWEST,
        life: Incarnation::from_bytes([7; Incarnation::BYTES]),
        node: NodeName::from("a"),
        count: 1,
        applied: Position { epoch: Epoch(1), sequence: 3 },
        newest: 5,
        settled: 0,
        pending: 0,
        lease: Duration::from_secs(15),
        policy: LostLease::Closed,
        ends: Vec::new(),
        has_history: true,
        leaving: false,
        definitions: ServedDefinitions::default(),
    }
}

#[test]
fn names_are_sealed_unless_the_operator_wants_to_see_them_and_remarks_always() {
    let text = |seals| String::from_utf8(codec(seals).operation(SUBJECT, Epoch(1), &example())).unwrap();
    assert!(!text(true).contains("alice") && !text(true).contains("bob"), "{}", text(true));
    assert!(text(false).contains("alice-laptop") && !text(false).contains("bob"), "{}", text(false));
}

#[test]
fn a_message_counts_on_its_subject_in_its_cluster_and_for_its_receiver_only() {
    let codec = codec(true);
    let bytes = codec.operation(SUBJECT, Epoch(1), &example());
    assert!(matches!(codec.stored("rig.c.s.op.y", 1, 1, &bytes).content, Content::Forged(_)));
    let other = Codec::new("d", Keys::new("test-cookie", None), true);
    assert!(matches!(other.stored(SUBJECT, 1, 1, &bytes).content, Content::Forged(_)));
    assert_eq!(codec.read_direct(None, &bytes), Err(Undecodable::Forged), "one of the stream");

    let [one, two] = [1, 2].map(|byte| Incarnation::from_bytes([byte; Incarnation::BYTES]));
    let message = Direct::Missing { life: two, after: 1 };
    let bytes = codec.direct(Some(one), Epoch(1), &message);
    assert_eq!(codec.read_direct(Some(one), &bytes), Ok(message));
    assert_eq!(codec.read_direct(Some(two), &bytes), Err(Undecodable::Forged));
    assert_eq!(codec.read_direct(None, &bytes), Err(Undecodable::Forged));
}

/// Whoever can write to NATS has heard every message, and sends it again where it may do harm.
#[test]
fn a_message_that_is_sent_again_elsewhere_is_forged() {
    let codec = codec(true);
    let [one, two] = [1, 2].map(|byte| Incarnation::from_bytes([byte; Incarnation::BYTES]));
    let acknowledgement = Direct::Acknowledgement {
        revision: 1,
        tag: Tag { life: one, number: 1 },
        node: NodeName::from("b"),
        life: two,
        receipt: None,
    };
    let bytes = codec.direct(Some(one), Epoch(1), &acknowledgement);
    assert_eq!(codec.read_direct(Some(one), &bytes), Ok(acknowledgement));
    assert_eq!(codec.read_direct(Some(two), &bytes), Err(Undecodable::Forged), "the next life of the node");
    assert_eq!(codec.read_direct(None, &bytes), Err(Undecodable::Forged), "a broadcast");

    let id = RevocationId::new("r").unwrap();
    let operation = Operation::Lift { id: id.clone(), by: None };
    let lift = Shared { tag: Tag { life: one, number: 2 }, revision: 2, operation };
    let subject_of = |id: &RevocationId| format!("rig.c.s.op.{}", codec.subject_of(id));
    let (own, other) = (subject_of(&id), subject_of(&RevocationId::new("other").unwrap()));
    let bytes = codec.operation(&own, Epoch(1), &lift);
    assert_eq!(codec.stored(&own, 1, 1, &bytes).content, Content::Operation(lift));
    for subject in [&*other, "rig.c.s.beat.a", "rig.d.s.op.x"] {
        assert!(matches!(codec.stored(subject, 1, 1, &bytes).content, Content::Forged(_)), "{subject}");
    }
    assert_eq!(codec.read_direct(None, &bytes), Err(Undecodable::Forged));
    assert_eq!(codec.read_direct(Some(one), &bytes), Err(Undecodable::Forged));

    let beat = example_beat();
    let bytes = codec.beat("rig.c.s.beat.a", Epoch(1), &beat);
    assert!(
        matches!(codec.stored("rig.c.s.beat.b", 1, 1, &bytes).content, Content::Forged(_)),
        "another node"
    );
    assert!(matches!(codec.stored(&own, 1, 1, &bytes).content, Content::Forged(_)));
    // The message says in which epoch it was sent, whatever stream it is in now.
    let stored = codec.stored("rig.c.s.beat.a", 9, 1, &bytes);
    assert_eq!((stored.position.epoch, stored.content), (Epoch(1), Content::Beat(beat)));
}

#[test]
fn a_cluster_with_the_same_cookie_and_another_name_is_another_cluster() {
    let codecs = ["c", "d"].map(|name| Codec::new(name, Keys::new("test-cookie", None), true));
    let [ours, theirs] = &codecs;
    let subject = "rig.c.s.beat.a";
    let beat = theirs.beat(subject, Epoch(1), &example_beat());
    assert!(matches!(ours.stored(subject, 1, 1, &beat).content, Content::Forged(_)));
    let message = Direct::Operation(example());
    for to in [None, Some(example().tag.life)] {
        let bytes = theirs.direct(to, Epoch(1), &message);
        assert_eq!(theirs.read_direct(to, &bytes), Ok(message.clone()));
        assert_eq!(ours.read_direct(to, &bytes), Err(Undecodable::Forged));
    }
    let relayed = theirs.relayed("poll", b"token");
    assert_eq!(theirs.read_relayed("poll", &relayed).as_deref(), Ok(&b"token"[..]));
    assert_eq!(theirs.read_relayed("answer", &relayed), Err(Undecodable::Forged));
    assert_eq!(ours.read_relayed("poll", &relayed), Err(Undecodable::Forged));
    let id = RevocationId::new("r").unwrap();
    assert_ne!(ours.subject_of(&id), theirs.subject_of(&id));
}

#[test]
fn a_newer_message_is_told_from_a_forged_one() {
    let codec = codec(true);
    let document = serde_json::json!({ "v": NEWEST + 1, "what": "?" });
    let newer = codec.sign(&[b"stream", SUBJECT.as_bytes()], &document);
    assert_eq!(codec.stored(SUBJECT, 1, 1, &newer).content, Content::Newer);
    let broken = codec.sign(&[b"stream", SUBJECT.as_bytes()], &serde_json::json!({ "v": 1, "what": "?" }));
    assert!(matches!(codec.stored(SUBJECT, 1, 1, &broken).content, Content::Forged(_)));
}

#[test]
fn what_was_relayed_opens_for_its_purpose() {
    let codec = codec(true);
    let sealed = codec.relayed("request", b"token");
    assert_eq!(codec.read_relayed("request", &sealed).as_deref(), Ok(&b"token"[..]));
    assert_eq!(codec.read_relayed("answer", &sealed), Err(Undecodable::Forged));
}

#[test]
fn a_life_has_twelve_characters() {
    let life = Incarnation::unnamed();
    assert_eq!(life.to_string().len(), 12);
    assert_eq!(read_life(&life.to_string()), Ok(life));
    for text in ["", "AAAA", "AAAAAAAAAAA=", "AAAAAAAAAAAAA"] {
        assert_eq!(read_life(text), Err(Undecodable::Forged), "{text}");
    }
}

#[test]
fn a_node_writes_the_newest_version_that_all_read() {
    // A program that knows a version more than this one.
    let newer = Codec { newest: NEWEST + 1, ..codec(true) };
    let operation = || {
        let tag = Tag { life: Incarnation::from_bytes([1; Incarnation::BYTES]), number: 1 };
        let operation = Operation::Lift { id: RevocationId::new("id").expect("it is an id"), by: None };
        newer.operation(SUBJECT, Epoch(1), &Shared { tag, revision: 1, operation })
    };
    let message = Direct::Missing { life: Incarnation::from_bytes([1; Incarnation::BYTES]), after: 1 };
    let is_read =
        |bytes: &[u8]| matches!(codec(true).stored(SUBJECT, 1, 1, bytes).content, Content::Operation(_));
    assert!(is_read(&operation()), "before it knows the others");
    newer.write_for([NEWEST + 1, NEWEST, NEWEST + 2].into_iter());
    assert!(is_read(&operation()), "one of them is of this version");
    assert_eq!(codec(true).read_direct(None, &newer.direct(None, Epoch(1), &message)), Ok(message.clone()));
    newer.write_for([NEWEST + 1, NEWEST + 2].into_iter());
    assert_eq!(codec(true).stored(SUBJECT, 1, 1, &operation()).content, Content::Newer);
    assert!(matches!(newer.stored(SUBJECT, 1, 1, &operation()).content, Content::Operation(_)));
    let direct = newer.direct(None, Epoch(1), &message);
    assert_eq!(codec(true).read_direct(None, &direct), Err(Undecodable::Newer));
    newer.write_for([0].into_iter());
    assert!(is_read(&operation()), "not older than it can");
}

/// An older node would take it for one of the tokens of all issuers.
#[test]
fn an_operation_with_an_issuer_is_not_read_by_a_program_that_knows_none() {
    let (ours, older) = (codec(true), Codec { newest: WITH_ISSUERS - 1, ..codec(true) });
    ours.write_for([NEWEST, WITH_ISSUERS - 1].into_iter());
    let mut shared = example();
    let is_read = |shared: &Shared| {
        let stored = older.stored(SUBJECT, 1, 1, &ours.operation(SUBJECT, Epoch(1), shared)).content;
        let direct =
            older.read_direct(None, &ours.direct(None, Epoch(1), &Direct::Operation(shared.clone())));
        assert_eq!(stored == Content::Newer, direct == Err(Undecodable::Newer));
        stored == Content::Operation(shared.clone())
    };
    assert!(is_read(&shared), "others are");
    let Operation::Revoke(revocation) = &mut shared.operation else { unreachable!("it revokes") };
    revocation.selector.issuer = Some("https://id.example".into());
    assert!(!is_read(&shared));
    let own = ours.stored(SUBJECT, 1, 1, &ours.operation(SUBJECT, Epoch(1), &shared)).content;
    assert_eq!(own, Content::Operation(shared));
}

#[test]
fn a_beat_of_a_newer_program_is_read_and_says_what_it_reads() {
    let newer = Codec { newest: NEWEST + 1, ..codec(true) };
    let subject = "rig.c.s.beat.a";
    let old = codec(true);
    let beat = || {
        let tree = beat().new_tree(&mut proptest::test_runner::TestRunner::deterministic());
        tree.expect("a beat").current()
    };
    let Content::Beat(read) = old.stored(subject, 1, 1, &newer.beat(subject, Epoch(1), &beat())).content
    else {
        panic!("it is not read");
    };
    assert_eq!(read, Beat { version: NEWEST + 1, ..beat() });
}
