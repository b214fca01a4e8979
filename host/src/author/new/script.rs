//! The sources of new plugins in JavaScript and Python, and the world that they are built for.

use selvedge_plugin::Stage;

use super::File;

/// The module of a stage.
pub(super) fn javascript(stage: Stage) -> &'static str {
    match stage {
        Stage::Validate => include_str!("../template/javascript/validate.js"),
        Stage::Template => include_str!("../template/javascript/template.js"),
        Stage::Postprocess => include_str!("../template/javascript/postprocess.js"),
        Stage::Stream => include_str!("../template/javascript/stream.js"),
        Stage::Observe => include_str!("../template/javascript/observe.js"),
        // There is no template for it in any language yet.
        Stage::Decode => "",
    }
}

/// The modules of a stage. That of a stream's state has its interface's name, by which componentize-py finds it.
pub(super) fn python(stage: Stage) -> &'static [File] {
    match stage {
        Stage::Validate => &[("src/app.py", include_str!("../template/python/validate.py"))],
        Stage::Template => &[("src/app.py", include_str!("../template/python/template.py"))],
        Stage::Postprocess => &[("src/app.py", include_str!("../template/python/postprocess.py"))],
        Stage::Stream => &[
            ("src/app.py", include_str!("../template/python/stream_app.py")),
            (
                "src/stream_postprocessor.py",
                include_str!("../template/python/stream_postprocessor.py"),
            ),
        ],
        Stage::Observe => &[("src/app.py", include_str!("../template/python/observe.py"))],
        Stage::Decode => &[],
    }
}

/// The world of a plugin of one stage. These toolchains import the whole of a world, so it has no more than is wanted.
pub(super) fn world(stage: Stage) -> String {
    let interface = stage.interface().trim_start_matches("selvedge:plugin/");
    format!(
        "/// What this plugin imports and exports. What an operator has to grant is imported here as well: `import kv;`.\n\
         world plugin {{\n  include base;\n  export lifecycle;\n  export {interface};\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    /// What the interfaces call a function or a field, as JavaScript does.
    fn camel(name: &str) -> String {
        let mut words = name.split('-');
        let first = words.next().unwrap_or_default().to_owned();
        words.fold(first, |name, word| {
            let (head, tail) = word.split_at(1);
            name + &head.to_uppercase() + tail
        })
    }

    #[test]
    fn types_for_javascript_have_every_function_and_field_of_the_interfaces() {
        let types = include_str!("../template/javascript/selvedge.d.ts");
        let mut count = 0;
        // What is experimental has no types yet.
        let frozen = super::super::INTERFACES
            .iter()
            .filter(|(file, _)| !file.ends_with("unstable.wit"));
        for (file, text) in frozen {
            for line in text.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
                let Some((name, _)) = line.split_once(": ") else {
                    continue;
                };
                if name
                    .chars()
                    .all(|letter| letter.is_ascii_lowercase() || letter == '-')
                {
                    count += 1;
                    let name = camel(name);
                    let is_there = [":", "(", "?:"]
                        .iter()
                        .any(|end| types.contains(&format!("{name}{end}")));
                    assert!(is_there, "{file} has `{name}`, and selvedge.d.ts has not");
                }
            }
        }
        assert!(count > 50, "{count}");
    }
}
