//! Method and path to what answers them. Pure: no body, no header, no state but the endpoints' paths.

use std::collections::HashMap;

use http::Method;

pub use open_inference::{Asked, OpenInference};

mod open_inference;

/// What answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'a> {
    /// An endpoint on its own path, by its place in the generation.
    Endpoint(usize),
    /// `POST /v1/chat/completions`.
    Chat,
    /// `POST /v1/completions`.
    Completions,
    /// `POST /v1/embeddings`.
    Embeddings,
    /// One of Ollama's paths.
    Ollama(Ollama),
    /// One of the Open Inference Protocol's paths.
    OpenInference(OpenInference<'a>),
    /// `GET /v1/models`.
    Models,
    /// `GET /v1/models/{id}`; an id may hold slashes.
    Model(&'a str),
    /// `GET /healthz`: the process lives.
    Live,
    /// `GET /metrics`: what is counted, for Prometheus.
    Metrics,
    /// `POST /admin/reload`, on the operators' listener.
    Reload,
    /// `GET /readyz`: which models, plugins and endpoints are ready, and why not.
    Ready,
    /// `GET /openapi.json`: what there is to call, for programs.
    Document,
    /// `GET /docs`: the same as a page, for people.
    Docs,
}

/// Ollama's paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ollama {
    /// `GET /`: a client's way to ask whether anybody is there.
    Root,
    /// `GET /api/version`.
    Version,
    /// `GET /api/tags`: the models.
    Tags,
    /// `GET /api/ps`: the models that are loaded.
    Ps,
    /// `POST /api/show`.
    Show,
    /// `POST /api/generate`.
    Generate,
    /// `POST /api/chat`.
    Chat,
    /// `POST /api/embed`.
    Embed,
    /// `POST /api/embeddings`, which `/api/embed` replaces.
    Embeddings,
}

/// Why nothing answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Miss {
    /// There is nothing at the path.
    Path,
    /// There is, for another method.
    Method {
        /// The methods that it has, as `Allow` lists them.
        allow: &'static str,
    },
}

/// The dialect whose clothes an error wears, told by the path alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Plain JSON on an endpoint's own path, and the node's own paths.
    Endpoint,
    /// OpenAI's, under `/v1`.
    OpenAi,
    /// Ollama's, under `/api`.
    Ollama,
    /// The Open Inference Protocol's, under `/v2`.
    OpenInference,
}

impl Dialect {
    /// The dialect of a path.
    #[must_use]
    pub fn of(path: &str) -> Self {
        if path == "/v1" || path.starts_with("/v1/") {
            Self::OpenAi
        } else if path == "/api" || path.starts_with("/api/") {
            Self::Ollama
        } else if path == "/v2" || path.starts_with("/v2/") {
            Self::OpenInference
        } else {
            Self::Endpoint
        }
    }

    /// Its name, as plugins see it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::OpenAi => "openai",
            Self::Ollama => "ollama",
            Self::OpenInference => "oip",
        }
    }
}

/// First segments of paths that endpoints may not have.
const RESERVED: [&str; 10] = [
    "v1",
    "v2",
    "api",
    "healthz",
    "readyz",
    "metrics",
    "openapi.json",
    "docs",
    "admin",
    "",
];

/// The endpoints' own paths.
#[derive(Debug, Clone, Default)]
pub struct Router {
    endpoints: HashMap<String, usize>,
}

impl Router {
    /// A router of paths with the places of their endpoints.
    #[must_use]
    pub fn new(endpoints: impl IntoIterator<Item = (String, usize)>) -> Self {
        Self {
            endpoints: endpoints.into_iter().collect(),
        }
    }

    /// What answers a method on a path.
    ///
    /// # Errors
    ///
    /// Where nothing does.
    pub fn find<'a>(&self, method: &Method, path: &'a str) -> Result<Route<'a>, Miss> {
        let (route, allow) = self.at(path).ok_or(Miss::Path)?;
        allowed(method, route, allow)
    }

    fn at<'a>(&self, path: &'a str) -> Option<(Route<'a>, &'static str)> {
        if let Some(index) = self.endpoints.get(path) {
            return Some((Route::Endpoint(*index), "POST"));
        }
        if Dialect::of(path) == Dialect::OpenInference {
            let (found, allow) = open_inference::at(path.strip_prefix("/v2")?)?;
            return Some((Route::OpenInference(found), allow));
        }
        Some(match path {
            "/v1/chat/completions" => (Route::Chat, "POST"),
            "/v1/completions" => (Route::Completions, "POST"),
            "/v1/embeddings" => (Route::Embeddings, "POST"),
            "/v1/models" => (Route::Models, "GET, HEAD"),
            "/" => (Route::Ollama(Ollama::Root), "GET, HEAD"),
            "/api/version" => (Route::Ollama(Ollama::Version), "GET, HEAD"),
            "/api/tags" => (Route::Ollama(Ollama::Tags), "GET, HEAD"),
            "/api/ps" => (Route::Ollama(Ollama::Ps), "GET, HEAD"),
            "/api/show" => (Route::Ollama(Ollama::Show), "POST"),
            "/api/generate" => (Route::Ollama(Ollama::Generate), "POST"),
            "/api/chat" => (Route::Ollama(Ollama::Chat), "POST"),
            "/api/embed" => (Route::Ollama(Ollama::Embed), "POST"),
            "/api/embeddings" => (Route::Ollama(Ollama::Embeddings), "POST"),
            "/healthz" => (Route::Live, "GET, HEAD"),
            "/readyz" => (Route::Ready, "GET, HEAD"),
            "/metrics" => (Route::Metrics, "GET, HEAD"),
            "/openapi.json" => (Route::Document, "GET, HEAD"),
            "/docs" => (Route::Docs, "GET, HEAD"),
            _ => (
                Route::Model(path.strip_prefix("/v1/models/").filter(|id| !id.is_empty())?),
                "GET, HEAD",
            ),
        })
    }
}

