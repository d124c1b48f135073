//! Requests to the registry.

use std::error::Error;
use std::fmt;
use std::iter::successors;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

use crate::answer::{Answer, Failure, refusal};
use crate::config::{ConfigError, RegistryConfig};

/// Deadline of one request.
const WITHIN: Duration = Duration::from_secs(5);

/// Limit of the bytes of an answer; a longer one is an error.
const LONGEST_ANSWER: usize = 1 << 20;

/// Media types that registries answer with.
const ACCEPTED: &str = "application/vnd.schemaregistry.v1+json, application/json";

/// Sends requests to the registry. Redirects are not followed.
pub(crate) struct Client {
    /// The path does not end with a slash, unless there is none.
    base: Uri,
    authorization: Option<HeaderValue>,
    http: legacy::Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Client {
    pub(crate) fn new(config: &RegistryConfig) -> Result<Self, ConfigError> {
        let base = config.base()?;
        let authorization = config.authorization()?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config.tls()?)
            .https_or_http()
            .enable_http1()
            .build();
        let http = legacy::Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { base, authorization, http })
    }

    /// Returns the schema at a path, which begins with a slash.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer, Failure> {
        let exchange = async {
            let response = self.http.request(self.request(path)?).await.map_err(unreachable)?;
            let status = response.status().as_u16();
            let body = match Limited::new(response.into_body(), LONGEST_ANSWER).collect().await {
                Ok(body) => body.to_bytes(),
                Err(error) if !error.is::<LengthLimitError>() => {
                    return Err(Failure::Unavailable(in_full(&*error)));
                }
                // The status of an error is enough.
                Err(_) if status != 200 => Bytes::new(),
                Err(_) => {
                    return Err(Failure::Flaw(format!("the answer is longer than {LONGEST_ANSWER} bytes")));
                }
            };
            Answer::parse(status, &body)
        };
        timeout(WITHIN, exchange).await.map_err(|_| late())?
    }

    /// Checks that a path is answered with a success. The body is not read.
    pub(crate) async fn check(&self, path: &str) -> Result<(), Failure> {
        let exchange = async {
            let response = self.http.request(self.request(path)?).await.map_err(unreachable)?;
            match response.status() {
                status if status.is_success() => Ok(()),
                status => Err(refusal(status.as_u16())),
            }
        };
        timeout(WITHIN, exchange).await.map_err(|_| late())?
    }

    fn request(&self, path: &str) -> Result<Request<Empty<Bytes>>, Failure> {
        let mut parts = self.base.clone().into_parts();
        let path = format!("{}{path}", self.base.path().trim_end_matches('/'));
        let too_long = |_| Failure::Flaw("its name is too long for a URL".to_owned());
        parts.path_and_query = Some(path.parse().map_err(too_long)?);
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = Uri::from_parts(parts).expect("the base has a scheme and an authority");
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
        headers.extend(self.authorization.clone().map(|value| (AUTHORIZATION, value)));
        Ok(request)
    }
}

fn late() -> Failure {
    Failure::Unavailable(format!("no answer within {} s", WITHIN.as_secs()))
}

fn unreachable(error: legacy::Error) -> Failure {
    Failure::Unavailable(in_full(&error))
}

/// Returns the text of an error with its sources.
fn in_full(error: &(dyn Error + 'static)) -> String {
    let errors = successors(Some(error), |error| (*error).source()).map(ToString::to_string);
    errors.collect::<Vec<_>>().join(": ")
}
