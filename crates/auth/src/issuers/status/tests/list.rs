//! What a list says, and what is no list.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use flate2::Compression;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::list::{ListFlaw, MAX_UNPACKED, StatusList};
use super::{claims_of, claims_of_text, encoded, list, packed};

fn statuses(list: &StatusList) -> Vec<u8> {
    (0..list.entries()).map(|index| list.get(index).unwrap()).collect()
}

fn parse_bytes(packed: &[u8]) -> Result<StatusList, ListFlaw> {
    StatusList::parse(&claims_of_text(1, &URL_SAFE_NO_PAD.encode(packed)))
}

/// The examples of the draft, section 4.2.
#[test]
fn i38_the_vectors_of_the_draft() {
    let list = StatusList::parse(&claims_of_text(1, "eNrbuRgAAhcBXQ")).unwrap();
    assert_eq!(statuses(&list), [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1]);
    let list = StatusList::parse(&claims_of_text(2, "eNo76fITAAPfAgc")).unwrap();
    assert_eq!(statuses(&list), [1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3]);
    for at in [12, 13, u64::from(u32::MAX), u64::MAX / 2, u64::MAX] {
        assert_eq!(list.get(at), None, "{at}");
    }
}

/// Lists as large as those of the draft, appendix C.
#[test]
fn a_million_statuses_of_each_size() {
    for bits in [1, 2, 4, 8] {
        let most = u8::MAX >> (8 - bits);
        let mut expected = vec![0; 1 << 20];
        for (number, at) in [0, 1993, 25460, 159_495, 495_669, 924_445, 1_030_203, 1_030_204, 1_048_575]
            .into_iter()
            .enumerate()
        {
            expected[at] = (number as u8 * 29 % most).max(1);
        }
        let list = list(bits, &expected);
        assert_eq!(list.entries(), 1 << 20, "{bits} bits");
        assert!(statuses(&list) == expected, "{bits} bits");
        assert_eq!(list.get(1 << 20), None, "{bits} bits");
    }
}

/// Each level has a first byte of its own.
#[test]
fn every_level_of_compression_is_read() {
    use std::io::Write;
    for level in 0..=9 {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(&[0xb9, 0xa3]).unwrap();
        let list = parse_bytes(&encoder.finish().unwrap()).unwrap();
        assert_eq!(list.entries(), 16, "level {level}");
    }
}

#[test]
fn what_is_no_list_is_refused() {
    let good = "eNrbuRgAAhcBXQ";
    let with_list = |list: Value| json!({ "status_list": list }).as_object().unwrap().clone();
    let of_bits = |bits: Value| claims_of_text(bits, good);
    let of_text = |text: &str| claims_of_text(1, text);
    for (claims, flaw) in [
        (Map::new(), ListFlaw::NoList),
        (with_list(json!(null)), ListFlaw::NoList),
        (with_list(json!([1, good])), ListFlaw::NoList),
        (with_list(json!({"lst": good})), ListFlaw::Bits),
        (of_bits(json!(0)), ListFlaw::Bits),
        (of_bits(json!(3)), ListFlaw::Bits),
        (of_bits(json!(16)), ListFlaw::Bits),
        (of_bits(json!(257)), ListFlaw::Bits),
        (of_bits(json!(-1)), ListFlaw::Bits),
        (of_bits(json!("1")), ListFlaw::Bits),
        (of_bits(json!(1.5)), ListFlaw::Bits),
        (with_list(json!({"bits": 1})), ListFlaw::Text),
        (with_list(json!({"bits": 1, "lst": [1, 2]})), ListFlaw::Text),
        (of_text(&URL_SAFE.encode(packed(&[7; 6]))), ListFlaw::Text),
        (of_text(&STANDARD_NO_PAD.encode([0x78, 0xda, 0xff, 0xfb, 0xff])), ListFlaw::Text),
        (of_text("eNrbuRgA AhcBXQ"), ListFlaw::Text),
        (of_text(""), ListFlaw::Incomplete),
        (of_text("eNo"), ListFlaw::Incomplete),
        (of_text("H4sIAAAAAAAC_wMAAAAAAAAAAAA"), ListFlaw::Zlib),
    ] {
        assert_eq!(StatusList::parse(&claims).unwrap_err(), flaw, "{claims:?}");
    }
}

