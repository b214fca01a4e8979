//! Forms that are refused: before anything of them is kept where the head tells why, with an answer that their client gets to see,
//! on a connection that goes on; and plugins that read of one what they should not.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;

use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};

use crate::client::{Client, head, read, read_head, read_next};
use crate::generate::eventually;
use crate::host::{TestHost, root, run};
use crate::uploads::{BOUNDARY, detail, form, part, send, spooled, text};

/// A node whose endpoint `/mail` takes forms, with the given sections besides.
fn config(more: &str) -> String {
    crate::edge::config(&format!(
        "[endpoints.mail]\npath = \"/mail\"\nmodel = \"spam\"\nuploads = {{ files = [\"file\"], file_size_max = \"4MiB\", \
         size_max = \"5MiB\" }}\n{more}"
    ))
}

fn file(len: usize) -> Vec<u8> {
    part("name=\"file\"; filename=\"a.bin\"", vec![7; len])
}

fn media_type() -> String {
    format!("multipart/form-data; boundary={BOUNDARY}")
}

/// The head of a form on a connection that goes on, its length announced by the last of these headers.
fn open(headers: &str) -> Vec<u8> {
    let media_type = media_type();
    format!("POST /mail HTTP/1.1\r\nhost: t\r\ncontent-type: {media_type}\r\n{headers}\r\n\r\n").into_bytes()
}

fn chunks(body: &[u8]) -> Vec<u8> {
    let framed = body.chunks(1 << 16).flat_map(|chunk| {
        let len = format!("{:x}\r\n", chunk.len());
        [len.as_bytes(), chunk, b"\r\n"].concat()
    });
    framed.chain(*b"0\r\n\r\n").collect()
}

/// Sends a small form and reads the answer: the connection is as it was.
fn is_served(stream: &mut TcpStream) {
    let small = form(&[text("a"), file(10)]);
    let head = open(&format!("content-length: {}", small.len()));
    stream.write_all(&[head, small].concat()).expect("sent");
    let answer = read_next(stream);
    assert_eq!(answer.status, 200, "{}", answer.json());
}

#[test]
fn a_client_that_asks_first_sends_no_form_that_its_head_condemns_and_sees_why_of_one_it_has_begun() {
    let host = TestHost::start(&config(""));
    // Its length says that it is too long: nothing is asked for.
    let mut stream = host.client().connect();
    let head = open("Expect: 100-Continue\r\ncontent-length: 6000000");
    stream.write_all(&head).expect("sent");
    let answer = read(&mut stream);
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (413, &json!("form_too_large"))
    );
    // A good one is asked for, and answered.
    let whole = form(&[text("a"), file(10)]);
    let mut stream = host.client().connect();
    let head = open(&format!(
        "expect: 100-continue\r\ncontent-length: {}",
        whole.len()
    ));
    stream.write_all(&head).expect("sent");
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 100 "));
    stream.write_all(&whole).expect("sent");
    assert_eq!(read_next(&mut stream).status, 200);
    // One that is refused on its way is sent to its end all the same, by clients that do not read meanwhile.
    let head = open("expect: 100-continue\r\ntransfer-encoding: chunked");
    stream.write_all(&head).expect("sent");
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 100 "));
    stream
        .write_all(&chunks(&form(&[file(6 << 20)])))
        .expect("sent to its end");
    let answer = read_next(&mut stream);
    assert!(
        detail(&answer).contains("`uploads.file_size_max`"),
        "{}",
        detail(&answer)
    );
    is_served(&mut stream);
    // Who expects something else sends at once.
    let large = form(&[file(6 << 20)]);
    let head = open(&format!("expect: something\r\ncontent-length: {}", large.len()));
    stream
        .write_all(&[head, large].concat())
        .expect("sent to its end");
    assert_eq!(read_next(&mut stream).status, 413);
    is_served(&mut stream);
}

#[test]
fn a_connection_goes_on_behind_a_form_that_is_refused() {
    let host = TestHost::start(&config(""));
    let mut stream = host.client().connect();
    let large = form(&[file(6 << 20)]);
    let whole = form(&[text("a"), file(3 << 20)]);
    let unnamed = form(&[part("filename=\"a\"", vec![7; 3 << 20])]);
    let length = |body: &[u8]| format!("content-length: {}", body.len());
    let plain = |body: &[u8], media_type: &str, more: &str| {
        let len = body.len();
        let head = format!(
            "POST /mail HTTP/1.1\r\nhost: t\r\ncontent-type: {media_type}\r\n{more}content-length: {len}\r\n\r\n"
        );
        [head.as_bytes(), body].concat()
    };
    let packed = plain(&whole, &media_type(), "content-encoding: gzip\r\n");
    let refused = [
        (413, [open(&length(&large)), large.clone()].concat()),
        (413, [open("transfer-encoding: chunked"), chunks(&large)].concat()),
        (400, [open(&length(&unnamed)), unnamed].concat()),
        (400, plain(&whole, "multipart/form-data", "")),
        (415, plain(&whole, "application/json", "")),
        (400, packed),
    ];
    for (status, request) in refused {
        stream.write_all(&request).expect("sent to its end");
        let answer = read_next(&mut stream);
        assert_eq!(answer.status, status, "{}", answer.json());
        is_served(&mut stream);
    }
}

