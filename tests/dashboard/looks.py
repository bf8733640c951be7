"""How the page looks: what its charts have painted, whether it can be read, and its portraits for the documentation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from playwright.sync_api import Page

# Where `RATBOND_SCREENSHOTS=docs/images pytest tests/dashboard` puts them; without it none are made.
_DIRECTORY = os.environ.get("RATBOND_SCREENSHOTS")

_SIZES = {"wide": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}

# Pixels of a chart whose hue is that of a link's colour, in whatever strength.
INK = """([name, link]) => {
  const figure = [...document.querySelectorAll("figure")].find((f) => f.querySelector("figcaption").textContent === name);
  const canvas = figure.querySelector("canvas");
  const hue = (r, g, b) => {
    const [most, least] = [Math.max(r, g, b), Math.min(r, g, b)];
    if (most - least < 40) return null;
    const turn = most === r ? ((g - b) / (most - least) + 6) % 6 : most === g ? (b - r) / (most - least) + 2 : (r - g) / (most - least) + 4;
    return turn * 60;
  };
  const wanted = getComputedStyle(document.documentElement).getPropertyValue(`--link-${link}`).trim();
  const target = hue(...[1, 3, 5].map((at) => parseInt(wanted.slice(at, at + 2), 16)));
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
  let painted = 0;
  for (let i = 0; i < data.length; i += 4) {
    const found = data[i + 3] > 128 ? hue(data[i], data[i + 1], data[i + 2]) : null;
    if (found !== null && Math.abs(found - target) < 12) painted += 1;
  }
  return painted;
}"""

# Texts whose contrast to what lies below them is less than 4.5 (WCAG 2.2, 1.4.3).
CONTRAST = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = numbers(colour).map((v) => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const below = (node) => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if ((numbers(colour)[3] ?? 1) > 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const faint = [];
  for (let text; (text = walker.nextNode()); ) {
    const node = text.parentElement;
    if (!text.data.trim() || node.closest("noscript") || !node.checkVisibility()) continue;
    const [a, b] = [light(getComputedStyle(node).color), light(below(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) faint.push(`${text.data.trim()}: ${ratio.toFixed(2)}`);
  }
  return faint;
}"""

Scheme = Literal["light", "dark"]
_SHOTS: tuple[tuple[str, Scheme], ...] = (
    ("wide", "light"),
    ("wide", "dark"),
    ("phone", "light"),
    ("phone", "dark"),
)


def photograph(page: Page, name: str | None = None) -> bool:
    """Takes the page's portraits when they are wanted; says whether they are. Puts the page back as it was."""
    if not _DIRECTORY:
        return False
    if name is None:
        return True
    before = page.viewport_size
    directory = Path(_DIRECTORY)
    directory.mkdir(parents=True, exist_ok=True)
    for size, scheme in _SHOTS:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(_SIZES[size])  # type: ignore[arg-type]
        page.wait_for_timeout(1200)  # charts are drawn once a second
        page.screenshot(path=directory / f"dashboard-{name}-{size}-{scheme}.png", full_page=size == "wide")
    page.emulate_media(color_scheme="light")
    if before:
        page.set_viewport_size(before)
    return True
