//! Which form is taken: one file under the field's name, as long, as typed and as named as the operator allows. Pure; knows
//! no WIT.
//!
//! The client's media type and file name are what it says, and no more: what the file is, the model tells.

use crate::config::Config;

/// One part of a form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// Name of the form's field.
    pub name: String,
    /// None for a plain field.
    pub file_name: Option<String>,
    /// In lower case and without parameters.
    pub media_type: Option<String>,
    /// In bytes.
    pub size: u64,
}

/// One thing wrong with a form.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    /// Machine-readable.
    pub kind: &'static str,
    /// Keys, from the form's root.
    pub loc: Vec<String>,
    /// For people.
    pub msg: String,
}

/// The rules, ready to use.
pub struct Rules {
    field: String,
    size_max: Option<u64>,
    media_types: Option<Allowed>,
    extensions: Option<Allowed>,
}

/// Beginnings or endings, in lower case, and the words that tell a client of them.
struct Allowed {
    forms: Vec<String>,
    shown: String,
}

impl Rules {
    /// The rules of a configuration.
    ///
    /// # Errors
    ///
    /// A media type without a `/`, or with a `*` elsewhere than behind it.
    pub fn new(config: &Config) -> Result<Self, String> {
        let media_types = config.media_types.as_deref().map(Allowed::media_types);
        Ok(Self {
            field: config.field.clone(),
            size_max: config.size_max,
            media_types: media_types.transpose()?,
            extensions: config.extensions.as_deref().map(Allowed::extensions),
        })
    }

    /// The place of the file among the parts.
    ///
    /// # Errors
    ///
    /// Where there is no file under the field's name, or more than one part.
    pub fn find(&self, parts: &[Part]) -> Result<usize, Problem> {
        let mut places = (0..parts.len()).filter(|&place| parts[place].name == self.field);
        let Some(place) = places.next() else {
            return Err(self.problem("missing", None, "Field required".to_owned()));
        };
        let more = places.count();
        if more > 0 {
            let msg = format!("Field should be one file, not {}", more + 1);
            return Err(self.problem("too_many", None, msg));
        }
        if parts[place].file_name.is_none() {
            return Err(self.problem("file_type", None, "Input should be a file".to_owned()));
        }
        Ok(place)
    }

    /// All that is wrong with a form; empty where it is taken.
    #[must_use]
    pub fn check(&self, parts: &[Part]) -> Vec<Problem> {
        let file = match self.find(parts) {
            Ok(place) => &parts[place],
            Err(problem) => return vec![problem],
        };
        let checks = [
            self.check_size(file),
            self.check_type(file),
            self.check_name(file),
        ];
        checks.into_iter().flatten().collect()
    }

    fn check_size(&self, file: &Part) -> Option<Problem> {
        let max = self.size_max.filter(|&max| file.size > max)?;
        let msg = format!("File should have at most {max} bytes");
        Some(self.problem("file_too_large", Some("size"), msg))
    }

    fn check_type(&self, file: &Part) -> Option<Problem> {
        let allowed = self.media_types.as_ref()?;
        let told = file.media_type.as_deref().unwrap_or_default();
        let fits = |form: &String| match form.strip_suffix('*') {
            Some(family) => told.starts_with(family),
            None => told == form,
        };
        (!allowed.forms.iter().any(fits)).then(|| {
            let msg = format!("Media type should be {}", allowed.shown);
            self.problem("media_type_forbidden", Some("content_type"), msg)
        })
    }

    fn check_name(&self, file: &Part) -> Option<Problem> {
        let allowed = self.extensions.as_ref()?;
        let name = file.file_name.as_deref().unwrap_or_default().to_lowercase();
        (!allowed.forms.iter().any(|form| name.ends_with(form))).then(|| {
            let msg = format!("File name should end in {}", allowed.shown);
            self.problem("extension_forbidden", Some("filename"), msg)
        })
    }

    fn problem(&self, kind: &'static str, key: Option<&str>, msg: String) -> Problem {
        let loc = [Some(self.field.as_str()), key].into_iter().flatten();
        Problem {
            kind,
            loc: loc.map(str::to_owned).collect(),
            msg,
        }
    }
}

impl Allowed {
    fn media_types(types: &[String]) -> Result<Self, String> {
        let forms: Vec<String> = types.iter().map(|form| form.to_lowercase()).collect();
        let is_form = |form: &str| {
            let (family, kind) = form.split_once('/').unwrap_or_default();
            let is_word = |word: &str| !word.is_empty() && !word.contains(['*', '/', ';', ' ']);
            is_word(family) && (kind == "*" || is_word(kind))
        };
        match forms.iter().find(|form| !is_form(form)) {
            Some(form) => Err(format!(
                "media_types: `{form}` is neither like image/png nor like image/*"
            )),
            None => Ok(Self::one_of(forms)),
        }
    }

