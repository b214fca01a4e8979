// Puts an instruction before the text.

/** What an operator configures; its schema is in manifest.json. */
let instruction = "Summarise the text.";

/** @type {Selvedge.Lifecycle} */
export const lifecycle = {
  configure(config) {
    instruction = JSON.parse(config).instruction ?? instruction;
  },
};

/** @type {Selvedge.Templater} */
export const templater = {
  render(request, _soFar) {
    const messages = [
      { role: "system", content: instruction },
      { role: "user", content: textOf(request) },
    ];
    return { prompt: { tag: "messages", val: messages }, params: null };
  },
};

/**
 * The body's text. A validator before this plugin should have refused a body without one.
 *
 * @param {Selvedge.Request} request
 * @returns {string}
 */
function textOf(request) {
  try {
    const text = JSON.parse(request.bodyText() ?? "null")?.text;
    if (typeof text === "string") {
      return text;
    }
  } catch {
    // It is no JSON, so it has no text.
  }
  throw { code: "no-text", message: "the body has no `text`", retryable: false };
}
