//! Subject identifiers (RFC 9493; SSF 1.0, section 3), and which tokens they select.

use serde_json::{Map, Value};
use session::SessionName;

use crate::claims::name_of;
use crate::config::{EventsConfig, FeedConfig, JTI, SUB, Tokens};
use crate::refused::{Fault, Refused};

/// Limit of the identifiers of an `aliases` subject; more are refused.
const ALIASES: usize = 16;

/// The members of a `complex` subject that can select tokens: the narrowest first.
const MEMBERS: [&str; 4] = ["session", "device", "user", "tenant"];

/// What a subject selects: a value of a claim, in the tokens of an issuer.
#[derive(Clone)]
pub(crate) struct Selected<'c> {
    pub(crate) tokens: Tokens<'c>,
    pub(crate) claim: &'c str,
    pub(crate) value: SessionName,
}

/// Whom a statement is about.
pub(crate) enum Subject<'c> {
    /// Tokens with these values. Empty: the subject is of a format that is unknown or not
    /// configured, or of an issuer that is not.
    Selected(Vec<Selected<'c>>),
    /// It has a member that must be understood, and selects nothing.
    Critical,
}

/// Reads subjects in one place of a statement.
pub(crate) struct Reader<'c> {
    pub(crate) config: &'c FeedConfig,
    /// The name of the place, for errors.
    pub(crate) place: &'static str,
}

