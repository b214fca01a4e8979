// A plugin of several stages, each in a file of its own.

@IMPORTS@

/** @type {Selvedge.Lifecycle} */
export const lifecycle = {
  // Each stage reads the keys that are its own. What is nobody's is refused before, by the schema in manifest.json.
  configure(config) {
    for (const stage of [@STAGES@]) {
      stage.lifecycle.configure(config);
    }
  },
};

@EXPORTS@
