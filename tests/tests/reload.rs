//! Reloading of files while the gateway runs, and the effects of signals.

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use jsonwebtoken::{Algorithm, EncodingKey};
use rig_tests::*;
use serde_json::{Value, json};

/// Time limit within which a changed file is read again.
const SOON: Duration = Duration::from_secs(5);

fn write(path: &str, text: impl AsRef<[u8]>) {
    std::fs::write(path, text).expect("a file");
}

/// Returns a token that is signed with this secret.
fn token_by(secret: &str) -> String {
    signed(
        &claims("s", "bob"),
        Algorithm::HS256,
        &EncodingKey::from_secret(secret.as_bytes()).expect("a key"),
    )
}

fn logged(gateway: &Gateway, text: &str) {
    eventually(text, || gateway.log().contains(text).then_some(()));
}

/// Returns definitions with one secured endpoint.
fn secured(service: &Upstream) -> String {
    let endpoints = json!([{ "id": "e", "method": "GET", "path_regex": "/x", "secured": true }]);
    json!([api_of("a", service.address(), endpoints)]).to_string()
}

#[test]
fn f12_the_key_of_tokens_changes_with_its_file_and_no_token_is_remembered() {
    let (folder, service) = (Folder::new(), Upstream::start());
    for version in ["..1", "..2"] {
        std::fs::create_dir(folder.join(version)).expect("a folder");
        write(&folder.join(&format!("{version}/key")), format!("secret of version {version}\n"));
    }
    symlink("..1", folder.join("..data")).expect("a link");
    symlink("..data/key", folder.join("key")).expect("a link");
    let key = folder.join("key");
    for setting in ["JWT_SECRET_KEY", "JWT_SECRET_KEY_FILE"] {
        drop(std::fs::remove_file(folder.join("..data")));
        symlink("..1", folder.join("..data")).expect("a link");
        let gateway = Gateway::start_bare(&[(setting, &key), ("PROXY_CONFIG_FILE", &secured(&service))]);
        let tokens = ["..1", "..2"].map(|version| token_by(&format!("secret of version {version}")));
        let statuses = || {
            tokens.clone().map(|token| {
                let proxied = gateway.ask(&Request::get("/x").bearer(&token)).status;
                let polled = Request::get("/_rig/v1/connection/longpolling").bearer(&token);
                (proxied, gateway.ask(&polled).status)
            })
        };
        assert_eq!(statuses(), [(200, 200), (401, 400)], "{setting}");
        let began = Instant::now();
        symlink("..2", folder.join("..tmp")).expect("a link");
        std::fs::rename(folder.join("..tmp"), folder.join("..data")).expect("a link in its place");
        logged(&gateway, "key of tokens reloaded");
        assert!(began.elapsed() <= SOON, "{:?}", began.elapsed());
        // The first token was verified before and cached.
        assert_eq!(statuses(), [(401, 400), (200, 200)], "{setting}");
    }
}

#[test]
fn f12_a_key_that_cannot_be_used_leaves_the_old_one() {
    let folder = Folder::new();
    let key = folder.join("key");
    write(&key, "secret of version 1");
    let gateway = Gateway::start_bare(&[("JWT_SECRET_KEY_FILE", &key)]);
    write(&key, "-----BEGIN PUBLIC KEY-----\n");
    logged(&gateway, "key of tokens not reloaded, the old one stays");
    assert!(!gateway.log().contains("secret of version"), "{}", gateway.log());
    let poll = |secret: &str| {
        let request = Request::get("/_rig/v1/connection/longpolling").bearer(&token_by(secret));
        gateway.ask(&request).status
    };
    assert_eq!(poll("secret of version 1"), 200);
    write(&key, "secret of version 2");
    logged(&gateway, "key of tokens reloaded");
    assert_eq!((poll("secret of version 1"), poll("secret of version 2")), (400, 200));
}

#[test]
fn f12_definitions_change_with_their_file_and_what_the_internal_port_changed_stays() {
    let folder = Folder::new();
    let file = folder.join("apis.json");
    let list = |names: [(&str, &str); 3]| json!(names.map(|(id, name)| definition(id, name))).to_string();
    write(&file, list([("a", "one"), ("b", "one"), ("c", "one")]));
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &file)]);
    let put = Request::put_json("/v3/apis/b", definition("b", "put").to_string());
    assert_eq!(gateway.ask_internal(&put).status, 200);
    assert_eq!(gateway.ask_internal(&Request::new("DELETE", "/v3/apis/c")).status, 204);
    post_api(&gateway, &definition("p", "posted"));
    let began = Instant::now();
    write(&file, list([("b", "two"), ("c", "two"), ("d", "two")]));
    eventually("the new file", || (api_names(&gateway) == ["b=put", "d=two", "p=posted"]).then_some(()));
    assert!(began.elapsed() <= SOON, "{:?}", began.elapsed());
    // One fault prevents all changes.
    let mut wrong: Value = json!([definition("d", "three"), definition("e", "three")]);
    wrong[1]["proxy"]["port"] = json!(0);
    write(&file, wrong.to_string());
    logged(&gateway, "/1/proxy/port: must be between 1 and 65535");
    assert_eq!(api_names(&gateway), ["b=put", "d=two", "p=posted"]);
}