impl<'c> Reader<'c> {
    /// Reads a subject identifier.
    ///
    /// # Errors
    /// Fails if it is not an object, has no format, or lacks a member of its format.
    pub(crate) fn read(&self, subject: &Value) -> Result<Subject<'c>, Refused> {
        let subject = subject.as_object().ok_or(self.fault(Fault::Object))?;
        match self.format(subject)?.as_str() {
            "complex" => self.complex(subject),
            "aliases" => Ok(Subject::Selected(self.aliases(subject)?)),
            format => Ok(Subject::Selected(self.simple(format, subject)?.into_iter().collect())),
        }
    }

    fn fault(&self, fault: Fault) -> Refused {
        fault.of(self.place)
    }

    /// Returns the name of the format. Google sends `subject_type` and names of an earlier draft
    /// with hyphens, Okta a complex subject without a format.
    fn format(&self, subject: &Map<String, Value>) -> Result<String, Refused> {
        match subject.get("format").or_else(|| subject.get("subject_type")) {
            Some(Value::String(format)) => Ok(format.replace('-', "_")),
            None if MEMBERS.iter().any(|name| subject.get(*name).is_some_and(Value::is_object)) => {
                Ok("complex".to_owned())
            }
            _ => Err(self.fault(Fault::Member("format"))),
        }
    }

    /// Returns what a subject of one identifier selects.
    fn simple(&self, format: &str, subject: &Map<String, Value>) -> Result<Option<Selected<'c>>, Refused> {
        let events = self.config.events.as_ref();
        let mapped = |claim: fn(&EventsConfig) -> &Option<String>| events.and_then(|it| claim(it).as_deref());
        let claim = match format {
            "iss_sub" | "id_token_claims" => Some(SUB),
            "jwt_id" => Some(JTI),
            "email" => mapped(|it| &it.email),
            "opaque" => mapped(|it| &it.opaque),
            "account" => mapped(|it| &it.account),
            "phone_number" | "phone" => mapped(|it| &it.phone_number),
            _ => None,
        };
        let identifier = self.identifier(format, subject)?;
        Ok(claim.zip(identifier).map(|(claim, (tokens, value))| Selected { tokens, claim, value }))
    }

    /// Returns the value of an identifier, and the issuer whose tokens may have it. `None` if the
    /// format is unknown or the issuer not configured.
    fn identifier(
        &self,
        format: &str,
        subject: &Map<String, Value>,
    ) -> Result<Option<(Tokens<'c>, SessionName)>, Refused> {
        let member = match format {
            "iss_sub" | "id_token_claims" => "sub",
            "jwt_id" => "jti",
            "email" => "email",
            "opaque" => "id",
            "account" => "uri",
            "phone_number" | "phone" => "phone_number",
            _ => return Ok(None),
        };
        let value = subject.get(member).and_then(name_of).ok_or(self.fault(Fault::Member(member)))?;
        if !matches!(member, "sub" | "jti") {
            return Ok(Some((self.config.own(), value)));
        }
        // Unique only within the issuer (OpenID Connect Core, section 2; RFC 7519, section 4.1.7).
        let iss = subject.get("iss").and_then(Value::as_str).ok_or(self.fault(Fault::Member("iss")))?;
        Ok(self.config.tokens_of(iss).map(|tokens| (tokens, value)))
    }

    /// Returns what each of several identifiers of one subject selects (RFC 9493, section 3.2.8).
    fn aliases(&self, subject: &Map<String, Value>) -> Result<Vec<Selected<'c>>, Refused> {
        const MEMBER: Fault = Fault::Member("identifiers");
        let identifiers = subject.get("identifiers").and_then(Value::as_array).ok_or(self.fault(MEMBER))?;
        if identifiers.len() > ALIASES {
            return Err(self.fault(Fault::Items(ALIASES)));
        }
        let mut all: Vec<Selected<'c>> = Vec::new();
        for identifier in identifiers {
            let identifier = identifier.as_object().ok_or(self.fault(MEMBER))?;
            // Aliases in aliases are not allowed, and select nothing.
            let selected = self.simple(&self.format(identifier)?, identifier)?;
            all.extend(selected.filter(|one| !all.iter().any(|other| other.is_same(one))));
        }
        Ok(all)
    }

    /// Returns what the narrowest member of a subject selects that selects anything (SSF 1.0,
    /// section 3.3).
    fn complex(&self, subject: &Map<String, Value>) -> Result<Subject<'c>, Refused> {
        let mut members = Vec::with_capacity(MEMBERS.len());
        for name in MEMBERS {
            if let Some(member) = subject.get(name).filter(|member| !member.is_null()) {
                members.push((name, self.member(name, member)?));
            }
        }
        let selects = |name: &String| members.iter().any(|(of, all)| of == name && !all.is_empty());
        let critical = self.config.events.as_ref().map_or(&[][..], |events| &events.critical);
        if critical.iter().any(|name| subject.get(name).is_some_and(|it| !it.is_null()) && !selects(name)) {
            return Ok(Subject::Critical);
        }
        let narrowest = members.into_iter().map(|(_, all)| all).find(|all| !all.is_empty());
        Ok(Subject::Selected(narrowest.unwrap_or_default()))
    }

    /// Returns what a member of a complex subject selects. Only of a user it is known what its
    /// identifiers mean: the `sub` of a device is not that of a user.
    fn member(&self, name: &'static str, member: &Value) -> Result<Vec<Selected<'c>>, Refused> {
        let member = member.as_object().ok_or(self.fault(Fault::Member(name)))?;
        let format = self.format(member)?;
        let claim = self.config.events.as_ref().and_then(|events| match name {
            "session" => events.session.as_deref(),
            "device" => events.device.as_deref(),
            "user" => events.user.as_deref(),
            _ => events.tenant.as_deref(),
        });
        match claim {
            Some(claim) => {
                let identifier = self.identifier(&format, member)?;
                let selected = identifier.map(|(tokens, value)| Selected { tokens, claim, value });
                Ok(selected.into_iter().collect())
            }
            None if name == "user" && format == "aliases" => self.aliases(member),
            None if name == "user" => Ok(self.simple(&format, member)?.into_iter().collect()),
            None => Ok(Vec::new()),
        }
    }
}

impl Selected<'_> {
    fn is_same(&self, other: &Self) -> bool {
        (self.tokens.issuer, self.claim, &self.value) == (other.tokens.issuer, other.claim, &other.value)
    }
}
