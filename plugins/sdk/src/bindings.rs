//! The bindings of what all stages share, generated from `wit/`; a plugin generates its own stage's with `world!`.

#![allow(missing_docs, reason = "generated from wit/, where each item has its doc")]

wit_bindgen::generate!({
    inline: "
        package selvedge:sdk;
        world shared {
            import selvedge:plugin/types@0.1.0;
            import selvedge:plugin/tensors@0.1.0;
            import selvedge:plugin/logging@0.1.0;
            import selvedge:plugin/metrics@0.1.0;
            import selvedge:plugin/uploads@0.1.0;
        }
    ",
    path: "../../wit",
    world: "selvedge:sdk/shared",
    generate_all,
});

pub use selvedge::plugin::{logging, metrics, tensors, types, uploads};

/// Generates the bindings of a stage's world, whose types are the SDK's: the module `exports` with the `Guest` traits, and
/// the macro `export!`. A plugin that is granted more writes a world of its own, and gives its text besides; one of an experimental
/// world names the feature that it is behind.
#[macro_export]
macro_rules! world {
    ($world:literal) => {
        $crate::wit_bindgen::generate!({
            path: "../../wit",
            world: $world,
            runtime_path: "selvedge_sdk::wit_bindgen::rt",
            with: {
                "selvedge:plugin/types@0.1.0": selvedge_sdk::types,
                "selvedge:plugin/tensors@0.1.0": selvedge_sdk::tensors,
                "selvedge:plugin/logging@0.1.0": selvedge_sdk::logging,
                "selvedge:plugin/metrics@0.1.0": selvedge_sdk::metrics,
                "selvedge:plugin/uploads@0.1.0": selvedge_sdk::uploads,
            },
        });
    };
    ($world:literal, features: [$($feature:literal),+]) => {
        $crate::wit_bindgen::generate!({
            path: "../../wit",
            world: $world,
            features: [$($feature),+],
            runtime_path: "selvedge_sdk::wit_bindgen::rt",
            with: {
                "selvedge:plugin/types@0.1.0": selvedge_sdk::types,
                "selvedge:plugin/tensors@0.1.0": selvedge_sdk::tensors,
                "selvedge:plugin/logging@0.1.0": selvedge_sdk::logging,
                "selvedge:plugin/metrics@0.1.0": selvedge_sdk::metrics,
                "selvedge:plugin/uploads@0.1.0": selvedge_sdk::uploads,
            },
        });
    };
    ($world:literal, $text:literal) => {
        $crate::wit_bindgen::generate!({
            inline: $text,
            path: "../../wit",
            world: $world,
            runtime_path: "selvedge_sdk::wit_bindgen::rt",
            generate_all,
            with: {
                "selvedge:plugin/types@0.1.0": selvedge_sdk::types,
                "selvedge:plugin/tensors@0.1.0": selvedge_sdk::tensors,
                "selvedge:plugin/logging@0.1.0": selvedge_sdk::logging,
                "selvedge:plugin/metrics@0.1.0": selvedge_sdk::metrics,
                "selvedge:plugin/uploads@0.1.0": selvedge_sdk::uploads,
            },
        });
    };
}
