//! Guests in text, and components that are put together byte by byte: deeds that no compiler would make.

use wasm_encoder::{
    CodeSection, Component, ComponentSection, Function, FunctionSection, InstanceSection, Instruction,
    Module, ModuleArg, ModuleSection, NestedComponentSection, TypeSection,
};
use wit_component::StringEncoding;

use crate::host::root;

/// A validator in text: `tests/guests/validator.wat` with this in place of its marks.
#[derive(Clone, Copy)]
pub(crate) struct Guest {
    /// Pages of its memory.
    pub(crate) memory: &'static str,
    /// Globals, tables, functions.
    pub(crate) declarations: &'static str,
    /// What `configure` does.
    pub(crate) configure: &'static str,
    /// What `validate` does.
    pub(crate) validate: &'static str,
    /// What `cabi_realloc` does once `$armed` is set.
    pub(crate) realloc: &'static str,
    /// What is done when the host has read the answer.
    pub(crate) post_return: &'static str,
    /// How its texts are encoded.
    pub(crate) encoding: StringEncoding,
}

/// Does nothing, and accepts.
pub(crate) const HARMLESS: Guest = Guest {
    memory: "4",
    declarations: "",
    configure: "",
    validate: "",
    realloc: "",
    post_return: "",
    encoding: StringEncoding::UTF8,
};

/// Asks for the request's id, whose text the host puts where `cabi_realloc` says; armed before.
const ASKS_FOR_ID: &str = "(global.set $armed (i32.const 1)) (call $id (local.get $request) (i32.const 512))";

/// Never returns from `cabi_realloc`.
pub(crate) const LOOP_IN_REALLOC: Guest = Guest {
    validate: ASKS_FOR_ID,
    realloc: "(loop $for_ever (br $for_ever))",
    ..HARMLESS
};

/// Calls the host from within `cabi_realloc`.
pub(crate) const CALL_IN_REALLOC: Guest = Guest {
    validate: ASKS_FOR_ID,
    realloc: "(call $id (i32.const 1) (i32.const 512))",
    ..HARMLESS
};

/// Gives the host memory that it does not have.
pub(crate) const BAD_REALLOC: Guest = Guest {
    validate: ASKS_FOR_ID,
    realloc: "(return (i32.const -8))",
    ..HARMLESS
};

/// Never returns once its answer was read.
pub(crate) const LOOP_IN_POST_RETURN: Guest = Guest {
    post_return: "(loop $for_ever (br $for_ever))",
    ..HARMLESS
};

/// Never starts.
pub(crate) const LOOP_IN_START: Guest = Guest {
    declarations: "(func $start (loop $for_ever (br $for_ever))) (start $start)",
    ..HARMLESS
};

/// Fills 28 MiB, for ever: within one fill no epoch is looked at.
pub(crate) const FILL: Guest = Guest {
    memory: "480",
    validate: "(loop $for_ever
        (memory.fill (i32.const 65536) (i32.const 7) (i32.const 29360128))
        (memory.copy (i32.const 65536) (i32.const 131072) (i32.const 29360128))
        (br $for_ever))",
    ..HARMLESS
};

/// Grows a table for ever.
pub(crate) const TABLE_BOMB: Guest = Guest {
    declarations: "(table $table 0 funcref)",
    validate: "(loop $for_ever (drop (table.grow $table (ref.null func) (i32.const 1000))) (br $for_ever))",
    ..HARMLESS
};

/// Grows to 26 MiB and stays.
pub(crate) const HOARD: Guest = Guest {
    validate: "(drop (memory.grow (i32.const 412))) (loop $for_ever (br $for_ever))",
    ..HARMLESS
};

/// Amends the body: 4 GiB of it.
pub(crate) const BODY_OUT_OF_BOUNDS: Guest = Guest {
    validate: "(i32.store8 (i32.const 260) (i32.const 1)) (i32.store8 (i32.const 264) (i32.const 1))
        (i32.store (i32.const 272) (i32.const -1))",
    ..HARMLESS
};

/// Amends the body: 16 MiB of it, which it has.
pub(crate) const BODY_TOO_LONG: Guest = Guest {
    memory: "300",
    validate: "(i32.store8 (i32.const 260) (i32.const 1)) (i32.store8 (i32.const 264) (i32.const 1))
        (i32.store (i32.const 272) (i32.const 16777216))",
    ..HARMLESS
};

/// Leaves 1,900,000 attributes without a letter.
pub(crate) const LIST_OF_NOTHING: Guest = Guest {
    memory: "480",
    validate: "(i32.store8 (i32.const 260) (i32.const 1))
        (i32.store (i32.const 276) (i32.const 65536)) (i32.store (i32.const 280) (i32.const 1900000))",
    ..HARMLESS
};

/// Logs a line of 1 GiB that it does not have.
pub(crate) const LOG_OUT_OF_BOUNDS: Guest = Guest {
    validate: "(call $log (i32.const 2) (i32.const 0) (i32.const 1073741824) (i32.const 0) (i32.const 0))",
    ..HARMLESS
};

