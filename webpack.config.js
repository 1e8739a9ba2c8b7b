// Builds what is shown to people from the package by its public name. Each entry of the default export is one output folder.

import { fileURLToPath } from "node:url";
import CopyPlugin from "copy-webpack-plugin";

const fromRoot = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url));

/**
 * What every output shares: ES modules (the package's worker is one), no `eval` anywhere (the pages have a strict content
 * security policy), and `.wasm` files as plain files beside the script, fetched only when the package chooses one.
 */
function target({ name, entry, output, copy, keep }) {
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
        { test: /\.ts$/, loader: "esbuild-loader", options: { target: "es2022", tsconfig: fromRoot("www/tsconfig.json") } },
        { test: /\.wasm$/, type: "asset/resource" },
      ],
    },
    plugins: [new CopyPlugin({ patterns: copy })],
    performance: { hints: false },
  };
}

const demo = target({
  name: "demo",
  entry: { main: fromRoot("www/src/main.ts"), bench: fromRoot("www/src/bench.ts") },
  output: "www/dist",
  copy: [fromRoot("www/index.html"), fromRoot("www/bench.html"), fromRoot("www/favicon.svg"), fromRoot("www/src/style.css")],
  keep: /^models(\/|$)/, // a link to the folder of models, made by hand
});

export default [demo];