#[test]
fn a_request_behind_a_form_is_answered_and_what_comes_late_of_a_form_is_not_taken_for_one() {
    let host = TestHost::start(&config(""));
    let whole = form(&[text("a"), file(10)]);
    let mut stream = host.client().connect();
    let head = open(&format!("content-length: {}", whole.len()));
    let next = b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n".to_vec();
    stream
        .write_all(&[head.clone(), whole.clone(), next, head, whole.clone()].concat())
        .expect("sent");
    for _ in 0..3 {
        assert_eq!(read_next(&mut stream).status, 200);
    }
    // Behind the last boundary may stand anything, and it may come when all that matters is here.
    let (epilogue, end) = (b"\r\n\r\nan epilogue\r\n", whole.len() - 2);
    let head = open(&format!("content-length: {}", end + epilogue.len()));
    stream
        .write_all(&[head, whole[..end].to_vec()].concat())
        .expect("sent");
    std::thread::sleep(std::time::Duration::from_millis(100));
    stream.write_all(epilogue).expect("sent");
    assert_eq!(read_next(&mut stream).status, 200);
    is_served(&mut stream);
}

#[test]
fn a_client_that_never_ends_its_form_is_cut_off() {
    let host = TestHost::start(&config(""));
    let mut stream = host.client().connect();
    let chunk = |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    let begin = [open("transfer-encoding: chunked"), chunk(&file(0))].concat();
    stream.write_all(&begin).expect("sent");
    let (more, mut sent_mib) = (chunk(&vec![7; 1 << 20]), 0);
    while sent_mib < 1024 && stream.write_all(&more).is_ok() {
        sent_mib += 1;
    }
    assert!(sent_mib < 1024, "{sent_mib} MiB of it were read");
    is_served(&mut host.client().connect());
}

#[tokio::test]
async fn by_http2_a_form_is_answered_and_one_that_is_refused_gets_its_status_and_no_reset() {
    let host = TestHost::start(&config(""));
    let stream = tokio::net::TcpStream::connect(host.address())
        .await
        .expect("the host listens");
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.expect("HTTP/2");
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(connection);
    let media_type = media_type();
    let (whole, large) = (form(&[text("a"), file(3 << 20)]), form(&[file(6 << 20)]));
    let cases = [
        (200, media_type.as_str(), &whole),
        (413, &media_type, &large),
        (400, "multipart/form-data", &whole),
        (415, "application/json", &whole),
        (200, &media_type, &whole),
    ];
    for (status, media_type, body) in cases {
        let request = http::Request::post("http://test/mail").header("content-type", media_type);
        // Without a length, so that it is seen only on its way that it is too long.
        let stream = Full::new(bytes::Bytes::from(body.clone()))
            .map_frame(|frame| frame)
            .boxed();
        let request = request.body(stream).expect("a request");
        let answer = sender.send_request(request).await.expect("an answer");
        assert_eq!(answer.status(), status);
        let body = answer
            .into_body()
            .collect()
            .await
            .expect("a whole answer, and no reset");
        serde_json::from_slice::<Value>(&body.to_bytes()).expect("JSON");
    }
}

/// Of what `begin` sends: the parser keeps back what might be a boundary.
const NEARLY_ALL: f64 = 2_000_000.0;

/// Sends a form's head and some of its file, and keeps the connection.
fn begin(client: Client, headers: &[(&str, &str)]) -> TcpStream {
    let media_type = media_type();
    let headers = [&[("content-type", media_type.as_str())], headers].concat();
    let mut stream = client.connect();
    stream
        .write_all(&head("POST", "/mail", &headers, 4 << 20))
        .expect("sent");
    stream.write_all(&file(2 << 20)).expect("sent");
    stream
}

