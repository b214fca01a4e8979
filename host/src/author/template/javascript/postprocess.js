// Answers with the best label, and whether the model was sure of it.

/** What an operator configures: the score from which on the model is sure. Its schema is in manifest.json. */
let threshold = 0.8;

/** @type {Selvedge.Lifecycle} */
export const lifecycle = {
  configure(config) {
    threshold = JSON.parse(config).threshold ?? threshold;
  },
};

/** @type {Selvedge.Postprocessor} */
export const postprocessor = {
  process(_request, done) {
    const best = done.output.tag === "labels" ? done.output.val[0]?.[0] : null;
    // What has no labels, as a text that a model wrote, is the answer as it is.
    if (!best) {
      return { tag: "pass" };
    }
    const answer = { label: best.name, sure: best.score >= threshold };
    return { tag: "replace", val: { tag: "json", val: JSON.stringify(answer) } };
  },
};
