"""The page at `/docs` in Chromium without a screen: read, tried, streamed, stopped; by mouse and by keyboard, light and dark.

docs_page.py BASE_URL FOLDER_FOR_SCREENSHOTS
"""

import json
import pathlib
import shlex
import shutil
import sys
import tempfile

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

base_url, screenshots = sys.argv[1], pathlib.Path(sys.argv[2])
programs = [shutil.which("chromium"), shutil.which("chromedriver")]
if None in programs:
    sys.exit("this test needs Debian's packages chromium and chromium-driver: `cargo xtask test` asks apt for them")

options = webdriver.ChromeOptions()
options.binary_location = programs[0]
profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
for flag in [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,1500",
    f"--user-data-dir={profile.name}",
    # Whatever the page would ask of another host fails.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]:
    options.add_argument(flag)
options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=programs[1]))


def wait(about, condition, seconds=30):
    return WebDriverWait(driver, seconds, poll_frequency=0.05).until(lambda _: condition(), about)


def operation(identifier):
    """An operation's part of the page, opened by its line."""
    details = wait(identifier, lambda: driver.find_elements(By.ID, identifier))[0]
    if details.get_attribute("open") is None:
        details.find_element(By.TAG_NAME, "summary").click()
    wait("its form", lambda: details.find_elements(By.TAG_NAME, "form"))
    return details


def find(details, selector):
    return details.find_element(By.CSS_SELECTOR, selector)


def write(details, body):
    area = find(details, "textarea")
    area.clear()
    area.send_keys(json.dumps(body))
    return area


def send(details, status):
    find(details, "button[type=submit]").click()
    wait(f"status {status}", lambda: find(details, ".status").text.startswith(f"{status} ") and is_idle(details))
    return find(details, ".answer").text


def is_idle(details):
    return find(details, "button.plain").get_attribute("disabled") is not None


def scheme(name):
    feature = {"name": "prefers-color-scheme", "value": name}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    return driver.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")


def check_classify():
    classify = operation("endpoint_classify")
    write(classify, {"text": "WINNER!! Claim your free prize now, call 09061701461"})
    answer = json.loads(send(classify, 200))
    assert answer["label"] == "SPAM" and answer["score"] > 0.9, answer
    assert "x-request-id" in find(classify, ".outcome details pre").get_attribute("textContent")
    assert "/classify" in find(classify, ".curl").text
    light = scheme("light")
    driver.save_screenshot(str(screenshots / "docs-light.png"))
    assert scheme("dark") != light
    driver.save_screenshot(str(screenshots / "docs-dark.png"))
    scheme("light")
    area = write(classify, {})
    area.send_keys(Keys.CONTROL, Keys.ENTER)
    wait("a refusal", lambda: find(classify, ".status").text.startswith("422 "))
    assert "Field required" in find(classify, ".answer").text
    find(classify, ".status.bad")


def check_stream():
    assistant = operation("endpoint_assistant")
    Select(find(assistant, "select")).select_by_visible_text("streamed")
    body = json.loads(find(assistant, "textarea").get_attribute("value"))
    assert body["stream"] is True, body
    # Chance might end the text after a word.
    write(assistant, {**body, "temperature": 0})
    raw = send(assistant, 200)
    said = find(assistant, ".said").text
    assert len(said) > 10 and raw.count("data: ") > 5 and '"done":true' in raw, (said, raw)

    write(assistant, {**body, "max_tokens": 1500, "logit_bias": {"2": -100}})
    find(assistant, "button[type=submit]").click()
    lengths = set()
    wait("words that come piece by piece", lambda: lengths.add(len(find(assistant, ".said").text)) or len(lengths) > 4)
    driver.save_screenshot(str(screenshots / "docs-stream.png"))
    find(assistant, "button.plain").click()
    wait("the end", lambda: "stopped after" in find(assistant, ".status").text and is_idle(assistant))


def check_upload():
    """A form with a file, where the node has an endpoint that takes one."""
    filetype = operation("endpoint_filetype")
    with tempfile.TemporaryDirectory() as folder:
        # A name that means something to a shell, and to curl.
        file = pathlib.Path(folder) / """it's; a "page",$(x).html"""
        file.write_text("<!doctype html>\n<html><head><title>A page</title></head><body><p>Text.</p></body></html>\n")
        find(filetype, "input[type=file]").send_keys(str(file))
        line = shlex.split(find(filetype, ".curl").text)
        name = file.name.replace('"', '\\"')
        assert line[line.index("-F") + 1] == f'file=@"{name}"', line
        answer = json.loads(send(filetype, 200))
    assert answer["label"] == "html", answer
    driver.save_screenshot(str(screenshots / "docs-upload.png"))
    return ", and an upload"


def check_access():
    """Each field has a name for those who do not see it, and the page is one column on a narrow screen."""
    for field in driver.find_elements(By.CSS_SELECTOR, "input, select, textarea, button"):
        assert field.accessible_name, field.get_attribute("outerHTML")
    driver.set_window_size(420, 1200)
    width = driver.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1], width
    driver.save_screenshot(str(screenshots / "docs-narrow.png"))


try:
    driver.get(f"{base_url}/docs")
    document_paths = wait("its operations", lambda: driver.find_elements(By.CSS_SELECTOR, ".operation .path"))
    paths = [element.text for element in document_paths]
    for path in ["/classify", "/embed", "/assistant", "/v1/chat/completions", "/api/chat", "/readyz"]:
        assert path in paths, paths
    check_classify()
    check_stream()
    uploaded = check_upload() if "/filetype" in paths else ""
    for details in driver.find_elements(By.CSS_SELECTOR, ".operation"):
        operation(details.get_attribute("id"))
    check_access()
    loaded = driver.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert loaded and all(name.startswith(base_url) for name in loaded), loaded
    # Chromium itself logs each answer that is an error.
    complaints = [entry for entry in driver.get_log("browser") if "422" not in entry["message"]]
    assert not complaints, complaints
finally:
    driver.quit()
print(f"all is well: {len(paths)} operations{uploaded}")
