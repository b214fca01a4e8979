// Writes generated text in capital letters, as it comes.
//
// A plugin that looks for something longer than a character must hold back what might be its beginning: `emit` with an empty list
// does, and `finish` gives the rest.

/** @type {string | null} The characters that are changed; none for all. Its schema is in manifest.json. */
let only = null;

/** @type {Selvedge.Lifecycle} */
export const lifecycle = {
  configure(config) {
    only = JSON.parse(config).only ?? null;
  },
};

/** One stream. What is to be known from one push to the next is kept here. */
class Processor {
  /** @param {Selvedge.Request} _request */
  static open(_request) {
    return new Processor();
  }

  /**
   * @param {Selvedge.Chunk[]} chunks
   * @returns {Selvedge.StreamAction}
   */
  push(chunks) {
    return { tag: "emit", val: chunks.map(({ choice, text }) => ({ choice, text: shout(text) })) };
  }

  /**
   * @param {Selvedge.FinishReason} _reason
   * @param {Selvedge.Usage} _usage
   * @returns {Selvedge.Chunk[]}
   */
  finish(_reason, _usage) {
    return [];
  }
}

/** @type {Selvedge.StreamPostprocessor} */
export const streamPostprocessor = { Processor };

/** @param {string} text */
function shout(text) {
  const loud = [...text].map((letter) => (only?.includes(letter) ?? true ? letter.toUpperCase() : letter));
  return loud.join("");
}
