use proptest::prelude::*;

use super::*;

fn ids() -> Ids {
    Ids::new(&IdKey::of_cookie("cookie"), Series(7))
}

#[test]
fn an_id_names_its_position() {
    let ids = ids();
    for position in [0, 1, 255, 1 << 32, EventPosition::MAX.0].map(EventPosition) {
        let id = ids.text(position);
        assert_eq!(ids.read(id.as_str()), Ok(position));
        assert!(id.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    }
}

/// Ids are stored by clients, so the format must not change by accident.
#[test]
fn ids_are_the_same_in_each_version() {
    assert_eq!(ids().text(EventPosition(1)).as_str(), "0rDeUPg_cvKlMbLLZpKYjQ");
}

#[test]
fn one_position_has_one_id_and_neighbours_have_nothing_in_common() {
    let ids = ids();
    let [one, again, next] = [1, 1, 2].map(|position| ids.text(EventPosition(position)));
    assert_eq!(one, again);
    let alike = one.as_str().bytes().zip(next.as_str().bytes()).filter(|(one, next)| one == next);
    assert!(alike.count() < 8, "{one} {next}");
}

#[test]
fn r12_an_id_of_another_series_names_that_series() {
    let key = IdKey::of_cookie("cookie");
    let id = Ids::new(&key, Series(8)).text(EventPosition(5));
    assert_eq!(ids().read(id.as_str()), Err(InvalidId::Elsewhere(Series(8))));
    let stored = Ids::new(&IdKey::from_bytes(key.to_bytes()), Series(8));
    assert_eq!(stored.read(id.as_str()), Ok(EventPosition(5)));
}

#[test]
fn r10_texts_that_are_not_ids_are_unknown() {
    let ids = ids();
    let id = ids.text(EventPosition(5)).to_string();
    let long = "A".repeat(10_240);
    let mut texts = vec!["", "\0", "earliest", "é", "%C3%A9", "0", "5", "null", &long];
    let changed = [
        id[1..].to_owned(),
        format!("{id}="),
        format!("{id}A"),
        format!("{id}\0"),
        format!(" {id}"),
        format!("{}\0", &id[1..]),
        format!("{}é", &id[2..]),
        format!("{}+", &id[1..]),
        "é".repeat(11),
        "\0".repeat(22),
        "urn:uuid:0b2d52f6-9d12-4dcb-8a2b-8a6c1d9f5c1e".to_owned(),
    ];
    texts.extend(changed.iter().map(String::as_str));
    texts.extend((0..id.len()).map(|end| &id[..end]));
    for text in texts {
        assert_eq!(ids.read(text), Err(InvalidId::Unknown), "{text:?}");
    }
}

#[test]
fn r22_an_id_of_another_key_is_none_of_ours() {
    let other = Ids::new(&IdKey::random(), Series(7));
    let known = (0..2_000).filter(|position| {
        let id = other.text(EventPosition(*position));
        let read = ids().read(id.as_str());
        assert!(read.is_err(), "{id}");
        read != Err(InvalidId::Unknown)
    });
    // One in 65,536 looks like an id of another series.
    assert!(known.count() < 5);
}

#[test]
fn a_position_beyond_the_greatest_has_no_id_that_can_be_read() {
    let ids = ids();
    let id = ids.text(EventPosition::MAX.next());
    assert_eq!(ids.read(id.as_str()), Err(InvalidId::Unknown));
}

#[test]
fn debug_shows_no_key() {
    let key = IdKey::from_bytes([0xAB; BLOCK]);
    let shown = format!("{key:?} {:?}", Ids::new(&key, Series(7)));
    assert_eq!(shown, "IdKey { .. } Ids { series: Series(7), .. }");
}

proptest! {
    #[test]
    fn r10_no_text_is_taken_for_an_id_of_this_series(text in ".{0,40}|[A-Za-z0-9_-]{22}|[A-Za-z0-9_-]{21}[AQgw]") {
        prop_assert!(ids().read(&text).is_err());
    }

    #[test]
    fn any_changed_character_is_refused(position in 0..=EventPosition::MAX.0, at in 0..22usize, to in "[A-Za-z0-9_-]") {
        let id = ids().text(EventPosition(position)).to_string();
        let mut forged = id.clone();
        forged.replace_range(at..=at, &to);
        prop_assert_eq!(ids().read(&forged).is_ok(), forged == id);
    }
}

#[test]
fn an_id_is_base64() {
    for _ in 0..1000 {
        let block = fastrand::u128(..);
        let text = base64url(block);
        assert_eq!(text, URL_SAFE_NO_PAD.encode(block.to_be_bytes()).as_bytes(), "{block:x}");
    }
    assert_eq!(base64url(u128::MAX), *b"_____________________w");
}
