//! Patterns that come along. Pure; knows no WIT.
//!
//! They catch the phrases that are copied from page to page, in English. Who means it finds other words: they are a net with
//! wide meshes in front of a model that is trusted with nothing.

/// The patterns of a set.
///
/// # Errors
///
/// A name that there is not.
pub(crate) fn patterns(name: &str) -> Result<Vec<String>, String> {
    match name {
        "prompt-injection" => Ok(PROMPT_INJECTION.iter().map(|parts| phrase(parts)).collect()),
        _ => Err(format!("`{name}` is no builtin; prompt-injection is")),
    }
}

/// Each a row of parts, between which there may be up to three other words.
const PROMPT_INJECTION: [&[&str]; 9] = [
    // To drop what was said before.
    &[
        "ignore|disregard|forget|override|bypass|discard|neglect",
        "previous|prior|preceding|earlier|foregoing|above|original|initial|system|developer",
        "instructions?|prompts?|rules?|directives?|guidelines?|constraints?",
    ],
    &[
        "ignore|disregard|forget|override|discard",
        "everything|anything|all|whatever",
        "above|you were told|you have been told|instructed|programmed",
    ],
    // To tell what nobody should see.
    &[
        "reveal|show|print|repeat|output|display|leak|disclose|expose|reproduce|recite|translate|summari[sz]e|tell|give",
        "system|hidden|initial|secret|developer",
        "prompts?|instructions?",
    ],
    &[
        "what",
        "(?:is|are|was|were) your",
        "system|hidden|initial|secret|original",
        "prompts?|instructions?",
    ],
    // To play somebody who may do anything.
    &[
        "act|behave|pretend|respond|reply|answer|role-?play|imagine|you are now|you're now|become",
        "unrestricted|unfiltered|uncensored|jailbroken|unmoderated|amoral",
    ],
    &[
        "act|behave|pretend|respond|reply|role-?play|you are now|you're now",
        "without|with no|free of|free from|not bound by|no longer bound by",
        "restrictions?|rules|filters?|filtering|guidelines|censorship|policies|ethics",
    ],
    &[
        "you are|you're|enter|enable|activate|switch to",
        "dan|jailbreak|unrestricted|uncensored",
        "mode",
    ],
    &["do anything now"],
    // To look like the end of one text and the beginning of another.
    &[
        "begin|start|end",
        "of",
        "system|developer",
        "prompts?|instructions?|message",
    ],
];

/// A word of ASCII's letters ends where something else stands; a class without Unicode's tables keeps the automaton small.
const GAP: &str = "[^a-z0-9]+";

/// A pattern that finds the parts in their order, each as whole words.
fn phrase(parts: &[&str]) -> String {
    let words = format!("{GAP}(?:[a-z0-9']+{GAP}){{0,3}}");
    let parts: Vec<String> = parts
        .iter()
        .map(|part| format!("(?:{})", part.replace(' ', GAP)))
        .collect();
    format!(r"(?i:(?:\A|[^a-z0-9]){}(?:\z|[^a-z0-9]))", parts.join(&words))
}
