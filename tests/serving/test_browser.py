"""The page in a real browser: headless Chromium through Playwright, with nothing to reach but the server."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.serving.page import read_page
from tests.serving.servers import listen

_BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(_BROWSER is None, reason="no Chromium (Debian: apt-get install chromium)"),
]
playwright: Any = pytest.importorskip("playwright.sync_api")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with listen({"tiny": "1", "other": "2"}) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=_BROWSER, args=list(_ARGUMENTS))
        yield found
        found.close()


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Any]:
    context = browser.new_context(locale="en-US")
    found = context.new_page()
    found.set_default_timeout(60_000)
    wrong: list[str] = []
    found.on("request", lambda request: None if request.url.startswith(url) else wrong.append(request.url))
    found.on("pageerror", lambda problem: wrong.append(str(problem)))
    found.on(
        "console", lambda message: wrong.append(message.text) if "Content Security Policy" in message.text else None
    )
    found.goto(url)
    until(found, "document.querySelector('#model').options.length === 2")
    found.fill("#seed", "1")
    found.fill("#max_tokens", "12")
    found.focus("#text")
    yield found
    context.close()
    assert [each for each in wrong if not each.startswith("data:")] == []


def until(page: Any, wanted: str) -> None:
    """Playwright's own way evaluates a string inside the page, which the page's policy forbids."""
    for _ in range(1200):
        if page.evaluate(wanted):
            return
        page.wait_for_timeout(50)
    raise AssertionError(wanted)


def ask(page: Any, text: str) -> None:
    page.fill("#text", text)
    page.press("#text", "Enter")
    settle(page)


def settle(page: Any) -> None:
    until(page, "!running && document.querySelector('#stop').classList.contains('hidden')")


def answers(page: Any) -> list[str]:
    found: list[str] = page.locator("article.assistant .said").all_text_contents()
    return found


def answer_with(page: Any, body: str) -> None:
    """In the place of the server."""
    page.unroute("**/v1/chat/completions")
    page.route("**/v1/chat/completions", lambda route: route.fulfill(content_type="text/event-stream", body=body))


def press(page: Any, name: str, place: int = -1) -> None:
    buttons = page.get_by_role("button", name=name, exact=True)
    buttons.nth(buttons.count() - 1 if place < 0 else place).click()


def test_a_conversation_is_written_regenerated_branched_and_kept(page: Any) -> None:
    ask(page, "Hello")
    (first,) = answers(page)
    assert len(first) > 0
    press(page, "Regenerate")
    settle(page)
    assert answers(page) != [first]
    page.get_by_role("button", name="Previous answer").click()
    assert answers(page) == [first]
    ask(page, "More")
    assert len(answers(page)) == 2
    press(page, "Branch", 0)
    assert answers(page) == [first]
    assert page.locator("#history li").count() == 2
    page.reload()
    until(page, "document.querySelector('#model').options.length === 2")
    page.locator("#history li button").nth(2).click()
    assert answers(page)[0] == first
    assert page.input_value("#seed") == "1"
    press(page, "Delete", 0)
    assert page.locator("#history li").count() == 1
    page.click("#forget")
    assert page.locator("#history li").count() == 0


def test_questions_are_edited_and_the_old_talk_stays(page: Any) -> None:
    ask(page, "One")
    press(page, "Edit", 0)
    page.locator("article textarea").fill("Two")
    press(page, "Save")
    settle(page)
    assert page.locator("article.user .said").all_text_contents() == ["Two"]
    assert page.locator("#history li").count() == 2
    press(page, "Edit", 0)
    press(page, "Cancel")
    assert page.locator("article.user .said").all_text_contents() == ["Two"]


def test_stop_leaves_what_was_written(page: Any) -> None:
    page.route("**/v1/chat/completions", lambda route: None)  # never answered
    page.fill("#text", "Hello")
    page.press("#text", "Enter")
    page.click("#stop")
    settle(page)
    assert "stopped" in page.locator("article.assistant .tools").text_content()
    page.fill("#text", "Again")
    page.press("#text", "Enter")
    page.keyboard.press("Escape")
    settle(page)
    page.unroute("**/v1/chat/completions")
    ask(page, "Now")
    assert len(answers(page)) == 3


def test_errors_and_what_looks_like_html_are_shown_as_text(page: Any) -> None:
    evil = "<img src=x onerror=\"document.title='evil'\"><script>document.title='evil'</script>"
    event = json.dumps({"id": "1", "choices": [{"delta": {"content": evil}, "finish_reason": "stop"}]})
    body = f"data: {event}\n\ndata: [DONE]\n\n"
    answer_with(page, body)
    ask(page, evil)
    assert answers(page) == [evil]
    assert page.locator("article.user .said").all_text_contents() == [evil]
    assert page.title() == "gpt_lightning"
    half = f"data: {event}\n\n"
    for content, part in (
        (half, "connection ended"),
        (half + 'data: {"error": {"message": "<b>no</b>"}}\n\n', "<b>no</b>"),
    ):
        answer_with(page, content)
        ask(page, "x")
        assert part in page.get_by_role("alert").last.text_content()
    page.unroute("**/v1/chat/completions")
    page.fill("#temperature", "9")
    ask(page, "x")
    assert "temperature cannot be 9" in page.get_by_role("alert").last.text_content()


def test_probabilities_show_on_hover_and_by_keyboard(page: Any) -> None:
    page.check("#logprobs")
    ask(page, "Hello")
    spans = page.locator("article.assistant .said span")
    assert spans.count() == 12
    spans.first.hover()
    lines = page.locator("#tip").text_content().split("\n")
    assert len(lines) == 7
    assert re.fullmatch(r" *\d+\.\d%  \".*\"", lines[0])
    spans.first.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement === document.querySelectorAll('article.assistant .said span')[1]")
    page.keyboard.press("Escape")
    assert not page.locator("#tip").is_visible()


def test_thumbs_show_only_where_the_server_takes_them(page: Any, url: str) -> None:
    ask(page, "Hello")
    assert page.get_by_role("button", name="Good answer").count() == 0
    sent: list[Any] = []
    model = '{"data": [{"id": "tiny", "feedback": true}, {"id": "other"}]}'
    page.route("**/v1/models", lambda route: route.fulfill(content_type="application/json", body=model))

    def take(route: Any) -> None:
        sent.append(route.request.post_data_json)
        route.fulfill(content_type="application/json", body="{}")

    page.route("**/v1/feedback", take)
    page.goto(url)
    until(page, "feedback")
    ask(page, "Hello")
    press(page, "Good answer")
    page.wait_for_selector("[aria-label='Good answer'][aria-pressed=true]")
    press(page, "Correct")
    page.locator("article textarea").fill("Better")
    press(page, "Save")
    page.wait_for_selector("[aria-label='Bad answer'][aria-pressed=true]")
    assert [(each["rating"], each.get("correction")) for each in sent] == [("up", None), ("down", "Better")]
    assert sent[0]["id"].startswith("chatcmpl-")


def test_a_talk_that_outgrows_the_model_goes_on(page: Any) -> None:
    for number in range(4):
        ask(page, f"Question number {number} of several")
    assert page.get_by_role("alert").count() == 0
    assert "no longer fits" in page.locator("article.assistant").last.text_content()


def test_chinese_dark_phone_and_pictures(browser: Any, url: str) -> None:
    """Looks: with SCREENSHOTS=FOLDER each is kept as a picture."""
    folder = os.environ.get("SCREENSHOTS")
    looks: dict[str, dict[str, Any]] = {
        "light": {"locale": "en-US"},
        "dark": {"locale": "en-US", "color_scheme": "dark"},
        "phone": {"locale": "zh-CN", "viewport": {"width": 360, "height": 640}},
        "phone-settings": {"locale": "zh-CN", "viewport": {"width": 360, "height": 640}, "color_scheme": "dark"},
    }
    for name, settings in looks.items():
        context = browser.new_context(**settings)
        page = context.new_page()
        page.goto(url)
        until(page, "document.querySelector('#model').options.length === 2")
        page.evaluate("document.querySelector('#max_tokens').value = 20; document.querySelector('#seed').value = 1")
        ask(page, "你好 Hello, what is a module?")
        if name == "phone-settings":
            page.click("#settings-button")
        chinese = settings["locale"] == "zh-CN"
        assert page.locator("#new").text_content() == ("新对话" if chinese else "New chat")
        assert page.evaluate("document.documentElement.lang") == ("zh-CN" if chinese else "en")
        # Nothing is wider than the screen, and everything that is pressed can be hit and has a name.
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        nameless = page.evaluate(
            """[...document.querySelectorAll("button, input, select, textarea")].filter(each => !each.textContent.trim()
            && !each.getAttribute("aria-label") && !(each.labels || []).length).map(each => each.outerHTML)"""
        )
        assert nameless == []
        if folder:
            page.screenshot(path=str(Path(folder) / f"{name}.png"))
        context.close()


def test_all_is_done_by_keyboard(page: Any) -> None:
    page.keyboard.type("Hello")
    page.keyboard.press("Enter")
    settle(page)
    assert page.evaluate("document.activeElement.id") == "text"
    seen = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
    assert {
        "language",
        "new",
        "model",
        "system",
        "temperature",
        "key",
        "messages",
        "Copy",
        "Regenerate",
        "text",
        "send",
    } <= seen


def test_the_page_is_one_small_file() -> None:
    assert len(read_page().encode()) <= 40_000
