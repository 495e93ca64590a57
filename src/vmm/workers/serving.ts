import type { NoticeListener } from "../../devices/notices.ts";
import { confineThread } from "../../threads/confinement.ts";
import type { JobBase } from "../jobs.ts";

/**
 * The calling thread has set itself up, and will not come back to its event loop, where garbage is collected, for long.
 * @param filter of the thread's kind
 * @throws SeccompError
 */
export function startServing({ seccomp }: JobBase, filter: string, notify: NoticeListener): void {
  confineThread(filter, seccomp);
  notify({ kind: "serving" });
  Bun.gc(true);
}