/// Logs a line of 16 MiB that it has.
pub(crate) const LOG_TOO_LONG: Guest = Guest {
    memory: "300",
    validate: "(call $log (i32.const 2) (i32.const 0) (i32.const 16777216) (i32.const 0) (i32.const 0))",
    ..HARMLESS
};

/// Does not give the request back.
pub(crate) const LEAKED_BORROW: Guest = Guest {
    validate: "(return (i32.const 256))",
    ..HARMLESS
};

/// Drops a handle that nobody gave it.
pub(crate) const FORGED_HANDLE: Guest = Guest {
    validate: "(call $drop_request (i32.const 77))",
    ..HARMLESS
};

/// Uses the request after it gave it back.
pub(crate) const USE_AFTER_DROP: Guest = Guest {
    validate: "(call $drop_request (local.get $request)) (call $id (local.get $request) (i32.const 512))",
    ..HARMLESS
};

/// Takes the request for a tensor, and then a number of its own.
pub(crate) const FORGED_TENSOR: Guest = Guest {
    validate: "(drop (call $tensor_type (local.get $request)))",
    ..HARMLESS
};

/// Calls itself for ever.
pub(crate) const RECURSION: Guest = Guest {
    declarations: "(func $down (param i32) (result i32)
        (i32.add (call $down (i32.add (local.get 0) (i32.const 1))) (local.get 0)))",
    validate: "(drop (call $down (i32.const 0)))",
    ..HARMLESS
};

/// Calls the host at every depth of its stack, the last one too.
pub(crate) const HOST_CALLS_AT_DEPTH: Guest = Guest {
    declarations: "(func $down (param $request i32) (result i32)
        (call $id (local.get $request) (i32.const 512))
        (call $log (i32.const 0) (i32.const 1024) (i32.const 8) (i32.const 0) (i32.const 0))
        (i32.add (call $down (local.get $request)) (i32.const 1)))",
    validate: "(global.set $armed (i32.const 1)) (drop (call $down (local.get $request)))",
    realloc: "(return (i32.const 8192))",
    ..HARMLESS
};

/// Fails with a code whose text is none.
const FAILS_WITH_BAD_TEXT: &str = "(i32.store8 (i32.const 256) (i32.const 1))
    (i32.store (i32.const 260) (i32.const 1024)) (i32.store (i32.const 264) (i32.const 2))
    (i32.store (i32.const 1024) (i32.const 0xd800d8ff))";

/// A text that is not UTF-8.
pub(crate) const NOT_UTF8: Guest = Guest {
    validate: FAILS_WITH_BAD_TEXT,
    ..HARMLESS
};

/// A text in UTF-16 with half of a pair.
pub(crate) const LONE_SURROGATE: Guest = Guest {
    validate: FAILS_WITH_BAD_TEXT,
    encoding: StringEncoding::UTF16,
    ..HARMLESS
};

/// A verdict that there is not.
pub(crate) const BAD_VARIANT: Guest = Guest {
    validate: "(i32.store8 (i32.const 260) (i32.const 7))",
    ..HARMLESS
};

/// A level of the log that there is not.
pub(crate) const BAD_ENUM: Guest = Guest {
    validate: "(call $log (i32.const 9) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))",
    ..HARMLESS
};

/// Those that do their worst in a request, with the code that each ends with.
pub(crate) const IN_A_REQUEST: [(&str, Guest, &str); 22] = [
    ("loop-in-realloc", LOOP_IN_REALLOC, "plugin-time-limit"),
    ("call-in-realloc", CALL_IN_REALLOC, "plugin-abi"),
    ("bad-realloc", BAD_REALLOC, "plugin-abi"),
    ("loop-in-post-return", LOOP_IN_POST_RETURN, "plugin-time-limit"),
    ("fill", FILL, "plugin-time-limit"),
    ("table-bomb", TABLE_BOMB, "plugin-table-limit"),
    ("hoard", HOARD, "plugin-time-limit"),
    ("body-out-of-bounds", BODY_OUT_OF_BOUNDS, "plugin-abi"),
    ("body-too-long", BODY_TOO_LONG, "plugin-host-bytes-limit"),
    ("list-of-nothing", LIST_OF_NOTHING, "plugin-host-bytes-limit"),
    ("log-out-of-bounds", LOG_OUT_OF_BOUNDS, "plugin-abi"),
    ("log-too-long", LOG_TOO_LONG, "plugin-host-bytes-limit"),
    ("leaked-borrow", LEAKED_BORROW, "plugin-abi"),
    ("forged-handle", FORGED_HANDLE, "plugin-abi"),
    ("use-after-drop", USE_AFTER_DROP, "plugin-abi"),
    ("forged-tensor", FORGED_TENSOR, "plugin-abi"),
    ("recursion", RECURSION, "plugin-stack-overflow"),
    (
        "host-calls-at-depth",
        HOST_CALLS_AT_DEPTH,
        "plugin-stack-overflow",
    ),
    ("not-utf8", NOT_UTF8, "plugin-abi"),
    ("lone-surrogate", LONE_SURROGATE, "plugin-abi"),
    ("bad-variant", BAD_VARIANT, "plugin-abi"),
    ("bad-enum", BAD_ENUM, "plugin-abi"),
];

