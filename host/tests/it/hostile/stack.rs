//! Plugins that go deep: their own stack, the host's beneath it, and texts that nest.

use serde_json::json;

use super::guest;
use super::siege::Attacker;

#[test]
pub(crate) fn case_26_endless_recursion() {
    Attacker::text(&guest::RECURSION)
        .attack()
        .ends_alone("plugin-stack-overflow");
    // A compiler's own stack, in memory, may end first.
    let siege = Attacker::deed("stack-overflow").attack();
    let answer = siege.meanwhile(|| siege.ask());
    let body = answer.json();
    let code = body["code"].as_str().unwrap_or_default();
    assert!(["plugin-stack-overflow", "plugin-trap"].contains(&code), "{body}");
    assert_eq!(
        (answer.status, siege.failures(code), siege.traps()),
        (502, 1, 1),
        "{body}"
    );
    siege.leaves_nothing();
}

#[test]
pub(crate) fn case_27_the_guest_calls_the_host_calls_the_guest() {
    Attacker::text(&guest::CALL_IN_REALLOC)
        .attack()
        .ends_alone("plugin-abi");
}

#[test]
pub(crate) fn case_28_json_of_100_000_arrays() {
    let deep = format!("{{\"text\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let siege = Attacker::built("hostile-answer", json!({ "process": "deep-json" })).attack();
    // Given: the host reads a body before any plugin does, and refuses this one.
    for path in ["/classify", "/hostile"] {
        let answer = siege.meanwhile(|| siege.host.client().post(path, &deep));
        let problem = answer.problem();
        assert_eq!(problem["type"], "json_invalid", "{path}: {problem}");
        let why = problem["ctx"]["error"].as_str().unwrap_or_default();
        assert!(why.contains("recursion limit exceeded"), "{path}: {problem}");
    }
    assert_eq!(siege.failures("plugin-bad-json"), 0, "no plugin was called");
    // Answered with.
    siege.ends_alone("plugin-bad-json");
    for render in ["deep-params", "deep-messages"] {
        let siege = Attacker::built("hostile-answer", json!({ "render": render })).attack();
        siege.ends_with(502, "plugin-bad-json");
    }
}

#[test]
pub(crate) fn case_29_the_host_called_from_the_end_of_the_stack() {
    Attacker::text(&guest::HOST_CALLS_AT_DEPTH)
        .attack()
        .ends_alone("plugin-stack-overflow");
}
