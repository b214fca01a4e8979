//! The packages at work: each is installed into a clean Debian, as a user who is not root, and answers `/classify`. The unit is
//! verified where the `.deb` is installed.

mod boot;
mod clean;
mod server;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::binary::DEBUG_NAME;
use super::container::{IMAGE, own_images};
use super::options::Extra;
use super::platform::Kind;
use super::{Dist, Packages, VERSION, need};
use crate::run::Tool;
use crate::steps::say;
use clean::{CleanRoot, User};
use server::Server;

/// Folder of the clean system that a user without rights may write to.
const HOME: &str = "/srv/check";

/// Configurations that come along, each of which must be right.
const CONFIGS: [&str; 3] = ["selvedge.toml", "observe.toml", "reference.toml"];

/// The one that is served, but for its port: a free one.
const SERVED: &str = "check.toml";

/// Checks them all.
pub(super) fn run(dist: &Dist<'_>, packages: &Packages, extras: &[Extra]) -> Result<()> {
    if dist.platform.kind == Kind::Cross {
        bail!(
            "--check runs what it installs, and {} is another machine",
            dist.platform.triple
        );
    }
    if Tool::new("id").arg("-u").output()? != "0" {
        bail!("--check must be run as root: it makes a Debian system in a folder, and changes into it");
    }
    need("mmdebstrap", "mmdebstrap", "a clean Debian")?;
    debug_information(dist)?;
    let clean = CleanRoot::make(dist.work.join("clean"))?;
    tarball(&clean, &packages.tarball).context("the tarball")?;
    wheel(&clean, &packages.wheel).context("the wheel")?;
    install_deb(&clean, &packages.deb).context("the .deb")?;
    if extras.contains(&Extra::Boot) {
        boot::run(&clean).context("the service")?;
    }
    purge(&clean)?;
    if packages.container.is_some() {
        container(dist).context("the container")?;
    }
    Ok(())
}

/// The stripped binary's addresses are read by way of the file beside it.
fn debug_information(dist: &Dist<'_>) -> Result<()> {
    let folder = dist.work.join("binary");
    let symbols = Tool::new("nm")
        .arg("--demangle")
        .arg(folder.join(DEBUG_NAME))
        .output()?;
    let main = symbols.lines().find(|line| line.contains(" selvedge::main"));
    let address = main.and_then(|line| line.split_whitespace().next());
    let address = address.with_context(|| format!("{DEBUG_NAME} has no symbol selvedge::main"))?;
    let read = Tool::new("addr2line").current_dir(&folder);
    let line = read.args(["--exe=selvedge", address]).output()?;
    ensure!(
        line.contains("main.rs:"),
        "the debug information says `{line}` of selvedge::main"
    );
    say(&format!("debug information: selvedge::main is {line}"));
    Ok(())
}

fn tarball(clean: &CleanRoot, tarball: &Path) -> Result<()> {
    clean.bring(tarball, "/tmp/selvedge.tar.gz")?;
    let unpacked = format!("{HOME}/unpacked");
    clean.run(User::Nobody, &["mkdir", &unpacked])?;
    let unpack = [
        "tar",
        "-xf",
        "/tmp/selvedge.tar.gz",
        "-C",
        &unpacked,
        "--strip-components=1",
    ];
    clean.run(User::Nobody, &unpack)?;
    checks_and_serves(clean, &unpacked)
}

fn wheel(clean: &CleanRoot, wheel: &Path) -> Result<()> {
    let name = wheel.file_name().context("a wheel has a name")?.to_string_lossy();
    let inside = format!("/tmp/{name}");
    clean.bring(wheel, &inside)?;
    let venv = format!("{HOME}/venv");
    clean.run(User::Nobody, &["python3", "-m", "venv", &venv])?;
    let pip = format!("{venv}/bin/pip");
    clean.run(User::Nobody, &[&pip, "install", "--quiet", "--no-index", &inside])?;
    checks_and_serves(clean, &venv)
}

/// Checks that what was installed below a folder finds its own files without being told where they are, and serves.
fn checks_and_serves(clean: &CleanRoot, folder: &str) -> Result<()> {
    let program = format!("{folder}/bin/selvedge");
    let configs = format!("{folder}/share/selvedge/configs");
    clean.run(User::Nobody, &[&program, "check"])?;
    for config in CONFIGS {
        clean.run(
            User::Nobody,
            &[&program, "check", "--config", &format!("{configs}/{config}")],
        )?;
    }
    clean.run(
        User::Nobody,
        &[
            "bash",
            "-n",
            &format!("{folder}/share/bash-completion/completions/selvedge"),
        ],
    )?;
    clean.run(
        User::Nobody,
        &["gzip", "-t", &format!("{folder}/share/man/man1/selvedge.1.gz")],
    )?;
    let config = on_a_free_port(clean, &format!("{configs}/selvedge.toml"), &configs)?;
    serves(clean, User::Nobody, &[&program, "serve", "--config", &config])
}

