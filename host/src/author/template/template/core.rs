//! A conversation of an instruction and a text. Pure.

use serde::Deserialize;
use serde_json::Value;

/// What an operator configures; its schema is in manifest.json.
#[derive(Debug, Deserialize)]
pub struct Instruction {
    /// What the model is to do with the text.
    #[serde(default = "instruction")]
    pub instruction: String,
}

fn instruction() -> String {
    "Summarise the text.".to_owned()
}

impl Instruction {
    /// Roles and contents.
    ///
    /// # Errors
    ///
    /// Where the body has no text: a validator before this plugin should have refused it.
    pub fn turns(&self, body: &[u8]) -> Result<Vec<(String, String)>, String> {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = body["text"].as_str().ok_or("the body has no `text`")?;
        let turn = |role: &str, content: &str| (role.to_owned(), content.to_owned());
        Ok(vec![turn("system", &self.instruction), turn("user", text)])
    }
}

#[cfg(test)]
mod tests {
    use super::Instruction;

    #[test]
    fn puts_the_instruction_first() {
        let instruction = "Translate.".to_owned();
        let turns = Instruction { instruction }.turns(b"{\"text\":\"a\"}").expect("it has a text");
        assert_eq!(turns[0], ("system".to_owned(), "Translate.".to_owned()));
        assert_eq!(turns[1], ("user".to_owned(), "a".to_owned()));
    }
}
