"use client";

import { Embedder } from "embervec";
import { useEffect } from "react";

export default function Page() {
  useEffect(() => {
    globalThis.load = (model, options) => Embedder.load(model, options);
  }, []);
  return <p>{typeof Embedder.load}</p>;
}
