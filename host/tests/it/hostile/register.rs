//! The list of what a plugin may do at its worst, each with the test that shows it contained: without one this does not
//! compile. A plugin's author and a reader of the code find here what the node stands.

use super::{cpu, information, memory, packaging, protocol, stack};
use crate::{generate, granted, reload};

/// What shows a case contained.
enum Shown {
    /// These tests.
    By(&'static [fn()]),
    /// Nothing, for this reason.
    Exempt(&'static str),
}

use Shown::{By, Exempt};

/// What plugins do, in the order in which they are numbered.
const CASES: [(&str, Shown); 53] = [
    (
        "loops for ever in an export",
        By(&[cpu::case_01_an_endless_loop_in_an_export]),
    ),
    (
        "loops for ever in `start` or `configure`",
        By(&[cpu::case_02_an_endless_loop_before_the_first_request]),
    ),
    (
        "loops for ever in a resource's destructor",
        By(&[cpu::case_03_an_endless_loop_in_a_destructor]),
    ),
    (
        "loops for ever in `cabi_realloc`",
        By(&[cpu::case_04_an_endless_loop_where_the_host_writes]),
    ),
    (
        "loops for ever in `post-return`",
        By(&[cpu::case_05_an_endless_loop_in_post_return]),
    ),
    (
        "fills and copies all its memory, for ever",
        By(&[cpu::case_06_memory_filled_for_ever]),
    ),
    ("sleeps for an hour", By(&[cpu::case_07_an_hour_of_sleep])),
    (
        "waits for a server that does not answer, and its client leaves",
        By(&[cpu::case_08_a_call_that_hangs]),
    ),
    (
        "calls the host millions of times",
        By(&[
            cpu::case_09_floods_of_host_calls,
            cpu::names_that_nobody_granted_are_logged_within_the_limit,
            granted::floods_and_hoards_end_alone,
        ]),
    ),
    (
        "loops for ever in every worker at once",
        By(&[cpu::case_10_an_endless_loop_in_every_worker]),
    ),
    (
        "asks a model that asks the plugin",
        By(&[cpu::case_11_a_plugin_that_asks_for_its_own_endpoint]),
    ),
    (
        "grows its memory for ever",
        By(&[memory::case_12_memory_grown_for_ever]),
    ),
    (
        "has ten thousand instances, or many memories",
        By(&[memory::case_13_ten_thousand_instances_in_one]),
    ),
    (
        "has more memory from the start than it may",
        By(&[memory::case_14_more_memory_from_the_start_than_it_may_have]),
    ),
    (
        "grows a table for ever, or begins with a billion elements",
        By(&[memory::case_15_tables_grown_for_ever]),
    ),
    (
        "answers with gigabytes that it has or has not",
        By(&[memory::case_16_answers_of_gigabytes]),
    ),
    (
        "answers with millions of empty items",
        By(&[memory::case_17_lists_of_a_million_nothings]),
    ),
    (
        "gives imports gigabytes",
        By(&[memory::case_18_arguments_of_gigabytes]),
    ),
    (
        "never drops a handle",
        By(&[memory::case_19_handles_that_are_never_dropped]),
    ),
    (
        "keeps a borrowed handle",
        By(&[memory::case_20_a_borrow_that_is_kept]),
    ),
    (
        "uses a handle after its end, or one that it made up",
        By(&[memory::case_21_handles_that_are_none]),
    ),
    (
        "has many instances, each with all that it may have",
        By(&[memory::case_22_many_instances_each_with_all_that_it_may_have]),
    ),
    (
        "prints 64 MiB without an end of line",
        By(&[memory::case_23_output_without_an_end_of_line]),
    ),
    (
        "panics with a message of 100 MB",
        By(&[memory::case_24_a_panic_of_100_megabytes]),
    ),
    (
        "throws exceptions, and hoards collected memory",
        By(&[memory::case_25_exceptions_and_collected_memory]),
    ),
    ("calls itself for ever", By(&[stack::case_26_endless_recursion])),
    (
        "calls the host, which calls it, which calls the host",
        By(&[stack::case_27_the_guest_calls_the_host_calls_the_guest]),
    ),
    (
        "is given, or answers with, JSON of 100,000 arrays",
        By(&[stack::case_28_json_of_100_000_arrays]),
    ),
    (
        "calls the host from the end of its stack",
        By(&[stack::case_29_the_host_called_from_the_end_of_the_stack]),
    ),
    (
        "traps before the first word",
        By(&[protocol::case_30_a_trap_before_the_first_word]),
    ),
    (
        "traps in the midst of a stream",
        By(&[
            protocol::case_31_a_trap_after_two_words,
            generate::a_plugin_that_fails_on_a_stream_ends_it_with_an_event_and_frees_the_slot,
        ]),
    ),
    (
        "answers many times what was pushed",
        By(&[protocol::case_32_answers_many_times_as_long_as_what_was_pushed]),
    ),
    (
        "answers with choices and tokens that there are not",
        By(&[protocol::case_33_choices_and_tokens_that_there_are_not]),
    ),
    (
        "has a stream that is never finished",
        By(&[protocol::case_34_a_stream_that_is_never_finished]),
    ),
    (
        "answers with texts and variants that are none",
        By(&[protocol::case_35_texts_and_variants_that_are_none]),
    ),
    (
        "puts headers into a rejection",
        Exempt("a rejection has no headers in selvedge:plugin@0.1; its status is clamped (37)"),
    ),
    (
        "makes tensors whose shape or numbers are none",
        By(&[protocol::case_37_tensors_that_are_none]),
    ),
    (
        "uses a tensor of somebody else",
        By(&[protocol::case_38_a_tensor_of_somebody_else]),
    ),
    (
        "is cut at any byte",
        By(&[packaging::case_39_a_component_cut_at_every_byte]),
    ),
    (
        "is a module and no component",
        By(&[packaging::case_40_a_module_in_place_of_a_component]),
    ),
    ("is of another world", By(&[packaging::case_41_another_world])),
    (
        "takes long to compile",
        By(&[packaging::case_42_more_to_compile_than_there_is_time_for]),
    ),
    (
        "takes long to validate",
        By(&[packaging::case_43_components_and_types_in_each_other]),
    ),
    (
        "is native code",
        By(&[packaging::case_44_code_that_is_compiled_already]),
    ),
    (
        "comes in an archive that leads elsewhere",
        Exempt("there are no bundles yet"),
    ),
    (
        "has a manifest that is damaged, there twice, too long or untrue",
        By(&[packaging::case_46_what_it_says_of_itself_is_damaged_or_untrue]),
    ),
    (
        "is signed by nobody, or another",
        Exempt("there are no bundles yet, and no signatures"),
    ),
    (
        "changes under a node that serves",
        By(&[
            packaging::case_48_a_plugin_that_is_broken_when_the_node_reloads,
            reload::what_is_wrong_changes_nothing_and_is_named,
            reload::reloads_do_not_meet_and_the_public_listener_has_none,
            reload::requests_under_reloads_all_succeed_and_memory_does_not_grow,
        ]),
    ),
    (
        "looks for files, names and hosts",
        By(&[information::case_49_files_names_and_hosts_that_are_not_granted]),
    ),
    (
        "looks for what another left in memory",
        By(&[information::case_50_what_the_instance_before_left_in_memory]),
    ),
    (
        "forges lines of the log",
        By(&[information::case_51_lines_of_the_log_that_are_forged]),
    ),
    (
        "records a metric of every name",
        By(&[information::case_52_a_metric_of_every_name]),
    ),
    (
        "measures time",
        By(&[information::case_53_clocks_that_tell_what_others_do]),
    ),
];

/// The sources of the tests that are named after cases.
const SOURCES: [&str; 6] = [
    include_str!("cpu.rs"),
    include_str!("memory.rs"),
    include_str!("stack.rs"),
    include_str!("protocol.rs"),
    include_str!("packaging.rs"),
    include_str!("information.rs"),
];

#[test]
fn every_case_has_a_test_of_its_number_or_a_reason() {
    let is_run = |number: usize| {
        let name = format!("#[test]\npub(crate) fn case_{number:02}_");
        SOURCES.iter().filter(|source| source.contains(&name)).count()
    };
    for (place, (words, shown)) in CASES.iter().enumerate() {
        let wanted = match shown {
            By(tests) => usize::from(!tests.is_empty()),
            Exempt(reason) => usize::from(reason.is_empty()),
        };
        assert_eq!(
            is_run(place + 1),
            wanted,
            "case {}: a plugin that {words}",
            place + 1
        );
    }
}
