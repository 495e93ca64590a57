// probe.ts KIND MODE [ACT...]: tries acts on a thread that is confined as those of a VMM are, and prints what came of each as
// JSON. MODE: false, trap, log or errno.
import { confineProcess } from "../../../src/cli/confine-process.ts";
import { WORKER_ARGUMENTS } from "../../../src/host/libc.ts";
import type { SeccompMode } from "../../../src/host/seccomp/install.ts";
import { ACTS, type Act, prepareActs } from "./acts.ts";
import { KINDS, type Kind } from "./kinds.ts";

export interface ProbeJob {
  readonly kind: Kind;
  readonly mode: SeccompMode | undefined;
  readonly acts: readonly Act[];
}

if (import.meta.main) {
  const [kindName, modeName, ...named] = process.argv.slice(2);
  const kind = KINDS.find((known) => known === kindName);
  const mode = (["trap", "log", "errno"] as const).find((known) => known === modeName);
  if (kind === undefined || (mode === undefined && modeName !== "false")) throw new Error("probe KIND MODE [ACT...]");
  const acts = named.length === 0 ? ACTS : ACTS.filter((act) => named.includes(act));
  const attempt = prepareActs();
  confineProcess(mode);
  if (kind === "vmm") {
    console.log(JSON.stringify(acts.map((act) => [act, attempt(act)])));
    process.exit(0);
  }
  const worker = new Worker(new URL("./probe-worker.ts", import.meta.url).href, { argv: [...WORKER_ARGUMENTS] });
  worker.onmessage = ({ data }) => {
    console.log(JSON.stringify(data));
    process.exit(0);
  };
  const job: ProbeJob = { kind, mode, acts };
  worker.postMessage(job);
}
