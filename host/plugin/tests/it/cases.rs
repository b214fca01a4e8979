//! The standard plugins' golden cases, in the sandbox that serves: `plugins/NAME/cases/CASE/`, as `selvedge plugin test` runs them.
//!
//! Observers are granted the journal `journal`, bodies, a secret and `https://granted.example`, with nobody to make a call.
//! `UPDATE_GOLDEN=1` writes what is found as what is expected.

use selvedge_plugin::cases::Case;
use selvedge_plugin::{Grants, Origin};

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
        ("webhook", 2),
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
            let attachment = attach(&sandbox, plugin, options).await.expect("attached");
            let found = case.run(&attachment, &journals).await.expect("the case is whole");
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                case.expect(&found).expect("written");
            }
            let expected = case.expected().expect("JSON");
            assert_eq!(Some(found), expected, "{}", case.dir().display());
        }
    }
}

/// What observers are granted in their cases.
fn grants() -> Grants {
    Grants {
        http: vec![Origin::parse("https://granted.example").expect("an origin")],
        secrets: [(
            "WEBHOOK_SECRET".to_owned(),
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(),
        )]
        .into(),
        journals: vec!["journal".to_owned()],
        bodies: true,
        ..Grants::default()
    }
}
