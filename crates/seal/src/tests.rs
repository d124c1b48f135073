use proptest::prelude::*;

use super::*;

fn random_key(purpose: Purpose) -> Seal {
    Seal::new(None, purpose, Incarnation::unnamed())
}

fn with_cookie(purpose: Purpose, node: Incarnation) -> Seal {
    Seal::new(Some("cookie"), purpose, node)
}

#[test]
fn a_token_names_its_number_and_its_node() {
    let seal = random_key(Purpose::Connection);
    let token = seal.seal(7);
    assert_ne!(token, seal.seal(7));
    assert_eq!(seal.open(&token), Ok(Opened { node: seal.node(), number: 7 }));
}

#[test]
fn any_changed_character_is_refused() {
    let seal = random_key(Purpose::Correlation);
    let token = seal.seal(7);
    for at in 0..token.len() {
        let mut forged = token.clone().into_bytes();
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        let opened = seal.open(&String::from_utf8(forged).unwrap());
        assert_eq!(opened, Err(BrokenSeal::Forged), "byte {at}");
    }
}

#[test]
fn a_token_fits_a_path_a_query_and_a_cookie_as_it_is() {
    let seal = random_key(Purpose::Correlation);
    for number in 0..200 {
        let token = seal.seal(number);
        assert_eq!(token.len(), 60);
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        assert!(token.bytes().all(unreserved), "{token}");
    }
}

#[test]
fn f53_a_token_for_one_page_is_none_for_another() {
    let seal = random_key(Purpose::Connection);
    let token = seal.seal_for(7, b"http://a");
    assert_eq!(seal.open_for(&token, b"http://a").map(|opened| opened.number), Ok(7));
    assert_eq!(seal.open_for(&token, b"http://b"), Err(BrokenSeal::Forged));
    assert_eq!(seal.open(&token), Err(BrokenSeal::Forged));
    assert_eq!(seal.open_for(&seal.seal(7), b"http://a"), Err(BrokenSeal::Forged));
}

#[test]
fn a_token_of_another_purpose_is_refused() {
    let node = Incarnation::unnamed();
    let token = with_cookie(Purpose::Connection, node).seal(7);
    assert_eq!(with_cookie(Purpose::Correlation, node).open(&token), Err(BrokenSeal::Forged));
}

#[test]
fn d13_without_a_cookie_the_key_is_random() {
    let opened = |cookie| {
        let node = Incarnation::unnamed();
        let [ours, theirs] = [(), ()].map(|()| Seal::new(cookie, Purpose::Connection, node));
        theirs.open(&ours.seal(7)).map(|opened| opened.number)
    };
    assert_eq!(opened(None), Err(BrokenSeal::Forged));
    assert_eq!(opened(Some("cookie")), Ok(7));
}

#[test]
fn another_node_and_an_earlier_life_are_distinguished() {
    let [earlier, now] = [(), ()].map(|()| with_cookie(Purpose::Correlation, Incarnation::of("a")));
    let opened = now.open(&earlier.seal(7)).unwrap();
    assert_eq!(opened, Opened { node: earlier.node(), number: 7 });
    assert_ne!(opened.node, now.node());
    assert!(opened.node.is_same_node(now.node()));

    let other = with_cookie(Purpose::Correlation, Incarnation::of("b"));
    assert!(!now.open(&other.seal(7)).unwrap().node.is_same_node(now.node()));
}

#[test]
fn without_a_name_an_earlier_life_is_another_node() {
    let [earlier, now] = [(), ()].map(|()| Incarnation::unnamed());
    assert!(!earlier.is_same_node(now));
}

#[test]
fn d23_short_and_broken_tokens_are_refused() {
    let seal = random_key(Purpose::Correlation);
    for token in ["abc", "x", "%%", "é", &seal.seal(7)[..59], "a+b/"] {
        assert_eq!(seal.open(token), Err(BrokenSeal::NotBase64), "{token}");
    }
    for token in ["", "eHh4", &"eHh4".repeat(20), &"A".repeat(4096), &seal.seal(7)[..56]] {
        assert_eq!(seal.open(token), Err(BrokenSeal::Forged), "{token}");
    }
}

proptest! {
    #[test]
    fn what_is_sealed_opens_and_nothing_else(
        number: u64, bound_to: Vec<u8>, other: Vec<u8>, at in 0..45_usize, bit in 0..8_u32,
    ) {
        let seal = random_key(Purpose::Connection);
        let token = seal.seal_for(number, &bound_to);
        prop_assert_eq!(seal.open_for(&token, &bound_to), Ok(Opened { node: seal.node(), number }));
        if other != bound_to {
            prop_assert_eq!(seal.open_for(&token, &other), Err(BrokenSeal::Forged));
        }
        let mut bytes = URL_SAFE.decode(&token).unwrap();
        bytes[at] ^= 1 << bit;
        prop_assert_eq!(seal.open_for(&URL_SAFE.encode(&bytes), &bound_to), Err(BrokenSeal::Forged));
        bytes.truncate(at);
        prop_assert_eq!(seal.open_for(&URL_SAFE.encode(&bytes), &bound_to), Err(BrokenSeal::Forged));
    }

    #[test]
    fn a_life_is_read_as_it_is_written(bytes: [u8; Incarnation::BYTES]) {
        let life = Incarnation::from_bytes(bytes);
        let text = life.to_string();
        prop_assert_eq!(life.to_bytes(), bytes);
        prop_assert!(text.len() == 12 && !text.contains(['+', '/', '=']), "{}", text);
        prop_assert_eq!(text.parse(), Ok(life));
        prop_assert_eq!(format!("{text}A").parse::<Incarnation>(), Err(InvalidLife));
        prop_assert_eq!(text[..11].parse::<Incarnation>(), Err(InvalidLife));
    }

    #[test]
    fn no_text_opens(text: String) {
        prop_assert!(random_key(Purpose::Connection).open(&text).is_err());
    }
}
