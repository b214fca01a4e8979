//! Forms with files: what plugins see of them, what is refused, and that nothing of them is left.

use std::io::Write;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::client::{Answer, Client, head, read};
use crate::generate::eventually;
use crate::host::{TestHost, demo, kept, root};
use crate::node::{ASSISTANT, CLASSIFY, EMBED, NodeConfig};
use crate::python_clients::python;

/// Endpoints that take forms, besides some of the demo's: `/mail` reads a text and a file, `/filetype` looks at one, `/slow` has
/// little time.
fn config(endpoints: &[&str]) -> NodeConfig {
    let schemas = r#"
attachment = { type = "object", properties = { size = { maximum = 50000 }, content_type = { enum = ["text/plain", "image/png"] }, filename = { type = "string", maxLength = 12 } } }
tags = { type = "array", minItems = 1, items = { type = "string" } }
"#;
    config_with(endpoints, schemas)
}

/// The same where `/mail` holds its file and its list of texts to other schemas.
pub(crate) fn config_with(endpoints: &[&str], schemas: &str) -> NodeConfig {
    let root = root();
    let root = root.display();
    NodeConfig::of(endpoints).with(&format!(
        r#"
[models.magika]
path = "{root}/models/magika"
[plugins.filetype]
path = "{root}/plugins/dist/filetype.wasm"
[endpoints.filetype]
path = "/filetype"
model = "magika"
uploads = {{ files = ["file"], file_size_max = "4MiB", size_max = "5MiB" }}
plugins = [{{ use = "filetype", config_file = "{root}/models/magika/filetype.json" }}]

[endpoints.mail]
path = "/mail"
model = "spam"
uploads = {{ files = ["attachment"], file_size_max = "100KiB", size_max = "2MiB", parts_max = 100 }}
[[endpoints.mail.plugins]]
use = "json-schema"
[endpoints.mail.plugins.config.schema]
type = "object"
required = ["text"]
additionalProperties = false
[endpoints.mail.plugins.config.schema.properties]
text = {{ type = "string", minLength = 1 }}
n = {{ type = "integer" }}
{schemas}
[[endpoints.mail.plugins]]
use = "prompt-template"
config = {{ template = "{{{{ text }}}}" }}
[[endpoints.mail.plugins]]
use = "label"
config = {{ labels = {{ spam = "SPAM", ham = "HAM" }} }}

[endpoints.slow]
path = "/slow"
model = "spam"
timeout = "500ms"
uploads = {{ files = ["file"] }}
"#
    ))
}

fn host() -> &'static TestHost {
    static HOST: OnceLock<TestHost> = OnceLock::new();
    HOST.get_or_init(|| kept(&config(&[ASSISTANT, CLASSIFY, EMBED])))
}

pub(crate) const BOUNDARY: &str = "----a-boundary";

/// A part: its head's lines, and its content.
pub(crate) fn part(heads: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Vec<u8> {
    let begin = format!("--{BOUNDARY}\r\ncontent-disposition: form-data; ");
    let (heads, content) = (heads.as_ref(), content.as_ref());
    [begin.as_bytes(), heads, b"\r\n\r\n", content, b"\r\n"].concat()
}

pub(crate) fn text(value: &str) -> Vec<u8> {
    part("name=\"text\"", value)
}

fn attachment(name: &str, media_type: &str, content: impl AsRef<[u8]>) -> Vec<u8> {
    let heads = format!("name=\"attachment\"; filename=\"{name}\"\r\ncontent-type: {media_type}");
    part(&heads, content)
}

/// A whole form of these parts.
pub(crate) fn form(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), format!("--{BOUNDARY}--\r\n").into_bytes()].concat()
}

pub(crate) fn send(client: Client, path: &str, body: &[u8]) -> Answer {
    let media_type = format!("multipart/form-data; boundary={BOUNDARY}");
    client.send("POST", path, &[("content-type", &media_type)], body)
}