/// What answers a method on a path of the operators' listener.
///
/// # Errors
///
/// Where nothing does.
pub fn find_admin(method: &Method, path: &str) -> Result<Route<'static>, Miss> {
    let (route, allow) = match path {
        "/admin/reload" => (Route::Reload, "POST"),
        "/metrics" => (Route::Metrics, "GET, HEAD"),
        "/healthz" => (Route::Live, "GET, HEAD"),
        "/readyz" => (Route::Ready, "GET, HEAD"),
        _ => return Err(Miss::Path),
    };
    allowed(method, route, allow)
}

/// A route, where a method is one of those that it has.
fn allowed<'a>(method: &Method, route: Route<'a>, allow: &'static str) -> Result<Route<'a>, Miss> {
    let get = method == Method::GET || method == Method::HEAD;
    let allowed = if allow == "POST" {
        method == Method::POST
    } else {
        get
    };
    if allowed {
        Ok(route)
    } else {
        Err(Miss::Method { allow })
    }
}

/// Whether an endpoint may have a path.
///
/// # Errors
///
/// What is wrong with it.
pub fn check_path(path: &str) -> Result<(), String> {
    let Some(rest) = path.strip_prefix('/') else {
        return Err(format!("`{path}` must begin with `/`"));
    };
    let first = rest.split('/').next().unwrap_or_default();
    if RESERVED.contains(&first) {
        return Err(format!(
            "`/{first}` is the node's own; choose another, such as `/my{path}`"
        ));
    }
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-~".contains(character);
    let dots = path.split('/').any(|step| step == "." || step == "..");
    if !path.chars().all(plain) || path.ends_with('/') || path.contains("//") || dots {
        return Err(format!(
            "`{path}` may have letters, digits and `._-~` between single slashes, no step `.` or `..`, and no slash at its end"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::{Dialect, Miss, Route, Router, check_path};

    fn router() -> Router {
        Router::new([("/classify".to_owned(), 0), ("/a/b".to_owned(), 1)])
    }

    #[test]
    fn finds_endpoints_by_their_whole_path() {
        assert_eq!(router().find(&Method::POST, "/a/b"), Ok(Route::Endpoint(1)));
        assert_eq!(router().find(&Method::POST, "/a"), Err(Miss::Path));
        assert_eq!(router().find(&Method::POST, "/classify/"), Err(Miss::Path));
    }

    #[test]
    fn names_the_methods_that_a_path_has() {
        assert_eq!(
            router().find(&Method::GET, "/classify"),
            Err(Miss::Method { allow: "POST" })
        );
        assert_eq!(
            router().find(&Method::DELETE, "/readyz"),
            Err(Miss::Method { allow: "GET, HEAD" })
        );
    }

    #[test]
    fn takes_model_ids_with_slashes() {
        assert_eq!(
            router().find(&Method::GET, "/v1/models/org/name"),
            Ok(Route::Model("org/name"))
        );
        assert_eq!(router().find(&Method::GET, "/v1/models/"), Err(Miss::Path));
    }

    #[test]
    fn refuses_paths_that_are_the_node_s_or_could_be_misread() {
        for path in [
            "/v1/x", "/healthz", "classify", "/a//b", "/a/", "/a?b", "/", "/ä", "/admin", "/a/../v1",
            "/a/./b",
        ] {
            assert!(check_path(path).is_err(), "{path}");
        }
        assert_eq!(check_path("/generate/v2.1"), Ok(()));
    }

    #[test]
    fn tells_the_dialect_by_the_path() {
        assert_eq!(Dialect::of("/v1/embeddings"), Dialect::OpenAi);
        assert_eq!(Dialect::of("/v10"), Dialect::Endpoint);
        assert_eq!(Dialect::of("/api/chat"), Dialect::Ollama);
        assert_eq!(Dialect::of("/v2"), Dialect::OpenInference);
        assert_eq!(Dialect::of("/v2/models/a/infer"), Dialect::OpenInference);
        assert_eq!(Dialect::of("/v2.1"), Dialect::Endpoint);
    }
}
