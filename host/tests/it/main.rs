//! The host as a whole: real processes on free ports, real plugins, real models, raw sockets and a real client.
//!
//! Needs what `cargo xtask setup` makes; `cargo xtask test` does that first.

mod author;
mod author_bench;
mod author_cases;
mod author_run;
mod author_scripts;
mod bad_input;
mod cli;
mod client;
mod config;
mod contained;
mod decode;
mod decode_faults;
mod edge;
mod endpoints;
mod far;
mod frozen;
mod generate;
mod granted;
mod host;
mod hostile;
mod lifetime;
mod metrics;
mod observe;
mod observe_faults;
mod open_inference;
mod open_inference_faults;
mod open_inference_refusals;
mod openapi;
mod python_clients;
mod receiver;
mod reload;
mod reuse;
mod scripts;
mod tls;
mod tokens;
mod traces;
mod traces_far;
mod uploads;
mod uploads_faults;
mod upstream;
mod upstream_faults;
mod webhook;
mod wire;