fn post(path: &str, parts: &[Vec<u8>]) -> Answer {
    send(host().client(), path, &form(parts))
}

pub(crate) fn detail(answer: &Answer) -> String {
    answer.json()["detail"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn fields_and_files_of_a_form_are_what_plugins_see_as_json() {
    let spam = "WINNER!! Claim your free prize now, call 09061701461";
    let note = attachment("note.txt", "Text/Plain; charset=utf-8", "a note");
    let answer = post("/mail", &[text(spam), note]);
    assert_eq!((answer.status, &answer.json()["label"]), (200, &json!("SPAM")));
    // A name that comes twice is a list, and a part that says that it is JSON is JSON.
    let tag = |value: &str| part("name=\"tags\"", value);
    let number = part("name=\"n\"\r\ncontent-type: application/json", "7");
    let answer = post("/mail", &[tag("a"), text(spam), number, tag("b")]);
    assert_eq!(answer.status, 200, "{}", answer.json());
    // So is one that its schema calls an array, in one part or all at once, and JSON may come as a file, as browsers send it.
    let in_json = |name: &str, file: &str, value: &str| {
        let heads = format!("name=\"{name}\"; filename=\"{file}\"\r\ncontent-type: application/json");
        part(heads, value)
    };
    let none = post("/mail", &[text(spam), in_json("tags", "blob", "[]")]).problem();
    assert_eq!(none["loc"], json!(["body", "tags"]), "{none}");
    let whole = in_json("tags", "blob", r#"["b", "c"]"#);
    let answer = post("/mail", &[tag("a"), text(spam), in_json("n", "blob", "7"), whole]);
    assert_eq!(answer.status, 200, "{}", answer.json());
    let answer = post("/mail", &[tag("a"), text(spam)]);
    assert_eq!(answer.status, 200, "{}", answer.json());
    let problem = post("/mail", &[text(spam), in_json("n", "n.json", "7")]).problem();
    assert_eq!(
        (&problem["loc"], &problem["type"]),
        (&json!(["body", "n"]), &json!("string_type"))
    );
    let problem = post("/mail", &[text(spam), part("name=\"n\"", "7")]).problem();
    assert_eq!(
        (&problem["loc"], &problem["input"]),
        (&json!(["body", "n"]), &json!("7"))
    );
    // A file that nobody chose is none.
    let answer = post(
        "/mail",
        &[text(spam), attachment("", "application/octet-stream", "")],
    );
    assert_eq!(answer.status, 200, "{}", answer.json());
}

#[test]
fn names_types_and_sizes_are_for_the_validator_to_judge() {
    let refused = |file: Vec<u8>| post("/mail", &[text("a"), file]).problem();
    let problem = refused(attachment("x.exe", "application/x-dosexec", "MZ"));
    assert_eq!(problem["loc"], json!(["body", "attachment", "content_type"]));
    let problem = refused(attachment("x.txt", "text/plain", vec![b'x'; 50_001]));
    assert_eq!(
        (&problem["loc"], &problem["input"]),
        (&json!(["body", "attachment", "size"]), &json!(50_001))
    );
    assert_eq!(post("/mail", &[]).problem()["type"], "missing");
    let problem = post("/mail", &[text("a"), part("name=\"other\"", "b")]).problem();
    assert_eq!(problem["loc"], json!(["body", "other"]), "{problem}");
}

#[test]
fn a_files_name_is_told_without_its_folders() {
    for (given, kept) in [
        ("../../etc/../a-long-name.passwd", "a-long-name.passwd"),
        (r"C:\Windows\a-longer-name.ini", "a-longer-name.ini"),
    ] {
        let problem = post("/mail", &[text("a"), attachment(given, "text/plain", "x")]).problem();
        assert_eq!(
            problem["loc"],
            json!(["body", "attachment", "filename"]),
            "{problem}"
        );
        assert_eq!(problem["input"], kept);
    }
    for given in ["..", "/", "a\tb"] {
        let problem = post("/mail", &[text("a"), attachment(given, "text/plain", "x")]).problem();
        assert_eq!(problem["type"], "file_name", "{given:?}: {problem}");
    }
}

#[test]
fn a_file_comes_under_a_files_name_and_nothing_else_does() {
    let file = part("name=\"text\"; filename=\"a.txt\"", "a");
    let problem = post("/mail", &[file]).problem();
    assert_eq!(problem["loc"], json!(["body", "text"]));
    assert!(problem["msg"].to_string().contains("`attachment`"), "{problem}");
    let problem = post("/mail", &[text("a"), part("name=\"attachment\"", "b")]).problem();
    assert_eq!(
        (&problem["type"], &problem["loc"]),
        (&json!("file_type"), &json!(["body", "attachment"]))
    );
    let problem = post("/mail", &[part("name=\"text\"", b"\xff\xfe")]).problem();
    assert_eq!(problem["type"], "string_unicode");
    let broken = part("name=\"n\"\r\ncontent-type: application/json", "{");
    assert_eq!(post("/mail", &[broken]).problem()["type"], "json_invalid");
}

#[test]
fn what_is_no_form_is_told_what_is_wrong_with_it() {
    let client = host().client();
    let whole = form(&[text("a")]);
    let with =
        |media_type: &str, body: &[u8]| client.send("POST", "/mail", &[("content-type", media_type)], body);
    let answer = with("multipart/form-data", &whole);
    assert_eq!(answer.status, 400);
    assert!(
        detail(&answer).contains("names no `boundary`"),
        "{}",
        detail(&answer)
    );
    let answer = with(
        &format!("multipart/form-data; boundary={}", "x".repeat(71)),
        &whole,
    );
    assert!(
        detail(&answer).contains("longer than 70 bytes"),
        "{}",
        detail(&answer)
    );
    let answer = with("multipart/form-data; boundary=another", &whole);
    assert!(detail(&answer).contains("ends before"), "{}", detail(&answer));
    let json = client.post("/mail", r#"{"text":"a"}"#);
    assert_eq!(json.status, 415);
    assert!(
        detail(&json).contains("`multipart/form-data`"),
        "{}",
        detail(&json)
    );
    assert_eq!(send(client, "/classify", &whole).status, 415, "it takes no forms");
    let nameless = form(&[part("filename=\"a\"", "a")]);
    let answer = send(client, "/mail", &nameless);
    assert!(detail(&answer).contains("has no name"), "{}", detail(&answer));
    let media_type = format!("multipart/form-data; boundary={BOUNDARY}");
    let packed = [
        ("content-type", media_type.as_str()),
        ("content-encoding", "gzip"),
    ];
    let answer = client.send("POST", "/mail", &packed, &whole);
    assert_eq!(answer.status, 400);
    let name = form(&[part("name=\"text\"", "a"), part(b"name=\"\xff\xfe\"", "b")]);
    let answer = send(client, "/mail", &name);
    assert_eq!(answer.status, 400);
    assert!(
        detail(&answer).contains("its part 1 is not UTF-8"),
        "{}",
        detail(&answer)
    );
}

#[test]
fn a_form_that_breaks_off_is_told_where() {
    let whole = form(&[text("a"), attachment("a.txt", "text/plain", "abc")]);
    let mut told = Vec::new();
    for len in 0..whole.len() - 4 {
        let answer = send(host().client(), "/mail", &whole[..len]);
        assert_eq!(answer.status, 400, "{len} bytes: {}", detail(&answer));
        assert_eq!(answer.json()["code"], "invalid_form");
        told.push(detail(&answer));
    }
    for part in [
        "`text` has no end",
        "`attachment` has no end",
        "before its last boundary",
    ] {
        assert!(told.iter().any(|said| said.contains(part)), "{part}");
    }
}

#[test]
fn what_is_beyond_a_limit_is_413_and_names_its_key() {
    let many: Vec<_> = (0..10_000).map(|_| part("name=\"tags\"", "t")).collect();
    let answer = post("/mail", &many);
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (413, &json!("form_too_large"))
    );
    assert!(
        detail(&answer).contains("100 parts (`uploads.parts_max`)"),
        "{}",
        detail(&answer)
    );
    let file = attachment("a.txt", "text/plain", vec![b'x'; (100 << 10) + 1]);
    let answer = post("/mail", &[text("a"), file]);
    assert_eq!(answer.status, 413);
    assert!(
        detail(&answer).contains("`uploads.file_size_max`"),
        "{}",
        detail(&answer)
    );
    let answer = post("/mail", &[text(&"x".repeat(3 << 20))]);
    assert_eq!(answer.status, 413);
    assert!(
        detail(&answer).contains("`uploads.size_max`"),
        "{}",
        detail(&answer)
    );
    // The same where its length is not said before.
    let mut stream = host().client().connect();
    let head = format!(
        "POST /mail HTTP/1.1\r\nhost: t\r\nconnection: close\r\ntransfer-encoding: chunked\r\ncontent-type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("sent");
    let body = text(&"x".repeat(3 << 20));
    for chunk in body.chunks(1 << 16) {
        let framed = [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
        if stream.write_all(&framed).is_err() {
            break;
        }
    }
    stream.write_all(b"0\r\n\r\n").ok();
    let answer = read(&mut stream);
    assert!(
        detail(&answer).contains("`uploads.size_max`"),
        "{}",
        detail(&answer)
    );
}

#[test]
fn a_head_without_an_end_is_refused_before_it_is_read() {
    for begin in [
        vec![b'x'; 1 << 20],
        [format!("--{BOUNDARY}\r\nx: ").as_bytes(), &vec![b'x'; 1 << 20]].concat(),
    ] {
        let answer = send(host().client(), "/mail", &begin);
        assert_eq!(answer.status, 400);
        assert!(
            detail(&answer).contains("longer than 16384 bytes"),
            "{}",
            detail(&answer)
        );
    }
    let many = format!("{}x: y", "h: v\r\n".repeat(40));
    let heads = format!("name=\"text\"\r\n{many}");
    assert_eq!(post("/mail", &[part(&heads, "a")]).status, 400);
}

/// Files that are spooled, in bytes.
pub(crate) fn spooled(host: &TestHost, headers: &[(&str, &str)]) -> f64 {
    let metrics = host.client().send("GET", "/metrics", headers, b"");
    let text = String::from_utf8(metrics.body).expect("text");
    let line = text
        .lines()
        .find(|line| line.starts_with("selvedge_upload_bytes"));
    let value = line.and_then(|line| line.rsplit(' ').next());
    value.and_then(|value| value.parse().ok()).expect("a number")
}

/// Sends a file's first bytes and keeps the connection.
fn begin(client: Client, len: usize) -> std::net::TcpStream {
    let heads = "name=\"file\"; filename=\"a.bin\"";
    let begin = [part(heads, ""), vec![7; len]].concat();
    let media_type = format!("multipart/form-data; boundary={BOUNDARY}");
    let mut stream = client.connect();
    let announced = head("POST", "/filetype", &[("content-type", &media_type)], 4 << 20);
    stream.write_all(&announced).expect("sent");
    stream.write_all(&begin).expect("sent");
    stream
}

#[test]
fn files_are_bounded_together_and_nothing_of_one_is_left_when_its_client_leaves() {
    // The default of an endpoint that says nothing would never fit.
    let host = config(&[])
        .with("uploads.bytes_max = \"5MiB\"")
        .with("endpoints.slow.uploads = { size_max = \"5MiB\", file_size_max = \"4MiB\" }")
        .start();
    let client = host.client();
    let left = begin(client, 3 << 20);
    eventually("a spooled file", || {
        spooled(&host, &[]) > f64::from(3 << 20) - 100_000.0
    });
    let file = part("name=\"file\"; filename=\"a.bin\"", vec![7; 3 << 20]);
    let refused = send(client, "/filetype", &form(std::slice::from_ref(&file)));
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (503, &json!("uploads_full"))
    );
    assert!(refused.header("retry-after").is_some());
    drop(left);
    eventually("that what was sent is given back", || spooled(&host, &[]) == 0.0);
    let served = send(client, "/filetype", &form(&[file]));
    assert_eq!(served.status, 200, "{}", served.json());
    eventually("that what was answered is given back", || {
        spooled(&host, &[]) == 0.0
    });
}

#[test]
fn memory_does_not_follow_what_is_uploaded() {
    let host = config(&[]).start();
    let client = host.client();
    assert_eq!(
        send(
            client,
            "/filetype",
            &form(&[part("name=\"file\"; filename=\"a\"", "abcdefgh")])
        )
        .status,
        200
    );
    let before = host.resident();
    let uploads: Vec<_> = (0..32).map(|_| begin(client, 3 << 20)).collect();
    eventually("that all are spooled", || {
        spooled(&host, &[]) > 32.0 * f64::from(3 << 20) - 4_000_000.0
    });
    let grown = host.resident().saturating_sub(before);
    assert!(grown < 40 << 20, "96 MiB of files took {grown} bytes of memory");
    drop(uploads);
}

#[test]
fn a_form_that_comes_too_slowly_is_told_so() {
    let client = host().client();
    let whole = form(&[part("name=\"file\"; filename=\"a\"", "abc")]);
    let media_type = format!("multipart/form-data; boundary={BOUNDARY}");
    let mut stream = client.connect();
    let head = head("POST", "/slow", &[("content-type", &media_type)], whole.len());
    stream.write_all(&head).expect("sent");
    stream.write_all(&whole[..20]).expect("sent");
    assert_eq!(read(&mut stream).status, 408);
}

#[test]
fn kinds_of_files_are_told_as_the_models_own_package_tells_them() {
    let base = format!("http://{}", host().address());
    let out = python("filetype_client.py", &[&base]);
    assert!(out.contains("agree"), "{out}");
}

#[test]
fn a_plugin_that_wants_a_file_says_so_in_every_dialect() {
    let client = host().client();
    let problem = post("/filetype", &[]).problem();
    assert_eq!(
        (&problem["type"], &problem["loc"]),
        (&json!("missing"), &json!(["body", "file"]))
    );
    let zeros: Value = vec![0; 2048].into();
    let tensor =
        json!({ "inputs": [{ "name": "bytes", "datatype": "INT32", "shape": [1, 2048], "data": zeros }] });
    let answer = client.post("/v2/models/filetype/infer", tensor.to_string());
    assert_eq!(answer.status, 400);
    assert!(
        answer.json()["error"].to_string().contains("file"),
        "{}",
        answer.json()
    );
}

#[test]
fn a_person_uploads_a_file_on_the_page_in_a_browser() {
    let base = format!("http://{}", host().address());
    let out = python("docs_page.py", &[&base, env!("CARGO_TARGET_TMPDIR")]);
    assert!(out.contains("and an upload"), "{out}");
}

#[test]
fn the_document_tells_of_forms_and_its_examples_hold() {
    let base = format!("http://{}", host().address());
    // Who wants a file has no example elsewhere.
    let arguments = [base.as_str(), "/filetype", "/mail", "-/v2/models/filetype/"];
    let out = python("openapi_document.py", &arguments);
    assert!(out.contains("all is well"), "{out}");
    let document = host().client().get("/openapi.json").json();
    let form = &document["components"]["schemas"]["filetype.request"];
    assert_eq!(form["required"], json!(["file"]));
    assert_eq!(form["properties"]["file"]["format"], "binary");
    let told = demo().client().get("/openapi.json").json();
    assert!(!told.to_string().contains("multipart/form-data"));
}
