//! `messages`: publishes CloudEvents from internal services, without the submission check (RIG, v2
//! and v3).

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer::RigError;
use crate::port::Port;

/// The endpoint of messages.
pub(crate) fn router() -> OpenApiRouter<Port> {
    OpenApiRouter::new().routes(routes!(publish))
}

/// Publishes a CloudEvent, or a batch of them, to every connection that subscribed to it.
#[utoipa::path(
    post,
    path = "/messages",
    tag = "Messages (RIG)",
    request_body(content = Object, content_type = "application/cloudevents+json"),
    responses(
        (status = 202, description = "The event is accepted; the body is the event"),
        (status = 400, description = "The body is not a CloudEvent; the text names the attribute"),
        (status = 413, description = "An event is larger than MAX_EVENT_BYTES; none of the batch is published"),
        (status = 415, description = "A content mode or format that is not supported"),
    )
)]
pub(crate) async fn publish(
    State(port): State<Port>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, RigError> {
    let submission =
        event::http::decode(&headers, body, port.extension_names).map_err(RigError::NotAnEvent)?;
    let accepted = port.node.submit(submission).await.map_err(RigError::TooLarge)?;
    let headers = [(CONTENT_TYPE, "application/json; charset=utf-8")];
    Ok((StatusCode::ACCEPTED, headers, accepted).into_response())
}
