/** The executable, even when its file has been replaced or removed since the start. */
export const SELF = "/proc/self/exe";
/** What makes SELF this program: nothing inside the executable, main.ts where Bun runs the sources. */
export const PROGRAM = import.meta.url.includes("/$bunfs/")
  ? []
  : [Bun.fileURLToPath(new URL("../main.ts", import.meta.url))];

/** The name under which the executable runs as a launcher. */
export const LAUNCHER_NAME = "cloud-hypervisor-launcher";
/** The name under which it runs to watch the size of a pseudo-terminal. */
export const SIZE_WATCH_NAME = "cloud-hypervisor-size-watch";
