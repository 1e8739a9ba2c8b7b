// Why a page cannot be read, as the extension's panels say it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { explain, NO_ANSWER } from "../../www/extension/src/unreadable.ts";

const POPUP = { isPopup: true, mayReadFiles: false };
const SIDE_PANEL = { isPopup: false, mayReadFiles: false };
/** What Chromium says of any page that it has not opened to the extension. */
const NO_ACCESS =
  "Cannot access contents of the page. Extension manifest must request permission to access the respective host.";

const titleOf = (url: string, problem = NO_ACCESS, circumstances = POPUP) =>
  explain({ url, problem }, circumstances).title;

test("by the tab's address", () => {
  for (const url of [
    "chrome://settings/",
    "chrome://newtab/",
    "edge://version",
    "about:blank",
    "devtools://devtools/x",
  ])
    assert.equal(titleOf(url), "The browser's own pages cannot be read", url);
  for (const url of [
    "https://chromewebstore.google.com/detail/x",
    "https://chrome.google.com/webstore/category/extensions",
    "https://microsoftedge.microsoft.com/addons/x",
  ])
    assert.equal(titleOf(url), "The extension store cannot be read", url);
  assert.equal(titleOf("view-source:https://example.org/"), "The source of a page cannot be read");
  assert.equal(titleOf("chrome-extension://abc/page.html"), "Pages of extensions cannot be read");
  for (const url of ["data:text/html,<p>hi", "blob:https://example.org/1"])
    assert.equal(titleOf(url), "This page has no web address", url);
});

test("by the browser's words, where it does not tell the address", () => {
  assert.equal(titleOf("", "Cannot access a chrome:// URL"), "The browser's own pages cannot be read");
  assert.equal(
    titleOf("", "Cannot access a chrome-extension:// URL of different extension"),
    "Pages of extensions cannot be read",
  );
  assert.equal(titleOf("", "The extensions gallery cannot be scripted."), "The extension store cannot be read");
  assert.equal(titleOf("http://127.0.0.1:1/", "Frame with ID 0 is showing error page"), "This page did not load");
  assert.equal(
    titleOf("https://example.org/", "This page cannot be scripted due to an ExtensionsSettings policy."),
    "This page is closed to extensions",
  );
});

test("a file of this device is read only where the browser's setting is on", () => {
  assert.equal(titleOf("file:///home/notes.txt"), "This file cannot be read yet");
  const explanation = explain({ url: "file:///x", problem: NO_ACCESS }, { isPopup: true, mayReadFiles: true });
  assert.equal(explanation.title, "This page cannot be read");
});

test("a page that nobody has opened to the side panel, and one that is slow", () => {
  assert.equal(titleOf("", NO_ACCESS, SIDE_PANEL), "This page has not been read");
  assert.equal(titleOf("", NO_ACCESS, POPUP), "This page cannot be read");
  assert.equal(titleOf("https://example.org/", NO_ANSWER), "This page does not answer yet");
  // Of one that never answers, its address says why.
  assert.equal(titleOf("view-source:https://example.org/", NO_ANSWER), "The source of a page cannot be read");
});

test("an address in an address is not taken for it", () => {
  assert.equal(titleOf("https://example.org/?to=chrome://settings"), "This page cannot be read");
  assert.equal(titleOf("https://chromewebstore.google.com.example.org/"), "This page cannot be read");
});
