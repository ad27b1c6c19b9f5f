"""Steps in a browser."""

import json
from pathlib import Path
from typing import Any


class Page:
    """A page in headless Chromium, and what it said and asked for."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, path: Path) -> None:
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.driver.get(path.as_uri())

    def press(self, keys: str) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(keys).perform()

    def ask(self, script: str) -> Any:
        return self.driver.execute_script(f"return {script}")

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        messages = (json.loads(e["message"])["message"] for e in self.driver.get_log("performance"))
        urls = [
            m["params"]["request"]["url"]
            for m in messages
            if m["method"] == "Network.requestWillBeSent"
        ]
        # chrome: is the browser's own start page, which may still be loading
        return [url for url in urls if not url.startswith(("data:", "chrome:"))]


def rows(page: Page) -> list[list[str]]:
    """The table of boxes on the slice: what, class, confidence."""
    return page.ask(
        "[...document.querySelectorAll('#boxes tbody tr')]"
        ".map((row) => [...row.cells].slice(0, 3).map((cell) => cell.textContent))"
    )


def focus(page: Page) -> None:
    page.ask("document.getElementById('browser').focus()")
