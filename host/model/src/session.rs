//! One ONNX Runtime session: how it is built, on which device, and how a batch runs in it.

use std::path::Path;

use ort::ep;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use serde::{Deserialize, Serialize};

use crate::error::LoadError;
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

/// Builds a session of a file with `threads` threads for its operators, the calling one among them.
///
/// Spinning is off, since idle threads would burn the cores that serve requests; the arena is on; memory patterns are off,
/// since shapes differ from batch to batch.
///
/// # Errors
///
/// Where the device cannot be had or the file cannot be loaded.
pub(crate) fn build(
    runtime: &Runtime,
    path: &Path,
    device: Device,
    threads: usize,
) -> Result<(Session, DeviceReport), LoadError> {
    let corrupt = |error: ort::Error| LoadError::FileCorrupt {
        path: path.to_owned(),
        why: error.to_string(),
    };
    let options = |device| -> ort::Result<SessionBuilder> {
        let builder = Session::builder(&runtime.environment)?
            .with_optimization_level(GraphOptimizationLevel::Level3)?
            .with_intra_threads(threads)?
            .with_inter_threads(1)?
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?
            .with_memory_pattern(false)?;
        Ok(builder.with_execution_providers(providers(device))?)
    };
    let (mut builder, report) = match device {
        Device::Auto => match options(Device::Cuda) {
            Ok(builder) => (
                builder,
                DeviceReport {
                    asked: device,
                    got: Device::Cuda,
                    why: None,
                },
            ),
            Err(error) => {
                let report = DeviceReport {
                    asked: device,
                    got: Device::Cpu,
                    why: Some(error.message().to_owned()),
                };
                (options(Device::Cpu).map_err(corrupt)?, report)
            }
        },
        Device::Cpu => (
            options(device).map_err(corrupt)?,
            DeviceReport {
                asked: device,
                got: device,
                why: None,
            },
        ),
        Device::Cuda | Device::Tensorrt => {
            let refused = |error: ort::Error| LoadError::Device {
                device: device.name(),
                why: error.message().to_owned(),
            };
            (
                options(device).map_err(refused)?,
                DeviceReport {
                    asked: device,
                    got: device,
                    why: None,
                },
            )
        }
    };
    let session = builder.commit_from_file(path).map_err(corrupt)?;
    Ok((session, report))
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
