//! What the node does for plugins that are granted it: runs its models, keeps their keys and values. Calls to other servers are
//! made by `upstream/granted.rs`.

mod kv;
mod models;

use std::sync::Arc;

use selvedge_plugin::{Caller, Grants, Models, Stores};

use crate::config::{Allow, Config};
use crate::upstream::Granted;

pub use kv::Kept;
pub use models::Reachable;

/// Those who do what plugins are granted.
pub struct Doers {
    caller: Option<Arc<dyn Caller>>,
    runner: Arc<dyn Models>,
    stores: Option<Arc<dyn Stores>>,
}

impl Doers {
    /// Those of one generation.
    #[must_use]
    pub fn new(config: &Config, models: &Reachable, stores: Option<Kept>) -> Self {
        Self {
            caller: caller(config),
            runner: Arc::new(models.clone()),
            stores: stores.map(|stores| Arc::new(stores) as Arc<dyn Stores>),
        }
    }

    /// What a plugin is granted, with those who do it.
    #[must_use]
    pub fn grants(&self, allow: &Allow) -> Grants {
        Grants {
            caller: self.caller.clone(),
            runner: Some(Arc::clone(&self.runner)),
            stores: self.stores.clone(),
            ..allow.grants()
        }
    }
}

/// Who makes the calls of plugins, where any of them may make one.
fn caller(config: &Config) -> Option<Arc<dyn Caller>> {
    let mut plugins = config.plugins.iter();
    if plugins.all(|(_, plugin)| plugin.allow.http.is_empty()) {
        return None;
    }
    match Granted::new() {
        Ok(granted) => Some(Arc::new(granted)),
        Err(why) => {
            tracing::error!(why, "plugins can make no calls");
            None
        }
    }
}
