//! `rig token`: mints a token for tests, from claims given on the command line.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use auth::KeySource;
use clap::builder::OsStringValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use document::JsonError;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value};

use crate::settings::{Environment, Given, Mistake, Mistakes, Source, parse_time};

/// Flags that may be given once: name, placeholder, help.
const ONCE: [(&str, &str, &str); 5] = [
    ("claims", "JSON", "Several claims, as one JSON object"),
    ("expires-in", "TIME", "How long the token is valid [default: 1h]"),
    ("alg", "ALGORITHM", "HS256, HS384 or HS512 [default: the first of these in JWT_ALG]"),
    ("secret", "SECRET", "What to sign with [default: JWT_SECRET_KEY]"),
    ("secret-env", "NAME", "The environment variable that holds what to sign with"),
];

/// How long a token is valid by default: one hour.
const EXPIRES_IN: Duration = Duration::from_secs(3600);

/// Limit of the validity: a hundred years.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The arguments of `rig token`, as given.
#[derive(Debug, Default)]
pub(crate) struct TokenRequest {
    claims: Vec<OsString>,
    once: Vec<(&'static str, Vec<OsString>)>,
}

/// Returns the command line.
pub(crate) fn command() -> Command {
    let flag = |(id, name, help)| {
        let arg = Arg::new(id).long(id).value_name(name).help(help);
        let arg = arg.action(ArgAction::Append).value_parser(OsStringValueParser::new());
        arg.allow_hyphen_values(id == "secret")
    };
    let claim = "A claim; the value is JSON or, where it is not, a text. Again for more";
    Command::new("token")
        .about("Mints a JWT for tests and prints it. Adds iat and exp")
        .arg(flag(("claim", "NAME=VALUE", claim)))
        .args(ONCE.map(flag))
}

impl TokenRequest {
    /// Reads the flags of the command.
    pub(crate) fn from_matches(matches: &ArgMatches) -> Self {
        let values = |id| matches.get_many::<OsString>(id).unwrap_or_default().cloned().collect();
        Self { claims: values("claim"), once: ONCE.map(|(id, ..)| (id, values(id))).into() }
    }

    /// Signs the token. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// Fails with all mistakes: those of the settings file, then those of the flags.
    pub(crate) fn mint(&self, given: Given, environment: &Environment, now: u64) -> Result<String, Mistakes> {
        let mut mint = Mint { request: self, environment, mistakes: Vec::new() };
        let claims = mint.claims(now);
        let algorithm = mint.algorithm(&given);
        let secret = mint.secret(&given);
        let mut mistakes = given.into_mistakes();
        mistakes.append(&mut mint.mistakes);
        Mistakes(mistakes).into_result()?;
        let key = EncodingKey::from_secret(secret.as_bytes()).expect("an empty secret is a mistake");
        jsonwebtoken::encode(&Header::new(algorithm), &claims, &key).map_err(|error| {
            Mistakes(vec![mistake("--claim", &format!("the token cannot be signed: {error}"))])
        })
    }
}

/// The minting of one token. Its mistakes contain neither secrets nor values of claims.
struct Mint<'r> {
    request: &'r TokenRequest,
    environment: &'r Environment,
    mistakes: Vec<Mistake>,
}

