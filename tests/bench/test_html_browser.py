"""The HTML report as people use it, in headless Chromium: viewer, tables, keyboard, phone, accessibility, speed."""

import os
import shutil
from dataclasses import replace

import pytest

from edgepress.bench.htmlreport import html_report
from edgepress.bench.pictures import BUDGET
from edgepress.bench.report import to_dict
from edgepress.bench.saved import saved_of

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[dev]'")

IMAGES = 24


@pytest.fixture(scope="module")
def chromium():
    with sync_api.sync_playwright() as playwright:
        system = next(
            filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
        )
        # Chromium's own sandbox refuses to run as root, which containers mostly are.
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        try:
            browser = playwright.chromium.launch(executable_path=system, args=flags)
        except sync_api.Error as error:
            pytest.skip(
                f"needs Chromium (apt install chromium, or playwright install chromium): {error.message[:80]}"
            )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(measured, pictures, study, tmp_path_factory):
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_bytes(html_report(saved_of(to_dict(measured)), pictures, study))
    return file


@pytest.fixture
def opened(chromium, report):
    """`opened(**context) -> page`; afterwards nothing may have been fetched and nothing said on the console."""
    contexts, said = [], []

    def open_page(**options):
        # without smooth scrolling, which would move what a pointer aims at
        contexts.append(chromium.new_context(reduced_motion="reduce", **options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if outside(request.url) else None)
        page.goto(report.as_uri())
        return page

    def outside(url):
        return not url.startswith("data:") and url != report.as_uri()

    yield open_page
    for context in contexts:
        context.close()
    assert said == []


def source(page, side):
    return page.locator(f"#v-img-{side}").get_attribute("src")


def divider(page):
    return page.locator("#v-pane").evaluate("pane => pane.style.clipPath")


def transform(page):
    return page.locator("#v-img-0").evaluate("img => img.style.transform")


def test_the_slider_moves_by_pointer_and_key(opened):
    page = opened()
    assert divider(page) == "inset(0px 0px 0px 50%)"
    stage = page.locator("#v-stage")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    page.mouse.up()
    assert page.locator("#v-slider").input_value() == "25" and divider(page) == "inset(0px 0px 0px 25%)"
    stage.press("ArrowRight")
    assert divider(page) == "inset(0px 0px 0px 27%)"
    page.locator("#v-slider").press("Home")
    assert divider(page) == "inset(0px)" or "0%" in divider(page)


def test_the_viewer_shows_what_is_chosen(opened, pictures):
    page = opened()
    uri = {(p.image, p.codec, p.quality): p.uri for p in pictures}
    for side, codec, quality in ((0, "jpeg", 10), (1, "webp", 80), (0, "webp", 40), (1, "png", 100)):
        page.select_option(f"#v-codec-{side}", label=codec)
        page.select_option(f"#v-quality-{side}", label=str(quality))
        assert source(page, side) == uri["astronaut", codec, quality]
        caption = page.locator("#v-right" if side else "#v-left").inner_text()
        assert caption.startswith(f"{codec} q{quality} · ")
    page.select_option("#v-image", label="</script><b>coffee")
    assert source(page, 0) == uri["</script><b>coffee", "webp", 40]
    page.select_option("#v-codec-0", label="original")
    assert source(page, 0) == uri["</script><b>coffee", None, 0]
    assert page.locator("#v-left").inner_text() == "original"
    page.locator("#v-stage").focus()
    page.keyboard.down("o")
    assert source(page, 1) == uri["</script><b>coffee", None, 0]
    page.keyboard.up("o")
    assert source(page, 1) == uri["</script><b>coffee", "png", 100]


def test_the_left_picture_can_follow_the_right_ones_size(opened, measured):
    page = opened()
    page.select_option("#v-codec-0", label="jpeg")
    page.select_option("#v-codec-1", label="webp")
    page.select_option("#v-quality-1", label="80")
    page.click("#v-match")
    jpeg, webp = ({p.quality: p.rows[0].bytes for p in curve.points} for curve in measured.curves[:2])
    nearest = min(jpeg, key=lambda q: abs(jpeg[q] / webp[80] - 1))
    assert page.locator("#v-quality-0").input_value() == str(nearest)


def test_zoom_and_pan(opened):
    page = opened()
    stage = page.locator("#v-stage")
    assert "scale(1)" in transform(page) and page.locator("#v-zoom").inner_text() == "fit"
    page.click("#v-in")
    page.click("#v-in")
    assert "scale(2)" in transform(page) and page.locator("#v-zoom").inner_text() == "2×"
    before = transform(page)
    stage.press("Shift+ArrowRight")
    assert transform(page) != before
    before = transform(page)
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 90, box["y"] + box["height"] / 2 + 20)
    page.mouse.up()
    assert transform(page) != before and divider(page) == "inset(0px 0px 0px 50%)"
    stage.press("0")
    assert "scale(1)" in transform(page)
    stage.press("+")
    page.click("#v-out")
    assert "scale(1)" in transform(page)


