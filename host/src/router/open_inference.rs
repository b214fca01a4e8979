//! The Open Inference Protocol's paths, all under `/v2`. Pure. See <https://github.com/open-inference/open-inference-protocol>.

/// What a path asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenInference<'a> {
    /// `GET /v2`: what the node is, and what of the protocol it has.
    Server,
    /// `GET /v2/health/live`.
    Live,
    /// `GET /v2/health/ready`.
    Ready,
    /// `GET /v2/models`: their names.
    Models,
    /// `GET /v2/models/stats`: what all of them were asked. A model of that name is described at its only version's path.
    Statistics,
    /// `/v2/models/{name}`, or `/v2/models/{name}/versions/{version}`, and what is behind it.
    Model {
        /// The endpoint.
        name: &'a str,
        /// Its version, in digits.
        version: Option<&'a str>,
        /// What is asked of it.
        asked: Asked,
    },
    /// `POST /v2/repository/index`: their states.
    Index,
    /// `POST /v2/repository/models/{name}/load` and `unload`, which are not for clients.
    Load(&'a str),
    /// What another server of the protocol has and this one does not, by its own name.
    Unsupported(&'static str),
}

/// What is asked of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// `GET`: what it takes and gives.
    Metadata,
    /// `GET ../config`: the same in the words of Triton's configuration.
    Config,
    /// `GET ../ready`.
    Ready,
    /// `GET ../stats`: how often it was asked, what came of it, and how long that took.
    Statistics,
    /// `POST ../infer`: tensors in, tensors out.
    Infer,
    /// `POST ../generate`: fields in, fields out.
    Generate,
    /// `POST ../generate_stream`: the same in events.
    GenerateStream,
}

impl OpenInference<'_> {
    /// Whether a request has a body that the answer depends on.
    #[must_use]
    pub fn has_body(self) -> bool {
        match self {
            Self::Server
            | Self::Live
            | Self::Ready
            | Self::Models
            | Self::Statistics
            | Self::Unsupported(_) => false,
            Self::Model { asked, .. } => {
                matches!(asked, Asked::Infer | Asked::Generate | Asked::GenerateStream)
            }
            Self::Index | Self::Load(_) => true,
        }
    }
}

/// What is at a path, of which `rest` is what stands behind `/v2`; with the methods that it has.
pub(super) fn at(rest: &str) -> Option<(OpenInference<'_>, &'static str)> {
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let steps: Vec<&str> = rest.split('/').skip(1).collect();
    let get = |path| Some((path, "GET, HEAD"));
    let post = |path| Some((path, "POST"));
    match steps.as_slice() {
        [] => get(OpenInference::Server),
        ["health", "live"] => get(OpenInference::Live),
        ["health", "ready"] => get(OpenInference::Ready),
        ["models"] => get(OpenInference::Models),
        ["models", "stats"] => get(OpenInference::Statistics),
        ["models", name, "versions", version, behind @ ..] if is_version(version) => {
            model(name, Some(version), behind)
        }
        ["models", name, behind @ ..] => model(name, None, behind),
        ["repository", "index"] => post(OpenInference::Index),
        ["repository", "models", name, "load" | "unload"] => post(OpenInference::Load(name)),
        ["trace", "setting"] => get(OpenInference::Unsupported("the trace extension")),
        ["logging"] => get(OpenInference::Unsupported("the logging extension")),
        ["systemsharedmemory" | "cudasharedmemory", .., last] => {
            let unsupported = OpenInference::Unsupported("the shared memory extension");
            if *last == "status" {
                get(unsupported)
            } else {
                post(unsupported)
            }
        }
        _ => None,
    }
}

