//! Settings of the callers of the internal port.

use super::*;

/// A folder with tokens, an issuer, and authorities of client certificates.
struct World {
    folder: Folder,
    variables: Vec<(&'static str, String)>,
}

impl World {
    fn new(test: &str) -> Self {
        let folder = Folder::new(test);
        let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = folder.file("cert.pem", &identity.cert.pem());
        let key = folder.file("key.pem", &identity.signing_key.serialize_pem());
        let issuer = r#"[{"id": "kc", "issuer": "https://id.example", "audience": ["gateway"]}]"#;
        folder.file("a", "token-of-the-caller-a\n");
        let variables = vec![
            ("HTTPS_CERTFILE", certificate.clone()),
            ("HTTPS_KEYFILE", key),
            ("API_CLIENT_CA", certificate),
            ("ISSUERS", issuer.to_owned()),
        ];
        Self { folder, variables }
    }

    fn parse(&self, access: &str) -> Result<Settings, String> {
        let access = access.replace("DIR", self.folder.0.to_str().unwrap());
        let mut variables: Vec<_> =
            self.variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        variables.push(("API_ACCESS", &access));
        parse(&[], &variables).map_err(|told| self.folder.hide(&told))
    }

    /// Returns the mistakes; empty if there is none.
    fn mistakes(&self, access: &str) -> String {
        self.parse(access).err().unwrap_or_default()
    }