    fn extensions(extensions: &[String]) -> Self {
        let dotted = |name: &String| format!(".{}", name.trim_start_matches('.').to_lowercase());
        Self::one_of(extensions.iter().map(dotted).collect())
    }

    fn one_of(forms: Vec<String>) -> Self {
        let shown = match forms.as_slice() {
            [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
            one => one.concat(),
        };
        Self { forms, shown }
    }
}

#[cfg(test)]
mod tests {
    use super::{Part, Rules};
    use crate::config::Config;

    fn rules(keys: &str) -> Rules {
        Rules::new(&Config::of_test(keys)).expect("the test's configuration is right")
    }

    fn file(file_name: &str, media_type: &str, size: u64) -> Part {
        Part {
            name: "file".to_owned(),
            file_name: Some(file_name.to_owned()),
            media_type: Some(media_type.to_owned()),
            size,
        }
    }

    fn plain(name: &str) -> Part {
        Part {
            name: name.to_owned(),
            ..Part::default()
        }
    }

    /// Kind, place and message of each problem, in a line.
    fn problems(keys: &str, parts: &[Part]) -> Vec<String> {
        let problems = rules(keys).check(parts).into_iter();
        problems
            .map(|problem| format!("{} {}: {}", problem.kind, problem.loc.join("."), problem.msg))
            .collect()
    }

    #[test]
    fn takes_one_file_among_other_fields() {
        let parts = [plain("note"), file("a.png", "image/png", 9), plain("more")];
        assert_eq!(problems("{}", &parts), [""; 0]);
        assert_eq!(rules("{}").find(&parts), Ok(1));
    }

    #[test]
    fn refuses_a_form_without_the_file() {
        assert_eq!(problems("{}", &[]), ["missing file: Field required"]);
        assert_eq!(
            problems(r#"{"field":"photo"}"#, &[file("a.png", "image/png", 9)]),
            ["missing photo: Field required"]
        );
    }

    #[test]
    fn refuses_a_plain_field_in_its_place() {
        assert_eq!(
            problems("{}", &[plain("file")]),
            ["file_type file: Input should be a file"]
        );
    }

    #[test]
    fn refuses_several() {
        let parts = [
            file("a.png", "image/png", 9),
            plain("file"),
            file("b", "text/plain", 9),
        ];
        assert_eq!(
            problems("{}", &parts),
            ["too_many file: Field should be one file, not 3"]
        );
    }

    #[test]
    fn a_file_may_be_as_long_as_the_limit_and_no_longer() {
        let limit = r#"{"size_max":9}"#;
        assert_eq!(problems(limit, &[file("a", "image/png", 9)]), [""; 0]);
        assert_eq!(
            problems(limit, &[file("a", "image/png", 10)]),
            ["file_too_large file.size: File should have at most 9 bytes"]
        );
    }

    #[test]
    fn a_media_type_is_one_of_those_or_of_a_family() {
        let keys = r#"{"media_types":["image/*","Application/PDF"]}"#;
        for told in ["image/png", "application/pdf"] {
            assert_eq!(problems(keys, &[file("a", told, 9)]), [""; 0], "{told}");
        }
        let expected =
            "media_type_forbidden file.content_type: Media type should be image/* or application/pdf";
        for told in ["text/plain", "application/pdfx", "images/png", "image", ""] {
            assert_eq!(problems(keys, &[file("a", told, 9)]), [expected], "{told}");
        }
        let untold = Part {
            media_type: None,
            ..file("a", "", 9)
        };
        assert_eq!(problems(keys, &[untold]), [expected]);
    }

    #[test]
    fn a_name_ends_as_allowed_in_either_case() {
        let keys = r#"{"extensions":["pdf",".tar.gz","JPG"]}"#;
        for name in ["a.PDF", "b.tar.gz", "c.d.jpg"] {
            assert_eq!(problems(keys, &[file(name, "x/y", 9)]), [""; 0], "{name}");
        }
        let expected = "extension_forbidden file.filename: File name should end in .pdf, .tar.gz or .jpg";
        for name in ["pdf", "a.gz", "a.pdf.exe", ""] {
            assert_eq!(problems(keys, &[file(name, "x/y", 9)]), [expected], "{name}");
        }
    }

    #[test]
    fn tells_all_that_is_wrong_with_a_file() {
        let keys = r#"{"size_max":1,"media_types":["image/png"],"extensions":["png"]}"#;
        assert_eq!(problems(keys, &[file("a.txt", "text/plain", 9)]).len(), 3);
    }

    #[test]
    fn refuses_a_media_type_that_is_none() {
        for wrong in [
            "image",
            "*/*",
            "image/",
            "/png",
            "image/p*",
            "text/html; charset=utf-8",
        ] {
            let keys = format!(r#"{{"media_types":["{wrong}"]}}"#);
            assert!(Rules::new(&Config::of_test(&keys)).is_err(), "{wrong}");
        }
    }
}
