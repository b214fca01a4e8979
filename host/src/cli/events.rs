//! `selvedge events`: the queue of events, also while a node works on it.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{CliError, config, out};
use crate::observe::letters::{self, Filter, Letter, State};
use crate::state::Database;

/// Subcommands of `events`.
#[derive(Debug, Subcommand)]
pub(super) enum EventsCommand {
    /// List events, oldest first.
    List(ListArguments),
    /// Show an event with its bodies and why it was not taken.
    Show(ShowArguments),
    /// Have events given again at once, those that were given up too.
    Requeue(ChangeArguments),
    /// Forget events.
    Drop(ChangeArguments),
}

/// Whose queue, and which events of it.
#[derive(Debug, Args)]
struct Which {
    /// The configuration; default configs/demo.toml, /etc/selvedge/selvedge.toml, then the package's own.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only those of an observer.
    #[arg(long, value_name = "ENDPOINT/PLUGIN")]
    observer: Option<String>,
    /// Only those that were given up.
    #[arg(long)]
    dead: bool,
    /// Write JSON.
    #[arg(long)]
    json: bool,
}

/// Arguments of `events list`.
#[derive(Debug, Args)]
pub(super) struct ListArguments {
    #[command(flatten)]
    which: Which,
    /// Events at most.
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

/// Arguments of `events show`.
#[derive(Debug, Args)]
pub(super) struct ShowArguments {
    /// The event's number, as `list` has it.
    id: i64,
    /// The configuration; default configs/demo.toml, /etc/selvedge/selvedge.toml, then the package's own.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Arguments of `events requeue` and `events drop`.
#[derive(Debug, Args)]
pub(super) struct ChangeArguments {
    /// The events' numbers, as `list` has them.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<i64>,
    /// All events that `--observer` and `--dead` leave.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    which: Which,
}

impl Which {
    fn filter(&self, ids: Vec<i64>) -> Filter {
        Filter {
            ids,
            observer: self.observer.clone(),
            state: self.dead.then_some(State::Dead),
        }
    }
}

pub(super) fn run(command: EventsCommand) -> Result<(), CliError> {
    match command {
        EventsCommand::List(arguments) => list(arguments),
        EventsCommand::Show(arguments) => show(arguments),
        EventsCommand::Requeue(arguments) => change(arguments, Change::Requeue),
        EventsCommand::Drop(arguments) => change(arguments, Change::Drop),
    }
}

fn open(named: Option<PathBuf>) -> Result<Database, CliError> {
    let config = config(named)?;
    let database = Database::open(&config.state.dir);
    database.map_err(|error| CliError::Config(vec![format!("state.dir: {error}")]))
}

fn list(arguments: ListArguments) -> Result<(), CliError> {
    let (filter, limit) = (arguments.which.filter(Vec::new()), arguments.limit);
    let database = open(arguments.which.config)?;
    let found = database.run_blocking(move |connection| letters::list(connection, &filter, limit));
    let found = found.context("the events cannot be read")?;
    if arguments.which.json {
        return out::json(&json!(found));
    }
    let lines = found.iter().map(line).collect::<String>();
    out::write(if lines.is_empty() { "none\n" } else { &lines })
}

/// One line of an event: number, state, observer, time, status, attempts, reason.
fn line(letter: &Letter) -> String {
    let state = match letter.state {
        State::Waiting => "waiting",
        State::Dead => "dead",
    };
    let made = UNIX_EPOCH + Duration::from_millis(u64::try_from(letter.made_ms).unwrap_or_default());
    let (observer, attempts) = (&letter.observer, letter.attempts);
    // A plugin's own words, which must not write to the terminal as they like.
    let reason = letter.reason.as_deref().unwrap_or_default().escape_debug();
    let due = UNIX_EPOCH + Duration::from_millis(u64::try_from(letter.due_ms).unwrap_or_default());
    let wait = due
        .duration_since(SystemTime::now())
        .unwrap_or_default()
        .as_secs();
    let next = match letter.state {
        State::Waiting if wait > 0 => format!(", again in {wait} s"),
        _ => String::new(),
    };
    let status = &letter.event["status"];
    format!(
        "{:>8}  {state:<7}  {observer}  {}  status {status}, attempts {attempts}{next}  {reason}\n",
        letter.id,
        humantime::format_rfc3339_seconds(made),
    )
}

fn show(arguments: ShowArguments) -> Result<(), CliError> {
    let id = arguments.id;
    let database = open(arguments.config)?;
    let found = database.run_blocking(move |connection| letters::show(connection, id));
    let found = found.context("the events cannot be read")?;
    let found =
        found.ok_or_else(|| anyhow!("there is no event {id}; `selvedge events list` has their numbers"))?;
    out::json(&json!(found))
}

/// What is done with events.
#[derive(Debug, Clone, Copy)]
enum Change {
    Requeue,
    Drop,
}

fn change(arguments: ChangeArguments, change: Change) -> Result<(), CliError> {
    let filter = arguments.which.filter(arguments.ids);
    let database = open(arguments.which.config)?;
    let changed = database.run_blocking(move |connection| match change {
        Change::Requeue => letters::requeue(connection, &filter),
        Change::Drop => letters::discard(connection, &filter),
    });
    let changed = changed.context("the events cannot be changed")?;
    if !arguments.all && changed == 0 {
        return Err(anyhow!("there is no such event; `selvedge events list` has their numbers").into());
    }
    if arguments.which.json {
        return out::line(json!({ "events": changed }));
    }
    let done = match change {
        Change::Requeue => "given again",
        Change::Drop => "dropped",
    };
    out::line(format_args!("{changed} {done}"))
}
