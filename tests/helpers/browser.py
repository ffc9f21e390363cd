"""A browser that tests drive: Chromium without a window, over the DevTools protocol and its pipe; no library."""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--mute-audio",
    "--disable-background-networking", "--disable-extensions", "--hide-scrollbars", "--force-device-scale-factor=1",
)  # fmt: skip
PATIENCE = 20.0  # seconds that a test waits for something to become true
KEYS = {"Escape": 27, "Enter": 13, "Tab": 9, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40,
        "Home": 36, "End": 35}  # fmt: skip


class Browser:
    """One page of a browser; `complaints` are the errors on its console, and exceptions that nobody caught."""

    def __init__(self, to: int, back: int, downloads: Path) -> None:
        self._to, self._back, self._rest, self._count = to, back, b"", 0
        self.downloads = downloads
        self.complaints: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session: str | None = None
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")
        self._call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if getattr(self, "_session", None) and not method.startswith(("Target.", "Browser.")):
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])

    def _next(self) -> dict[str, Any]:
        """The next message; what the page complains about is kept."""
        while b"\0" not in self._rest:
            read = os.read(self._back, 1 << 20)
            assert read, "the browser has ended"
            self._rest += read
        text, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        method, told = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.complaints.append(told["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning"):
            self.complaints.append(str(told["args"]))
        return message

    def open(self, page: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Opens a file in a window of a size, with the system's colours light or dark."""
        self.size(width, height)
        colours = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._call("Emulation.setEmulatedMedia", features=colours)
        self._call("Page.navigate", url=page.resolve().as_uri())
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def size(self, width: int, height: int) -> None:
        """Makes the window another size."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def run(self, script: str) -> Any:
        """The value of an expression, which may be a promise."""
        answer = self._call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Waits until an expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.run(condition):
            assert time.monotonic() < end, f"never true: {condition}"
            time.sleep(0.02)

    def press(self, key: str, *, shift: bool = False) -> None:
        """Presses a key, as on a keyboard."""
        code = KEYS.get(key)
        text = {} if code and key != "Enter" else {"text": "\r" if key == "Enter" else key}
        told = {"key": key, "modifiers": 8 if shift else 0, "windowsVirtualKeyCode": code or ord(key.upper())}
        self._call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **told, **text)
        self._call("Input.dispatchKeyEvent", type="keyUp", **told)

    def click(self, selector: str) -> None:
        """Clicks with the mouse into the middle of an element."""
        place = self.run(
            f"(() => {{ const element = document.querySelector({json.dumps(selector)}); element.scrollIntoView("
            "{block: 'center'}); const box = element.getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def choose(self, selector: str, value: str) -> None:
        """Chooses an option of a select, or types into a field, and tells the page."""
        self.run(
            f"(() => {{ const field = document.querySelector({json.dumps(selector)});"
            f" field.value = {json.dumps(value)};"
            " field.dispatchEvent(new Event('input', {bubbles: true}));"
            " field.dispatchEvent(new Event('change', {bubbles: true})); })()"
        )

    def saved(self, name: str) -> bytes:
        """The content of a file that the page saved."""
        path, end = self.downloads / name, time.monotonic() + PATIENCE
        while not path.is_file() or not path.stat().st_size:
            assert time.monotonic() < end, (
                f"{name} was never saved, but {sorted(p.name for p in self.downloads.iterdir())}"
            )
            time.sleep(0.02)
        return path.read_bytes()

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Saves what the window shows, or the whole page, as a PNG."""
        data = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))


def found() -> str | None:
    """The program, if there is any."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser with a profile of its own in a folder; skips the test where there is none."""
    program = found()
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on PATH")
    (folder / "downloads").mkdir(parents=True)
    its_in, to = os.pipe()
    back, its_out = os.pipe()
    words = [program, *FLAGS, "--remote-debugging-pipe", f"--user-data-dir={folder / 'profile'}"]
    # The browser reads from 3 and writes to 4; a shell gives it the two ends under these numbers.
    command = ["sh", "-c", f'exec "$@" 3</proc/self/fd/{its_in} 4>/proc/self/fd/{its_out}', "sh", *words]
    process = subprocess.Popen(
        command, pass_fds=(its_in, its_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(folder)},
    )  # fmt: skip
    os.close(its_in)
    os.close(its_out)
    try:
        yield Browser(to, back, folder / "downloads")
    finally:
        os.close(to)
        os.close(back)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
