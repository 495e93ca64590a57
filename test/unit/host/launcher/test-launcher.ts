import { restorePlacement } from "../../../../src/host/launcher/placement.ts";
import { type LaunchableProgram, serveLauncher } from "../../../../src/host/launcher/serve.ts";

/** A launcher for tests: `sh SCRIPT`, and a program that does not exist. */
restorePlacement(process.argv[2]);
serveLauncher(
  new Map<string, LaunchableProgram>([
    ["sh", { file: "sh", argv0: "sh", fixedArgs: ["-c"], allows: (args) => args.length === 1 }],
    ["missing", { file: "cloud-hypervisor-no-such-program", argv0: "missing", fixedArgs: [], allows: () => true }],
  ]),
);