fn install_deb(clean: &CleanRoot, deb: &Path) -> Result<()> {
    clean.bring(deb, "/tmp/selvedge.deb")?;
    clean.run(User::Root, &["dpkg", "--install", "/tmp/selvedge.deb"])?;
    verify_unit(clean)?;
    // What systemd does of the unit's StateDirectory=.
    clean.run(
        User::Root,
        &[
            "install",
            "-d",
            "-o",
            "selvedge",
            "-g",
            "selvedge",
            "-m",
            "0700",
            "/var/lib/selvedge",
        ],
    )?;
    clean.run(User::Selvedge, &["selvedge", "check"])?;
    for config in CONFIGS {
        let config = format!("/usr/share/selvedge/configs/{config}");
        clean.run(User::Selvedge, &["selvedge", "check", "--config", &config])?;
    }
    let config = on_a_free_port(clean, "/etc/selvedge/selvedge.toml", "/tmp")?;
    serves(clean, User::Selvedge, &["selvedge", "serve", "--config", &config])
}

/// A purge leaves nothing.
fn purge(clean: &CleanRoot) -> Result<()> {
    clean.run(User::Root, &["dpkg", "--purge", "selvedge"])?;
    for gone in [
        "etc/selvedge",
        "var/lib/selvedge",
        "usr/share/selvedge",
        "usr/lib/selvedge",
    ] {
        ensure!(!clean.path(gone).exists(), "a purge leaves /{gone}");
    }
    Ok(())
}

/// `systemd-analyze verify` ends with success whatever it finds, so that only silence is a success.
fn verify_unit(clean: &CleanRoot) -> Result<()> {
    let units = ["selvedge.service", "selvedge.socket"];
    let verify = ["systemd-analyze", "verify", "--man=no"];
    let said = clean.run(User::Root, &[&verify[..], &units].concat())?;
    ensure!(said.is_empty(), "systemd-analyze verify says: {said}");
    let unit = "/usr/lib/systemd/system/selvedge.service";
    let exposure = [
        "systemd-analyze",
        "security",
        "--offline=true",
        "--no-pager",
        unit,
    ];
    let said = clean.run(User::Root, &exposure)?;
    let score = said.lines().find(|line| line.contains("Overall exposure level"));
    say(score
        .context("systemd-analyze security says no exposure level")?
        .trim());
    Ok(())
}

/// The image's user runs what the image runs, but for the port.
fn container(dist: &Dist<'_>) -> Result<()> {
    let buildah = |words: &[&str]| {
        let mut command = Command::new("buildah");
        command.args(own_images(dist)).args(words);
        command
    };
    let made = buildah(&["from", "--pull-never", &format!("{IMAGE}:{VERSION}")]).output()?;
    let container = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    ensure!(
        made.status.success(),
        "buildah from: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    let config = dist.work.join("container").join(SERVED);
    let own = fs::read_to_string(dist.work.join("container/selvedge.toml"))?;
    fs::write(&config, own.replace("0.0.0.0:8080", "127.0.0.1:0"))?;
    let inside = format!("/etc/selvedge/{SERVED}");
    let copied = buildah(&["copy", "--quiet", &container])
        .arg(&config)
        .arg(&inside)
        .status()?;
    ensure!(copied.success(), "buildah copy: {copied}");
    let serve = ["/usr/bin/selvedge", "serve", "--config", &inside];
    say(&format!("in the container: {}", serve.join(" ")));
    let mut run = buildah(&["run", "--isolation", "chroot", &container, "--"]);
    run.args(serve);
    let server = Server::start(run)?;
    classifies(&server)?;
    // buildah itself fails where what it runs is told to end.
    server.end().map(drop)
}

/// A copy of a configuration in a folder, with a port that nobody has.
fn on_a_free_port(clean: &CleanRoot, config: &str, folder: &str) -> Result<String> {
    let text = fs::read_to_string(clean.path(config))?;
    let own = "127.0.0.1:8080";
    ensure!(text.contains(own), "{config} does not listen on {own}");
    let copy = format!("{folder}/{SERVED}");
    fs::write(clean.path(&copy), text.replace(own, "127.0.0.1:0"))?;
    Ok(copy)
}

fn serves(clean: &CleanRoot, user: User, command: &[&str]) -> Result<()> {
    say(&format!("as {user}: {}", command.join(" ")));
    let server = Server::start(clean.command(user, command))?;
    classifies(&server)?;
    let status = server.end()?;
    ensure!(status.success(), "it ended with {status} when it was told to end");
    Ok(())
}

/// Tells spam from ham, and says what is wrong with a body.
fn classifies(server: &Server) -> Result<()> {
    let spam = r#"{"text":"WINNER!! Claim your free prize now, call 09061701461"}"#;
    for (body, status, word) in [
        (spam, 200, r#""label":"SPAM""#),
        (r#"{"text":"see you at eight, mum"}"#, 200, r#""label":"HAM""#),
        ("{}", 422, "Field required"),
    ] {
        let (code, answer) = server.post("/classify", body)?;
        ensure!(
            code == status && answer.contains(word),
            "{body} was answered {code} {answer}, and not {status} {word}"
        );
    }
    Ok(())
}
