export * from "./temporary-reader";