/// Whether a form that is on its way is answered before it is here, and nothing of it is kept.
fn assert_refused_unread(host: &TestHost, headers: &[(&str, &str)], admin: &[(&str, &str)], status: u16) {
    let before = spooled(host, admin);
    let mut stream = begin(host.client(), headers);
    std::thread::scope(|scope| {
        let answer = scope.spawn(move || read(&mut stream));
        while !answer.is_finished() {
            assert!(
                spooled(host, admin) <= before,
                "a form is spooled that is refused by its head"
            );
        }
        let answer = answer.join().expect("no panic");
        assert_eq!(answer.status, status, "{}", answer.json());
    });
}

#[test]
fn who_may_not_use_an_endpoint_or_too_much_of_it_spools_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let config =
        config("auth = { scopes = [\"mail\"] }\nrate_limit = { concurrent = 1 }\n[auth]\nmode = \"keys\"\n");
    let path = dir.path().join("node.toml");
    std::fs::write(&path, &config).expect("written");
    let key = |scope: &str| {
        let path = path.to_string_lossy();
        let (code, made, error) = run(&["key", "create", "--json", "--scope", scope, "--config", &path]);
        assert_eq!(code, 0, "{error}");
        let made: Value = serde_json::from_str(&made).expect("JSON");
        made["key"].as_str().expect("a key").to_owned()
    };
    let [right, other, admin] = ["mail", "classify", "admin"].map(key);
    let host = TestHost::start(&config);
    let [right, other, admin] = [&right, &other, &admin].map(|key| [("x-api-key", key.as_str())]);
    assert_refused_unread(&host, &other, &admin, 403);
    assert_refused_unread(&host, &[], &admin, 401);
    let first = begin(host.client(), &right);
    eventually("a spooled file", || spooled(&host, &admin) > NEARLY_ALL);
    assert_refused_unread(&host, &right, &admin, 429);
    drop(first);
    eventually("room", || spooled(&host, &admin) == 0.0);
}

#[test]
fn a_form_for_an_endpoint_that_is_broken_is_refused_unread() {
    let host = TestHost::start(&config(
        "plugins = [{ use = \"none\" }]\n[plugins.none]\npath = \"no-such.wasm\"\n",
    ));
    assert_refused_unread(&host, &[], &[], 503);
}

#[test]
fn a_caller_has_a_bound_of_its_own_and_others_have_room_beyond() {
    let host = TestHost::start(&config(
        "[uploads]\nbytes_max = \"12MiB\"\ncaller_bytes_max = \"5MiB\"\n",
    ));
    let _first = begin(host.client(), &[]);
    let _second = begin(host.client(), &[]);
    eventually("two spooled files", || spooled(&host, &[]) > 2.0 * NEARLY_ALL);
    let body = form(&[text("a"), file(2 << 20)]);
    let refused = send(host.client(), "/mail", &body);
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (429, &json!("too_many_uploads"))
    );
    assert!(refused.header("retry-after").is_some());
    assert!(
        detail(&refused).contains("`uploads.caller_bytes_max`"),
        "{}",
        detail(&refused)
    );
    let media_type = media_type();
    let from_elsewhere = [
        ("content-type", media_type.as_str()),
        ("x-forwarded-for", "192.0.2.7"),
    ];
    let served = host.client().send("POST", "/mail", &from_elsewhere, &body);
    assert_eq!(served.status, 200, "{}", served.json());
}

#[test]
fn a_form_is_as_long_as_its_json_and_short_files_do_without_memory() {
    let config = config("[uploads]\nmemory_bytes_max = \"0B\"\n");
    let host = TestHost::start(&config.replacen("[server]", "[server]\nbody_size_max = \"2KiB\"", 1));
    let fields = |count: usize| {
        let name = |index: usize| format!("name=\"{}{index}\"", "n".repeat(100));
        let more = (0..count).map(|index| part(name(index), ""));
        form(&more.chain([text("a"), file(10)]).collect::<Vec<_>>())
    };
    let served = send(host.client(), "/mail", &fields(10));
    assert_eq!(served.status, 200, "{}", served.json());
    let refused = send(host.client(), "/mail", &fields(30));
    assert_eq!(refused.status, 413);
    assert!(
        detail(&refused).contains("in JSON has at most 2048 bytes (`server.body_size_max`)"),
        "{}",
        detail(&refused)
    );
}

