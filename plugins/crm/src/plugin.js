// Looks up in a CRM who asks, and tells the model of it: a templater that calls another server.

import logging from "selvedge:plugin/logging@0.1.0";
import secrets from "selvedge:plugin/secrets@0.1.0";
import { get, Unreachable } from "./http.js";
import { system } from "./prompt.js";
import { decode } from "./utf8.js";

/** What an operator configures; its schema is in manifest.json. */
let settings = { url: "", secret: "CRM_TOKEN", field: "customer", instruction: "", facts: [], timeout_ms: 500 };

export const lifecycle = {
  configure(config) {
    settings = { ...settings, ...JSON.parse(config) };
  },
};

export const templater = {
  render(request, _soFar) {
    const body = bodyOf(request);
    const key = body[settings.field];
    const customer = typeof key === "string" && key !== "" ? lookUp(key) : null;
    const messages = [
      { role: "system", content: system(settings, customer) },
      { role: "user", content: body.text },
    ];
    return { prompt: { tag: "messages", val: messages }, params: null };
  },
};

/** The body, which has a text. A validator before this plugin should have refused any other. */
function bodyOf(request) {
  let body = null;
  try {
    body = JSON.parse(request.bodyText() ?? "null");
  } catch {
    // It is no JSON, so it has no text.
  }
  if (typeof body?.text !== "string") {
    throw { code: "no-text", message: "the body has no `text`", retryable: false };
  }
  return body;
}

/** What the CRM has of a customer; null where it knows none. A CRM that cannot answer now fails the request: it may be tried again. */
function lookUp(key) {
  const url = settings.url + encodeURIComponent(key);
  const headers = [["accept", "application/json"], ["authorization", `Bearer ${token()}`]];
  let answer;
  try {
    answer = get(url, headers, settings.timeout_ms);
  } catch (error) {
    if (error instanceof Unreachable) {
      throw { code: "crm-unreachable", message: error.message, retryable: true };
    }
    throw error;
  }
  if (answer.status === 404) {
    logging.log("info", "the CRM does not know the customer", []);
    return null;
  }
  if (answer.status !== 200) {
    throw { code: "crm-refused", message: `the CRM answered ${answer.status}`, retryable: answer.status >= 500 };
  }
  try {
    return JSON.parse(answer.text);
  } catch {
    throw { code: "crm-not-json", message: "the CRM's answer is not JSON", retryable: false };
  }
}

function token() {
  try {
    return decode(secrets.get(settings.secret));
  } catch (error) {
    const message = `the secret \`${settings.secret}\` cannot be had: ${error.payload?.tag ?? error.payload}`;
    throw { code: "bad-secret", message, retryable: false };
  }
}
