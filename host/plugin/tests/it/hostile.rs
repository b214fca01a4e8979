//! Each deed of the hostile plugin is contained: the error code that its limit has, an innocent plugin that is served all the
//! while, and a next call that starts clean. A deed without a test fails `every_deed_has_a_test`.

use std::time::Duration;

use selvedge_plugin::value::Verdict;
use selvedge_plugin::{Attachment, Fault, Limits, LoadError, Sandbox, Startup};
use serde_json::json;

use crate::sandbox::{attach, options, request, root, sandbox};

/// Attaches the hostile plugin with one deed for `configure` and one for `validate`.
async fn hostile(sandbox: &Sandbox, configure: &str, validate: &str) -> Result<Attachment, LoadError> {
    let mut options = options(json!({ "configure": configure, "validate": validate }));
    options.limits.configure_time = Duration::from_millis(300);
    attach(sandbox, "hostile", options).await
}

/// What becomes of a call in which the deed is done; twice, with an innocent plugin called all the while.
async fn fault_of(deed: &str) -> Fault {
    let sandbox = sandbox();
    let hostile = hostile(&sandbox, "none", deed)
        .await
        .expect("it does nothing in configure");
    let innocent = self::hostile(&sandbox, "none", "none").await.expect("innocent");
    let mut faults = Vec::new();
    for _ in 0..2 {
        let (subject, request) = (request("{}"), request("{}"));
        let attack = hostile.validate(&subject);
        tokio::pin!(attack);
        let mut served = 0;
        let error = loop {
            tokio::select! {
                biased;
                outcome = &mut attack => break outcome.expect_err("the deed is refused"),
                verdict = innocent.validate(&request) => {
                    assert_eq!(verdict.expect("the innocent is served"), Verdict::Accept);
                    served += 1;
                }
            }
        };
        assert_eq!(
            innocent.validate(&request).await.expect("served after it"),
            Verdict::Accept
        );
        if matches!(error.fault, Fault::Time(_) | Fault::WallTime(_)) {
            assert!(
                served >= 20,
                "while `{deed}` went on, the innocent was served {served} times"
            );
        }
        faults.push(error.fault);
    }
    assert_eq!(sandbox.instances(), 0, "nothing is left of it");
    assert_eq!(
        faults[0].code(),
        faults[1].code(),
        "the second call starts as clean as the first"
    );
    faults.remove(0)
}

/// What the deed finds out, where it is let do it.
async fn found_by(configure: &str, validate: &str) -> String {
    let sandbox = sandbox();
    let hostile = hostile(&sandbox, configure, validate).await.expect("attached");
    found_of(&hostile).await
}

async fn found_of(hostile: &Attachment) -> String {
    let request = request("{}");
    assert_eq!(hostile.validate(&request).await.expect("let"), Verdict::Accept);
    request.attributes.find("found").unwrap_or_default()
}

