/** The executable, even when its file has been replaced or removed since the start. */
export const SELF = "/proc/self/exe";
/** What makes SELF this program: nothing inside the executable, main.ts where Bun runs the sources. */
export const PROGRAM = import.meta.url.includes("/$bunfs/")
  ? []
  : [Bun.fileURLToPath(new URL("../main.ts", import.meta.url))];
