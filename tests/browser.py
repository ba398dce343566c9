"""Chromium without a window, driven over the pipe of its DevTools protocol."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PHONE = (390, 844)
DESKTOP = (1280, 900)
# Seconds that anything may take: machines that run tests are busy.
PATIENCE = 120
# A page whose scripts have drawn what can be seen.
DRAWN = "document.readyState == 'complete'"


def chromium():
    """Path of the browser; None if there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A process of Chromium.

    Parameters
    ----------
    folder : Path
        For its profile.
    """

    def __init__(self, folder: Path) -> None:
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        # The pipe's ends are 3 and 4 in the browser; here they may be anything above.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_read, to_write)]
        command = f'exec "$0" "$@" 3<&{ends[0]} 4>&{ends[1]}'
        options = (
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--remote-debugging-pipe", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", f"--user-data-dir={folder}",
        )  # fmt: skip
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", command, chromium(), *options],
            pass_fds=ends,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (to_read, to_write, *ends):
            os.close(end)
        self._buffer, self._n, self._events = b"", 0, []

    def call(self, method, session=None, **parameters):
        """Send a command and return its result."""
        self._n += 1
        message = {"id": self._n, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._n:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self._events.append(answer)

    def events(self, session):
        """Return what was told of a tab."""
        return [event for event in self._events if event.get("sessionId") == session]

    def _receive(self):
        until = time.monotonic() + PATIENCE
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0, until - time.monotonic()))
            part = os.read(self._read, 1 << 20) if ready else b""
            assert part, "the browser ended" if ready else "the browser doesn't answer"
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(text)

    def open(self, path, *, size=DESKTOP, is_dark=False):
        """Open a file in a new tab."""
        return Tab(self, Path(path), size, is_dark)

    def close(self):
        """End the process."""
        os.close(self._write)  # it ends when its pipe does
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._read)


class Tab:
    """An open page. `Browser.open` makes it."""

    def __init__(self, browser, path, size, is_dark):
        self.browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        attached = browser.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session, self.target = attached["sessionId"], target
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        width, height = size
        is_phone = size == PHONE
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=is_phone,
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=is_phone)
        self.prefer(is_dark=is_dark)
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.wait_for(f"location.protocol == 'file:' && {DRAWN}")

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def prefer(self, *, is_dark):
        """Change what the system says of light and dark."""
        value = "dark" if is_dark else "light"
        self.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": value}],
        )

    def run(self, script):
        """Value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, (script, answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait_for(self, script):
        """Wait until an expression is true."""
        until = time.monotonic() + PATIENCE
        while not self.run(script):
            assert time.monotonic() < until, f"never became true: {script}"
            time.sleep(0.05)

    def click(self, selector):
        """Press the mouse's button in the middle of an element."""
        x, y = self._middle(selector)
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            more = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def point(self, selector, until):
        """Move the mouse about on an element until an expression is true.

        What a movement shows may be hidden again by the scrolling that led to it.
        """
        end = time.monotonic() + PATIENCE
        while not self.run(until):
            assert time.monotonic() < end, f"never became true: {until}"
            x, y = self._middle(selector)
            for at in (x - 1, x):
                self.call("Input.dispatchMouseEvent", type="mouseMoved", x=at, y=y)
                time.sleep(0.1)

    def press(self, key):
        """Press a key of the keyboard."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def _middle(self, selector):
        found = self.run(
            f"(() => {{ const found = document.querySelector({json.dumps(selector)});"
            "if (!found) return null; found.scrollIntoView({block: 'center'});"
            "const at = found.getBoundingClientRect();"
            "return [at.x + at.width / 2, at.y + at.height / 2]; })()"
        )
        assert found, f"nothing on the page is {selector}"
        return found

    def picture(self, path):
        """Write what can be seen of the whole page into a PNG file."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        Path(path).write_bytes(base64.b64decode(found["data"]))

    @property
    def faults(self):
        """Errors and warnings of the console, and exceptions that nothing caught."""
        faults = []
        for event in self.browser.events(self.session):
            told = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                faults.append(str(told["exceptionDetails"]))
            if event["method"] == "Runtime.consoleAPICalled" and told["type"] in (
                "error",
                "warning",
            ):
                faults.append(str(told["args"]))
            if event["method"] == "Log.entryAdded" and told["entry"]["level"] != "verbose":
                faults.append(str(told["entry"]))
        return faults

    @property
    def requests(self):
        """Addresses that were asked for, without data in addresses."""
        urls = [
            event["params"]["request"]["url"]
            for event in self.browser.events(self.session)
            if event["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in urls if not url.startswith(("data:", "blob:"))]

    @property
    def overflow(self):
        """By how many px the page is wider than the window."""
        return self.run("document.documentElement.scrollWidth - innerWidth")

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)