#[test]
fn f32_signals_do_not_end_the_node_and_hang_up_reads_again() {
    let (folder, service) = (Folder::new(), Upstream::start());
    let (apis, key) = (folder.join("apis.json"), folder.join("key"));
    write(&apis, secured(&service));
    write(&key, KEY);
    let mut gateway = Gateway::start_bare(&[("PROXY_CONFIG_FILE", &apis), ("JWT_SECRET_KEY_FILE", &key)]);
    for name in ["USR1", "USR2", "ALRM", "IO"] {
        gateway.signal(name);
        logged(&gateway, &format!(r#""signal":"SIG{name}""#));
    }
    gateway.signal("PIPE");
    assert!(gateway.is_healthy());
    gateway.signal("HUP");
    for text in ["key of tokens reloaded", "API definitions reloaded", "change with a restart only"] {
        logged(&gateway, text);
    }
    assert_eq!(gateway.ask(&Request::get("/x").bearer(&token_of("s"))).status, 200);
    write(&apis, "[{]");
    gateway.signal("HUP");
    logged(&gateway, "API definitions not reloaded, the old ones stay");
    assert!(gateway.log().contains("not JSON: key must be a string at line 1 column 3"), "{}", gateway.log());
    assert_eq!(gateway.ask(&Request::get("/x").bearer(&token_of("s"))).status, 200);
    assert!(gateway.is_healthy());
}

#[test]
fn f32_hang_up_reads_the_level_of_the_log_again() {
    let folder = Folder::new();
    let file = folder.join("rig.toml");
    write(&file, "log_level = \"error\"\n");
    // All settings are in the file, since the environment would take precedence.
    let gateway = Gateway::start_by("/usr/bin/env", &["-u", "LOG_LEVEL"], &[("RIG_CONFIG", &file)]);
    assert!(!gateway.log().contains("\"INFO\",\"message\":\"starting\""), "{}", gateway.log());
    write(&file, "log_level = \"info\"\n");
    gateway.signal("HUP");
    logged(&gateway, "change with a restart only");
    write(&file, "log_level = \"loud\"\n");
    gateway.signal("HUP");
    logged(&gateway, "LOG_LEVEL not reloaded: file ");
}

/// Returns what `rig check` reports about a certificate and its key, in settings and in a
/// definition.
fn checked(folder: &Folder, chain: &[u8], key: &str) -> [(bool, String); 2] {
    let files = [folder.join("chain.pem"), folder.join("key.pem")];
    write(&files[0], chain);
    write(&files[1], key);
    let mut api = definition("a", "n");
    api["proxy"] = json!({ "targets": [{ "url": "https://localhost" }], "tls": { "cert_file": files[0], "key_file": files[1] } });
    let list = json!([api]).to_string();
    [vec![("HTTPS_CERTFILE", &files[0]), ("HTTPS_KEYFILE", &files[1])], vec![("PROXY_CONFIG_FILE", &list)]]
        .map(|settings| {
            let mut command = std::process::Command::new(Gateway::binary());
            let output =
                command.arg("check").env_clear().envs(settings).output().expect("rig has been built");
            let told = [&output.stdout[..], &output.stderr[..]].concat();
            (output.status.success(), String::from_utf8(told).expect("UTF-8"))
        })
}

/// Returns a chain of two certificates, its key, and its second certificate alone.
fn made() -> (String, String, String) {
    let mut of_issuer = rcgen::CertificateParams::new(Vec::new()).expect("no names");
    of_issuer.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    of_issuer.distinguished_name.push(rcgen::DnType::CommonName, "an issuer");
    let key = || rcgen::KeyPair::generate().expect("a key");
    let issuer = rcgen::CertifiedIssuer::self_signed(of_issuer, key()).expect("an issuer");
    let (key, params) = (key(), rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name"));
    let leaf = params.signed_by(&key, &issuer).expect("a certificate");
    (leaf.pem() + &issuer.pem(), key.serialize_pem(), issuer.pem())
}

#[test]
fn f33_a_damaged_certificate_is_refused_with_its_line_and_never_skipped() {
    let folder = Folder::new();
    let (chain, key, second) = made();
    let at = 1 + chain.lines().position(|line| line.contains("END")).expect("a block") + 1;
    let line = |number: usize| format!("line {number}: ");
    for (what, text, expected) in [
        (
            "glued",
            chain.replacen("-----END CERTIFICATE-----\n", "-----END CERTIFICATE-----", 1),
            line(at - 1),
        ),
        ("cut", chain[..chain.len() - 60].to_owned(), line(at)),
        ("a line is missing", chain.replacen(chain.lines().nth(at + 1).expect("a line"), "", 1), line(at)),
        ("not Base64", chain.replacen(chain.lines().nth(at).expect("a line"), "!!!", 1), line(at + 1)),
        ("a mark at the start", format!("\u{feff}{chain}"), line(1)),
        ("a mark between", chain.replacen(&second, &format!("\u{feff}{second}"), 1), line(at)),
        ("trusted", chain.replacen(&second, &second.replace(" CERT", " TRUSTED CERT"), 1), line(at)),
        ("dashes", chain.replacen(&second, &second.replacen("-----B", "----B", 1), 1), line(at)),
        (
            "no BEGIN",
            chain.replacen(&second, &second.replacen("-----BEGIN CERTIFICATE-----\n", "", 1), 1),
            line(at),
        ),
        ("another block", chain.replacen(&second, &second.replace("CERTIFICATE", "X509 CRL"), 1), line(at)),
    ] {
        for (valid, told) in checked(&folder, text.as_bytes(), &key) {
            assert!(!valid && told.contains(&expected), "{what}, expected {expected}: {told}");
        }
    }
    // Explanatory text between the blocks and other line ends are not damage.
    let explained =
        chain.replace("-----BEGIN", "Bag Attributes\n    localKeyID: 54 69\nsubject=CN = x\n\n-----BEGIN");
    let together = format!("{chain}{key}");
    for text in [chain.clone(), chain.replace('\n', "\r\n"), explained, together, chain.trim_end().to_owned()]
    {
        for (valid, told) in checked(&folder, text.as_bytes(), &key.replace('\n', "\r\n")) {
            assert!(valid && !told.contains("warning"), "{told}");
        }
    }
}

#[test]
fn f33_a_chain_that_is_none_is_a_warning() {
    let folder = Folder::new();
    let ((chain, key, second), (other, _, third)) = (made(), made());
    let leaf = chain.replacen(&second, "", 1);
    let mut old = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
    (old.not_before, old.not_after) = (rcgen::date_time_ymd(2001, 1, 1), rcgen::date_time_ymd(2002, 1, 1));
    let mut young = old.clone();
    (young.not_before, young.not_after) =
        (rcgen::date_time_ymd(2090, 1, 1), rcgen::date_time_ymd(2091, 1, 1));
    let own = rcgen::KeyPair::generate().expect("a key");
    let alone = |params: rcgen::CertificateParams| params.self_signed(&own).expect("a certificate").pem();
    for (text, key, expected) in [
        // The issuer has the right name, but another key.
        (format!("{leaf}{third}"), &key, "the signatures of the chain do not lead to this certificate"),
        (format!("{leaf}{other}"), &key, "not the certificate of who issued the one before it"),
        (alone(old), &own.serialize_pem(), "line 1: the certificate has expired"),
        (alone(young), &own.serialize_pem(), "line 1: the certificate is not valid yet"),
    ] {
        for (valid, told) in checked(&folder, text.as_bytes(), key) {
            assert!(valid && told.contains("warning") && told.contains(expected), "{expected}: {told}");
        }
    }
    for (valid, told) in checked(&folder, leaf.as_bytes(), &key) {
        assert!(valid && !told.contains("warning"), "a leaf alone is not a broken chain: {told}");
    }
}

#[test]
fn f34_a_key_that_is_not_read_is_named_for_what_it_is() {
    let folder = Folder::new();
    let (chain, key, _) = made();
    let body = key.lines().filter(|line| !line.starts_with('-')).collect::<Vec<_>>().join("\n");
    let older = |kind: &str, cipher: &str| {
        let headers = format!("Proc-Type: 4,ENCRYPTED\nDEK-Info: {cipher},0123456789ABCDEF\n");
        format!("-----BEGIN {kind} PRIVATE KEY-----\n{headers}\n{body}\n-----END {kind} PRIVATE KEY-----\n")
    };
    for (text, expected) in [
        (older("RSA", "DES-EDE3-CBC"), "line 1: the key is encrypted in OpenSSL's older form (DES-EDE3-CBC)"),
        (older("EC", "AES-256-CBC"), "line 1: the key is encrypted in OpenSSL's older form (AES-256-CBC)"),
        (
            key.replace("PRIVATE KEY", "OPENSSH PRIVATE KEY"),
            "a block OPENSSH PRIVATE KEY, where a private key",
        ),
        (format!("{key}{key}"), "a second private key; the first is at line 1"),
        (key.replacen("-----END", "-----end", 1), "no END line"),
    ] {
        for (valid, told) in checked(&folder, chain.as_bytes(), &text) {
            assert!(!valid && told.contains(expected), "{expected}: {told}");
        }
    }
    let [(valid, told), _] = checked(&folder, chain.as_bytes(), &made().1);
    assert!(!valid && told.contains("not the key of the certificate"), "{told}");
}