fn is_version(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn model<'a>(
    name: &'a str,
    version: Option<&'a str>,
    behind: &[&str],
) -> Option<(OpenInference<'a>, &'static str)> {
    let (asked, allow) = match behind {
        [] => (Asked::Metadata, "GET, HEAD"),
        ["config"] => (Asked::Config, "GET, HEAD"),
        ["ready"] => (Asked::Ready, "GET, HEAD"),
        ["infer"] => (Asked::Infer, "POST"),
        ["generate"] => (Asked::Generate, "POST"),
        ["generate_stream"] => (Asked::GenerateStream, "POST"),
        ["stats"] => (Asked::Statistics, "GET, HEAD"),
        ["trace", "setting"] => {
            return Some((OpenInference::Unsupported("the trace extension"), "GET, HEAD"));
        }
        _ => return None,
    };
    let path = OpenInference::Model { name, version, asked };
    (!name.is_empty()).then_some((path, allow))
}

#[cfg(test)]
mod tests {
    use super::{Asked, OpenInference, at};

    fn model<'a>(name: &'a str, version: Option<&'a str>, asked: Asked) -> OpenInference<'a> {
        OpenInference::Model { name, version, asked }
    }

    #[test]
    fn finds_every_path_of_the_protocol() {
        for (rest, path, allow) in [
            ("", OpenInference::Server, "GET, HEAD"),
            ("/", OpenInference::Server, "GET, HEAD"),
            ("/health/live", OpenInference::Live, "GET, HEAD"),
            ("/health/ready", OpenInference::Ready, "GET, HEAD"),
            ("/models", OpenInference::Models, "GET, HEAD"),
            ("/models/a", model("a", None, Asked::Metadata), "GET, HEAD"),
            (
                "/models/a/versions/1",
                model("a", Some("1"), Asked::Metadata),
                "GET, HEAD",
            ),
            ("/models/a/ready", model("a", None, Asked::Ready), "GET, HEAD"),
            ("/models/a/config", model("a", None, Asked::Config), "GET, HEAD"),
            (
                "/models/a/versions/1/ready",
                model("a", Some("1"), Asked::Ready),
                "GET, HEAD",
            ),
            ("/models/stats", OpenInference::Statistics, "GET, HEAD"),
            (
                "/models/a/stats",
                model("a", None, Asked::Statistics),
                "GET, HEAD",
            ),
            (
                "/models/a/versions/1/stats",
                model("a", Some("1"), Asked::Statistics),
                "GET, HEAD",
            ),
            // Of a model that is named so.
            (
                "/models/stats/versions/1",
                model("stats", Some("1"), Asked::Metadata),
                "GET, HEAD",
            ),
            (
                "/models/stats/stats",
                model("stats", None, Asked::Statistics),
                "GET, HEAD",
            ),
            ("/models/a/infer", model("a", None, Asked::Infer), "POST"),
            (
                "/models/a/versions/22/infer",
                model("a", Some("22"), Asked::Infer),
                "POST",
            ),
            ("/models/a/generate", model("a", None, Asked::Generate), "POST"),
            (
                "/models/a/generate_stream",
                model("a", None, Asked::GenerateStream),
                "POST",
            ),
            ("/repository/index", OpenInference::Index, "POST"),
            ("/repository/models/a/load", OpenInference::Load("a"), "POST"),
            ("/repository/models/a/unload", OpenInference::Load("a"), "POST"),
            (
                "/logging",
                OpenInference::Unsupported("the logging extension"),
                "GET, HEAD",
            ),
            (
                "/systemsharedmemory/region/r/register",
                OpenInference::Unsupported("the shared memory extension"),
                "POST",
            ),
        ] {
            assert_eq!(at(rest), Some((path, allow)), "{rest}");
        }
    }

    #[test]
    fn finds_nothing_beyond_it() {
        for rest in [
            "/nothing",
            "/models//infer",
            "/models/",
            "/health",
            "/models/a/versions/x",
            "/models/a/versions//infer",
            "/models/a/infer/more",
            "/repository",
            "//",
            "/models/a/versions",
        ] {
            let found = at(rest);
            // With a slash behind it, `/models` is the list itself.
            let is_list = matches!(found, Some((OpenInference::Models, _))) && rest == "/models/";
            assert!(found.is_none() || is_list, "{rest}: {found:?}");
        }
    }
}
