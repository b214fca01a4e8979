//! One ONNX Runtime session: how it is built, on which device, and how a batch runs in it.

use std::path::Path;

use ort::ep;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use serde::{Deserialize, Serialize};

use crate::error::LoadError;
use crate::huge_pages;
use crate::runtime::Runtime;

/// Where a model runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// The processor.
    Cpu,
    /// An NVIDIA GPU by CUDA; an error where there is none.
    Cuda,
    /// An NVIDIA GPU by TensorRT; an error where there is none. The first load may take minutes.
    Tensorrt,
    /// CUDA where it can be had, else the processor; which, and why, is reported.
    #[default]
    Auto,
}

impl Device {
    /// The name in configuration and answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Tensorrt => "tensorrt",
            Self::Auto => "auto",
        }
    }
}

/// What device a model got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceReport {
    /// What the configuration asks for.
    pub asked: Device,
    /// What the sessions run on.
    pub got: Device,
    /// Why it is not something better; none where it is what was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// How long a thread looks for its next work before it sleeps, where it does: longer than one operator of a step takes, and too
/// short to be seen on an idle node. Libraries before 1.24 do not know it and look for some tens of milliseconds.
const SPIN_MICROS: &str = "200";

/// The threads of a session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Threads {
    pub(crate) count: usize,
    pub(crate) wait: Wait,
}

/// What they do between two operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Sleep, and leave the cores to those who serve requests.
    Sleep,
    /// Look for work for a moment: a decoder's step is hundreds of operators of some microseconds each, and waking a thread
    /// for each costs a third of its speed.
    Spin,
}

/// Builds a session of a file with `threads` threads for its operators, the calling one among them.
///
/// The arena is on; memory patterns are off, since shapes differ from batch to batch.
///
/// # Errors
///
/// Where the device cannot be had or the file cannot be loaded.
pub(crate) fn build(
    runtime: &Runtime,
    path: &Path,
    device: Device,
    threads: Threads,
) -> Result<(Session, DeviceReport), LoadError> {
    let corrupt = |error: ort::Error| LoadError::FileCorrupt {
        path: path.to_owned(),
        why: error.to_string(),
    };
    let report = |got, why| DeviceReport {
        asked: device,
        got,
        why,
    };
    match device {
        Device::Cpu => Ok((
            open(runtime, path, device, threads).map_err(corrupt)?,
            report(device, None),
        )),
        Device::Auto => match open(runtime, path, Device::Cuda, threads) {
            Ok(session) => Ok((session, report(Device::Cuda, None))),
            Err(error) => {
                let session = open(runtime, path, Device::Cpu, threads).map_err(corrupt)?;
                Ok((session, report(Device::Cpu, Some(error.message().to_owned()))))
            }
        },
        Device::Cuda | Device::Tensorrt => match open(runtime, path, device, threads) {
            Ok(session) => Ok((session, report(device, None))),
            Err(error) => {
                // Where the CPU cannot load the file either, it is not the device that is at fault.
                open(runtime, path, Device::Cpu, threads).map_err(corrupt)?;
                Err(LoadError::Device {
                    device: device.name(),
                    why: error.message().to_owned(),
                })
            }
        },
    }
}

/// Registers the device's providers and loads the file. A provider may fail at either: some look for their GPU only when a
/// session is made.
fn open(runtime: &Runtime, path: &Path, device: Device, threads: Threads) -> ort::Result<Session> {
    let before = huge_pages::Snapshot::take();
    let session = Session::builder(&runtime.environment)?
        .with_optimization_level(GraphOptimizationLevel::Level3)?
        .with_intra_threads(threads.count)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(threads.wait == Wait::Spin)?
        .with_config_entry("session.intra_op.spin_duration_us", SPIN_MICROS)?
        .with_inter_op_spinning(false)?
        .with_memory_pattern(false)?
        .with_execution_providers(providers(device))?
        .commit_from_file(path)?;
    let bytes = before.join_since();
    tracing::debug!(path = %path.display(), bytes, "asked for huge pages");
    Ok(session)
}

/// The execution providers of a device, best first. Each must register: without that ONNX Runtime falls back silently.
fn providers(device: Device) -> Vec<ep::ExecutionProviderDispatch> {
    let cpu = ep::CPU::default()
        .with_arena_allocator(true)
        .build()
        .error_on_failure();
    let cuda = || {
        let heuristic = ep::cuda::ConvAlgorithmSearch::Heuristic;
        ep::CUDA::default()
            .with_conv_algorithm_search(heuristic)
            .build()
            .error_on_failure()
    };
    match device {
        Device::Cpu | Device::Auto => vec![cpu],
        Device::Cuda => vec![cuda(), cpu],
        Device::Tensorrt => vec![ep::TensorRT::default().build().error_on_failure(), cuda(), cpu],
    }
}
