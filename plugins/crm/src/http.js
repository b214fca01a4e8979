// A `GET` by `wasi:http`, which an operator grants by `allow = { http = ["https://crm.example"] }`; until the plugin is built, its
// name is `call:http` (see `wit/deps`). It blocks, and the host waits. What an import throws has the interface's error as its `payload`.

import handler from "call:http/outgoing-handler@0.2.0";
import types from "call:http/types@0.2.0";
import { decode, encode } from "./utf8.js";

/** Bytes of an answer, at most. */
const BODY_MAX = 256 * 1024;

/** There is no answer; the message says why. */
export class Unreachable extends Error {}

/** Asks, and gives status and text. */
export function get(url, headers, timeoutMs) {
  const [, scheme, authority, path] = /^(https?):\/\/([^/?#]+)([^#]*)$/.exec(url) ?? [];
  if (authority === undefined) {
    throw new Unreachable(`\`${url}\` is not a URL such as https://crm.example/customers/`);
  }
  const fields = types.Fields.fromList(headers.map(([name, value]) => [name, encode(value)]));
  const request = new types.OutgoingRequest(fields);
  request.setScheme({ tag: scheme === "https" ? "HTTPS" : "HTTP" });
  request.setAuthority(authority);
  request.setPathWithQuery(path.startsWith("/") ? path : `/${path}`);
  const response = sent(request, timeoutMs);
  const body = response.consume();
  // What comes of something else is let go before it, here and below: in which order QuickJS would is not said.
  const stream = body.stream();
  try {
    return { status: response.status(), text: decode(read(stream)) };
  } finally {
    stream[Symbol.dispose]();
    body[Symbol.dispose]();
  }
}

function sent(request, timeoutMs) {
  const options = new types.RequestOptions();
  const nanos = timeoutMs * 1_000_000;
  options.setConnectTimeout(nanos);
  options.setFirstByteTimeout(nanos);
  options.setBetweenBytesTimeout(nanos);
  let future;
  try {
    future = handler.handle(request, options);
  } catch (error) {
    throw unreachable(error?.payload);
  }
  const ready = future.subscribe();
  ready.block();
  ready[Symbol.dispose]();
  // Whether it is there, whether it was taken before, and whether it failed.
  const outcome = future.get()?.val;
  if (outcome?.tag !== "ok") {
    throw unreachable(outcome?.val);
  }
  return outcome.val;
}

/** The whole of a body. */
function read(stream) {
  const bytes = [];
  for (;;) {
    let chunk;
    try {
      chunk = stream.blockingRead(65_536);
    } catch (error) {
      if (error?.payload?.tag === "closed") {
        return bytes;
      }
      throw new Unreachable("the answer broke off");
    }
    if (bytes.length + chunk.length > BODY_MAX) {
      throw new Unreachable(`the answer has more than ${BODY_MAX} bytes`);
    }
    for (const byte of chunk) {
      bytes.push(byte);
    }
  }
}

const REASONS = {
  "HTTP-request-denied": "the host is not granted: add it to `allow = { http = [..] }`",
  "destination-IP-prohibited": "the host is at a private address, which is not granted: `{ url = \"..\", private = true }`",
  "DNS-error": "the host's name cannot be found",
  "connection-refused": "nobody answers at the host",
  "connection-timeout": "there was no answer in time",
  "HTTP-response-timeout": "there was no answer in time",
  "connection-terminated": "the connection broke off",
};

function unreachable(code) {
  return new Unreachable(REASONS[code?.tag] ?? `the call failed: ${code?.tag}`);
}
