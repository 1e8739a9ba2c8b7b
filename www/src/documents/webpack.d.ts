/** What webpack adds to `import.meta`. */
interface ImportMeta {
  /** The addresses of a folder's files. */
  webpackContext(folder: string, options: { regExp: RegExp }): (file: string) => string;
}
