// Parses event streams (WHATWG HTML, section 9.2.6).

/** The largest block, in characters; a stream with a larger one is broken. */
const MAX_BLOCK = 1 << 26;

/**
 * Returns a function that takes the text of a stream piece by piece. Blocks are complete when their
 * empty line has come: what precedes a cut has no effect, neither its data nor its id.
 *
 * `onBlock` gets the data, empty if there is none, and the id, if the block has one. The byte order
 * mark is the decoder's affair. Event names are not parsed: the JSON has the type.
 */
export function eventStream(onBlock: (data: string, id?: string) => void, onRetry: (delay: number) => void) {
  let buffer = "";
  /** Whether the last piece was cut behind a CR: a LF that follows belongs to it. */
  let afterReturn = false;
  let data: string[] = [];
  let size = 0;
  let id: string | undefined;
  let retry: number | undefined;

  function line(text: string) {
    if (text === "") {
      const block = data.join("\n");
      const before = id;
      if (retry !== undefined) onRetry(retry);
      data = [];
      size = 0;
      id = retry = undefined;
      if (block || before !== undefined) onBlock(block, before);
      return;
    }
    const colon = text.indexOf(":");
    const field = colon < 0 ? text : text.slice(0, colon);
    const value = colon < 0 ? "" : text.slice(colon + (text[colon + 1] === " " ? 2 : 1));
    if (field === "data") {
      data.push(value);
      size += value.length + 1;
    } else if (field === "id" && !value.includes("\0")) {
      id = value;
    } else if (field === "retry" && /^\d+$/.test(value)) {
      retry = Number(value);
    }
  }

  return (piece: string) => {
    if (afterReturn && piece) {
      afterReturn = false;
      if (piece[0] === "\n") piece = piece.slice(1);
    }
    // Only the new piece is searched, so that a long line in many pieces costs linear time.
    const breaks = /\r\n?|\n/g;
    let start = 0;
    for (let match; (match = breaks.exec(piece)); start = breaks.lastIndex) {
      const text = buffer + piece.slice(start, match.index);
      buffer = "";
      afterReturn = match[0] === "\r" && breaks.lastIndex === piece.length;
      line(text);
    }
    buffer += piece.slice(start);
    if (buffer.length + size > MAX_BLOCK) throw new Error("a block is too large");
  };
}