/// Endpoints with the plugin `probe`, which does what is said with the form that it is given; each with a limit of time that is
/// reached before the other one, by the work of the plugin itself or by the clock.
fn probing(dir: &Path, steps: &[(&str, &str, Value)]) -> TestHost {
    let root = root();
    let root = root.display();
    let mut more = String::new();
    for (name, times) in [
        ("works", "time = \"100ms\", wall_time = \"20s\""),
        ("waits", "time = \"20s\", wall_time = \"300ms\""),
    ] {
        more += &format!(
            "[plugins.{name}]\npath = \"{root}/plugins/dist/probe.wasm\"\nlimits = {{ memory = \"4MiB\", {times} }}\n\
             allow = {{ models = [\"spam\"], kv = [\"mine\"], secrets = {{ S = \"a value\" }} }}\n"
        );
    }
    for (name, plugin, steps) in steps {
        let file = dir.join(format!("{name}.json"));
        std::fs::write(&file, json!({ "steps": steps }).to_string()).expect("written");
        more += &format!(
            "[endpoints.{name}]\npath = \"/{name}\"\nmodel = \"spam\"\nuploads = {{ files = [\"file\"] }}\n\
             plugins = [{{ use = \"{plugin}\", config_file = \"{}\" }}]\n",
            file.display()
        );
    }
    TestHost::start(&config(&more))
}

#[test]
fn a_plugin_reads_of_a_form_what_there_is_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let end = u64::MAX;
    let steps = json!([
        "parts",
        { "read-part": [0, 0, 100] },
        { "read-part": [1, 70_000, 100] },
        { "read-part": [1, 69_998, 100] },
        { "read-part": [1, end, 100] },
        { "read-part": [1, end, 0] },
        { "read-part": [2, 0, 1] },
        { "read-part": [u32::MAX, end, 1] },
    ]);
    let host = probing(dir.path(), &[("read", "works", steps)]);
    let parts = form(&[
        text("a text"),
        part("name=\"file\"; filename=\"a.bin\"", "x".repeat(70_000)),
    ]);
    let answer = send(host.client(), "/read", &parts);
    assert_eq!(answer.status, 422, "{}", answer.json());
    let told: Value = serde_json::from_str(&detail(&answer)).expect("JSON");
    let none = json!({ "len": 0, "head": "" });
    let expected = json!([
        { "parts": [["text", null, 6], ["file", "a.bin", 70_000]] },
        { "len": 6, "head": "a text" },
        none,
        { "len": 2, "head": "xx" },
        none,
        none,
        "no-such-part",
        "no-such-part",
    ]);
    assert_eq!(told, expected);
    // By its name in a dialect, where there is no form.
    let ask = json!({ "inputs": [{ "name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"] }] });
    let answer = host.client().post("/v2/models/read/infer", ask.to_string());
    let told: Value = serde_json::from_str(answer.json()["error"].as_str().expect("text")).expect("JSON");
    assert_eq!(told[0], json!({ "parts": [] }));
    assert!(
        told.as_array().expect("a list")[1..]
            .iter()
            .all(|told| told == "no-such-part"),
        "{told}"
    );
}

#[test]
fn a_plugin_that_reads_too_much_or_for_ever_ends_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    // Its memory is 4 MiB: more than that, and as much as that, beside which the plugin has no room.
    let half = json!({ "read-part": [1, 0, 1 << 20] });
    let beyond = json!([{ "read-part": [1, 0, u32::MAX] }]);
    let all = json!([{ "read-part": [1, 0, 4 << 20] }]);
    let cases = [
        ("beyond", "works", beyond, "plugin-memory-limit"),
        ("all", "works", all, "plugin-memory-limit"),
        ("within", "works", json!([half, half, half, half, half]), "probe"),
        (
            "memory",
            "works",
            json!([{ "read-on": [0, 1] }]),
            "plugin-time-limit",
        ),
        // The disk's time is not the plugin's.
        (
            "disk",
            "waits",
            json!([{ "read-on": [1, 65_536] }]),
            "plugin-wall-time-limit",
        ),
    ];
    let steps = cases
        .clone()
        .map(|(name, plugin, steps, _)| (name, plugin, steps));
    let host = probing(dir.path(), &steps);
    let large = form(&[text("a"), file(5 << 20)]);
    for (name, _, _, code) in cases {
        let path = format!("/{name}");
        let answer = std::thread::scope(|scope| {
            let attack = scope.spawn(|| send(host.client(), &path, &large));
            while !attack.is_finished() {
                let innocent = host.client().post("/classify", r#"{"text":"a"}"#);
                assert_eq!(innocent.status, 200, "beside {name}");
            }
            attack.join().expect("no panic")
        });
        let status = if code == "probe" { 422 } else { 502 };
        let body = answer.json();
        let found = (answer.status, &body["code"]);
        assert_eq!(found, (status, &json!(code)), "{name}");
    }
    eventually("that nothing is left of what was read", || {
        spooled(&host, &[]) == 0.0
    });
}
