// Builds what is shown to people from the package by its public name. Each entry of the default export is one output folder.

import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import CopyPlugin from "copy-webpack-plugin";

const fromRoot = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url));

/**
 * What every output shares: ES modules (the package's worker is one), no `eval` anywhere (the pages have a strict content
 * security policy), and `.wasm` files as plain files beside the script, fetched only when the package chooses one.
 */
function target({ name, entry, output, copy, keep, plugins = [] }) {
  return {
    name,
    mode: "production",
    target: ["web", "es2022"],
    entry,
    devtool: "source-map",
    output: {
      path: fromRoot(output),
      filename: "[name].js",
      chunkFilename: "[name].[contenthash:8].js",
      assetModuleFilename: "[name].[contenthash:8][ext]",
      module: true,
      chunkFormat: "module",
      clean: keep ? { keep } : true,
    },
    experiments: { outputModule: true },
    resolve: { extensions: [".ts", ".js"] },
    module: {
      rules: [
        {
          test: /\.ts$/,
          loader: "esbuild-loader",
          options: { target: "es2022", tsconfig: fromRoot("www/tsconfig.json") },
        },
        { test: /\.wasm$/, type: "asset/resource" },
      ],
    },
    plugins: [new CopyPlugin({ patterns: copy }), ...plugins],
    performance: { hints: false },
  };
}

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

const demo = target({
  name: "demo",
  entry: {
    main: fromRoot("www/src/main.ts"),
    bench: fromRoot("www/src/bench.ts"),
    "service-worker": fromRoot("www/src/service-worker.ts"),
  },
  output: "www/dist",
  copy: [
    "index.html",
    "bench.html",
    "app.webmanifest",
    "favicon.svg",
    "icon-192.png",
    "icon-512.png",
    "src/style.css",
  ].map((path) => fromRoot(`www/${path}`)),
  keep: /^(models|docs)(\/|$)/, // the model and the API reference, which `cargo xtask build` puts there
  plugins: [listFiles("service-worker.js")],
});

const inExtension = (/** @type {string} */ path) => fromRoot(`www/extension/${path}`);

const extension = target({
  name: "extension",
  entry: {
    page: inExtension("src/page.ts"),
    content: inExtension("src/content.ts"),
    offscreen: inExtension("src/offscreen.ts"),
    options: inExtension("src/options.ts"),
    "service-worker": inExtension("src/service-worker.ts"),
  },
  output: "www/extension/dist",
  copy: [
    inExtension("manifest.json"),
    inExtension("offscreen.html"),
    inExtension("options.html"),
    // The same page in both places.
    { from: inExtension("page.html"), to: "popup.html" },
    { from: inExtension("page.html"), to: "side-panel.html" },
    { from: inExtension("icons"), to: "icons" },
    fromRoot("www/src/style.css"),
    inExtension("src/page.css"),
    inExtension("src/options.css"),
  ],
  keep: /^models(\/|$)/, // a bundled model, put there by hand
});

export default [demo, extension];
