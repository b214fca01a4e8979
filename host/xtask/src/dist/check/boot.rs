//! The service as systemd starts it: the clean system is booted by systemd-nspawn, with the unit as the package has it. It is ready when
//! it serves, is reloaded, and ends well.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Context, Result, bail};

use super::clean::CleanRoot;
use crate::dist::need;
use crate::run::Tool;
use crate::steps::say;

/// Seconds that all of it may take, before it is killed: every plugin is compiled, perhaps on a busy machine.
const BOOT_SECONDS: &str = "600";

/// Line that the probe prints if all went well.
const WELL: &str = "all is well";

/// Starts when the service says that it is ready, and ends the system.
const UNIT: &str = "\
[Unit]
After=selvedge.service
[Service]
Type=oneshot
ExecStart=/usr/bin/python3 /srv/probe.py
StandardOutput=append:/srv/probe.out
StandardError=inherit
ExecStopPost=/usr/bin/systemctl poweroff
";

/// Program that checks the service. The system has a network of its own, so that the package's port is free.
const PROBE: &str = r#"
import json, subprocess, urllib.request

def run(*command):
    subprocess.run(command, check=True)

def status(property):
    told = subprocess.run(["systemctl", "show", "--value", "-p", property, "selvedge"], capture_output=True, text=True)
    return told.stdout.strip()

def classify():
    body = json.dumps({"text": "WINNER!! Claim your free prize now, call 09061701461"}).encode()
    asked = urllib.request.Request("http://127.0.0.1:8080/classify", body, {"content-type": "application/json"})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        assert json.load(answer)["label"] == "SPAM"

try:
    classify()
    before = status("MainPID")
    run("systemctl", "reload", "selvedge")
    classify()
    assert status("MainPID") == before, "a reload started another process"
    user = subprocess.run(["stat", "--format=%U", f"/proc/{before}"], capture_output=True, text=True).stdout.strip()
    assert user == "selvedge", user
    run("systemctl", "stop", "selvedge")
    assert status("Result") == "success", status("Result")
    print("all is well")
finally:
    run("journalctl", "--no-pager", "--lines=60", "--unit=selvedge")
"#;

/// Boots it.
pub(super) fn run(clean: &CleanRoot) -> Result<()> {
    need("systemd-nspawn", "systemd-container", "booting a clean system")?;
    fs::write(clean.path("/srv/probe.py"), PROBE)?;
    let unit = "/etc/systemd/system/probe.service";
    fs::write(clean.path(unit), UNIT)?;
    let wants = clean.path("/etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wants)?;
    symlink(unit, wants.join("probe.service"))?;
    say("booting the clean system");
    let nspawn = Tool::new("timeout").args(["--kill-after=10", BOOT_SECONDS, "systemd-nspawn", "--quiet"]);
    let boot = nspawn
        .args([
            "--boot",
            "--register=no",
            "--keep-unit",
            "--private-network",
            "--directory",
        ])
        .arg(clean.path(""))
        .output();
    let told = fs::read_to_string(clean.path("/srv/probe.out"));
    let told = told.with_context(|| format!("the probe did not run: {boot:?}"))?;
    if !told.contains(WELL) {
        bail!("{told}");
    }
    say("the service is ready when it serves, is reloaded, and ends well");
    Ok(())
}
