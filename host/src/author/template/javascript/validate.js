// Refuses texts that are too long.

/** What an operator configures; its schema is in manifest.json. */
let lengthMax = 1000;

/** @type {Selvedge.Lifecycle} */
export const lifecycle = {
  configure(config) {
    lengthMax = JSON.parse(config).length_max ?? lengthMax;
  },
};

/** @type {Selvedge.Validator} */
export const validator = {
  validate(request) {
    // Characters, and not the UTF-16 units that `length` counts.
    if ([...textOf(request)].length <= lengthMax) {
      return { tag: "accept" };
    }
    const message = `String should have at most ${lengthMax} characters`;
    const problems = [{ kind: "string_too_long", loc: [loc("text")], msg: message }];
    return { tag: "reject", val: { status: 422, code: "text-too-long", message, problems } };
  },
};

/**
 * The body's text. What is wrong with a body otherwise is for others to say.
 *
 * @param {Selvedge.Request} request
 * @returns {string}
 */
function textOf(request) {
  try {
    const text = JSON.parse(request.bodyText() ?? "null")?.text;
    return typeof text === "string" ? text : "";
  } catch {
    return "";
  }
}

/**
 * @param {string} key
 * @returns {Selvedge.LocItem}
 */
function loc(key) {
  return { tag: "key", val: key };
}
