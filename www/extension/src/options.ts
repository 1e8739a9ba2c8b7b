/** The options page: the model, what is read, and what is stored. */

import { byId, element, formatBytes, formatCount } from "../../src/dom";
import { SearchIndex } from "embervec/search";
import { EncodeAgain } from "./encode-again";
import { Encoder, failureOf, type News } from "./encoder";
import { ABSENT, type Failure, IMPORTED, type ModelInfo, type SavedList } from "./protocol";
import { BUDGETS, readSettings, writeSettings } from "./settings";

const encoder = new Encoder(onNews);
const deleteModel = byId("delete-model", HTMLButtonElement);

const exportSaved = byId("export-saved", HTMLButtonElement);
const importSaved = byId("import-saved", HTMLButtonElement);
const clearSaved = byId("clear-saved", HTMLButtonElement);
const importFile = byId("import-file", HTMLInputElement);
const savedNote = byId("saved-note", HTMLElement);

const encodeAgain = new EncodeAgain(
  byId("encode-again", HTMLButtonElement),
  byId("encode-again-progress", HTMLElement),
  encoder,
  () => void change("", () => encodeAgain.run()),
);

function onNews(news: News): void {
  if ("saved" in news) showSaved(news.saved);
  if ("savedFailure" in news) showSavedFailure(news.savedFailure);
  if ("model" in news && news.model.stage === "ready") void showModel();
}

function showSaved(saved: SavedList): void {
  const { pages, bytes, isOtherModel } = saved;
  const passages = pages.reduce((sum, { passageCount }) => sum + passageCount, 0);
  const about = bytes < 1e5 ? "less than 0.1 MB" : `about ${formatBytes(bytes, bytes)}`;
  const size = pages.length === 0 ? "" : `, ${about}`;
  byId("saved-state", HTMLElement).textContent =
    `${formatCount(pages.length, "page")} with ${formatCount(passages, "passage")}${size}`;
  exportSaved.disabled = clearSaved.disabled = pages.length === 0;
  byId("other-model", HTMLElement).hidden = !isOtherModel;
  encodeAgain.show(saved);
  void showSpace();
}

/** What cannot be opened can still be deleted. */
function showSavedFailure({ code, message }: Failure): void {
  byId("saved-state", HTMLElement).textContent = `They cannot be read: ${message} (${code})`;
  exportSaved.disabled = true;
  clearSaved.disabled = false;
}

/** Says what comes of it; the buttons rest meanwhile. */
async function change(under: string, action: () => Promise<string>): Promise<void> {
  savedNote.textContent = under;
  importSaved.disabled = true;
  const outcome = await action().catch(messageOf);
  importSaved.disabled = false;
  // The button that was pressed may be disabled now.
  if (document.activeElement === document.body) importSaved.focus();
  savedNote.textContent = outcome;
  say(outcome);
}

function messageOf(error: unknown): string {
  const { code, message } = failureOf(error);
  return code === ABSENT
    ? "The model is needed for that. Open the popup and download it, then try again."
    : `That failed: ${message}`;
}

async function exportPages(): Promise<string> {
  const link = element("a", "");
  link.href = await encoder.request("exportSaved", null);
  link.download = `embervec-saved-pages-${new Date().toISOString().slice(0, 10)}.tar`;
  link.click();
  return "Exported. The file holds the pages' texts, and can be read by everybody who has it.";
}

async function importPages(file: File): Promise<string> {
  // Left by an import that was cut short.
  if ((await SearchIndex.list()).some(({ name }) => name === IMPORTED)) await SearchIndex.delete(IMPORTED);
  const index = await SearchIndex.import(file, { name: IMPORTED });
  await index.close();
  const count = await encoder.request("mergeSaved", null);
  return count === 0 ? "Nothing new: these pages are saved already." : `Imported: ${formatCount(count, "page")}.`;
}

exportSaved.addEventListener("click", () => void change("Exporting…", exportPages));
importSaved.addEventListener("click", () => importFile.click());
importFile.addEventListener("change", () => {
  const [file] = importFile.files ?? [];
  importFile.value = ""; // the same file may be chosen again
  if (file) void change("Importing…", () => importPages(file));
});
clearSaved.addEventListener("click", () => {
  if (!confirm("Delete all saved pages? This cannot be undone.")) return;
  void change("Deleting…", async () => {
    await encoder.request("clearSaved", null);
    return "All saved pages are deleted.";
  });
});
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
  const { budget, isKeptPrivately } = await readSettings();
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
  const privately = byId("keep-privately", HTMLInputElement);
  privately.checked = isKeptPrivately;
  privately.addEventListener("change", () => {
    void writeSettings({ isKeptPrivately: privately.checked }).then(() => say("Stored."));
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
