import type { NoticeListener } from "../../devices/notices.ts";

/** The calling thread has set itself up, and will not come back to its event loop, where garbage is collected, for long. */
export function startServing(notify: NoticeListener): void {
  notify({ kind: "serving" });
  Bun.gc(true);
}
