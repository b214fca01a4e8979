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
    if (done.output.tag !== "labels") {
      throw { code: "wrong-output", message: "the model must be a classifier of texts", retryable: false };
    }
    const best = done.output.val[0]?.[0];
    if (!best) {
      throw { code: "no-labels", message: "the model gave no labels", retryable: false };
    }
    const answer = { label: best.name, sure: best.score >= threshold };
    return { tag: "replace", val: { tag: "json", val: JSON.stringify(answer) } };
  },
};
