"""A headless Chromium for the tests, driven over WebDriver with the standard library alone.

The protocol is JSON over HTTP (W3C WebDriver, plus Chromium's ``goog:loggingPrefs``), so a client
is a page of code and needs no package. The browser gets an empty profile and no network features;
pages are opened from files.
"""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

START_TIMEOUT_S = 90.0
READY_TIMEOUT_S = 90.0
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


def why_missing() -> str:
    """Why no browser can be had here; empty if one can."""
    if shutil.which("chromedriver") is None:
        return "chromedriver is not installed"
    return "" if _binary() else "neither chromium nor google-chrome is installed"


def _binary() -> str | None:
    return shutil.which("chromium") or shutil.which("google-chrome")


class Browser:
    """One Chromium with one page. Use it as a context manager."""

    def __init__(self, profile: Path, *, dark: bool = False, size: tuple[int, int] = (1280, 800)):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._driver = subprocess.Popen(
            ["chromedriver", f"--port={self._port}", "--silent"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        arguments = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
            "--hide-scrollbars", f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}",
        ]  # fmt: skip
        if dark:
            arguments.append("--blink-settings=preferredColorScheme=0")
        wanted = {
            "goog:chromeOptions": {"binary": _binary(), "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        try:
            self._await_driver()
            made = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        except BaseException:
            self._driver.kill()
            self._driver.wait()
            raise
        self._session = f"/session/{made['sessionId']}"
        self._fit(size)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._call("DELETE", self._session)
        finally:
            self._driver.terminate()
            self._driver.wait()

    def open(self, path: Path, *, anchor: str = "") -> None:
        """Open a file and wait until its script is done."""
        self.visit(path.resolve().as_uri() + anchor)

    def visit(self, url: str) -> None:
        """Open an address and wait until its script is done, if it has one."""
        self._call("POST", f"{self._session}/url", {"url": "about:blank"})
        self._call("POST", f"{self._session}/url", {"url": url})
        until = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < until:
            if self.run("return !document.getElementById('data') || "
                        "Boolean(document.documentElement.dataset.ready)"):  # fmt: skip
                return
            time.sleep(0.02)
        raise TimeoutError(f"{url} was not ready after {READY_TIMEOUT_S} s: {self.log()}")

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script's body in the page and give what it returns."""
        body = {"script": script, "args": list(arguments)}
        return self._call("POST", f"{self._session}/execute/sync", body)

    def eventually(self, true: Callable[[Any], bool], script: str, *arguments: Any) -> Any:
        """What a script gives once it is as wanted, or at last."""
        until = time.monotonic() + READY_TIMEOUT_S
        while not true(found := self.run(script, *arguments)) and time.monotonic() < until:
            time.sleep(0.05)
        return found

    def keys(self, text: str, *, into: str = "body") -> None:
        """Type into the element of a CSS selector."""
        found = self._call(
            "POST", f"{self._session}/element", {"using": "css selector", "value": into}
        )
        path = f"{self._session}/element/{found[_ELEMENT]}/value"
        self._call("POST", path, {"text": text})

    def log(self) -> list[str]:
        """Console messages since the last call."""
        entries = self._call("POST", f"{self._session}/se/log", {"type": "browser"})
        return [f"{entry['level']}: {entry['message']}" for entry in entries]

    def screenshot(self, path: Path) -> bytes:
        """Save what is seen as PNG."""
        data = base64.b64decode(self._call("GET", f"{self._session}/screenshot"))
        path.write_bytes(data)
        return data

    def _fit(self, size: tuple[int, int]) -> None:
        """Make the page, not the window, have this size."""
        inner = self.run("return [outerWidth - innerWidth, outerHeight - innerHeight]")
        rect = {"width": size[0] + inner[0], "height": size[1] + inner[1]}
        self._call("POST", f"{self._session}/window/rect", rect)

    def _await_driver(self) -> None:
        until = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until:
            try:
                if self._call("GET", "/status").get("ready"):
                    return
            except OSError:
                time.sleep(0.05)
        raise TimeoutError(f"chromedriver did not answer in {START_TIMEOUT_S} s")

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = json.dumps(body or {}).encode() if method == "POST" else None
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}{path}", data=data, method=method,
            headers={"Content-Type": "application/json"},
        )  # fmt: skip
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read().decode("utf-8", "replace")[:500]) from None