def test_tables_sort_by_click_and_key(opened):
    page = opened()
    heading = page.locator("#t-table th", has_text="bpp")
    heading.get_by_role("button").click()
    values = [float(v) for v in page.locator("#t-table tbody td:nth-child(5)").all_inner_texts()]
    assert len(values) == 14 and values == sorted(values)
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.get_by_role("button").press("Enter")
    values = [float(v) for v in page.locator("#t-table tbody td:nth-child(5)").all_inner_texts()]
    assert values == sorted(values, reverse=True) and heading.get_attribute("aria-sort") == "descending"
    page.select_option("#t-codec", label="webp")
    page.fill("#t-image", "coff")
    assert (
        page.locator("#t-count").inner_text() == "3 rows" and page.locator("#t-table tbody tr").count() == 3
    )
    summary = page.locator("#summary table")
    summary.get_by_role("button", name="BD-rate PSNR").click()
    names = summary.locator("tbody th").all_inner_texts()
    assert [n.split()[1] for n in names] == ["webp", "jpeg", "png"]  # what has no figure comes last


def test_charts_answer_and_codecs_can_be_switched_off(opened):
    page = opened()
    point = page.locator("#rate svg").first.locator(".series-1 use").first
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    page.mouse.move(box["x"] + 3, box["y"] + 3)
    assert page.locator("#tip").inner_text().startswith("webp, quality 10: ")
    page.get_by_role("group", name="Codecs shown in the charts").get_by_role("button", name="webp").click()
    assert not page.locator("#rate svg").first.locator(".series-1").first.is_visible()
    twin = page.get_by_role("group", name="Codecs shown in the speed charts").get_by_role(
        "button", name="webp"
    )
    assert twin.get_attribute("aria-pressed") == "false"
    low = page.get_by_role("group", name="Rate of the histograms").get_by_role("button").first
    low.press("Enter")
    assert (
        page.locator('[data-shown-at="low"]').is_visible()
        and not page.locator('[data-shown-at="middle"]').is_visible()
    )


def test_everything_is_in_reach_of_the_tab_key(opened):
    page = opened()
    reached = set()
    for _ in range(400):
        page.keyboard.press("Tab")
        name = page.evaluate(
            "document.activeElement === document.body ? null : document.activeElement.id || document.activeElement.className"
        )
        if name is None:  # round once
            break
        reached.add(name)
    assert {
        "skip",
        "sort",
        "v-image",
        "v-codec-0",
        "v-quality-1",
        "v-stage",
        "v-slider",
        "v-in",
        "t-codec",
    } <= reached


def test_the_studys_details_are_shown_and_named(opened):
    page = opened()
    sheets = page.locator("#study img")
    assert sheets.count() == 2
    page.locator("#study details").nth(1).evaluate("element => { element.open = true; }")
    for n, name in enumerate(("webp", "png")):
        assert sheets.nth(n).evaluate("img => img.naturalWidth === img.width && img.width > 500")
        assert f"original, {name} at quality" in sheets.nth(n).get_attribute("alt")
    page.locator("#study .series-1").first.wait_for(state="attached")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(opened, scheme):
    page = opened(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True, color_scheme=scheme)
    for details in page.locator("details").all():
        details.evaluate("element => { element.open = true; }")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    box = page.locator("#v-stage").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 360
    page.locator("#v-stage").tap(position={"x": box["width"] * 0.75, "y": 20})
    assert 70 <= float(page.locator("#v-slider").input_value()) <= 80


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(opened, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = opened(color_scheme=scheme)
    for details in page.locator("details").all():
        details.evaluate("element => { element.open = true; }")
    found = axe.run(page).response["violations"]
    serious = [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")]
    assert serious == []


@pytest.mark.slow
def test_a_full_page_of_24_images_opens_in_two_seconds(chromium, measured, pictures, tmp_path):
    found = to_dict(measured)
    names = [f"image {n}" for n in range(IMAGES)]
    for codec in found["codecs"]:
        for point in codec["points"]:
            point["rows"] = [{**point["rows"][n % 2], "image": name} for n, name in enumerate(names)]
    found["images"] = [{**found["images"][n % 2], "name": name} for n, name in enumerate(names)]
    found["timing"]["images"] = names[:1]
    originals = [p for p in pictures if p.image == "astronaut"]
    shown = [replace(p, image=name) for name in names for p in originals]
    filler = " " * (BUDGET // len(shown))  # base64 may hold white space: the weight of a full page
    shown = [replace(p, uri=p.uri + filler[len(p.uri) :]) for p in shown]
    file = tmp_path / "full.html"
    file.write_bytes(html_report(saved_of(found), shown))
    assert file.stat().st_size > 0.95 * BUDGET
    session, page = chromium.new_browser_cdp_session(), chromium.new_page()

    def processor_seconds():  # of all of Chromium's processes: unlike a clock, they do not depend on who else is at work
        return sum(p["cpuTime"] for p in session.send("SystemInfo.getProcessInfo")["processInfo"])

    before = processor_seconds()
    page.goto(file.as_uri())
    page.wait_for_function("document.getElementById('v-img-0').naturalWidth > 0")
    assert processor_seconds() - before < 2
    page.close()
