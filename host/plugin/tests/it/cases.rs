//! The standard plugins' golden cases, in the sandbox that serves: `plugins/NAME/cases/CASE/`, as `selvedge plugin test` runs them.
//!
//! A test is a plugin, and all of them have one sandbox, so that they are compiled beside each other. Observers are granted the
//! journal `journal` and bodies. The plugins whose cases need something that stands in for the node are run by the host's own tests,
//! through the command line. `UPDATE_GOLDEN=1` writes what is found as what is expected.

use std::sync::OnceLock;

use selvedge_plugin::cases::Case;
use selvedge_plugin::{Clock, Grants, Sandbox};
use tokio::runtime::Runtime;

use crate::sandbox::{attach, journals, options, root, sandbox};

/// The sandbox, and the executor that it runs on.
fn shared() -> &'static (Runtime, Sandbox) {
    static SHARED: OnceLock<(Runtime, Sandbox)> = OnceLock::new();
    SHARED.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let made = runtime.block_on(async { sandbox() });
        (runtime, made)
    })
}

/// Runs a plugin's cases, of which there are at least so many.
fn run(plugin: &str, cases_min: usize) {
    let cases = root().join("plugins").join(plugin).join("cases");
    let cases = Case::all(&cases).expect("the plugin has cases");
    let count = cases.len();
    assert!(count >= cases_min, "only {count} cases of {plugin} were found");
    let (runtime, sandbox) = shared();
    runtime.block_on(async {
        for case in cases {
            meets(sandbox, plugin, &case).await;
        }
    });
}

async fn meets(sandbox: &Sandbox, plugin: &str, case: &Case) {
    let mut options = options(case.config().expect("a configuration"));
    options.grants = grants();
    options.clock = Some(Clock::default());
    let attachment = attach(sandbox, plugin, options).await.expect("attached");
    let found = case.run(&attachment, &journals()).await;
    let found = found.expect("the case is whole");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        case.expect(&found.value).expect("written");
    }
    let expected = case.expected().expect("JSON");
    let expected = expected.unwrap_or_else(|| panic!("{} says nothing", case.dir().display()));
    assert!(found.meets(&expected), "{}: {found:?}", case.dir().display());
}

/// What observers are granted in their cases.
fn grants() -> Grants {
    Grants {
        journals: vec!["journal".to_owned()],
        bodies: true,
        ..Grants::default()
    }
}

/// A test for each plugin.
macro_rules! golden {
    ($($test:ident: $plugin:literal, $cases_min:literal;)*) => {
        mod golden_cases_of_the_standard_plugins {
            $(#[test]
            fn $test() {
                super::run($plugin, $cases_min);
            })*
        }
    };
}

golden! {
    json_schema: "json-schema", 6;
    prompt_template: "prompt-template", 3;
    label: "label", 10;
    json_extract: "json-extract", 14;
    redact: "redact", 5;
    capture: "capture", 4;
    filetype: "filetype", 10;
    guard: "guard", 8;
}
