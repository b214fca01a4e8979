//! The standard plugins' golden cases, in the sandbox that serves: `plugins/NAME/cases/CASE/`, as `selvedge plugin test` runs them.
//!
//! Observers are granted the journal `journal` and bodies. The plugins whose cases need something that stands in for the node are
//! run by the host's own tests, through the command line. `UPDATE_GOLDEN=1` writes what is found as what is expected.

use selvedge_plugin::cases::Case;
use selvedge_plugin::{Clock, Grants};

use crate::sandbox::{attach, journals, options, root, sandbox};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn golden_cases_of_the_standard_plugins() {
    let (sandbox, journals) = (sandbox(), journals());
    for (plugin, cases_min) in [
        ("json-schema", 6),
        ("prompt-template", 3),
        ("label", 10),
        ("json-extract", 14),
        ("redact", 5),
        ("capture", 4),
        ("filetype", 10),
        ("guard", 8),
    ] {
        let cases = root().join("plugins").join(plugin).join("cases");
        let cases = Case::all(&cases).expect("the plugin has cases");
        assert!(
            cases.len() >= cases_min,
            "only {} cases of {plugin} were found",
            cases.len()
        );
        for case in cases {
            let mut options = options(case.config().expect("a configuration"));
            options.grants = grants();
            options.clock = Some(Clock::default());
            let attachment = attach(&sandbox, plugin, options).await.expect("attached");
            let found = case.run(&attachment, &journals).await.expect("the case is whole");
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                case.expect(&found.value).expect("written");
            }
            let expected = case.expected().expect("JSON");
            let expected = expected.unwrap_or_else(|| panic!("{} says nothing", case.dir().display()));
            assert!(found.meets(&expected), "{}: {found:?}", case.dir().display());
        }
    }
}

/// What observers are granted in their cases.
fn grants() -> Grants {
    Grants {
        journals: vec!["journal".to_owned()],
        bodies: true,
        ..Grants::default()
    }
}
