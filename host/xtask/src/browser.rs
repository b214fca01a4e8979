//! Chromium and its driver, by which a test looks at `/docs`: Debian's packages, where they are not there already.

use crate::run::{Tool, apt_install};
use crate::steps::say;

/// Programs and the packages that they are in.
const PROGRAMS: [(&str, &str); 2] = [("chromium", "chromium"), ("chromedriver", "chromium-driver")];

/// Asks apt for what is missing: 110 MB. Where that cannot be had, the one test that needs it says so and fails; the others
/// need not wait for it.
pub(crate) fn find_or_install() {
    let is_missing = |program: &str| !Tool::new(program).arg("--version").succeeds();
    let missing = PROGRAMS.iter().filter(|(program, _)| is_missing(program));
    let missing: Vec<&str> = missing.map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return;
    }
    // A browser's recommendations are a desktop's.
    let packages = [["--no-install-recommends"].as_slice(), &missing].concat();
    if let Err(error) = apt_install(&packages, "the test of /docs in a browser") {
        say(&format!(
            "without a browser, the test of /docs will fail: {error:#}"
        ));
    }
}