    /// Returns the mistakes of one entry with these members beside a name and a right.
    fn mistakes_of(&self, members: &str) -> String {
        self.mistakes(&format!(r#"[{{"name": "n", "rights": ["read"], {members}}}]"#))
    }
}

#[test]
fn callers_prove_who_they_are_in_three_ways() {
    let world = World::new("access-ways");
    let settings = world.parse(
        r#"[
        {"name": "Prometheus", "rights": ["read"], "token_file": "DIR/a"},
        {"name": "ops", "rights": ["read", "revoke"], "issuer": "kc", "claim": "/realm/roles", "value": "ops"},
        {"name": "ci/ä", "rights": ["publish", "admin"], "certificate": "spiffe://example/ci"}]"#,
    );
    let settings = settings.unwrap();
    let shown = format!("{:?}", settings.rooms.admin.access);
    for part in [
        r#"name: "Prometheus", rights: [Read], proof: Token(TokenFile {"#,
        r#"name: "ops", rights: [Read, Revoke], proof: Jwt { issuer: "https://id.example", claim: "/realm/roles", .. }"#,
        r#"name: "ci/ä", rights: [Publish, Admin], proof: Certificate(Uri("spiffe://example/ci"))"#,
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert!(!shown.contains("token-of-the-caller"), "{shown}");
    assert_eq!(settings.ports.internal.http.to_string(), "0.0.0.0:4010", "as with API_TOKEN");
    assert_eq!(settings.warnings, [""; 0]);
    assert!(settings.ports.clients.is_some());
}

#[test]
fn the_settings_file_has_an_array_of_tables() {
    let world = World::new("access-file");
    let entry = format!(
        "[[api_access]]\nname = \"n\"\nrights = [\"read\"]\ntoken_file = {:?}\n",
        world.folder.0.join("a")
    );
    let file = world.folder.file("rig.toml", &entry);
    let access = parse(&[], &[("RIG_CONFIG", &file)]).unwrap().rooms.admin.access;
    assert!(!access.is_open());
    let separate = world.folder.file("access.toml", &entry);
    assert!(!parse(&[], &[("API_ACCESS", &separate)]).unwrap().rooms.admin.access.is_open());
    assert!(parse(&[], &[]).unwrap().rooms.admin.access.is_open());
    let told = parse(&[], &[("RIG_CONFIG", &world.folder.file("no.toml", &entry.replace("read", "raed")))]);
    let told = world.folder.hide(&told.unwrap_err());
    assert_eq!(
        told,
        "file DIR/no.toml api_access[0].rights[0] = \"raed\": expected read, revoke, publish or admin\n"
    );
}

#[test]
fn all_mistakes_of_an_entry_are_told() {
    let world = World::new("access-mistakes");
    assert_eq!(
        world.mistakes("[{}]"),
        "environment api_access[0].name: missing; expected a text of 1 to 64 characters without control characters\n\
         environment api_access[0].rights: missing; expected a list, each read, revoke, publish or admin\n\
         environment api_access[0]: missing: token_file, or issuer with claim and value, or certificate\n"
    );
    for (members, told) in [
        (
            r#""token_file": "DIR/a", "certificate": "a.example""#,
            "environment api_access[0].certificate: token_file is there too: one or the other\n",
        ),
        (
            r#""token_file": "DIR/a", "value": "ops""#,
            "environment api_access[0].value: token_file is there: only tokens of an issuer have claims\n",
        ),
        (
            r#""claim": "/a", "value": 1"#,
            "environment api_access[0].issuer: missing; expected the id of one of the ISSUERS\n",
        ),
        (
            r#""issuer": "other", "claim": "a", "value": []"#,
            "environment api_access[0].issuer = \"other\": expected the id of one of the ISSUERS\n\
             environment api_access[0].claim = \"a\": expected a JSON Pointer (RFC 6901), such as /sid\n\
             environment api_access[0].value: a list; expected a text, a number, true or false\n",
        ),
        (
            r#""issuer": "kc""#,
            "environment api_access[0].claim: missing; expected a JSON Pointer (RFC 6901), such as /sid\n\
             environment api_access[0].value: missing: the value of the claim\n",
        ),
        (
            r#""issuer": "kc", "claim": "/a", "value": """#,
            "environment api_access[0].value = \"\": expected a text, a number, true or false\n",
        ),
        (
            r#""certificate": "10.0.0.1""#,
            "environment api_access[0].certificate = \"10.0.0.1\": an IP address; expected a DNS name, a URI or an email address\n",
        ),
        (
            r#""certificate": "*.example""#,
            "environment api_access[0].certificate = \"*.example\": has a *: names are compared as a whole\n",
        ),
        (r#""token_file": 7"#, "environment api_access[0].token_file: expected a file that can be read\n"),
        (
            r#""token_file": "a-token-in-its-place""#,
            "environment api_access[0].token_file: names a file, which cannot be used: No such file or directory (os error 2)\n",
        ),
        (
            r#""token_file": "DIR/a", "tokn": 1"#,
            "environment api_access[0].tokn: unknown member; did you mean token_file?\n",
        ),
    ] {
        assert_eq!(world.mistakes_of(members), told, "{members}");
    }
    world.folder.file("short", "too-short\n");
    let told = world.mistakes_of(r#""token_file": "DIR/short""#);
    assert!(told.starts_with("environment api_access[0].token_file: expected at least 16 of the"), "{told}");
    assert!(!told.contains("too-short"), "{told}");
}

#[test]
fn names_and_rights_have_bounds() {
    let world = World::new("access-bounds");
    let named = |name: &str| {
        let name = serde_json::to_string(name).unwrap();
        world.mistakes(&format!(r#"[{{"name": {name}, "rights": ["read"], "token_file": "DIR/a"}}]"#))
    };
    assert_eq!([named("n"), named(&"ä".repeat(64))], [""; 2]);
    for wrong in ["", "a\nb", &"a".repeat(65)] {
        assert!(named(wrong).contains("api_access[0].name"), "{wrong:?}");
    }
    let rights = |rights: &str| {
        world.mistakes(&format!(r#"[{{"name": "n", "rights": {rights}, "token_file": "DIR/a"}}]"#))
    };
    assert_eq!(rights(r#"["read", "revoke", "publish", "admin"]"#), "");
    for wrong in
        ["[]", r#""read""#, "null", "[1]", r#"["Read"]"#, r#"["read", "read", "read", "read", "read"]"#]
    {
        assert!(rights(wrong).starts_with("environment api_access[0].rights"), "{wrong}: {}", rights(wrong));
    }
    let many = |count: usize| {
        let entry = |number: usize| {
            format!(r#"{{"name": "{number}", "rights": ["read"], "certificate": "a.example"}}"#)
        };
        world.mistakes(&format!("[{}]", (0..count).map(entry).collect::<Vec<_>>().join(",")))
    };
    assert_eq!(many(64), "");
    assert_eq!(many(65), "environment API_ACCESS: 65 tables; at most 64 are allowed\n");
    assert_eq!(world.mistakes("[]"), "environment API_ACCESS: has no entry\n", "nobody means everybody");
}

#[test]
fn two_callers_have_different_names_and_tokens() {
    let world = World::new("access-unique");
    world.folder.file("b", "token-of-the-caller-a");
    let told = world.mistakes(
        r#"[{"name": "n", "rights": ["read"], "token_file": "DIR/a"},
            {"name": "n", "rights": ["admin"], "token_file": "DIR/b"}]"#,
    );
    assert_eq!(
        told,
        "environment api_access[1].name: \"n\" is the name of another entry\n\
         environment api_access[1].token_file: the token is that of \"n\"\n"
    );
    let access =
        format!(r#"[{{"name": "n", "rights": ["read"], "token_file": {:?}}}]"#, world.folder.0.join("a"));
    let told = parse(&[], &[("API_TOKEN", "token-of-the-caller-a"), ("API_ACCESS", &access)]).unwrap_err();
    assert_eq!(told, "environment api_access[0].token_file: the token is that of API_TOKEN\n");
}

#[test]
fn certificates_need_authorities_and_these_need_https() {
    let world = World::new("access-tls");
    let by_certificate = r#"[{"name": "n", "rights": ["read"], "certificate": "a.example"}]"#;
    let told = parse(&[], &[("API_ACCESS", by_certificate)]).unwrap_err();
    assert_eq!(
        told,
        "environment api_access[0].certificate = \"a.example\": needs API_CLIENT_CA: the authorities of such certificates\n"
    );
    let authorities = world.folder.0.join("cert.pem").to_str().unwrap().to_owned();
    let told = parse(&[], &[("API_ACCESS", by_certificate), ("API_CLIENT_CA", &authorities)]).unwrap_err();
    assert!(told.contains("needs HTTPS_CERTFILE: certificates are presented over HTTPS"), "{told}");
    let [certificate, key] = ["HTTPS_CERTFILE", "HTTPS_KEYFILE"]
        .map(|name| world.variables.iter().find(|(known, _)| *known == name).unwrap().1.clone());
    let tls = [("HTTPS_CERTFILE", certificate.as_str()), ("HTTPS_KEYFILE", &key)];
    let told = parse(&[], &[&tls[..], &[("API_CLIENT_CA", &key)]].concat()).unwrap_err();
    assert!(told.ends_with("key.pem: holds no certificate in PEM\n"), "{told}");
    let settings = parse(&[], &[&tls[..], &[("API_CLIENT_CA", &authorities)]].concat()).unwrap();
    assert_eq!(settings.warnings, ["API_CLIENT_CA: no entry of API_ACCESS has a certificate"]);
}
