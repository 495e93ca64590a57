import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { FsRight, restrictEveryThread } from "../../../src/host/landlock.ts";
import { Capability, dropPrivileges } from "../../../src/host/privileges.ts";
import { threadStatuses } from "../thread-statuses.ts";

/**
 * A process that confines itself and says what it can still do, as JSON on standard output: for tests, which cannot confine
 * themselves.
 */

/** "ok", or the code of the error. */
function outcome(act: () => unknown): string {
  try {
    act();
    return "ok";
  } catch (error) {
    return error instanceof Error && "code" in error ? String(error.code) : String(error);
  }
}

function ask(worker: Worker, path: string): Promise<string> {
  return new Promise((resolve) => {
    worker.onmessage = ({ data }: MessageEvent<string>) => resolve(data);
    worker.postMessage(path);
  });
}

const newWorker = (): Worker => new Worker(new URL("./confined-worker.ts", import.meta.url).href);

/** What the kernel says of each thread: name and a field of its status. */
function threads(field: string): readonly string[] {
  return threadStatuses("self").map((thread) => thread.field(field));
}

const folder = process.argv[2] ?? "";
const path = (name: string): string => join(folder, name);
const early = newWorker();
// A thread that answers has been started.
await ask(early, path("readable"));
// The compiler's threads come when there is something to compile.
let sum = 0;
for (let i = 0; i < 3e6; i++) sum = (sum * 31 + i) % 1000003;

dropPrivileges(new Set([Capability.DAC_OVERRIDE]));
const { execPath } = process;
restrictEveryThread(
  [
    { path: "/proc/self", rights: FsRight.READ_FILE | FsRight.READ_DIR, pinned: true },
    { path: join(import.meta.dir, "../../.."), rights: FsRight.READ_FILE | FsRight.READ_DIR },
    { path: path("readable"), rights: FsRight.READ_FILE },
    { path: path("writable"), rights: FsRight.READ_FILE | FsRight.WRITE_FILE },
    { path: path("folder"), rights: FsRight.READ_FILE | FsRight.WRITE_FILE | FsRight.MAKE_REG },
    { path: path("not there"), rights: FsRight.READ_FILE },
  ],
  { denyTcp: true, denySignals: true },
);
const late = newWorker();

const results = {
  sum,
  threads: readdirSync("/proc/self/task").length,
  noNewPrivs: [...new Set(threads("NoNewPrivs"))],
  capEff: [...new Set(threads("CapEff"))],
  capPrm: [...new Set(threads("CapPrm"))],
  capBnd: [...new Set(threads("CapBnd"))],
  coreLimit: /^Max core file size\s+(\d+)\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "latin1"))?.slice(1),
  read: outcome(() => readFileSync(path("readable"))),
  readOther: outcome(() => readFileSync(path("other"))),
  writeReadable: outcome(() => appendFileSync(path("readable"), "x")),
  write: outcome(() => writeFileSync(path("writable"), "x", { flag: "r+" })),
  truncate: outcome(() => truncateSync(path("writable"), 0)),
  make: outcome(() => writeFileSync(path("folder/new"), "x", { flag: "wx" })),
  makeElsewhere: outcome(() => writeFileSync(path("new"), "x", { flag: "wx" })),
  makeFolder: outcome(() => mkdirSync(path("folder/f"))),
  remove: outcome(() => rmSync(path("folder/new"))),
  move: outcome(() => renameSync(path("folder/new"), path("moved"))),
  procOther: outcome(() => readFileSync("/proc/1/status")),
  earlyWorker: [await ask(early, path("readable")), await ask(early, path("other"))],
  lateWorker: [await ask(late, path("readable")), await ask(late, path("other"))],
  run: outcome(() => Bun.spawnSync([execPath, "--version"])),
  tcp: await new Promise<string>((resolve) => {
    connect({ host: "127.0.0.1", port: 1 }, () => resolve("ok")).on("error", (error) =>
      resolve("code" in error ? String(error.code) : String(error)),
    );
  }),
};
console.log(JSON.stringify(results));
process.exit(0);
