//! The settings of the history.

use super::*;

fn bounds(variables: &[(&str, &str)]) -> Result<Option<(Duration, usize, Vec<String>)>, String> {
    let settings = parse(&[], variables)?;
    Ok(settings.history.map(|bounds| (bounds.age, bounds.bytes, bounds.excluded)))
}

#[test]
fn events_are_kept_for_two_minutes_unless_it_is_off() {
    let seconds = |seconds| Ok(Some((Duration::from_secs(seconds), 16 << 20, Vec::new())));
    assert_eq!(bounds(&[]), seconds(120));
    for (text, age) in [("1s", 1), ("90", 90), ("90s", 90), ("5m", 300), ("1d", 86_400), ("24h", 86_400)] {
        assert_eq!(bounds(&[("HISTORY", text)]), seconds(age), "{text}");
    }
    for text in ["off", "OFF"] {
        assert_eq!(bounds(&[("HISTORY", text), ("HISTORY_BYTES", "1MiB")]), Ok(None), "{text}");
    }
    let excluded = vec!["a".to_owned(), "com.example.b".to_owned()];
    let variables = [("HISTORY_BYTES", "64KiB"), ("HISTORY_EXCLUDE", " a ,com.example.b")];
    assert_eq!(bounds(&variables), Ok(Some((Duration::from_secs(120), 64 << 10, excluded))));
    assert_eq!(parse(&["--history", "off"], &[]).unwrap().history.map(|bounds| bounds.age), None);
}

#[test]
fn mistakes_of_the_history_name_their_setting_and_what_is_expected() {
    let time = "expected off, or a time from 1s to 1d, such as 90s, 2m or bare seconds";
    for wrong in ["", "0", "0s", "999ms", "86401", "25h", "on", "none", "2M", "-1s", "2 m"] {
        let expected = format!("environment HISTORY = {wrong:?}: {time}\n");
        assert_eq!(bounds(&[("HISTORY", wrong)]), Err(expected), "{wrong}");
    }
    for wrong in ["", "0", "65535", "65GiB", "16MB", "off"] {
        let told = bounds(&[("HISTORY_BYTES", wrong)]).unwrap_err();
        assert!(told.starts_with(&format!("environment HISTORY_BYTES = {wrong:?}: ")), "{told}");
        assert!(told.contains("from 64KiB to 64GiB"), "{told}");
    }
    let list = "expected event types by commas, such as cursor.moved,prices.tick";
    let long = "x".repeat(1025);
    for (wrong, reason) in [
        (",", "entry 1 is empty"),
        ("a,", "entry 2 is empty"),
        ("a, ,b", "entry 2 is empty"),
        ("a,b\u{7}", "entry 2 has a control character"),
        (&long, "entry 1 is longer than the type of any event"),
    ] {
        let told = bounds(&[("HISTORY_EXCLUDE", wrong)]).unwrap_err();
        assert!(told.starts_with("environment HISTORY_EXCLUDE = "), "{told}");
        assert!(told.ends_with(&format!(": {reason}; {list}\n")), "{told}");
    }
    assert!(bounds(&[("HISTORY_EXCLUDE", &long[1..])]).is_ok());
    // They are checked even if nothing is kept.
    assert!(bounds(&[("HISTORY", "off"), ("HISTORY_EXCLUDE", ",")]).is_err());
}
