//! The contents of the audit log, and the detection of changes.

use std::fs;

use super::*;
use crate::{AuditError, committed_audit_head, verify};

fn filled(audit_key: Option<&str>) -> (Temporary, String) {
    let folder = Temporary::new();
    let journal =
        Journal::open(&Config { audit_key: audit_key.map(str::to_owned), ..folder.config() }).unwrap();
    append(&journal, &Revocation { reason: Some("a \"reason\"\n".into()), ..revocation("alice", MINUTE) });
    journal.lift(&id("alice"), Some("ops")).unwrap();
    append(&journal, &Revocation::blacklist(&"bob".parse().unwrap(), MINUTE));
    drop(journal);
    let log = fs::read_to_string(folder.file("audit.log")).unwrap();
    (folder, log)
}

#[test]
fn every_request_is_a_line_and_the_chain_holds() {
    let (_folder, log) = filled(None);
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let actions: Vec<_> = lines.iter().map(|line| line["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["open", "revoke", "lift", "revoke"]);
    assert_eq!((&lines[1]["value"], &lines[1]["mode"]), (&"alice".into(), &"revoke".into()));
    assert_eq!((&lines[1]["validityInSeconds"], &lines[1]["reason"]), (&60.into(), &"a \"reason\"\n".into()));
    assert_eq!((&lines[2]["by"], &lines[2]["seq"]), (&"ops".into(), &3.into()));
    assert!(lines[1]["time"].as_str().unwrap().ends_with('Z'));
    let verified = verify(log.as_bytes(), None, false).unwrap();
    assert_eq!((verified.lines, verified.first), (4, 1));
    assert_eq!(lines[3]["hash"], verified.head);
}

#[test]
fn f35_a_line_commands_no_terminal() {
    const NAME: &str = "a\u{9b}31m\u{85}\u{2028}\u{202e}\u{7f}\u{1b}[2J";
    let folder = Temporary::new();
    let journal = Journal::open(&folder.config()).unwrap();
    append(&journal, &revocation(NAME, MINUTE));
    drop(journal);
    let log = fs::read_to_string(folder.file("audit.log")).unwrap();
    assert!(!log.chars().any(|letter| letter != '\n' && (letter.is_control() || letter > '~')), "{log:?}");
    let line: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!(line["value"], NAME);
    assert_eq!(verify(log.as_bytes(), None, false).unwrap().lines, 2);
}

#[test]
fn with_a_key_no_name_is_readable() {
    let (_folder, log) = filled(Some("a-test-key-and-nothing-else"));
    assert!(log.contains("hmac-sha256:"), "{log}");
    assert!(!log.contains("bob") && !log.contains("\"value\":\"alice\""), "{log}");
    assert!(verify(log.as_bytes(), None, false).is_ok());
}

#[test]
fn a_change_is_found_wherever_it_is() {
    let (_folder, log) = filled(None);
    let lines: Vec<_> = log.lines().collect();
    let verify_lines = |lines: &[&str]| {
        verify(lines.iter().map(|l| format!("{l}\n")).collect::<String>().as_bytes(), None, false)
    };
    let changed = lines[1].replace("alice", "carol");
    assert!(matches!(verify_lines(&[lines[0], &changed, lines[2]]), Err(AuditError::Line { line: 2, .. })));
    assert!(matches!(verify_lines(&[lines[0], lines[2], lines[3]]), Err(AuditError::Chain { line: 2 })));
    assert!(matches!(verify_lines(&[lines[0], lines[2], lines[1]]), Err(AuditError::Chain { line: 2 })));
    assert!(matches!(verify_lines(&[lines[0], lines[1], lines[1]]), Err(AuditError::Chain { line: 3 })));
    assert_eq!(verify_lines(&lines[1..]).unwrap().first, 2, "earlier lines may have been moved away");
    for torn in 1..lines[0].len() {
        assert!(
            matches!(
                verify(&lines[0].as_bytes()[..torn], None, false),
                Err(AuditError::Line { line: 1, .. })
            ),
            "{torn}"
        );
    }
    let mut bytes = log.clone().into_bytes();
    for at in 0..bytes.len() - 1 {
        bytes[at] ^= 1;
        assert!(verify(&bytes[..], None, false).is_err(), "byte {at}");
        bytes[at] ^= 1;
    }
}

#[test]
fn an_incomplete_last_line_is_removed_and_the_chain_continues() {
    let (folder, log) = filled(None);
    fs::write(folder.file("audit.log"), format!("{log}{}", &log.lines().next().unwrap()[..40])).unwrap();
    append(&folder.open(), &revocation("dave", MINUTE));
    let log = fs::read(folder.file("audit.log")).unwrap();
    assert_eq!(verify(&log[..], None, false).unwrap().lines, 6);
}

#[test]
fn lines_that_are_missing_at_the_end_show_in_the_chain() {
    let (folder, log) = filled(None);
    let known = committed_audit_head(&folder.config().folder).unwrap();
    assert!(verify(log.as_bytes(), Some(&known), false).is_ok());
    let (without_last, _) = log.trim_end().rsplit_once('\n').unwrap();
    fs::write(folder.file("audit.log"), format!("{without_last}\n")).unwrap();
    let cut_off = format!("{without_last}\n");
    let error = verify(cut_off.as_bytes(), Some(&known), false).unwrap_err();
    assert!(matches!(error, AuditError::CutOff { last: 3, known: 4 }), "{error}");
    assert!(verify(cut_off.as_bytes(), Some(&known), true).is_ok(), "the rest may be in another file");
    append(&folder.open(), &revocation("dave", MINUTE));
    let log = fs::read(folder.file("audit.log")).unwrap();
    assert!(matches!(verify(&log[..], None, false), Err(AuditError::Chain { line: 4 })));
}

#[test]
fn a_log_that_was_moved_away_continues_in_a_new_file() {
    let (folder, old) = filled(None);
    fs::remove_file(folder.file("audit.log")).unwrap();
    append(&folder.open(), &revocation("dave", MINUTE));
    let new = fs::read_to_string(folder.file("audit.log")).unwrap();
    let (before, after) =
        (verify(old.as_bytes(), None, false).unwrap(), verify(new.as_bytes(), None, false).unwrap());
    assert_eq!(after.first, 5);
    assert!(after.follows(&before) && !before.follows(&after));
    assert_eq!(verify(format!("{old}{new}").as_bytes(), None, false).unwrap().lines, 6);
}

#[test]
fn a_chain_that_was_made_anew_is_not_the_one_that_was_committed() {
    let (folder, _) = filled(None);
    let known = committed_audit_head(&folder.config().folder).unwrap();
    let (_other, anew) = filled(None);
    assert!(verify(anew.as_bytes(), None, false).is_ok(), "it is whole in itself");
    let error = verify(anew.as_bytes(), Some(&known), false).unwrap_err();
    assert!(matches!(error, AuditError::Other { line: 4 }), "{error}");
}