impl Mint<'_> {
    fn wrong(&mut self, flag: &str, reason: &str) {
        self.mistakes.push(mistake(flag, reason));
    }

    /// Returns the value of a flag that may be given once.
    fn once(&mut self, flag: &str) -> Option<String> {
        let (id, values) = self.request.once.iter().find(|(id, _)| *id == flag)?;
        if values.len() > 1 {
            self.wrong(&format!("--{id}"), "given more than once");
        }
        let value = values.first()?;
        let text = value.to_str().map(str::to_owned);
        if text.is_none() {
            self.wrong(&format!("--{id}"), "not UTF-8");
        }
        text
    }

    fn claims(&mut self, now: u64) -> Map<String, Value> {
        let mut claims = Map::new();
        if let Some(json) = self.once("claims") {
            match document::from_str(&json) {
                Ok(Value::Object(object)) => claims = object,
                Err(error @ JsonError::Duplicate { .. }) => self.wrong("--claims", &error.to_string()),
                _ => self.wrong("--claims", "expected a JSON object, such as {\"sub\":\"alice\"}"),
            }
        }
        for claim in &self.request.claims {
            match claim.to_str().and_then(|claim| claim.split_once('=')) {
                Some((name, value)) if !name.is_empty() => {
                    let value = document::from_str(value).unwrap_or_else(|error| {
                        if let JsonError::Duplicate { .. } = error {
                            self.wrong("--claim", &format!("in the claim {name:?}, {error}"));
                        }
                        Value::from(value)
                    });
                    if claims.insert(name.to_owned(), value).is_some() {
                        self.wrong("--claim", &format!("the claim {name:?} is given more than once"));
                    }
                }
                _ => self.wrong("--claim", "expected NAME=VALUE, as UTF-8"),
            }
        }
        let expires_in = self.expires_in();
        if expires_in.is_some() && claims.contains_key("exp") {
            self.wrong("--expires-in", "the claim exp is given as well: one or the other");
        }
        let expires_at = now.saturating_add(expires_in.unwrap_or(EXPIRES_IN).as_secs());
        claims.entry("iat").or_insert_with(|| now.into());
        claims.entry("exp").or_insert_with(|| expires_at.into());
        claims
    }

    fn expires_in(&mut self) -> Option<Duration> {
        let text = self.once("expires-in")?;
        let time = parse_time(&text).filter(|time| (Duration::from_secs(1)..=LONGEST).contains(time));
        if time.is_none() {
            self.wrong("--expires-in", "expected a time from 1s to 36500d, such as 30s, 1h or bare seconds");
        }
        time
    }

    fn algorithm(&mut self, given: &Given) -> Algorithm {
        const EXPECTED: &str = "expected HS256, HS384, HS512";
        let found = match self.once("alg") {
            Some(name) => by_secret(&name).ok_or(("--alg", EXPECTED.to_owned())),
            None => given.value_of("JWT_ALG").split(',').find_map(|name| by_secret(name.trim())).ok_or_else(
                || {
                    (
                        "--alg",
                        format!("missing: JWT_ALG has no algorithm that signs with a secret; {EXPECTED}"),
                    )
                },
            ),
        };
        found.unwrap_or_else(|(flag, reason)| {
            self.wrong(flag, &reason);
            Algorithm::HS256
        })
    }

    /// Returns `JWT_SECRET_KEY` as the gateway reads it: a secret, or the path of a file that
    /// contains one.
    fn configured_secret(&mut self, given: &Given) -> String {
        let file = Some(given.value_of("JWT_SECRET_KEY_FILE")).filter(|path| !path.is_empty());
        let source = file.map(|path| KeySource::File(path.into()));
        let read = match source.or_else(|| KeySource::parse(given.value_of("JWT_SECRET_KEY"))) {
            None => Ok(String::new()),
            Some(KeySource::Text(secret)) => Ok(secret),
            Some(KeySource::File(path)) => {
                document::read_text(&path).map(|text| text.trim_ascii_end().to_owned())
            }
        };
        match read {
            Ok(key) if key.contains("-----BEGIN") => {
                self.wrong("--secret", "missing: JWT_SECRET_KEY is a public key, which signs nothing");
                key
            }
            Ok(secret) => secret,
            Err(error) => {
                self.wrong(
                    "--secret",
                    &format!("missing: the file with the key of tokens cannot be read: {error}"),
                );
                error.to_string()
            }
        }
    }

    fn secret(&mut self, given: &Given) -> String {
        let secret = match (self.once("secret"), self.once("secret-env")) {
            (Some(_), Some(_)) => {
                self.wrong("--secret-env", "--secret is given as well: one or the other");
                return String::new();
            }
            (Some(secret), None) => secret,
            (None, Some(name)) => {
                match self.environment.get(OsStr::new(&name)).and_then(|value| value.to_str()) {
                    Some(secret) => secret.to_owned(),
                    None => {
                        self.wrong(
                            "--secret-env",
                            "there is no such variable in the environment, or it is not UTF-8",
                        );
                        return String::new();
                    }
                }
            }
            (None, None) => self.configured_secret(given),
        };
        if secret.is_empty() {
            self.wrong(
                "--secret",
                "missing: there is nothing to sign with; set it, --secret-env or JWT_SECRET_KEY",
            );
        }
        secret
    }
}

fn by_secret(name: &str) -> Option<Algorithm> {
    match name {
        "HS256" => Some(Algorithm::HS256),
        "HS384" => Some(Algorithm::HS384),
        "HS512" => Some(Algorithm::HS512),
        _ => None,
    }
}