async fn configure_error(deed: &str) -> LoadError {
    hostile(&sandbox(), deed, "none").await.err().expect("refused")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deed_none_is_served() {
    assert_eq!(found_by("none", "none").await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deed_loop_ends_with_its_cpu_time() {
    assert_eq!(fault_of("loop").await, Fault::Time(Duration::from_millis(100)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deed_loop_in_configure_is_refused() {
    let error = configure_error("loop").await;
    assert!(matches!(error, LoadError::ConfigureTime(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deed_memory_bomb_ends_at_its_memory() {
    assert_eq!(fault_of("memory-bomb").await, Fault::Memory(32 << 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deed_memory_bomb_in_configure_is_refused() {
    let error = configure_error("memory-bomb").await;
    assert!(matches!(error, LoadError::Configure(Fault::Memory(_))), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deed_stack_overflow_ends_with_the_stack() {
    // WebAssembly's own stack ends before or after the one that the compiler keeps in memory, by the shape of the function.
    let fault = fault_of("stack-overflow").await;
    assert!(matches!(fault, Fault::Stack | Fault::Trap(_)), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deed_stack_overflow_in_configure_is_refused() {
    let error = configure_error("stack-overflow").await;
    assert!(
        matches!(error, LoadError::Configure(Fault::Stack | Fault::Trap(_))),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deed_huge_result_does_not_reach_the_host() {
    // 64 MiB do not even fit into the plugin's own memory.
    assert_eq!(fault_of("huge-result").await, Fault::Memory(32 << 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deed_huge_result_within_memory_is_stopped_at_the_border() {
    let sandbox = sandbox();
    let mut options = options(json!({ "validate": "huge-result" }));
    options.limits = Limits {
        memory: 200 << 20,
        time: Duration::from_secs(5),
        wall_time: Duration::from_secs(5),
        ..Limits::default()
    };
    let hostile = attach(&sandbox, "hostile", options).await.expect("attached");
    let error = hostile.validate(&request("{}")).await.expect_err("too long");
    assert_eq!(error.fault, Fault::HostBytes(8 << 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deed_panic_is_a_trap() {
    let fault = fault_of("panic").await;
    assert!(matches!(&fault, Fault::Trap(_)), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deed_trap_names_where_it_was() {
    let Fault::Trap(message) = fault_of("trap").await else {
        panic!("no trap")
    };
    assert!(message.contains("unreachable"), "{message}");
    assert!(message.contains(" in "), "no backtrace: {message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deed_trap_in_configure_is_refused() {
    let error = configure_error("trap").await;
    assert!(matches!(error, LoadError::Configure(Fault::Trap(_))), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deed_fail_gives_the_plugin_s_own_words() {
    let fault = fault_of("fail").await;
    let Fault::Failed { code, message, .. } = fault else {
        panic!("{fault}")
    };
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("did-not-want-to", "it did not want to")
    );
    let error = configure_error("fail").await;
    assert!(error.to_string().contains("did-not-want-to"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deed_sleep_ends_with_its_wall_time() {
    assert_eq!(fault_of("sleep").await, Fault::WallTime(Duration::from_secs(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deed_print_flood_is_cut() {
    let sandbox = sandbox();
    let mut options = options(json!({ "validate": "print-flood" }));
    // On a busy machine it takes longer than a call may by default.
    options.limits.time = Duration::from_secs(5);
    options.limits.wall_time = Duration::from_secs(5);
    let hostile = attach(&sandbox, "hostile", options).await.expect("attached");
    assert_eq!(found_of(&hostile).await, "printed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deed_log_flood_ends_with_its_cpu_time() {
    assert_eq!(
        fault_of("log-flood").await,
        Fault::Time(Duration::from_millis(100))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deed_log_forge_stays_one_line() {
    assert_eq!(found_by("none", "log-forge").await, "logged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deed_host_memory_counts_as_the_plugin_s() {
    assert_eq!(fault_of("host-memory").await, Fault::Memory(32 << 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deed_handle_leak_ends_at_its_handles() {
    assert_eq!(fault_of("handle-leak").await, Fault::Handles(1024));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deed_print_in_configure_costs_it_the_snapshot() {
    let hostile = hostile(&sandbox(), "print", "none").await.expect("attached");
    let Startup::Configure { reason } = hostile.startup() else {
        panic!("{:?}", hostile.startup())
    };
    assert!(reason.contains("resource of the host"), "{reason}");
    assert_eq!(
        hostile
            .validate(&request("{}"))
            .await
            .expect("it works all the same"),
        Verdict::Accept
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deed_keep_handle_finds_none_to_keep_in_configure() {
    let error = configure_error("keep-handle").await;
    assert!(error.to_string().contains("no-tensor"), "{error}");
    assert_eq!(
        found_by("none", "keep-handle").await,
        "kept",
        "a request may, and the instance ends with it"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deed_random_in_configure_is_frozen_and_said() {
    let sandbox = sandbox();
    let hostile = hostile(&sandbox, "random", "random").await.expect("attached");
    assert_eq!(hostile.startup(), &Startup::Snapshot { entropy_frozen: true });
    let mut drawn = Vec::new();
    for _ in 0..2 {
        let request = request("{}");
        hostile.validate(&request).await.expect("a verdict");
        drawn.push(request.attributes.find("found"));
    }
    assert_eq!(drawn[0], drawn[1]);
    assert_ne!(
        found_by("none", "random").await,
        found_by("none", "random").await,
        "drawn in the request it is fresh"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deed_remember_finds_nothing_of_the_request_before() {
    let sandbox = sandbox();
    let hostile = hostile(&sandbox, "none", "remember").await.expect("attached");
    for _ in 0..20 {
        let request = request("{}");
        hostile.validate(&request).await.expect("a verdict");
        assert_eq!(request.attributes.find("found").as_deref(), Some("1"));
    }
    assert_eq!(
        found_by("remember", "remember").await,
        "2",
        "what configure left is there"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deed_look_around_sees_nothing() {
    assert_eq!(
        found_by("none", "look-around").await,
        "environment 0 arguments 0 file false folder false"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deed_dig_finds_nothing_of_the_instance_before() {
    let sandbox = sandbox();
    let hostile = hostile(&sandbox, "none", "dig").await.expect("attached");
    for _ in 0..10 {
        let request = request("{}");
        hostile.validate(&request).await.expect("a verdict");
        assert_eq!(request.attributes.find("found").as_deref(), Some("found 0"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deed_panic_huge_does_not_fit_into_its_memory() {
    assert_eq!(fault_of("panic-huge").await, Fault::Memory(32 << 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deed_metric_flood_is_let() {
    let sandbox = sandbox();
    let mut options = options(json!({ "validate": "metric-flood" }));
    options.limits.time = Duration::from_secs(5);
    options.limits.wall_time = Duration::from_secs(20);
    let hostile = attach(&sandbox, "hostile", options).await.expect("attached");
    hostile.validate(&request("{}")).await.expect("a verdict");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deed_fail_forge_says_it_in_one_line() {
    let fault = fault_of("fail-forge").await.to_string();
    assert!(
        fault.contains(r"innocent\n2026") && !fault.contains(char::is_control),
        "{fault:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deed_clock_sees_milliseconds() {
    let found = found_by("none", "clock").await;
    assert_eq!(found.matches("000000").count(), 2, "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deed_mutter_prints_all_the_same() {
    assert_eq!(found_by("none", "mutter").await, "muttered");
}

#[test]
fn every_deed_has_a_test() {
    let deeds = std::fs::read_to_string(root().join("plugins/hostile/src/deeds.rs")).expect("the deeds");
    let body = deeds
        .split("pub enum Deed {")
        .nth(1)
        .and_then(|rest| rest.split("\n}").next())
        .expect("the enum");
    let names = body.lines().filter_map(|line| line.trim().strip_suffix(','));
    let mut checked = 0;
    for name in names {
        let snake: String = name
            .char_indices()
            .fold(String::new(), |mut snake, (at, character)| {
                if character.is_uppercase() && at > 0 {
                    snake.push('_');
                }
                snake.extend(character.to_lowercase());
                snake
            });
        assert!(
            include_str!("hostile.rs").contains(&format!("async fn deed_{snake}_")),
            "no test of `{name}`"
        );
        checked += 1;
    }
    assert!(checked >= 18, "only {checked} deeds were found");
}