impl Guest {
    /// The component.
    pub(crate) fn component(&self) -> Vec<u8> {
        let text = include_str!("../../guests/validator.wat")
            .replace("MEMORY", self.memory)
            .replace(";;DECLARATIONS", self.declarations)
            .replace(";;REALLOC", self.realloc)
            .replace(";;CONFIGURE", self.configure)
            .replace(";;VALIDATE", self.validate)
            .replace(";;POST_RETURN", self.post_return);
        let mut module = wat::parse_str(text).expect("the text is well-formed");
        let mut resolve = wit_parser::Resolve::default();
        let (package, _) = resolve
            .push_dir(root().join("wit"))
            .expect("the interfaces parse");
        let world = resolve.select_world(&[package], Some("validator-plugin"));
        let world = world.expect("the world is there");
        wit_component::embed_component_metadata(&mut module, &resolve, world, self.encoding)
            .expect("embedded");
        let encoder = wit_component::ComponentEncoder::default()
            .validate(false)
            .module(&module);
        encoder.expect("a module").encode().expect("a component")
    }
}

/// Core modules that a component of a [`Guest`] has: its own, and two that `wit-component` adds for what it imports.
const GUEST_MODULES: u32 = 3;

/// A harmless guest with so many instances of an empty module beside it.
pub(crate) fn crowd(instances: u32) -> Vec<u8> {
    let mut component = HARMLESS.component();
    append(&mut component, &ModuleSection(&Module::new()));
    let mut section = InstanceSection::new();
    for _ in 0..instances {
        section.instantiate(GUEST_MODULES, std::iter::empty::<(&str, ModuleArg)>());
    }
    append(&mut component, &section);
    component
}

/// A harmless guest with a module of so many functions beside it, each of so many bytes or some more.
pub(crate) fn functions(count: u32, len: usize) -> Vec<u8> {
    let mut module = Module::new();
    let mut types = TypeSection::new();
    types.ty().function([], [wasm_encoder::ValType::I32]);
    let (mut declared, mut code) = (FunctionSection::new(), CodeSection::new());
    for number in 0..count {
        declared.function(0);
        let mut function = Function::new([]);
        function.instruction(&Instruction::I32Const(number.cast_signed()));
        for _ in 0..len / 3 {
            function.instruction(&Instruction::I32Const(1));
            function.instruction(&Instruction::I32Xor);
        }
        function.instruction(&Instruction::End);
        code.function(&function);
    }
    module.section(&types).section(&declared).section(&code);
    let mut component = HARMLESS.component();
    append(&mut component, &ModuleSection(&module));
    component
}

/// A harmless guest with components in each other beside it, so many deep.
pub(crate) fn nest(depth: usize) -> Vec<u8> {
    let mut inner = Component::new();
    for _ in 1..depth {
        let mut outer = Component::new();
        outer.section(&NestedComponentSection(&inner));
        inner = outer;
    }
    let mut component = HARMLESS.component();
    append(&mut component, &NestedComponentSection(&inner));
    component
}

/// A harmless guest with so many components beside each other.
pub(crate) fn wide(count: usize) -> Vec<u8> {
    let mut component = HARMLESS.component();
    for _ in 0..count {
        append(&mut component, &NestedComponentSection(&Component::new()));
    }
    component
}

/// A harmless guest with types beside it, each a pair of the one before: the last has 2 to the power of that many parts.
pub(crate) fn types(count: u32) -> Vec<u8> {
    let mut section = wasm_encoder::ComponentTypeSection::new();
    for number in 0..count {
        let defined = section.ty().defined_type();
        match number {
            0 => defined.primitive(wasm_encoder::PrimitiveValType::U8),
            _ => {
                let before = wasm_encoder::ComponentValType::Type(number - 1);
                defined.tuple([before, before]);
            }
        }
    }
    let mut inner = Component::new();
    inner.section(&section);
    let mut component = HARMLESS.component();
    append(&mut component, &NestedComponentSection(&inner));
    component
}

/// A harmless guest with a section of its own.
pub(crate) fn with_section(name: &str, data: &[u8]) -> Vec<u8> {
    let mut component = HARMLESS.component();
    let section = wasm_encoder::CustomSection {
        name: name.into(),
        data: data.into(),
    };
    append(&mut component, &section);
    component
}

fn append(component: &mut Vec<u8>, section: &impl ComponentSection) {
    section.append_to_component(component);
}
