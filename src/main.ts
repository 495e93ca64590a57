import { basename } from "node:path";
import { SIZE_WATCH_NAME, watchTerminalSize } from "./vmm/consoles/size-watch.ts";
import { GUARD_NAME, guardTerminal } from "./vmm/terminal.ts";

/** One binary, several names: what it does follows from the name it is called by. */
const argv = process.argv.slice(2);
switch (basename(process.argv0)) {
  case GUARD_NAME:
    await guardTerminal(argv[0] ?? "", argv[1] ?? "");
    break;
  case SIZE_WATCH_NAME:
    await watchTerminalSize();
    break;
  case "ch-remote": {
    const { chRemote } = await import("./cli/ch-remote/ch-remote.ts");
    process.exit(await chRemote(argv));
    break;
  }
  default: {
    if (argv[0] === "disk") {
      const { runDiskTool } = await import("./cli/disk/disk.ts");
      process.exit(await runDiskTool(argv.slice(1)));
    }
    const { runCloudHypervisor } = await import("./cli/cloud-hypervisor.ts");
    await runCloudHypervisor(argv);
  }
}
