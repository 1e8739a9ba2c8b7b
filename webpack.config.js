// Builds what is shown to people from the package by its public name. Each entry of the default export is one output folder.

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import CopyPlugin from "copy-webpack-plugin";

import { pageNotices } from "./pkg/notices.mjs";

const fromRoot = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url));

/**
 * What every output shares: ES modules (the package's worker is one), no `eval` anywhere (the pages have a strict content
 * security policy), and `.wasm` files as plain files beside the script, fetched only when the package chooses one.
 */
function target({ name, entry, output, filename = "[name].js", copy, keep, plugins = [] }) {
  return {
    name,
    mode: "production",
    target: ["web", "es2022"],
    entry,
    devtool: "source-map",
    output: {
      path: fromRoot(output),
      filename,
      chunkFilename: "[name].[contenthash:8].js",
      assetModuleFilename: "[name].[contenthash:8][ext]",
      module: true,
      chunkFormat: "module",
      clean: keep ? { keep } : true,
    },
    experiments: { outputModule: true },
    optimization: { splitChunks: { name: nameOfLibraries } },
    resolve: { extensions: [".ts", ".js"] },
    module: {
      rules: [
        {
          test: /\.ts$/,
          loader: "esbuild-loader",
          options: { target: "es2022", tsconfig: fromRoot("www/tsconfig.json") },
        },
        { test: /\.wasm$|\.bcmap$/, type: "asset/resource" },
      ],
    },
    plugins: [new CopyPlugin({ patterns: copy }), ...plugins],
    performance: { hints: false },
  };
}

/** Of a chunk with libraries that others share, so that its name tells who needs it. */
function nameOfLibraries(
  /** @type {import("webpack").Module} */ _module,
  /** @type {import("webpack").Chunk[]} */ chunks,
) {
  const names = chunks.flatMap(({ name }) => (typeof name === "string" ? [name] : []));
  return names.length === 0 ? undefined : `${names.sort().join("-")}-libraries`;
}

/**
 * The pages ask for their scripts and styles by names with hashes: whatever a host has while it replaces a build, a page is of one
 * build or does not open.
 */
const nameFiles = (/** @type {import("webpack").Compiler} */ { webpack, hooks }) => {
  hooks.compilation.tap("nameFiles", (compilation) => {
    const stage = webpack.Compilation.PROCESS_ASSETS_STAGE_OPTIMIZE_TRANSFER; // names are final
    compilation.hooks.processAssets.tap({ name: "nameFiles", stage }, (assets) => {
      const names = Object.keys(assets);
      const hashed = new Map(names.map((name) => [name.replace(/\.[0-9a-f]{8}(?=\.(?:js|css)$)/, ""), name]));
      for (const page of names.filter((name) => name.endsWith(".html"))) {
        compilation.updateAsset(page, (source) => {
          const html = String(source.source());
          const named = html.replace(/(?<=(?:src|href)="?)[\w-]+\.(?:js|css)\b/g, (name) => hashed.get(name) ?? name);
          return new webpack.sources.RawSource(named);
        });
      }
    });
  });
};

/** Tells the service worker which files there are, with their hashes. At its end, where the source map stays right. */
const listFiles =
  (/** @type {string} */ script) =>
  (/** @type {import("webpack").Compiler} */ { webpack, hooks }) => {
    const digest = (/** @type {string | Buffer} */ data) => createHash("sha256").update(data).digest("base64");
    hooks.compilation.tap("listFiles", (compilation) => {
      const stage = webpack.Compilation.PROCESS_ASSETS_STAGE_REPORT; // names and contents are final
      compilation.hooks.processAssets.tap({ name: "listFiles", stage }, (assets) => {
        const names = Object.keys(assets).filter((name) => name !== script && !/\.(map|txt)$/.test(name));
        const files = Object.fromEntries(names.sort().map((name) => [name, `sha256-${digest(assets[name].buffer())}`]));
        const revision = digest(JSON.stringify(files)).slice(0, 8);
        const list = `\nvar BUILD = ${JSON.stringify({ revision, files })};\n`;
        compilation.updateAsset(script, (source) => new webpack.sources.ConcatSource(source, list));
      });
    });
  };

/** The licences of what the page contains of others, which they want to be told. */
const listLicences = (/** @type {import("webpack").Compiler} */ { webpack, hooks }) => {
  hooks.thisCompilation.tap("listLicences", (compilation) => {
    /** @type {string[]} */
    let files = [];
    compilation.hooks.finishModules.tap("listLicences", (modules) => {
      files = [...modules].map((module) => module.nameForCondition() ?? "");
    });
    const stage = webpack.Compilation.PROCESS_ASSETS_STAGE_ADDITIONAL;
    compilation.hooks.processAssets.tapPromise({ name: "listLicences", stage }, async () => {
      const ofPackage = await readFile(fromRoot("pkg/dist/THIRD-PARTY-NOTICES.txt"), "utf8");
      const text = `${await pageNotices(files)}\n${"=".repeat(80)}\n\n${ofPackage}`;
      compilation.emitAsset("THIRD-PARTY-NOTICES.txt", new webpack.sources.RawSource(text));
    });
  });
};

const demo = target({
  name: "demo",
  entry: {
    main: fromRoot("www/src/main.ts"),
    bench: fromRoot("www/src/bench.ts"),
    "service-worker": fromRoot("www/src/service-worker.ts"),
  },
  output: "www/dist",
  filename: ({ chunk }) => (chunk?.name === "service-worker" ? "[name].js" : "[name].[contenthash:8].js"),
  copy: [
    ...["index.html", "bench.html", "app.webmanifest", "favicon.svg", "icon-192.png", "icon-512.png"].map((name) =>
      fromRoot(`www/${name}`),
    ),
    ...["style.css", "demo.css"].map((name) => ({
      from: fromRoot(`www/src/${name}`),
      to: "[name].[contenthash:8][ext]",
    })),
  ],
  keep: /^(models|docs|corpora)(\/|$)/, // what `cargo xtask build` puts there
  plugins: [nameFiles, listFiles("service-worker.js"), listLicences],
});

const inExtension = (/** @type {string} */ path) => fromRoot(`www/extension/${path}`);

const extension = target({
  name: "extension",
  entry: {
    page: inExtension("src/page.ts"),
    content: inExtension("src/content.ts"),
    offscreen: inExtension("src/offscreen.ts"),
    options: inExtension("src/options.ts"),
    reader: inExtension("src/reader.ts"),
    "service-worker": inExtension("src/service-worker.ts"),
  },
  output: "www/extension/dist",
  copy: [
    inExtension("manifest.json"),
    inExtension("offscreen.html"),
    inExtension("options.html"),
    inExtension("reader.html"),
    // The same page in both places.
    { from: inExtension("page.html"), to: "popup.html" },
    { from: inExtension("page.html"), to: "side-panel.html" },
    { from: inExtension("icons"), to: "icons" },
    fromRoot("www/src/style.css"),
    inExtension("src/page.css"),
    inExtension("src/options.css"),
    inExtension("src/reader.css"),
  ],
  keep: /^models(\/|$)/, // a bundled model, put there by hand
  plugins: [listLicences],
});

export default [demo, extension];