fn mistake(flag: &str, reason: &str) -> Mistake {
    Mistake { source: Source::Flag, name: flag.to_owned(), value: None, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation, decode};
    use serde_json::json;

    use super::*;
    use crate::cli::{self, Invocation};
    use crate::settings::{Flags, Settings};

    const NOW: u64 = 1_800_000_000;

    fn mint(arguments: &[&str], variables: &[(&str, &str)]) -> Result<String, String> {
        let environment: Environment =
            variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let line = ["rig", "token"].iter().chain(arguments).map(OsString::from);
        let Invocation::Token(flags, request) = cli::parse(line) else { panic!("not token") };
        let given = Given::gather(flags, &environment);
        request.mint(given, &environment, NOW).map_err(|mistakes| mistakes.to_string())
    }

    fn claims(token: &str, algorithm: Algorithm, secret: &str) -> Value {
        let mut validation = Validation::new(algorithm);
        validation.validate_exp = false;
        let key = DecodingKey::from_secret(secret.as_bytes()).unwrap();
        decode::<Value>(token, &key, &validation).unwrap().claims
    }

    #[test]
    fn a_token_verifies_and_has_what_was_asked_for() {
        let arguments = [
            "--claim",
            "sub=alice",
            "--claim",
            "n=1",
            "--claim",
            "a=[\"x=y\"]",
            "--claims",
            r#"{"jti":"s1"}"#,
        ];
        let token = mint(&arguments, &[("JWT_SECRET_KEY", "key")]).unwrap();
        let expected =
            json!({"sub": "alice", "n": 1, "a": ["x=y"], "jti": "s1", "iat": NOW, "exp": NOW + 3600});
        assert_eq!(claims(&token, Algorithm::HS256, "key"), expected);
    }

    #[test]
    fn the_gateway_accepts_the_token() {
        let secret_file = std::env::temp_dir().join(format!("rig-token-{}", std::process::id()));
        std::fs::write(&secret_file, "from a file\n").unwrap();
        let minted = ["from the text", secret_file.to_str().unwrap()].map(|key| {
            let variables = [("JWT_SECRET_KEY", key), ("JWT_ALG", "HS384,HS256")];
            let token = mint(&["--claim", "sub=alice", "--expires-in", "36500d"], &variables).unwrap();
            let environment = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
            let settings = Settings::parse(Given::gather(Flags::default(), &environment)).unwrap();
            settings.rooms.verifier.verify(&token).map(|claims| claims.map["sub"].clone())
        });
        std::fs::remove_file(&secret_file).unwrap();
        assert_eq!(minted, [Ok(json!("alice")), Ok(json!("alice"))]);
    }

    #[test]
    fn a_public_key_signs_nothing() {
        let told = mint(&[], &[("JWT_SECRET_KEY", "-----BEGIN PUBLIC KEY-----")]).unwrap_err();
        assert_eq!(told, "flag --secret: missing: JWT_SECRET_KEY is a public key, which signs nothing\n");
        let told = mint(&[], &[("JWT_SECRET_KEY", "/etc")]).unwrap_err();
        let expected = "flag --secret: missing: the file with the key of tokens cannot be read: ";
        assert!(told.starts_with(expected), "{told}");
        assert!(!told.contains("/etc"), "{told}");
    }

    #[test]
    fn algorithm_validity_and_secret_can_be_chosen() {
        let token =
            mint(&["--alg", "HS512", "--expires-in", "30s", "--secret", "s"], &[("JWT_SECRET_KEY", "key")]);
        assert_eq!(claims(&token.unwrap(), Algorithm::HS512, "s"), json!({"iat": NOW, "exp": NOW + 30}));
        let token = mint(&["--secret-env", "OTHER"], &[("OTHER", "o"), ("JWT_ALG", "RS256,HS384")]);
        assert_eq!(claims(&token.unwrap(), Algorithm::HS384, "o"), json!({"iat": NOW, "exp": NOW + 3600}));
        let token = mint(&["--secret", "s", "--claim", "exp=5"], &[]);
        assert_eq!(claims(&token.unwrap(), Algorithm::HS256, "s"), json!({"iat": NOW, "exp": 5}));
    }

    #[test]
    fn all_mistakes_are_told_without_claims_and_secrets() {
        let arguments = [
            "--claim",
            "hidden",
            "--claim",
            "a=hidden",
            "--claim",
            "a=hidden",
            "--claims",
            "hidden",
            "--expires-in",
            "0",
            "--alg",
            "none",
            "--secret",
            "hidden",
            "--secret",
            "hidden",
            "--secret-env",
            "X",
            "--secert=hidden",
        ];
        let told = mint(&arguments, &[]).unwrap_err();
        assert!(!told.contains("hidden"), "{told}");
        insta::assert_snapshot!(told, @r#"
        flag --secert: unknown; did you mean --secret?
        flag --claims: expected a JSON object, such as {"sub":"alice"}
        flag --claim: expected NAME=VALUE, as UTF-8
        flag --claim: the claim "a" is given more than once
        flag --expires-in: expected a time from 1s to 36500d, such as 30s, 1h or bare seconds
        flag --alg: expected HS256, HS384, HS512
        flag --secret: given more than once
        flag --secret-env: --secret is given as well: one or the other
        "#);
    }

    #[test]
    fn without_a_secret_nothing_is_signed() {
        insta::assert_snapshot!(mint(&[], &[("JWT_ALG", "RS256")]).unwrap_err(), @r"
        flag --alg: missing: JWT_ALG has no algorithm that signs with a secret; expected HS256, HS384, HS512
        flag --secret: missing: there is nothing to sign with; set it, --secret-env or JWT_SECRET_KEY
        ");
        assert!(mint(&["--secret", ""], &[("JWT_SECRET_KEY", "key")]).is_err());
    }
}
