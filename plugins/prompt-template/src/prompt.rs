//! A compiled template and what it makes of a body. Pure; knows no WIT.

use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, UndefinedBehavior};
use serde::Deserialize;

/// The attachment's configuration: `template` for one text, or `messages` for a conversation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Renders to the one text that the model is given.
    pub template: Option<String>,
    /// Renders to a conversation, to which the host applies the model's own chat template.
    pub messages: Option<Vec<MessageTemplate>>,
    /// What a name that the body lacks does: fail (`strict`, the default) or render as nothing (`lenient`).
    #[serde(default)]
    pub undefined: Undefined,
    /// How the model is to generate, by OpenAI's names: `{ temperature = 0, max_tokens = 4 }`. Goes before what the client says.
    pub params: Option<serde_json::Map<String, serde_json::Value>>,
}

/// One turn of a conversation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageTemplate {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// A template.
    pub content: String,
}

/// What happens where a template names what the body lacks.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Undefined {
    /// The request fails, with the name.
    #[default]
    Strict,
    /// It renders as nothing.
    Lenient,
}

/// Templates that are ready to render.
pub struct Template {
    environment: Environment<'static>,
    shape: Shape,
}

/// What the templates in the environment make up.
enum Shape {
    /// The template `text`.
    Text,
    /// A role for each of the templates `0`, `1`, ...
    Messages(Vec<String>),
}

/// What a template rendered to.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// One text.
    Text(String),
    /// Role and content of each turn.
    Messages(Vec<(String, String)>),
}

impl Template {
    /// Compiles the templates.
    ///
    /// # Errors
    ///
    /// What is wrong, with the template's line; or that not exactly one of `template` and `messages` is given.
    pub fn compile(config: Config) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(match config.undefined {
            Undefined::Strict => UndefinedBehavior::Strict,
            Undefined::Lenient => UndefinedBehavior::Lenient,
        });
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        let shape = match (config.template, config.messages) {
            (Some(source), None) => {
                add(&mut environment, "text".to_owned(), source)?;
                Shape::Text
            }
            (None, Some(messages)) => {
                let mut roles = Vec::with_capacity(messages.len());
                for (index, message) in messages.into_iter().enumerate() {
                    add(&mut environment, index.to_string(), message.content)?;
                    roles.push(message.role);
                }
                Shape::Messages(roles)
            }
            _ => return Err("give either `template` or `messages`".to_owned()),
        };
        Ok(Self { environment, shape })
    }

    /// Renders over the fields of `body`; a body that is not an object is there as `body`.
    ///
    /// # Errors
    ///
    /// What the template could not do, or that the body is not JSON.
    pub fn render(&self, body: &[u8]) -> Result<Output, String> {
        let body: Value =
            serde_json::from_slice(body).map_err(|error| format!("the body is not JSON: {error}"))?;
        let fields = match body.kind() {
            ValueKind::Map => body,
            _ => minijinja::context! { body },
        };
        let render = |name: &str| {
            self.environment
                .get_template(name)
                .and_then(|template| template.render(&fields))
                .map_err(|error| error.to_string())
        };
        match &self.shape {
            Shape::Text => Ok(Output::Text(render("text")?)),
            Shape::Messages(roles) => {
                let turns = roles
                    .iter()
                    .enumerate()
                    .map(|(index, role)| Ok((role.clone(), render(&index.to_string())?)));
                Ok(Output::Messages(turns.collect::<Result<_, String>>()?))
            }
        }
    }
}

/// The source lives as long as the environment, which lives as long as the plugin: both are leaked.
fn add(environment: &mut Environment<'static>, name: String, source: String) -> Result<(), String> {
    let name: &'static str = name.leak();
    environment
        .add_template(name, source.leak())
        .map_err(|error| format!("template `{name}`: {error}"))
}

#[cfg(test)]
mod tests {
    use super::{Config, MessageTemplate, Output, Template, Undefined};

    fn text(template: &str) -> Config {
        Config {
            template: Some(template.into()),
            messages: None,
            undefined: Undefined::Strict,
            params: None,
        }
    }

    fn render(config: Config, body: &str) -> Result<Output, String> {
        Template::compile(config)
            .expect("the test's template compiles")
            .render(body.as_bytes())
    }

    #[test]
    fn renders_the_body_s_fields() {
        let output = render(
            text("{{ user.name|upper }}: {{ text }}"),
            r#"{"user":{"name":"ada"},"text":"hi"}"#,
        );
        assert_eq!(output, Ok(Output::Text("ADA: hi".into())));
    }

    #[test]
    fn understands_methods_of_python_s_strings() {
        assert_eq!(
            render(text("{{ text.strip() }}"), r#"{"text":" hi "}"#),
            Ok(Output::Text("hi".into()))
        );
    }

    #[test]
    fn names_what_the_body_lacks() {
        let error = render(text("{{ txt }}"), r#"{"text":"hi"}"#).expect_err("strict");
        assert!(error.contains("undefined"), "{error}");
    }

    #[test]
    fn renders_nothing_for_it_where_lenient() {
        let config = Config {
            undefined: Undefined::Lenient,
            ..text("[{{ txt }}]")
        };
        assert_eq!(render(config, "{}"), Ok(Output::Text("[]".into())));
    }

    #[test]
    fn renders_a_conversation() {
        let turn = |role: &str, content: &str| MessageTemplate {
            role: role.into(),
            content: content.into(),
        };
        let messages = Some(vec![turn("system", "Be brief."), turn("user", "{{ text }}")]);
        let config = Config {
            template: None,
            messages,
            undefined: Undefined::Strict,
            params: None,
        };
        let expected = vec![
            ("system".into(), "Be brief.".into()),
            ("user".into(), "hi".into()),
        ];
        assert_eq!(render(config, r#"{"text":"hi"}"#), Ok(Output::Messages(expected)));
    }

    #[test]
    fn does_not_escape_what_is_no_markup() {
        assert_eq!(
            render(text("{{ text }}"), r#"{"text":"<b>"}"#),
            Ok(Output::Text("<b>".into()))
        );
    }

    #[test]
    fn refuses_a_template_that_does_not_parse() {
        let error = Template::compile(text("{{ text ")).err().expect("refused");
        assert!(error.contains("template `text`"), "{error}");
    }
}
