import { readdirSync, readFileSync } from "node:fs";
import { unlessGone } from "./unless-gone.ts";

/** What the kernel says of a thread. */
export interface ThreadStatus {
  readonly tid: number;
  readonly name: string;
  /** A field of proc_pid_status(5), without the blanks around it; "" where there is none. */
  field(name: string): string;
}

/** The threads of a process, without those that end while this looks: threads of the runtime come and go. */
export function threadStatuses(pid: number | "self"): ThreadStatus[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((tid) => {
    const status = unlessGone(() => readFileSync(`/proc/${pid}/task/${tid}/status`, "latin1"));
    if (status === undefined) return [];
    const field = (name: string): string => new RegExp(`^${name}:[ \t]*(.*?)[ \t]*$`, "m").exec(status)?.[1] ?? "";
    return { tid: Number(tid), name: field("Name"), field };
  });
}
