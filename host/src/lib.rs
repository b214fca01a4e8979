//! Selvedge: an HTTP host for edge nodes that runs ONNX models natively and lets sandboxed plugins decide what goes in and
//! what comes out. `ARCHITECTURE.md` beside this crate is the map; read the modules in this order.

pub mod config;

pub mod state;

pub mod ports;

pub mod router;

pub mod telemetry;

pub mod edge;

pub mod generation;

pub mod backend;

pub mod warm;

pub mod upstream;

pub mod granted;

pub mod observe;

mod aside;

pub mod pipeline;

pub mod author;

pub mod openapi;

pub mod http;

pub mod activation;

pub mod listeners;

pub mod app;

pub mod reload;

pub mod shutdown;

pub mod service;

pub mod upgrade;

pub mod cli;
