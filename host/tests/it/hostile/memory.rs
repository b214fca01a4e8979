//! Plugins that take memory: their own, the host's, and what all of them have together.

use serde_json::json;

use super::cpu::probe;
use super::guest::{self, Guest, HARMLESS};
use super::protocol::{streams, words};
use super::siege::Attacker;

#[test]
pub(crate) fn case_12_memory_grown_for_ever() {
    Attacker::deed("memory-bomb")
        .attack()
        .ends_alone("plugin-memory-limit");
}

#[test]
pub(crate) fn case_13_ten_thousand_instances_in_one() {
    for count in [10_000, 900] {
        Attacker::bytes(guest::crowd(count))
            .attack()
            .was_refused(&["instances"]);
    }
    let memories = Guest {
        declarations: "(memory $second 1) (memory $third 1) (memory $fourth 1)",
        ..HARMLESS
    };
    Attacker::text(&memories).attack().was_refused(&["memor"]);
}

#[test]
pub(crate) fn case_14_more_memory_from_the_start_than_it_may_have() {
    for (pages, word) in [("1024", "limits.memory"), ("8192", "memory")] {
        let guest = Guest {
            memory: pages,
            ..HARMLESS
        };
        Attacker::text(&guest).attack().was_refused(&[word]);
    }
}

#[test]
pub(crate) fn case_15_tables_grown_for_ever() {
    Attacker::text(&guest::TABLE_BOMB)
        .attack()
        .ends_alone("plugin-table-limit");
    let huge = Guest {
        declarations: "(table $table 1000000000 funcref)",
        ..HARMLESS
    };
    Attacker::text(&huge).attack().was_refused(&["table"]);
}

#[test]
pub(crate) fn case_16_answers_of_gigabytes() {
    Attacker::text(&guest::BODY_OUT_OF_BOUNDS)
        .attack()
        .ends_alone("plugin-abi");
    Attacker::text(&guest::BODY_TOO_LONG)
        .attack()
        .ends_alone("plugin-host-bytes-limit");
}

#[test]
pub(crate) fn case_17_lists_of_a_million_nothings() {
    Attacker::text(&guest::LIST_OF_NOTHING)
        .attack()
        .ends_alone("plugin-host-bytes-limit");
    let many = Attacker::built("hostile-answer", json!({ "render": "many-texts" }));
    many.attack().ends_alone("plugin-output-limit");
}

#[test]
pub(crate) fn case_18_arguments_of_gigabytes() {
    Attacker::text(&guest::LOG_OUT_OF_BOUNDS)
        .attack()
        .ends_alone("plugin-abi");
    Attacker::text(&guest::LOG_TOO_LONG)
        .attack()
        .ends_alone("plugin-host-bytes-limit");
    let value = json!({ "store": "mine", "steps": [{ "big-value": 16 << 20 }] });
    let value = probe(value).limits("memory = \"64MiB\", time = \"2s\", wall_time = \"5s\"");
    value.attack().ends_alone("plugin-host-bytes-limit");
}

#[test]
pub(crate) fn case_19_handles_that_are_never_dropped() {
    Attacker::deed("handle-leak")
        .attack()
        .ends_alone("plugin-handles-limit");
    let stores = json!({ "store": "mine", "steps": [{ "hold": 100_000 }] });
    probe(stores).attack().ends_alone("plugin-handles-limit");
    streams("million", words(3)).ends_with(502, "plugin-handles-limit");
}

#[test]
pub(crate) fn case_20_a_borrow_that_is_kept() {
    Attacker::text(&guest::LEAKED_BORROW)
        .attack()
        .ends_alone("plugin-abi");
}

#[test]
pub(crate) fn case_21_handles_that_are_none() {
    Attacker::text(&guest::FORGED_HANDLE)
        .attack()
        .ends_alone("plugin-abi");
    Attacker::text(&guest::USE_AFTER_DROP)
        .attack()
        .ends_alone("plugin-abi");
}

#[test]
pub(crate) fn case_22_many_instances_each_with_all_that_it_may_have() {
    let siege = Attacker::text(&guest::HOARD)
        .limits("time = \"1s\", wall_time = \"10s\"")
        .sandbox("memory_max = \"32MiB\"\nmemory_total_max = \"64MiB\"")
        .attack();
    let codes: Vec<(u16, String)> = siege.meanwhile(|| {
        std::thread::scope(|scope| {
            let asking: Vec<_> = (0..8).map(|_| scope.spawn(|| siege.ask())).collect();
            let answers = asking.into_iter().map(|thread| thread.join().expect("no panic"));
            answers
                .map(|answer| {
                    assert_eq!(answer.status == 503, answer.header("retry-after").is_some());
                    (answer.status, answer.json()["code"].to_string())
                })
                .collect()
        })
    });
    let ended = |status: u16, code: &str| {
        let code = format!("\"{code}\"");
        codes
            .iter()
            .filter(|end| (end.0, &end.1) == (status, &code))
            .count()
    };
    let busy = ended(503, "plugins-busy");
    assert!(
        (4..=7).contains(&busy),
        "two fit, and whoever comes late: {codes:?}"
    );
    assert_eq!(ended(502, "plugin-time-limit"), 8 - busy, "{codes:?}");
    assert_eq!(siege.failures("plugins-busy"), busy);
    assert_eq!(siege.failures("plugin-time-limit"), 8 - busy);
    assert!(
        siege.host.log().contains("sandbox.memory_total_max"),
        "{}",
        siege.host.log()
    );
    siege.leaves_nothing();
}

#[test]
pub(crate) fn case_23_output_without_an_end_of_line() {
    let siege = Attacker::deed("print-flood").limits("time = \"5s\"").attack();
    assert!(siege.is_let().contains("beyond `limits.log`"));
    assert!(siege.said() < 64 << 10, "{} bytes", siege.said());
    // All but what it may log: by default 16 KiB.
    let dropped = siege.log_dropped();
    assert!(dropped >= (64 << 20) - (16 << 10), "{dropped} bytes");
}

#[test]
pub(crate) fn case_24_a_panic_of_100_megabytes() {
    let siege = Attacker::deed("panic-huge")
        .limits("memory = \"256MiB\", time = \"5s\", wall_time = \"20s\"")
        .attack();
    siege.ends_alone("plugin-trap");
    assert!(siege.said() < 64 << 10, "{} bytes", siege.said());
    assert!(siege.log_dropped() > 100_000_000);
}

#[test]
pub(crate) fn case_25_exceptions_and_collected_memory() {
    let collected = Guest {
        declarations: "(type $pair (struct (field i32) (field (mut anyref))))
            (func $hoard (loop $for_ever (drop (struct.new $pair (i32.const 1) (ref.null any))) (br $for_ever)))",
        validate: "(call $hoard)",
        ..HARMLESS
    };
    // What the engine says of a feature that it does not have, and of nothing else.
    Attacker::text(&collected).attack().was_refused(&[
        "cannot be compiled or linked",
        "cannot define struct types when gc types are disabled",
    ]);
    let thrown = Guest {
        declarations: "(tag $thrown)",
        validate: "(throw $thrown)",
        ..HARMLESS
    };
    Attacker::text(&thrown)
        .attack()
        .was_refused(&["cannot be compiled or linked", "exceptions proposal not enabled"]);
}
