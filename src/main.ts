import { basename } from "node:path";
import { GUARD_NAME, guardTerminal } from "./vmm/terminal.ts";

/** One binary, several names: what it does follows from the name it is called by. */
switch (basename(process.argv0)) {
  case GUARD_NAME:
    await guardTerminal(process.argv[2] ?? "", process.argv[3] ?? "");
    break;
  default: {
    const { runCloudHypervisor } = await import("./cli/cloud-hypervisor.ts");
    await runCloudHypervisor(process.argv.slice(2));
  }
}
