import { join } from "node:path";

// The packages lie two folders above, as in a workspace.
export default { turbopack: { root: join(import.meta.dirname, "../..") } };
