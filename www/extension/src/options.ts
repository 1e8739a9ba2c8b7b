/** The options page: the model, what is read, and what is stored. */

import { byId, element, formatBytes, formatCount } from "../../src/dom";
import { Encoder, type News } from "./encoder";
import type { ModelInfo } from "./protocol";
import { BUDGETS, readSettings, writeSettings } from "./settings";

const encoder = new Encoder(onNews);
const deleteModel = byId("delete-model", HTMLButtonElement);

function onNews(news: News): void {
  if ("saved" in news) {
    const passages = news.saved.reduce((sum, { passageCount }) => sum + passageCount, 0);
    byId("saved-state", HTMLElement).textContent =
      `${formatCount(news.saved.length, "page")} with ${formatCount(passages, "passage")}`;
    void showSpace();
  }
  if ("model" in news && news.model.stage === "ready") void showModel();
}

async function showModel(): Promise<void> {
  const info = await encoder.request("modelInfo", null);
  byId("model-state", HTMLElement).textContent = describe(info);
  deleteModel.hidden = info.source !== "hub" || info.bytes === 0;
}

function describe({ source, bytes }: ModelInfo): string {
  if (source === "bundled") return "Part of this extension: no network is needed.";
  if (bytes === 0) return "Not downloaded yet. The popup asks before it downloads it from huggingface.co.";
  return `Downloaded from huggingface.co, ${formatBytes(bytes, bytes)} in this browser. No network is needed any more.`;
}

async function showSpace(): Promise<void> {
  const { usage } = await navigator.storage.estimate();
  byId("used-space", HTMLElement).textContent =
    usage === undefined ? "not known" : `${formatBytes(usage, usage)}, the model included`;
}

async function showSettings(): Promise<void> {
  const { budget } = await readSettings();
  const choice = byId("budget", HTMLSelectElement);
  for (const count of BUDGETS) {
    const option = element("option", "", count.toLocaleString("en"));
    option.value = String(count);
    option.selected = count === budget;
    choice.append(option);
  }
  choice.addEventListener("change", () => {
    void writeSettings({ budget: Number(choice.value) }).then(() => say("Stored."));
  });
  byId("private-state", HTMLElement).textContent = (await chrome.extension.isAllowedIncognitoAccess())
    ? "embervec may be used in private windows."
    : "embervec is switched off there; the browser's extensions page can switch it on.";
}

async function showKeys(): Promise<void> {
  const names: Record<string, string> = {
    _execute_action: "Open the search",
    "next-hit": "Next hit",
    "previous-hit": "Previous hit",
  };
  const commands = await chrome.commands.getAll();
  const rows = commands.map(({ name = "", shortcut }) =>
    element("div", "", element("dt", "", names[name] ?? name), element("dd", "", shortcut || "no key")),
  );
  byId("keys", HTMLElement).replaceChildren(...rows);
}

function say(text: string): void {
  byId("announcer", HTMLElement).textContent = text;
}

deleteModel.addEventListener("click", () => {
  void encoder.request("deleteModel", null).then(async () => {
    await showModel();
    await showSpace();
    say("The model is deleted.");
  });
});

void showSettings();
void showKeys();
void showModel();
void showSpace();
