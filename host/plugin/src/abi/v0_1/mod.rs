//! `selvedge:plugin@0.1`: the bindings that wasmtime generates from `wit/`, and the stages' calls on top of them.
//!
//! Next: `imports` (what plugins call), `granted` (what they call where it is granted), `convert` and `len` (types), `stages` (what the
//! host calls), `decode` (all of that for decode control).

mod convert;
mod decode;
mod granted;
mod imports;
mod json;
mod len;
mod stages;

pub(crate) use imports::add_to_linker;
pub(crate) use len::Len;
pub(crate) use stages::{Outcome, Stages};

/// What `wasmtime::component::bindgen` makes of `wit/`; its docs are the WIT's.
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "full-plugin",
        imports: {
            // They wait for a disk.
            "selvedge:plugin/journals.append": async | trappable,
            "selvedge:plugin/uploads.read-part": async | trappable,
            // They wait for a model, or for the state file.
            "selvedge:plugin/inference": async | trappable,
            "selvedge:plugin/kv": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        with: {
            "selvedge:plugin/types.request": crate::abi::v0_1::RequestHandle,
            "selvedge:plugin/tensors.tensor": crate::value::Tensor,
            "selvedge:plugin/kv.store": crate::kv::Store,
        },
    });
}

/// What a plugin's handle on the request stands for. The data is in the store's state: there is one request at a time.
#[expect(unreachable_pub, reason = "the generated code exports it again")]
pub struct RequestHandle;
