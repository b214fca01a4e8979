//! A plugin of several stages. Each has a module of its name, which is the glue, and a core that knows nothing of WIT.

@MODULES@

@CORES@

selvedge_sdk::world!("plugin");

use exports::selvedge::plugin::lifecycle;
use selvedge_sdk::Failure;

struct Plugin;

impl lifecycle::Guest for Plugin {
    /// Each stage reads the keys that are its own. What is nobody's is refused before, by the schema in manifest.json.
    fn configure(config: String) -> Result<(), Failure> {
        @CONFIGURE@
        Ok(())
    }
}

export!(Plugin);
