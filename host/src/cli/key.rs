//! `selvedge key`: callers' keys, in the node's state file. A running node hears of them within a second.

use std::num::NonZeroU32;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{CliError, config, out};
use crate::config::{Config, Rate, Time};
use crate::edge::key::{self, Key, Moment};
use crate::edge::{ADMIN, ALL, keystore};
use crate::state::Database;

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key and show it, this once.
    Create(CreateArguments),
    /// List all keys; what a caller shows is not kept.
    List(Common),
    /// Take a key back.
    Revoke {
        /// Its id, as `list` shows it.
        id: String,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Args)]
pub(super) struct Common {
    /// The configuration, whose `state.dir` has the keys; default configs/demo.toml, /etc/selvedge/selvedge.toml, then the package's own.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Answer with JSON on standard output.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct CreateArguments {
    /// What it opens: an endpoint's name, `admin`, or `*` for all endpoints; may be given again.
    #[arg(long = "scope", value_name = "SCOPE", required = true)]
    scopes: Vec<String>,
    /// Whose it is; plugins and the log see it.
    #[arg(long, default_value = "unnamed")]
    name: String,
    /// When it ends by itself, from now: 30d, 12h, 90m.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    expires: Option<std::time::Duration>,
    /// Requests in `--per`, in place of `limits.key`.
    #[arg(long, value_name = "COUNT")]
    requests: Option<NonZeroU32>,
    /// Tokens in `--per`.
    #[arg(long, value_name = "COUNT")]
    tokens: Option<NonZeroU32>,
    /// Requests at once.
    #[arg(long, value_name = "COUNT")]
    concurrent: Option<NonZeroU32>,
    /// The time that `--requests` and `--tokens` are for.
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration)]
    per: std::time::Duration,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(command: KeyCommand) -> Result<(), CliError> {
    match command {
        KeyCommand::Create(arguments) => create(arguments),
        KeyCommand::List(common) => list(common),
        KeyCommand::Revoke { id, common } => revoke(&id, common),
    }
}

fn create(arguments: CreateArguments) -> Result<(), CliError> {
    let config = config(arguments.common.config)?;
    for scope in &arguments.scopes {
        check_scope(&config, scope)?;
    }
    if arguments.per < std::time::Duration::from_millis(1) {
        return Err(anyhow::anyhow!("--per: must be at least 1ms").into());
    }
    let (id, text, hash) = key::generate().context("the system gives no random numbers")?;
    let limited =
        arguments.requests.is_some() || arguments.tokens.is_some() || arguments.concurrent.is_some();
    let rate = Rate {
        requests: arguments.requests,
        tokens: arguments.tokens,
        per: Time(arguments.per),
        concurrent: arguments.concurrent,
    };
    let made = Moment::now();
    let key = Key {
        id,
        name: arguments.name,
        hash,
        scopes: arguments.scopes,
        made,
        expires: arguments.expires.map(|time| made.after(time)),
        revoked: None,
        rate: limited.then_some(rate),
    };
    let shown = with_text(entry(&key), &text);
    keystore::insert(&open(&config)?, key).context("the key cannot be kept")?;
    if arguments.common.json {
        return out::line(shown);
    }
    out::say("This is shown once; callers send it as `Authorization: Bearer ...` or `x-api-key: ...`.");
    out::line(text)
}

/// A scope that opens nothing is a slip of the keyboard.
fn check_scope(config: &Config, scope: &str) -> Result<(), CliError> {
    let mut known: Vec<&str> = vec![ALL, ADMIN];
    for (name, endpoint) in &config.endpoints {
        match &endpoint.auth {
            Some(auth) => known.extend(auth.scopes.iter().map(String::as_str)),
            None => known.push(name),
        }
    }
    if known.contains(&scope) {
        return Ok(());
    }
    known.sort_unstable();
    known.dedup();
    Err(anyhow::anyhow!(
        "--scope: `{scope}` opens nothing here; known are {}",
        known.join(", ")
    )
    .into())
}

fn list(common: Common) -> Result<(), CliError> {
    let keys = keystore::list(&open(&config(common.config)?)?).context("the keys cannot be read")?;
    if common.json {
        return out::line(Value::from_iter(keys.iter().map(entry)));
    }
    for key in &keys {
        let state = match (key.revoked, key.expires) {
            (Some(at), _) => format!("revoked {at}"),
            (None, Some(at)) if !key.is_valid(Moment::now()) => format!("expired {at}"),
            (None, Some(at)) => format!("until {at}"),
            (None, None) => "valid".to_owned(),
        };
        out::line(format_args!(
            "{}  {:<20}  {:<30}  {state}",
            key.id,
            key.name,
            key.scopes.join(" ")
        ))?;
    }
    if keys.is_empty() {
        out::say("there are no keys; make one with `selvedge key create --scope ...`");
    }
    Ok(())
}

fn revoke(id: &str, common: Common) -> Result<(), CliError> {
    let database = open(&config(common.config)?)?;
    let revoked = keystore::revoke(&database, id).context("the key cannot be revoked")?;
    if !revoked {
        return Err(anyhow::anyhow!("there is no valid key `{id}`; `selvedge key list` shows them").into());
    }
    if common.json {
        return out::line(json!({ "id": id, "revoked": true }));
    }
    out::say(format_args!(
        "{id} is revoked; a running node hears of it within a second"
    ));
    Ok(())
}

fn open(config: &Config) -> Result<Database, CliError> {
    Ok(Database::open(&config.state.dir).context("state.dir")?)
}

fn entry(key: &Key) -> Value {
    let at = |moment: Option<Moment>| moment.map(|moment| moment.to_string());
    json!({
        "id": key.id,
        "name": key.name,
        "scopes": key.scopes,
        "made": key.made.to_string(),
        "expires": at(key.expires),
        "revoked": at(key.revoked),
        "limits": key.rate,
    })
}

fn with_text(mut entry: Value, text: &str) -> Value {
    entry["key"] = text.into();
    entry
}
