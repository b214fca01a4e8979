//! Who may call: the security schemes, where the configuration asks for them.

use serde_json::{Value, json};

use super::Sections;

/// How callers say who they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Auth {
    /// They need not.
    #[default]
    None,
    /// By a key of this node.
    Keys,
    /// By a token that somebody else signed.
    Jwt,
}

/// Writes the schemes.
pub(super) fn describe(auth: Auth, sections: &mut Sections) {
    let (format, description) = match auth {
        Auth::None => return,
        Auth::Keys => ("key", "A key of this node."),
        Auth::Jwt => ("JWT", "A token that the node's issuer signed."),
    };
    let bearer =
        json!({ "type": "http", "scheme": "bearer", "bearerFormat": format, "description": description });
    sections.component("securitySchemes", "bearer", bearer);
    if auth == Auth::Keys {
        let header =
            json!({ "type": "apiKey", "in": "header", "name": "x-api-key", "description": description });
        sections.component("securitySchemes", "apiKey", header);
    }
}

/// What an operation asks of its caller: one of the schemes, with these scopes.
pub(super) fn requirement(auth: Auth, scopes: &[String]) -> Value {
    match auth {
        Auth::None => json!([]),
        Auth::Keys => json!([{ "bearer": scopes }, { "apiKey": scopes }]),
        Auth::Jwt => json!([{ "bearer": scopes }]),
    }
}
