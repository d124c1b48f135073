//! The access token of a poll, by the client's own credentials (RFC 6749, section 4.4).

use auth::{SecretFile, basic_credentials};
use form_urlencoded::byte_serialize;
use http::header::{ACCEPT, AUTHORIZATION, InvalidHeaderValue};
use http::uri::InvalidUri;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use identity::PollConfig;
use serde_json::Value;

use super::Http;

/// Gets tokens, and keeps the present one. When it is renewed is the transmitter's decision: it
/// refuses one that has expired.
pub(super) struct ClientCredentials<'f> {
    url: Uri,
    client_id: &'f str,
    secret: &'f SecretFile,
    form: String,
    present: Option<HeaderValue>,
}

impl<'f> ClientCredentials<'f> {
    pub(super) fn new(config: &'f PollConfig, secret: &'f SecretFile) -> Result<Self, InvalidUri> {
        let mut form = "grant_type=client_credentials".to_owned();
        if let Some(scope) = &config.scope {
            form.extend(["&scope="].into_iter().chain(byte_serialize(scope.as_bytes())));
        }
        let url = config.token_url.parse()?;
        Ok(Self { url, client_id: &config.client_id, secret, form, present: None })
    }

    /// Forgets the token: it was refused.
    pub(super) fn forget(&mut self) {
        self.present = None;
    }

    /// Returns the `Authorization` of a request for events. Gets a token if there is none.
    ///
    /// # Errors
    /// Fails with a reason for operators, without any secret.
    pub(super) async fn authorization(&mut self, http: &dyn Http) -> Result<HeaderValue, String> {
        if let Some(present) = &self.present {
            return Ok(present.clone());
        }
        let secret = self.secret.current().ok_or("the secret of the client cannot be read")?;
        let headers = HeaderMap::from_iter([
            (AUTHORIZATION, basic_credentials(self.client_id, &secret)),
            (ACCEPT, HeaderValue::from_static("application/json")),
        ]);
        let answer = http.post_form(&self.url, headers, self.form.clone().into()).await?;
        if answer.status() != StatusCode::OK {
            return Err(format!("the token endpoint answers with status {}", answer.status().as_u16()));
        }
        let fresh = token(answer.body()).ok_or("the answer of the token endpoint contains no token")?;
        Ok(self.present.insert(fresh).clone())
    }
}

/// Returns the token of an answer (RFC 6749, section 5.1); `None` if it has none that a header can
/// hold.
fn token(answer: &[u8]) -> Option<HeaderValue> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let token = answer.get("access_token")?.as_str().filter(|token| !token.is_empty())?;
    sensitive(format!("Bearer {token}")).ok()
}

fn sensitive(text: String) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::try_from(text)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_text_that_fits_into_a_header() {
        let good = token(br#"{"access_token":"T.t","token_type":"Bearer","expires_in":3600}"#).unwrap();
        assert_eq!(good, "Bearer T.t");
        assert!(good.is_sensitive() && !format!("{good:?}").contains("T.t"));
        for wrong in
            ["", "[]", "{}", r#"{"access_token":""}"#, r#"{"access_token":1}"#, r#"{"access_token":"a\nb"}"#]
        {
            assert_eq!(token(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
