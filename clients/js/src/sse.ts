// Server-Sent Events over fetch, which unlike EventSource can send the token in a header, and shows
// the status and the text of a refusal.

import { bounded, LEAVING, offline, refusal } from "./answer.js";
import { type Attempt, heard } from "./attempt.js";
import { eventStream } from "./event_stream.js";
import type { Link } from "./link.js";

export const requestStream = (attempt: Attempt, link: Link) =>
  link.request("sse", {
    headers: { accept: "text/event-stream", ...(attempt.cursor && { "last-event-id": attempt.cursor }) },
  });

export async function serverSentEvents(attempt: Attempt, link: Link): Promise<void> {
  const response = await requestStream(attempt, link);
  const { ok, headers, body } = response;
  if (!ok) return attempt.end(await refusal(response));
  if (!body || !headers.get("content-type")?.startsWith("text/event-stream")) {
    return attempt.end(offline("no event stream", true));
  }
  attempt.watched = true;
  const parse = eventStream(link.take, (delay) => (attempt.retry = bounded(delay)));
  const reader = body.getReader();
  // Removes a byte order mark, and keeps characters that are cut between two chunks.
  const decoder = new TextDecoder();
  for (;;) {
    const { done, value } = await reader.read();
    // A node that shuts down says when to come back, and closes the stream.
    if (done) return attempt.end(attempt.retry === undefined ? offline("closed") : LEAVING);
    heard(attempt);
    parse(decoder.decode(value, { stream: true }));
  }
}