#[test]
fn a_list_that_is_cut_off_or_goes_on_is_refused() {
    let bytes = packed(&(0..=255).cycle().take(40_000).collect::<Vec<u8>>());
    assert!(parse_bytes(&bytes).is_ok());
    for length in 0..bytes.len() {
        assert_eq!(parse_bytes(&bytes[..length]), Err(ListFlaw::Incomplete), "{length} bytes");
    }
    let further = [&bytes[..], &[0]].concat();
    assert_eq!(parse_bytes(&further), Err(ListFlaw::Trailing));
    assert_eq!(parse_bytes(&[&bytes[..], &bytes[..]].concat()), Err(ListFlaw::Trailing));
}

#[test]
fn a_list_whose_checksum_differs_is_refused() {
    let mut bytes = packed(&[0xb9, 0xa3]);
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(parse_bytes(&bytes), Err(ListFlaw::Zlib));
}

#[test]
fn a_list_without_statuses_has_none() {
    let list = list(1, &[]);
    assert_eq!((list.entries(), list.get(0), list.size()), (0, None, 0));
}

#[test]
fn i38_a_list_is_read_up_to_its_limit() {
    let largest = StatusList::parse(&claims_of(8, &vec![0; MAX_UNPACKED])).unwrap();
    assert_eq!((largest.entries(), largest.size()), (MAX_UNPACKED as u64, MAX_UNPACKED));
    assert_eq!(largest.get(MAX_UNPACKED as u64 - 1), Some(0));
    let larger = claims_of(8, &vec![0; MAX_UNPACKED + 1]);
    assert_eq!(StatusList::parse(&larger).unwrap_err(), ListFlaw::TooLarge);
    // 64 MiB of zeros.
    let bomb = claims_of(1, &vec![0; 64 << 20]);
    assert!(bomb["status_list"]["lst"].as_str().unwrap().len() < 90_000);
    assert_eq!(StatusList::parse(&bomb).unwrap_err(), ListFlaw::TooLarge);
}

#[test]
fn a_list_takes_no_more_memory_than_it_has_bytes() {
    for length in [1, 100, 16_383, 16_384, 16_385, 1_000_000] {
        let list = StatusList::parse(&claims_of(1, &vec![0x5a; length])).unwrap();
        assert!(list.size() < length + (16 << 10), "{} for {length}", list.size());
        assert_eq!(list.get(8 * length as u64 - 1), Some(0));
        assert_eq!(list.get(8 * length as u64 - 2), Some(1));
        assert_eq!(list.get(8 * length as u64), None);
    }
}

#[test]
fn nothing_of_a_list_is_shown() {
    assert_eq!(format!("{:?}", list(1, &[1; 8])), "StatusList { bits: 1, len: 1, .. }");
}

proptest! {
    #[test]
    fn every_status_is_read_back(bits in 0_u8..4, statuses in vec(any::<u8>(), 0..70_000)) {
        let bits = 1 << bits;
        let statuses: Vec<u8> = statuses.iter().map(|status| status & (u8::MAX >> (8 - bits))).collect();
        let list = list(bits, &statuses);
        let in_a_byte = usize::from(8 / bits);
        prop_assert_eq!(list.entries() as usize, statuses.len().next_multiple_of(in_a_byte));
        for (index, status) in statuses.iter().enumerate() {
            prop_assert_eq!(list.get(index as u64), Some(*status));
        }
        for index in list.entries()..list.entries() + 20 {
            prop_assert_eq!(list.get(index), None);
        }
    }

    #[test]
    fn no_bytes_are_read_as_more_than_they_are(bytes in vec(any::<u8>(), 0..200), at in 0_usize..200, with: u8) {
        let mut packed = packed(&bytes);
        let at = at % packed.len();
        packed[at] = with;
        if let Ok(list) = parse_bytes(&packed) {
            // The checksum holds: what was changed says the same, such as the level.
            prop_assert_eq!(self::statuses(&list), self::statuses(&super::list(8, &bytes)).iter()
                .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_encoder_of_the_tests_is_the_draft_s(bits in 0_u8..4, statuses in vec(any::<u8>(), 1..100)) {
        let bits = 1 << bits;
        let statuses: Vec<u8> = statuses.iter().map(|status| status & (u8::MAX >> (8 - bits))).collect();
        let number = encoded(bits, &statuses).iter().rev().fold(String::new(), |all, byte| all + &format!("{byte:08b}"));
        let digits: Vec<_> = number.as_bytes().rchunks(usize::from(bits)).map(|chunk| std::str::from_utf8(chunk).unwrap()).collect();
        for (index, status) in statuses.iter().enumerate() {
            prop_assert_eq!(u8::from_str_radix(digits[index], 2).unwrap(), *status);
        }
    }
}
