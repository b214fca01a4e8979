// Counts the requests that took too long, in the background.

import logging from "selvedge:plugin/logging@0.1.0";
import metrics from "selvedge:plugin/metrics@0.1.0";

/** What an operator configures: milliseconds from which on a request is slow. Its schema is in manifest.json. */
let slowMs = 1000;

/** @type {Selvedge.Lifecycle} */
export const lifecycle = {
  configure(config) {
    slowMs = JSON.parse(config).slow_ms ?? slowMs;
  },
};

/** @type {Selvedge.Observer} */
export const observer = {
  // Events come in batches, and perhaps twice. What is thrown would have all of them given again.
  observe(events) {
    for (const event of events) {
      const micros = event.timings.reduce((sum, timing) => sum + timing.micros, 0);
      if (micros >= slowMs * 1000) {
        metrics.counterAdd("slow", 1);
        logging.log("warn", "a request took long", [["id", event.requestId]]);
      }
    }
  },
};
